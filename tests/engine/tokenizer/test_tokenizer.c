/* CLIP's tokenizer: 157 recorded strings, the recorded rows of the models, and broken folders. */
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/weights.h"
#include "proto/json.h"
#include "tests/engine/text/padded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MERGES "#version: 0.2\nh e\nhe y</w>\n"

static struct tokenizer *clip; /* of the published merges alone */
static char folder[] = "/tmp/test_tokenizer_XXXXXX";

static int open_clip(void **state)
{
    struct err e;

    (void)state;
    if (!mkdtemp(folder) || tokenizer_open(SOURCE_DIR "/engine/data/clip", &clip, &e) != 0)
        return -1;
    return 0;
}

static void put_file(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!text) {
        unlink(path);
        return;
    }
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Leaves merges.txt as it should be and nothing else. */
static int clear_folder(void **state)
{
    static const char *const names[] = {"vocab.json", "tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put_file(names[i], NULL);
    put_file("merges.txt", MERGES);
    return 0;
}

static int close_clip(void **state)
{
    clear_folder(state);
    put_file("merges.txt", NULL);
    tokenizer_free(clip);
    return rmdir(folder);
}

static struct tokenizer *open_folder(void)
{
    struct tokenizer *t;
    struct err e;

    if (tokenizer_open(folder, &t, &e) != 0)
        fail_msg("%s", e.text);
    return t;
}

static void assert_refused(int code, const char *words)
{
    struct tokenizer *t = NULL;
    struct err e;

    assert_int_equal(tokenizer_open(folder, &t, &e), code);
    assert_null(t);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
}

static void assert_ids(const struct tokenizer *t, const char *text, size_t size,
                       const int32_t *want, size_t n_want)
{
    int32_t *ids;
    size_t n;
    struct err e;

    if (tokenizer_encode(t, text, size, &ids, &n, &e) != 0)
        fail_msg("'%s': %s", text, e.text);
    if (n != n_want || memcmp(ids, want, n * sizeof *ids) != 0) {
        for (size_t i = 0; i < n; i++)
            print_error("%d ", (int)ids[i]);
        fail_msg("'%s': %zu ids, %zu wanted", text, n, n_want);
    }
    free(ids);
}

static void check_recorded_strings(const struct tokenizer *t)
{
    json_t *cases = json_load_file(GOLDEN_DIR "/tokens/clip.json", JSON_ALLOW_NUL, NULL);

    assert_int_equal(json_array_size(cases), 157);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i), *ids = json_object_get(item, "ids");
        const json_t *text = json_object_get(item, "text");
        int32_t want[256];

        assert_true(json_array_size(ids) <= 256);
        for (size_t k = 0; k < json_array_size(ids); k++)
            want[k] = (int32_t)json_integer_value(json_array_get(ids, k));
        assert_ids(t, json_string_value(text), json_string_length(text), want,
                   json_array_size(ids));
    }
    json_decref(cases);
}

static void all_157_recorded_strings_give_transformers_ids(void **state)
{
    (void)state;
    check_recorded_strings(clip);
}

static void the_published_tokenizer_is_built_in(void **state)
{
    struct tokenizer *t = NULL;
    struct err e;

    (void)state;
    assert_int_equal(tokenizer_open_published("<|endoftext|>", &t, &e), 0);
    check_recorded_strings(t);
    assert_int_equal(tokenizer_bos(t), 49406);
    assert_int_equal(tokenizer_eos(t), 49407);
    assert_int_equal(tokenizer_pad(t), 49407);
    assert_int_equal(tokenizer_vocab_size(t), 49408);
    assert_int_equal(tokenizer_max_length(t), 77);
    tokenizer_free(t);
    assert_int_equal(tokenizer_open_published("!", &t, &e), 0);
    assert_int_equal(tokenizer_pad(t), 0);
    /* a special token, so that one in the text is found before words are: as transformers */
    assert_ids(t, "fox!", 4, (int32_t[]){3240, 0}, 2);
    tokenizer_free(t);
    t = NULL;
    assert_int_equal(tokenizer_open_published("no token", &t, &e), ERR_INPUT);
    assert_null(t);
}

