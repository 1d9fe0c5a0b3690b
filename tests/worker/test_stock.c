#include "tests/coordinator/fixture.h"
#include "worker/stock.h"

#include <poll.h>
#include <sys/stat.h>

#define PART 16 /* bytes of a want */
#define TASK                                                                                       \
    "{\"cfg_scale\":1,\"height\":64,\"model\":\"m\",\"negative_prompt\":\"\",\"precision\":"       \
    "\"f32\","                                                                                     \
    "\"prompt\":\"a\",\"sampler\":\"euler\",\"scheduler\":\"uniform\",\"seed\":1,\"steps\":1,"     \
    "\"width\":64}"

/* A coordinator in memory: what it has by hash, and how it misbehaves. */
struct blob {
    char sha256[HASH_HEX_SIZE];
    const char *text;
};

struct place {
    char *dir, *library_dir;
    struct library *library;
    struct stock *stock;
    struct hash_memo *hashes;
    struct blob files[8];
    size_t n;
    int wants; /* answered or not */
    int lose;  /* so many wants first */
    int spoil; /* so many chunks first come with another byte */
    bool gone; /* every want is answered so */
    struct stock_event last;
};

static void open_stock(struct place *p, uint64_t budget, bool own)
{
    struct buf cache = {0};

    buf_printf(&cache, "%s/cache", p->dir);
    MUST(stock_open(&(struct stock_options){.library = p->library,
                                            .hashes = p->hashes,
                                            .dir = buf_text(&cache),
                                            .budget_bytes = budget,
                                            .own_files = own,
                                            .part_bytes = PART},
                    &p->stock, e));
    buf_done(&cache);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct buf path = {0};

    p->dir = temporary_folder();
    buf_printf(&path, "%s/library", p->dir);
    p->library_dir = buf_detach(&path);
    mkdir(p->library_dir, 0700);
    MUST(library_open((const char *const[]){p->library_dir}, 1, &p->library, e));
    MUST(hash_memo_new(NULL, &p->hashes, e));
    open_stock(p, 1000, true);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    given_free(p->last.given);
    stock_close(p->stock);
    hash_memo_free(p->hashes);
    library_close(p->library);
    remove_tree(p->dir);
    free(p->library_dir);
    free(p->dir);
    free(p);
    return 0;
}

static const char *serve(struct place *p, const char *text)
{
    struct blob *s = &p->files[p->n++];

    s->text = text;
    MUST(hash_bytes(text, strlen(text), s->sha256, e));
    return s->sha256;
}

static void answer(struct place *p, const struct msg_want *w)
{
    struct msg_chunk c = {.offset = w->offset};
    char bytes[PART];

    p->wants++;
    if (p->lose-- > 0)
        return;
    if (p->gone) {
        struct msg_gone g = {.code = "asset_missing", .text = "it went away"};

        memcpy(g.sha256, w->sha256, sizeof g.sha256);
        MUST(stock_gone(p->stock, &g, e));
        return;
    }
    memcpy(c.sha256, w->sha256, sizeof c.sha256);
    for (size_t i = 0; i < p->n; i++) {
        size_t size = strlen(p->files[i].text), left = size - w->offset;

        if (strcmp(p->files[i].sha256, w->sha256) != 0)
            continue;
        c.total = size;
        c.data_size = left < w->bytes ? left : w->bytes;
        memcpy(bytes, p->files[i].text + w->offset, c.data_size);
        bytes[0] ^= p->spoil-- > 0;
        c.data = bytes;
        MUST(stock_chunk(p->stock, &c, e));
        return;
    }
    fail_msg("wanted %s, which nobody named", w->sha256);
}

/* Until a lease is ready or failed. */
static enum stock_what outcome(struct place *p)
{
    struct pollfd fd = {.fd = stock_fd(p->stock), .events = POLLIN};
    struct stock_event event;

    for (;;) {
        if (poll(&fd, 1, 60000) != 1)
            fail_msg("nothing happened");
        while (stock_next(p->stock, &event)) {
            if (event.what == STOCK_WANT) {
                answer(p, &event.want);
            } else if (event.what != STOCK_FETCHING) {
                given_free(p->last.given);
                p->last = event;
                return event.what;
            }
        }
    }
}

static struct attempt_ref ref_of(int index)
{
    struct attempt_ref ref = {.index = (uint64_t)index, .attempt = 1};

    memset(ref.job, 'a', HASH_HEX_SIZE - 1);
    return ref;
}

static void gather(struct place *p, int index, const char *role, const char *name,
                   const char *sha256, bool folder, uint64_t bytes)
{
    struct lease_asset a = {.role = role, .name = name, .folder = folder, .bytes = bytes};
    struct attempt_ref ref = ref_of(index);

    memcpy(a.sha256, sha256, HASH_HEX_SIZE);
    MUST(stock_gather(p->stock, &ref, TASK, &a, 1, e));
}

