/* While litho-worker renders one task it fetches what the next one needs: the program as a whole.
 */
#include "jobs/folder_files.h"
#include "jobs/listing.h"
#include "tests/worker/stage.h"

#include "proto/hash.h"

#define MODEL     SOURCE_DIR "/models/sticker-128"
#define FILES_MAX 20
#define LONG_TASK                                                                                  \
    "{\"cfg_scale\":5,\"height\":512,\"model\":\"sticker-128\",\"negative_prompt\":\"\","          \
    "\"precision\":\"f32\",\"prompt\":\"a red apple\",\"sampler\":\"euler\","                      \
    "\"scheduler\":\"automatic\",\"seed\":7,\"steps\":1000,\"width\":512}"
#define NEXT_TASK                                                                                  \
    "{\"cfg_scale\":1,\"height\":64,\"model\":\"other\",\"negative_prompt\":\"\","                 \
    "\"precision\":\"f32\",\"prompt\":\"a red apple\",\"sampler\":\"euler\","                      \
    "\"scheduler\":\"automatic\",\"seed\":7,\"steps\":1,\"width\":64}"

/* A model that only the coordinator has: its files and their listing. */
struct shop {
    struct file {
        char sha256[HASH_HEX_SIZE];
        struct buf bytes;
        uint64_t sent;
    } files[FILES_MAX];
    size_t n;
    struct listing listing;
};

static void put(struct shop *shop, struct buf *bytes)
{
    struct file *f = &shop->files[shop->n++];

    assert_true(shop->n <= FILES_MAX);
    f->bytes = *bytes;
    assert_int_equal(hash_bytes(bytes->data, bytes->size, f->sha256, NULL), 0);
}

static int put_file(void *user, const char *path, struct err *e)
{
    struct shop *shop = user;
    struct buf full = {0}, bytes = {0};
    int rc;

    buf_printf(&full, "%s/%s", MODEL, path);
    TRY(buf_read_file(&bytes, buf_text(&full), 1u << 27, e));
    if (strcmp(path, "unet/diffusion_pytorch_model.safetensors") == 0)
        memset(bytes.data + bytes.size - 2, 0, 2); /* so that no machine has this model */
    put(shop, &bytes);
    TRY(listing_add(&shop->listing, path, shop->files[shop->n - 1].sha256, bytes.size, e));
out:
    buf_done(&full);
    return rc;
}

static void shop_open(struct shop *shop)
{
    struct buf text = {0};

    *shop = (struct shop){0};
    assert_int_equal(folder_files(MODEL, FOLDER_MODEL, put_file, shop, NULL), 0);
    assert_int_equal(listing_text(&shop->listing, &text, NULL), 0);
    put(shop, &text);
}

static void shop_close(struct shop *shop)
{
    for (size_t i = 0; i < shop->n; i++)
        buf_done(&shop->files[i].bytes);
    listing_done(&shop->listing);
}

static void sell(struct stage *s, struct shop *shop, const struct msg_want *w)
{
    struct msg m = {.type = MSG_CHUNK, .chunk = {.offset = w->offset}};
    struct file *f = shop->files;

    while (f < shop->files + shop->n && strcmp(f->sha256, w->sha256) != 0)
        f++;
    assert_true(f < shop->files + shop->n && w->offset < f->bytes.size);
    memcpy(m.chunk.sha256, f->sha256, sizeof m.chunk.sha256);
    m.chunk.total = f->bytes.size;
    m.chunk.data = f->bytes.data + w->offset;
    m.chunk.data_size = f->bytes.size - w->offset < w->bytes ? f->bytes.size - w->offset : w->bytes;
    f->sent += m.chunk.data_size;
    say(s, &m);
}

static bool all_sold(const struct shop *shop)
{
    for (size_t i = 0; i < shop->n; i++)
        if (shop->files[i].sent < shop->files[i].bytes.size)
            return false;
    return true;
}

static void lease_other(struct stage *s, const struct shop *shop)
{
    struct lease_asset model = {
        .role = "model", .name = "other", .folder = true, .bytes = listing_bytes(&shop->listing)};
    struct msg m = {.type = MSG_LEASE,
                    .lease = {.ref = {.job = JOB, .index = 2, .attempt = 1},
                              .task = NEXT_TASK,
                              .assets = &model,
                              .n_assets = 1}};

    memcpy(model.sha256, shop->files[shop->n - 1].sha256, sizeof model.sha256);
    say(s, &m);
}

/* All of the model is asked for and sent; then the first task goes on stepping. */
static void fetched_beside_the_first(struct stage *s, struct shop *shop)
{
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    const struct msg *m;
    bool over = false;

    while (!over && (m = hear_any(s, deadline_ms))) {
        if (m->type == MSG_WANT)
            sell(s, shop, &m->want);
        if (m->type == MSG_RESULT || m->type == MSG_FAILED)
            fail_msg("a task ended before the next one's files were here");
        over = m->type == MSG_PROGRESS && m->progress.ref.index == 1 && all_sold(shop);
    }
    assert_true(over);
}

static void the_next_tasks_model_is_fetched_while_one_renders(void **state)
{
    const struct msg revoke = {.type = MSG_REVOKE,
                               .revoke = {.ref = {.job = JOB, .index = 1, .attempt = 1}}};
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct buf cache = {0}, remove = {0};
    const struct msg *m;
    struct shop shop;
    struct stage s;

    (void)state;
    shop_open(&shop);
    enter(&s);
    buf_printf(&cache, "%s/cache", s.folder);
    start_worker_with(&s, buf_text(&cache));
    welcome(&s);
    hear(&s, MSG_READY);
    lease(&s, 1, 1, LONG_TASK);
    hear(&s, MSG_PROGRESS);
    lease_other(&s, &shop);
    fetched_beside_the_first(&s, &shop);
    say(&s, &revoke); /* the first would take minutes */
    while ((m = hear_any(&s, deadline_ms)) && m->type != MSG_RESULT)
        assert_true(m->type != MSG_WANT && m->type != MSG_FAILED);
    assert_non_null(m); /* from what it had when the first ended */
    assert_int_equal(m->result.ref.index, 2);
    acknowledge(&s, 2, 1);
    kill(s.pid, SIGTERM);
    hear(&s, MSG_BYE);
    assert_int_equal(exit_code(&s), 0);
    buf_printf(&remove, "rm -r '%s'", buf_text(&cache));
    assert_int_equal(system(buf_text(&remove)), 0);
    buf_done(&cache);
    buf_done(&remove);
    shop_close(&shop);
    leave(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_tasks_model_is_fetched_while_one_renders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