/* The recorded rows of one model: its tokenizer folder, padded and cut. */
static void check_model(const char *model)
{
    static const char *const prompts[] = {
        "a red apple on a wooden table",
        "cute sticker of a fox, soft studio light",
        "",
        "a castle at night, 4k, highly detailed, cinematic",
        "Watercolor LANDSCAPE with a mountain & a lake; no text!",
        "it's the city's oldest street, 1984",
        "na\xc3\xafve caf\xc3\xa9 \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x8d\x95",
        NULL, /* "a " 120 times */
    };
    char path[512], long_prompt[241];
    struct tokenizer *t;
    struct weights *w;
    struct tensor ids;
    struct err e;

    for (int i = 0; i < 240; i++)
        long_prompt[i] = i % 2 ? ' ' : 'a';
    long_prompt[240] = '\0';
    snprintf(path, sizeof path, "%s/models/%s/tokenizer", GOLDEN_DIR, model);
    if (tokenizer_open(path, &t, &e) != 0)
        fail_msg("%s", e.text);
    snprintf(path, sizeof path, "%s/networks/%s/text.safetensors", GOLDEN_DIR, model);
    if (weights_open(path, &w, &e) != 0)
        fail_msg("%s", e.text);
    assert_true(weights_find(w, "ids", &ids));
    assert_true(ids.dtype == DTYPE_I64 && tensor_count(&ids) == 8 * 77);
    for (int row = 0; row < 8; row++) {
        int32_t got[77];
        int64_t want[77];
        const char *text = prompts[row] ? prompts[row] : long_prompt;

        memcpy(want, (const char *)ids.data + (size_t)row * sizeof want, sizeof want);
        assert_int_equal(encode_padded(t, text, got, NULL, &e), 0);
        for (int i = 0; i < 77; i++)
            if (got[i] != want[i])
                fail_msg("%s row %d: id %d is %d, not %d", model, row, i, got[i], (int)want[i]);
    }
    weights_close(w);
    tokenizer_free(t);
}

static void the_models_recorded_rows_come_out(void **state)
{
    (void)state;
    check_model("sd1");
    check_model("sd2");
}

static void the_vocabulary_follows_from_the_merges(void **state)
{
    (void)state;
    assert_int_equal(tokenizer_vocab_size(clip), 49408);
    assert_int_equal(tokenizer_bos(clip), 49406);
    assert_int_equal(tokenizer_eos(clip), 49407);
    assert_int_equal(tokenizer_pad(clip), 49407);
    assert_int_equal(tokenizer_max_length(clip), 77);
}

static void rows_are_padded_to_the_length(void **state)
{
    int32_t ids[77];
    size_t cut = 9;

    (void)state;
    assert_int_equal(encode_padded(clip, "a", ids, &cut, NULL), 0);
    assert_int_equal(cut, 0);
    assert_int_equal(ids[0], 49406);
    assert_int_equal(ids[1], 320);
    for (int i = 2; i < 77; i++)
        assert_int_equal(ids[i], 49407);
}

static void long_texts_are_cut_and_the_cut_is_counted(void **state)
{
    char text[2 * 75 + 2 * 25 + 1] = "";
    int32_t ids[77];
    size_t cut = 0;

    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = i % 2 ? ' ' : 'a';
    assert_int_equal(encode_padded(clip, text, ids, &cut, NULL), 0);
    assert_int_equal(cut, 25);
    assert_int_equal(ids[75], 320);
    assert_int_equal(ids[76], 49407);
}

static void a_word_of_64_kib_is_quick_and_a_longer_text_is_refused(void **state)
{
    char *text = malloc(TOKENIZER_TEXT_MAX + 2);
    int32_t *ids;
    size_t n;
    struct err e;

    (void)state;
    memset(text, 'x', TOKENIZER_TEXT_MAX + 1);
    text[TOKENIZER_TEXT_MAX + 1] = '\0';
    assert_int_equal(tokenizer_encode(clip, text, TOKENIZER_TEXT_MAX, &ids, &n, &e), 0);
    assert_true(n > 1000 && n < TOKENIZER_TEXT_MAX);
    free(ids);
    assert_int_equal(tokenizer_encode(clip, text, TOKENIZER_TEXT_MAX + 1, &ids, &n, &e), ERR_INPUT);
    free(text);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    static const char *const broken[] = {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80",
                                         "ok \xf0\x9f"};
    int32_t *ids;
    size_t n;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_int_equal(tokenizer_encode(clip, broken[i], strlen(broken[i]), &ids, &n, &e),
                         ERR_INPUT);
}