/* A lease whose task binds the LoRA `ink` to that; listed with the hash, or not (NULL). */
static void gather_bound(struct place *p, int index, const char *file, const char *sha256,
                         uint64_t bytes)
{
    struct lease_asset a = {.role = "lora", .name = "ink", .bytes = bytes};
    struct attempt_ref ref = ref_of(index);
    struct buf task = {0};

    if (sha256)
        memcpy(a.sha256, sha256, HASH_HEX_SIZE);
    buf_puts(&task, TASK);
    task.size -= strlen(",\"width\":64}");
    buf_printf(&task, ",\"width\":64,\"loras\":{\"ink\":\"%s\"}}", file);
    MUST(stock_gather(p->stock, &ref, buf_text(&task), &a, sha256 ? 1 : 0, e));
    buf_done(&task);
}

static void holds(const char *folder, const char *name, const char *text)
{
    struct buf path = {0}, there = {0};

    buf_printf(&path, "%s%s%s", folder, *name ? "/" : "", name);
    MUST(buf_read_file(&there, buf_text(&path), 1000, e));
    assert_string_equal(buf_text(&there), text);
    buf_done(&path);
    buf_done(&there);
}

static void write_own(struct place *p, const char *name, const char *text)
{
    struct buf path = {0};
    FILE *file;

    buf_printf(&path, "%s/%s", p->library_dir, name);
    file = fopen(buf_text(&path), "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    buf_done(&path);
}

/* model_index.json and unet/config.json, served; returns the listing's hash. */
static const char *serve_folder(struct place *p, struct buf *text)
{
    struct listing l = {0};
    const char *index = serve(p, "{\"a\": \"diffusers folder of many bytes\"}");
    const char *config = serve(p, "{}");

    MUST(listing_add(&l, "model_index.json", index, strlen(p->files[p->n - 2].text), e));
    MUST(listing_add(&l, "unet/config.json", config, 2, e));
    MUST(listing_text(&l, text, e));
    listing_done(&l);
    return serve(p, buf_text(text));
}

static void a_folder_comes_whole_and_looks_as_it_did(void **state)
{
    struct place *p = *state;
    struct buf text = {0};
    const char *sha256 = serve_folder(p, &text);

    p->lose = 1; /* wanted again */
    gather(p, 1, "model", "sd15", sha256, true, strlen(p->files[0].text) + 2);
    stock_connected(p->stock);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_string_equal(strrchr(p->last.given->model, '/'), "/sd15");
    holds(p->last.given->model, "model_index.json", p->files[0].text);
    holds(p->last.given->model, "unet/config.json", "{}");
    buf_done(&text);
}

static void this_machines_files_serve_by_their_bytes_alone(void **state)
{
    struct place *p = *state;
    const char *sha256 = serve(p, "weights of some kind");

    write_own(p, "m.safetensors", "weights of some kind");
    gather(p, 1, "model", "m.safetensors", sha256, false, 20);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->wants, 0);
    assert_non_null(strstr(p->last.given->model, p->library_dir));
    write_own(p, "m.safetensors", "weights of some sort"); /* of the same path and size */
    gather(p, 2, "model", "m.safetensors", sha256, false, 20);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->wants, 2);
    holds(p->last.given->model, "", "weights of some kind");
}

static void bytes_that_differ_are_fetched_once_more_and_then_refused(void **state)
{
    struct place *p = *state;
    const char *sha256 = serve(p, "0123456789");

    p->spoil = 1;
    gather(p, 1, "lora", "fur", sha256, false, 10);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->wants, 2);
    assert_string_equal(p->last.given->names[0].name, "fur");
    sha256 = serve(p, "abcdefghij");
    p->spoil = 2;
    gather(p, 2, "lora", "ink", sha256, false, 10);
    assert_int_equal(outcome(p), STOCK_FAILED);
    assert_int_equal(p->last.why.code, ERR_MISSING);
    assert_non_null(strstr(p->last.why.text, "'ink'"));
    assert_non_null(strstr(p->last.why.text, sha256)); /* expected; and what came */
    assert_non_null(strstr(p->last.why.text, "got "));
}

