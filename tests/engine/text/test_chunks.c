/* Texts as chunks of tokens: the web UI's own chunks of the recorded prompts, and what decides
 * where a chunk ends. */
#include "tests/engine/nets.h"

#include "engine/text/chunks.h"
#include "proto/json.h"
#include "tests/engine/text/padded.h"

#define LENGTH 77

static struct tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    (void)state;
    return tokenizer_open(GOLDEN_DIR "/models/sd1/tokenizer", &tokenizer, NULL);
}

static int free_tokenizer(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

static struct chunks make(const char *prompt)
{
    struct embedding_uses uses = {0};
    struct prompt_fault f = {0};
    struct prompt_text text = {0};
    struct weighted a = {0};
    struct chunks c = {0};
    struct chunker k;

    assert_int_equal(prompt_text_init(&text, prompt, &f), 0);
    assert_int_equal(weighted_parse(&text, &a, &f), 0);
    assert_ok(chunker_init(&k, tokenizer, NULL, 0, &uses, e));
    assert_ok(chunks_make(&k, &a, 100, &c, e));
    weighted_done(&a);
    prompt_text_done(&text);
    return c;
}

static void chunks_and_weights_equal_the_web_uis(void **state)
{
    json_t *root = NULL, *one, *chunk, *number;
    size_t i, k, j;

    (void)state;
    assert_ok(json_read_file(GOLDEN_DIR "/a1111/prompts.json", &root, e));
    assert_int_equal(json_array_size(root), 54);
    json_array_foreach(root, i, one)
    {
        struct chunks c = make(json_string_value(json_object_get(one, "prompt")));

        assert_int_equal(c.n, json_array_size(json_object_get(one, "chunks")));
        assert_int_equal(c.tokens, json_integer_value(json_object_get(one, "token_count")));
        json_array_foreach(json_object_get(one, "chunks"), k, chunk)
        {
            json_array_foreach(json_object_get(chunk, "tokens"), j, number)
                assert_int_equal(c.ids[k * LENGTH + j], json_integer_value(number));
            json_array_foreach(json_object_get(chunk, "multipliers"), j, number)
                assert_true(c.weights[k * LENGTH + j] == (float)json_number_value(number));
        }
        chunks_done(&c);
    }
    json_decref(root);
}

/* words copies of "a", a comma behind number `comma` of them (from 1), and what follows. */
static struct chunks make_words(int words, int comma, const char *rest)
{
    struct chunks c;
    struct buf b = {0};

    for (int i = 1; i <= words; i++)
        buf_puts(&b, i == comma ? "a, " : "a ");
    buf_puts(&b, rest);
    c = make(buf_text(&b));
    buf_done(&b);
    return c;
}

static int tokens_in(const struct chunks *c, size_t chunk)
{
    int n = 0;

    while (c->ids[chunk * LENGTH + 1 + (size_t)n] != tokenizer_eos(tokenizer))
        n++;
    return n;
}

static void check_split(int words, int comma, const char *rest, int first, int second)
{
    struct chunks c = make_words(words, comma, rest);

    assert_int_equal(c.n, second > 0 ? 2 : 1);
    assert_int_equal(tokens_in(&c, 0), first);
    if (second > 0)
        assert_int_equal(tokens_in(&c, 1), second);
    chunks_done(&c);
}

static void a_chunk_ends_behind_a_comma_of_its_last_20_tokens(void **state)
{
    (void)state;
    check_split(75, 0, "", 75, 0);
    check_split(76, 0, "", 75, 1);
    check_split(80, 70, "", 71, 10);  /* the comma is token 71 */
    check_split(80, 55, "", 56, 25);  /* 20 from the end, counted as the web UI does */
    check_split(80, 54, "", 75, 6);   /* 21 */
    check_split(74, 74, "a", 75, 1);  /* the comma is the chunk's last token */
    check_split(75, 0, ", a", 75, 2); /* and here the next chunk's first */
}

static void break_fills_its_chunk(void **state)
{
    struct chunks c = make("a BREAK BREAK (b:1.5) BREAK");

    (void)state;
    assert_int_equal(c.n, 3);
    assert_int_equal(tokens_in(&c, 0), 1);
    assert_int_equal(tokens_in(&c, 1), 0);
    assert_int_equal(tokens_in(&c, 2), 1);
    assert_true(c.weights[2 * LENGTH + 1] == 1.5f);
    assert_true(c.weights[2 * LENGTH + 2] == 1);
    assert_int_equal(c.tokens, 3 * 75);
    chunks_done(&c);
}

static void a_text_of_one_chunk_equals_diffusers_row(void **state)
{
    static const char *const texts[] = {"", "a red fox", "a photo, of: a {dog} | 100% <b>",
                                        "<|endoftext|> a"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct chunks c = make(texts[i]);
        int32_t row[LENGTH];

        assert_ok(encode_padded(tokenizer, texts[i], row, NULL, e));
        assert_int_equal(c.n, 1);
        assert_memory_equal(c.ids, row, sizeof row);
        for (int j = 0; j < LENGTH; j++)
            assert_true(c.weights[j] == 1);
        chunks_done(&c);
    }
}

static void padding_is_the_tokenizers_own_behind_the_first_end(void **state)
{
    struct tokenizer *first = tokenizer;
    struct chunks c;
    int32_t eos, pad;

    (void)state;
    assert_ok(tokenizer_open(GOLDEN_DIR "/models/sdxl/tokenizer_2", &tokenizer, e));
    eos = tokenizer_eos(tokenizer);
    pad = tokenizer_pad(tokenizer);
    assert_int_not_equal(eos, pad);
    c = make("a BREAK b");
    for (int i = 0; i < 2; i++) {
        const int32_t *ids = c.ids + (size_t)i * LENGTH;

        assert_int_equal(ids[0], tokenizer_bos(tokenizer));
        assert_int_equal(ids[2], eos);
        for (int j = 3; j < LENGTH; j++)
            assert_int_equal(ids[j], pad);
    }
    chunks_done(&c);
    tokenizer_free(tokenizer);
    tokenizer = first;
}

static void more_chunks_than_allowed_are_refused(void **state)
{
    struct embedding_uses uses = {0};
    struct prompt_text text = {0};
    struct weighted a = {0};
    struct chunks c = {0};
    struct chunker k;
    struct err e = {0};

    (void)state;
    assert_int_equal(prompt_text_init(&text, "a BREAK b BREAK c", NULL), 0);
    assert_int_equal(weighted_parse(&text, &a, NULL), 0);
    assert_int_equal(chunker_init(&k, tokenizer, NULL, 0, &uses, &e), 0);
    assert_int_equal(chunks_make(&k, &a, 2, &c, &e), ERR_INPUT);
    assert_string_equal(e.text, "the prompt's texts have more than 2 chunks of tokens");
    assert_int_equal(chunks_make(&k, &a, 3, &c, &e), 0);
    assert_int_equal(chunks_extend(&k, &c, 5, &e), 0);
    assert_int_equal(c.n, 5);
    assert_int_equal(tokens_in(&c, 2), 1);
    assert_int_equal(tokens_in(&c, 4), 0);
    chunks_done(&c);
    weighted_done(&a);
    prompt_text_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_and_weights_equal_the_web_uis),
        cmocka_unit_test(a_chunk_ends_behind_a_comma_of_its_last_20_tokens),
        cmocka_unit_test(break_fills_its_chunk),
        cmocka_unit_test(a_text_of_one_chunk_equals_diffusers_row),
        cmocka_unit_test(padding_is_the_tokenizers_own_behind_the_first_end),
        cmocka_unit_test(more_chunks_than_allowed_are_refused),
    };

    return cmocka_run_group_tests(tests, open_tokenizer, free_tokenizer);
}