static void letters_in_capitals_of_a_special_token_are_words(void **state)
{
    const int32_t special[] = {49407};
    int32_t *ids;
    size_t n;

    (void)state;
    assert_ids(clip, "<|endoftext|>", 13, special, 1);
    assert_int_equal(tokenizer_encode(clip, "<|ENDOFTEXT|>", 13, &ids, &n, NULL), 0);
    assert_true(n > 2);
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(ids[i], 49407);
    free(ids);
}

static void merges_join_by_rank(void **state)
{
    const int32_t hey[] = {513};
    struct tokenizer *t = open_folder();

    (void)state;
    assert_ids(t, "hey", 3, hey, 1);
    assert_int_equal(tokenizer_vocab_size(t), 512 + 2 + 2);
    tokenizer_free(t);
}

static void the_pad_token_of_the_special_tokens_map_goes_before_the_configs(void **state)
{
    const int32_t bang[] = {0}; /* a special token is found as it stands, not as "!</w>" */
    struct tokenizer *t;

    (void)state;
    put_file("tokenizer_config.json",
             "{\"pad_token\": \"<|endoftext|>\", \"model_max_length\": 9}");
    put_file("special_tokens_map.json",
             "{\"pad_token\": {\"content\": \"!\", \"normalized\": true}}");
    t = open_folder();
    assert_int_equal(tokenizer_pad(t), 0);
    assert_int_equal(tokenizer_max_length(t), 9);
    assert_ids(t, "!", 1, bang, 1);
    tokenizer_free(t);
}

static void added_tokens_decoder_makes_the_config_decide(void **state)
{
    const int32_t added[] = {600, 513};
    struct tokenizer *t;

    (void)state;
    put_file("tokenizer_config.json",
             "{\"pad_token\": \"<|endoftext|>\", \"added_tokens_decoder\": {\"600\": {\"content\": "
             "\"<cat>\", \"normalized\": false}}}");
    put_file("special_tokens_map.json", "{\"pad_token\": \"!\"}");
    t = open_folder();
    assert_int_equal(tokenizer_pad(t), 515);
    assert_int_equal(tokenizer_vocab_size(t), 601);
    assert_ids(t, "<cat>HEY", 8, added, 2);
    tokenizer_free(t);
}

