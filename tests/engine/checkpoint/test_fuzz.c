/* A small model, one of whose texts is damaged: whatever the bytes, it opens or is refused with the
 * model's name in the reason. */
#include "engine/engine.h"
#include "tests/engine/folders.h"
#include "tests/fuzz/damage.h"

#define ROUNDS     50 /* damaged copies of each text */
#define BUDGET     (UINT64_C(256) << 20)
#define MODEL_FILE (2 * FOLDER_SIZE)

/* Bytes that mean something in JSON, in configurations or in merges. */
static const char *const tokens[] = {
    "{",     "}",        "[",      "]",     "\"",       ",",        ":",    "null",
    "true",  "-1",       "0",      "1e999", "2.5",      "99999999", "[]",   "[1, 2",
    "\\u00", "\xff",     "\n",     " ",     "</w>",     "a b\n",    "4096", "\"silu\"",
    "NaN",   "Infinity", "1e-400", "{}",    "\xc4\xa0", "\"gelu\"", "3",    "2147483648"};

static const char *const texts[] = {"model_index.json",
                                    "unet/config.json",
                                    "vae/config.json",
                                    "text_encoder/config.json",
                                    "scheduler/scheduler_config.json",
                                    "tokenizer/merges.txt",
                                    "tokenizer/vocab.json",
                                    "tokenizer/tokenizer_config.json",
                                    "tokenizer/special_tokens_map.json"};

/* What no number of a configuration or a vocabulary should be. */
static const char *const numbers[] = {"0",     "-1",  "1",    "3",  "65537", "2147483647",
                                      "1e300", "0.5", "null", "[]", "\"5\"", "9007199254740993"};

static bool is_digit(const struct buf *text, size_t at)
{
    return at < text->size && text->data[at] >= '0' && text->data[at] <= '9';
}

/* Another number in the place of one. */
static void damage_number(struct damage *how, struct buf *text)
{
    size_t from = text->size ? damage_draw(how) % text->size : 0, to;
    struct buf copy = {0};

    while (from < text->size && !is_digit(text, from))
        from++;
    for (to = from; is_digit(text, to); to++)
        ;
    buf_append(&copy, text->data, from);
    buf_puts(&copy, numbers[damage_draw(how) % (sizeof numbers / sizeof *numbers)]);
    buf_append(&copy, text->data + to, text->size - to);
    buf_done(text);
    *text = copy;
}

/* How many opened. */
static int try_model(const char *folder, const char *file)
{
    const struct engine_options o = {
        .model = folder, .threads = 1, .memory_bytes = BUDGET, .precision = PRECISION_F32};
    struct engine *g = NULL;
    struct err e = {0};
    int rc = engine_open(&o, &g, &e);

    if (rc == 0) {
        engine_close(g);
        return 1;
    }
    if (rc != ERR_INPUT && rc != ERR_MISSING && rc != ERR_OOM)
        fail_msg("%s: code %d: %s", file, rc, e.text);
    if (rc != ERR_OOM && strstr(e.text, folder) == NULL)
        fail_msg("%s: '%s' does not name the model", file, e.text);
    return 0;
}

static void damaged_texts_of_a_model_are_read_or_refused_by_name(void **state)
{
    struct damage how = {tokens, sizeof tokens / sizeof *tokens, DAMAGE_SEED};
    char folder[FOLDER_SIZE], path[MODEL_FILE];
    int opened = 0, n = 0;

    (void)state;
    folder_make(folder, "sd1", "fuzz");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf right = {0}, text = {0};

        snprintf(path, sizeof path, "%s/%s", folder, texts[i]);
        read_file(path, &right);
        for (int k = 0; k < ROUNDS; k++, n++) {
            if (k % 3 != 2) { /* damage adds up over two rounds, then starts again */
                text.size = 0;
                buf_append(&text, right.data, right.size);
            }
            if (k % 3 == 0)
                damage_number(&how, &text);
            else
                damage(&how, &text);
            write_file(path, buf_text(&text), text.size);
            opened += try_model(folder, texts[i]);
        }
        write_file(path, right.data, right.size);
        buf_done(&right);
        buf_done(&text);
    }
    assert_int_equal(try_model(folder, "nothing damaged"), 1);
    assert_in_range(opened, 1, n - 1);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_texts_of_a_model_are_read_or_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