static void a_name_of_the_tasks_own_is_its_file_and_no_other(void **state)
{
    struct place *p = *state;
    const char *sha256 = serve(p, "ink of the task");
    struct buf own = {0};

    buf_printf(&own, "%s/loras", p->library_dir);
    mkdir(buf_text(&own), 0700);
    buf_puts(&own, "/ink.safetensors");
    write_own(p, "loras/ink.safetensors", "ink of library"); /* of the same name */
    write_own(p, "there.safetensors", "ink of the task");
    own.size = 0;
    buf_printf(&own, "%s/there.safetensors", p->library_dir);
    gather_bound(p, 1, buf_text(&own), sha256, 15);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->wants, 0);
    assert_string_equal(p->last.given->names[0].path, buf_text(&own));
    gather_bound(p, 2, "/nowhere/there.safetensors", sha256, 15);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->wants, 1); /* it came from the coordinator */
    holds(p->last.given->names[0].path, "", "ink of the task");
    gather_bound(p, 3, buf_text(&own), NULL, 0); /* the coordinator does not have it */
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->last.given->n_names, 1);
    assert_string_equal(p->last.given->names[0].name, "ink");
    assert_string_equal(p->last.given->names[0].path, buf_text(&own));
    gather_bound(p, 4, "/nowhere/there.safetensors", NULL, 0);
    assert_int_equal(outcome(p), STOCK_FAILED);
    assert_int_equal(p->last.why.code, ERR_MISSING);
    assert_non_null(strstr(p->last.why.text, "LoRA 'ink': neither the coordinator nor this worker "
                                             "has '/nowhere/there.safetensors'"));
    buf_done(&own);
}

static void a_file_that_is_gone_fails_its_lease_by_name(void **state)
{
    struct place *p = *state;
    const char *sha256 = serve(p, "0123456789");

    p->gone = true;
    gather(p, 1, "vae", "v.safetensors", sha256, false, 10);
    assert_int_equal(outcome(p), STOCK_FAILED);
    assert_int_equal(p->last.why.code, ERR_MISSING);
    assert_non_null(strstr(p->last.why.text, "'v.safetensors'"));
    assert_non_null(strstr(p->last.why.text, "it went away"));
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    struct place *p = *state;
    const char *sha256 = serve(p, "0123456789");
    static const char *const names[] = {"../m", "a/b", ".", "..", "", "a\nb"};
    struct buf text = {0};
    int index = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gather(p, ++index, "model", names[i], sha256, false, 10);
        assert_int_equal(outcome(p), STOCK_FAILED);
    }
    gather(p, ++index, "sampler", "a", sha256, false, 10); /* no role */
    assert_int_equal(outcome(p), STOCK_FAILED);
    gather(p, ++index, "mask", "a", sha256, true, 10); /* no folder */
    assert_int_equal(outcome(p), STOCK_FAILED);
    buf_printf(&text, "%s 10 ../../etc/passwd\n", sha256);
    gather(p, ++index, "model", "m", serve(p, buf_text(&text)), true, 10);
    assert_int_equal(outcome(p), STOCK_FAILED);
    assert_int_equal(p->last.why.code, ERR_INPUT);
    assert_int_equal(p->wants, 6); /* of the listing alone: 81 bytes in parts of 16 */
    buf_done(&text);
}

static void what_does_not_fit_beside_what_renders_waits_for_it(void **state)
{
    struct place *p = *state;
    const char *a = serve(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), *b;
    struct attempt_ref first = ref_of(1);
    struct stock_event event;
    struct pollfd fd;

    stock_close(p->stock);
    open_stock(p, 40, true);
    fd = (struct pollfd){.fd = stock_fd(p->stock), .events = POLLIN};
    gather(p, 1, "model", "a.safetensors", a, false, 30);
    assert_int_equal(outcome(p), STOCK_READY);
    b = serve(p, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    gather(p, 2, "model", "b.safetensors", b, false, 30);
    do { /* it tells that it waits, and wants nothing */
        if (poll(&fd, 1, 60000) != 1)
            fail_msg("nothing happened");
    } while (!stock_next(p->stock, &event));
    assert_int_equal(event.what, STOCK_FETCHING);
    assert_int_equal(event.fetched, 0);
    assert_int_equal(p->wants, 2);
    stock_release(p->stock, &first); /* its picture is rendered */
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->last.ref.index, 2);
    holds(p->last.given->model, "", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    assert_int_equal(stock_counts(p->stock).evictions, 1);
    b = serve(p, "cccccccccccccccccccccccccccccccccccccccccc"); /* larger than all of it */
    stock_release(p->stock, &p->last.ref);
    gather(p, 3, "model", "c.safetensors", b, false, 42);
    assert_int_equal(outcome(p), STOCK_FAILED);
    assert_non_null(strstr(p->last.why.text, "does not fit the cache"));
}

static void what_the_cache_verified_need_not_be_read_again(void **state)
{
    struct place *p = *state;
    const char *a = serve(p, "a model's bytes");
    char hex[HASH_HEX_SIZE];

    gather(p, 1, "model", "a.safetensors", a, false, 15);
    assert_int_equal(outcome(p), STOCK_READY);
    MUST(hash_memo_file(p->hashes, p->last.given->model, hex, e)); /* as the engine asks for it */
    assert_string_equal(hex, a);
    assert_int_equal(hash_memo_read_bytes(p->hashes), 0);
}

static void a_picture_that_was_kept_is_not_fetched(void **state)
{
    struct place *p = *state;
    const char *sha256 = serve(p, "the frame before, longer than a part");
    struct msg_result kept = {.png = p->files[0].text, .png_size = strlen(p->files[0].text)};

    memcpy(kept.sha256, sha256, HASH_HEX_SIZE);
    MUST(stock_keep(p->stock, &kept, e));
    gather(p, 0, "init_image", "000.png", sha256, false, kept.png_size);
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->wants, 0);
    holds(p->last.given->init, "", p->files[0].text);
    assert_int_equal(stock_counts(p->stock).fetched_bytes, 0);
}