static void vocab_json_gives_the_ids(void **state)
{
    struct tokenizer *t = open_folder();
    const int32_t shifted[] = {1000};
    struct buf vocab = {0};
    int32_t *ids;
    size_t n;

    (void)state;
    /* The letters' order is CLIP's: printable bytes, then U+0100 and up. */
    buf_puts(&vocab, "{\"he\": 999, \"hey</w>\": 1000, \"<|startoftext|>\": 1001, "
                     "\"<|endoftext|>\": 1002");
    for (int i = 0, id = 0; i < 256; i++) {
        int printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        int code = printable ? i : 256 + id++;
        buf_printf(&vocab, ", \"\\u%04x\": %d, \"\\u%04x</w>\": %d", code, i, code, 256 + i);
    }
    buf_puts(&vocab, "}");
    tokenizer_free(t);
    put_file("vocab.json", buf_text(&vocab));
    t = open_folder();
    assert_ids(t, "hey", 3, shifted, 1);
    assert_int_equal(tokenizer_eos(t), 1002);
    assert_int_equal(tokenizer_encode(t, "\xe2\x82\xac", 3, &ids, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 0xe2);
    assert_int_equal(ids[2], 256 + 0xac);
    free(ids);
    tokenizer_free(t);
    buf_done(&vocab);
}

static void broken_folders_are_refused_with_the_files_name(void **state)
{
    (void)state;
    put_file("merges.txt", "#version: 0.2\nh e\nno-pair\n");
    assert_refused(ERR_INPUT, "merge 2 is not a pair");
    put_file("merges.txt", "#version: 0.2\nh ex\n");
    assert_refused(ERR_INPUT, "merge 1 ('h ex')");
    put_file("merges.txt", "h \xff\n");
    assert_refused(ERR_INPUT, "merges.txt:1");
    put_file("merges.txt", NULL);
    assert_refused(ERR_MISSING, "merges.txt");
    put_file("merges.txt", MERGES);
    put_file("vocab.json", "{\"a\": 1}");
    assert_refused(ERR_INPUT, "vocab.json: the vocabulary lacks the letter '!'");
    put_file("vocab.json", "{\"a\": -1}");
    assert_refused(ERR_INPUT, "vocab.json: the id of token 'a'");
    put_file("vocab.json", "[1]");
    assert_refused(ERR_INPUT, "vocab.json: must be a JSON object");
    put_file("vocab.json", NULL);
    put_file("tokenizer_config.json", "{\"model_max_length\": 2}");
    assert_refused(ERR_INPUT, "'model_max_length'");
    put_file("tokenizer_config.json", "{\"tokenizer_class\": \"T5Tokenizer\"}");
    assert_refused(ERR_INPUT, "T5Tokenizer");
    put_file("tokenizer_config.json", NULL);
    put_file("special_tokens_map.json", "{\"pad_token\": \"<nowhere>\"}");
    assert_refused(ERR_INPUT, "'pad_token' is '<nowhere>'");
    put_file("special_tokens_map.json", "{\"eos_token\": 5}");
    assert_refused(ERR_INPUT, "'eos_token' must be a token");
}

static void tokenizer_json_serves_without_merges_txt(void **state)
{
    struct buf file = {0};
    struct tokenizer *t;
    const int32_t hey[] = {513};

    (void)state;
    put_file("merges.txt", NULL);
    buf_puts(&file, "{\"model\": {\"type\": \"BPE\", \"merges\": [\"h e\", [\"he\", \"y</w>\"]], "
                    "\"vocab\": {\"he\": 512, \"hey</w>\": 513, \"<|startoftext|>\": 514, "
                    "\"<|endoftext|>\": 515");
    for (int i = 0, other = 256; i < 256; i++) {
        int printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        int code = printable ? i : other++;
        buf_printf(&file, ", \"\\u%04x\": %d, \"\\u%04x</w>\": %d", code, i, code, 256 + i);
    }
    buf_puts(&file, "}}}");
    put_file("tokenizer.json", buf_text(&file));
    t = open_folder();
    assert_ids(t, "Hey", 3, hey, 1);
    tokenizer_free(t);
    put_file("tokenizer.json", "{\"model\": {\"type\": \"Unigram\"}}");
    assert_refused(ERR_INPUT, "tokenizer.json: its model is not BPE");
    buf_done(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_157_recorded_strings_give_transformers_ids),
        cmocka_unit_test(the_published_tokenizer_is_built_in),
        cmocka_unit_test(the_models_recorded_rows_come_out),
        cmocka_unit_test(the_vocabulary_follows_from_the_merges),
        cmocka_unit_test(rows_are_padded_to_the_length),
        cmocka_unit_test(long_texts_are_cut_and_the_cut_is_counted),
        cmocka_unit_test(a_word_of_64_kib_is_quick_and_a_longer_text_is_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(letters_in_capitals_of_a_special_token_are_words),
        cmocka_unit_test_setup(merges_join_by_rank, clear_folder),
        cmocka_unit_test_setup(the_pad_token_of_the_special_tokens_map_goes_before_the_configs,
                               clear_folder),
        cmocka_unit_test_setup(added_tokens_decoder_makes_the_config_decide, clear_folder),
        cmocka_unit_test_setup(vocab_json_gives_the_ids, clear_folder),
        cmocka_unit_test_setup(broken_folders_are_refused_with_the_files_name, clear_folder),
        cmocka_unit_test_setup(tokenizer_json_serves_without_merges_txt, clear_folder),
    };

    return cmocka_run_group_tests(tests, open_clip, close_clip);
}