static void a_cached_file_is_read_whatever_the_memo_says(void **state)
{
    struct place *p = *state;
    const char *a = serve(p, "a model's bytes");
    struct buf path = {0};
    struct stat st;
    FILE *damaged;

    gather(p, 1, "model", "a.safetensors", a, false, 15);
    assert_int_equal(outcome(p), STOCK_READY);
    stock_release(p->stock, &p->last.ref);
    stock_close(p->stock);
    buf_printf(&path, "%s/cache/files/%s", p->dir, a);
    damaged = fopen(buf_text(&path), "r+");
    assert_non_null(damaged);
    fputs("A", damaged);
    fclose(damaged);
    assert_int_equal(stat(buf_text(&path), &st), 0);
    hash_memo_note(p->hashes, &st, a); /* a lie */
    open_stock(p, 1000, true);
    gather(p, 2, "model", "a.safetensors", a, false, 15);
    assert_int_equal(outcome(p), STOCK_READY);
    holds(p->last.given->model, "", "a model's bytes");
    assert_int_equal(stock_counts(p->stock).damaged, 1);
    buf_done(&path);
}

static void a_called_lora_that_no_lease_lists_is_the_librarys_or_missing_by_its_name(void **state)
{
    static const char prompt[] = "\"prompt\":\"a\"";
    struct place *p = *state;
    struct attempt_ref ref = ref_of(1), other = ref_of(2);
    struct buf task = {0}, folder = {0};
    const char *at = strstr(TASK, prompt);

    buf_printf(&folder, "%s/loras", p->library_dir);
    mkdir(buf_text(&folder), 0700);
    buf_puts(&folder, "/sub");
    mkdir(buf_text(&folder), 0700);
    write_own(p, "loras/sub/ink.safetensors", "ink of library");
    buf_printf(&task, "%.*s\"prompt\":\"a <lora:ink:1> <lora:oil:0>\"%s", (int)(at - TASK), TASK,
               at + strlen(prompt));
    MUST(stock_gather(p->stock, &ref, buf_text(&task), NULL, 0, e));
    assert_int_equal(outcome(p), STOCK_READY);
    assert_int_equal(p->last.given->n_names, 1);
    assert_string_equal(p->last.given->names[0].name, "ink");
    assert_non_null(strstr(p->last.given->names[0].path, "loras/sub/ink.safetensors"));
    task.size = 0;
    buf_printf(&task, "%.*s\"prompt\":\"a <lora:Ink:1>\"%s", (int)(at - TASK), TASK,
               at + strlen(prompt));
    MUST(stock_gather(p->stock, &other, buf_text(&task), NULL, 0, e));
    assert_int_equal(outcome(p), STOCK_FAILED);
    assert_int_equal(p->last.why.code, ERR_MISSING);
    assert_non_null(strstr(p->last.why.text, "LoRA 'Ink' is not in the model library, did"));
    assert_non_null(strstr(p->last.why.text, p->library_dir));
    assert_non_null(strstr(p->last.why.text, "did you mean 'ink'?"));
    buf_done(&task);
    buf_done(&folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_folder_comes_whole_and_looks_as_it_did),
        TEST(this_machines_files_serve_by_their_bytes_alone),
        TEST(bytes_that_differ_are_fetched_once_more_and_then_refused),
        TEST(a_name_of_the_tasks_own_is_its_file_and_no_other),
        TEST(a_called_lora_that_no_lease_lists_is_the_librarys_or_missing_by_its_name),
        TEST(a_file_that_is_gone_fails_its_lease_by_name),
        TEST(names_that_lead_elsewhere_are_refused),
        TEST(what_does_not_fit_beside_what_renders_waits_for_it),
        TEST(what_the_cache_verified_need_not_be_read_again),
        TEST(a_picture_that_was_kept_is_not_fetched),
        TEST(a_cached_file_is_read_whatever_the_memo_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
