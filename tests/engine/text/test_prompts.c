/* Encoded chunks: emphasis against the web UI's states, and the cache. */
#include "engine/text/prompts.h"

#include "engine/text/chunks.h"
#include "proto/json.h"
#include "tests/engine/models.h"
#include "tests/engine/nets.h"

#define TOKENS 77
#define WIDTH  32 /* of models/sd1 */

struct bench {
    struct ops *ops;
    struct model *model;
    struct arena arena, host;
    struct prompts cache;
};

static int bench_open(void **state)
{
    static struct bench b;

    b = (struct bench){.ops = backend_open(1)};
    assert_ok(open_model(GOLDEN_DIR "/models/sd1", b.ops, &b.model, e));
    assert_ok(arena_init(&b.arena, 4u << 20, e));
    assert_ok(arena_init(&b.host, 4u << 20, e));
    b.ops->arena = &b.arena;
    b.ops->host = &b.host;
    *state = &b;
    return 0;
}

static int bench_close(void **state)
{
    struct bench *b = *state;

    prompts_done(&b->cache);
    arena_done(&b->arena);
    arena_done(&b->host);
    model_close(b->model);
    b->ops->free(b->ops);
    return 0;
}

/* A text before editing, as the recorded states are of. */
static struct chunks chunks_of(const struct bench *b, const char *text)
{
    struct embedding_uses uses = {0};
    struct prompt_text t = {0};
    struct weighted a = {0};
    struct chunks c = {0};
    struct chunker k;

    assert_int_equal(prompt_text_init(&t, text, NULL), 0);
    assert_int_equal(weighted_parse(&t, &a, NULL), 0);
    assert_ok(chunker_init(&k, b->model->tokenizer, NULL, 0, &uses, e));
    assert_ok(chunks_make(&k, &a, 100, &c, e));
    weighted_done(&a);
    prompt_text_done(&t);
    return c;
}

static struct chunk_text chunk_text(const struct chunks *c, size_t i)
{
    return (struct chunk_text){.texts = {{.ids = c->ids + i * TOKENS, .tokens = TOKENS}},
                               .weights = {c->weights + i * TOKENS},
                               .emphasis = EMPHASIS_ORIGINAL,
                               .clip_skip = 1};
}

static void states_of_all_recorded_prompts_equal_the_web_uis(void **state)
{
    struct bench *b = *state;
    json_t *root = NULL, *one;
    struct weights *w = NULL;
    double worst = 0;
    size_t i;

    assert_ok(json_read_file(GOLDEN_DIR "/a1111/prompts.json", &root, e));
    assert_ok(weights_open(GOLDEN_DIR "/a1111/prompts.safetensors", &w, e));
    assert_int_equal(json_array_size(root), 54);
    json_array_foreach(root, i, one)
    {
        struct chunks c = chunks_of(b, json_string_value(json_object_get(one, "prompt")));
        float *got = malloc(c.n * TOKENS * WIDTH * sizeof *got), *want;
        struct tensor t;
        char name[32];
        double error;

        for (size_t k = 0; k < c.n; k++) {
            struct chunk_text text = chunk_text(&c, k);

            assert_ok(
                prompts_encode(&b->cache, b->model, &text, got + k * TOKENS * WIDTH, NULL, e));
        }
        snprintf(name, sizeof name, "%zu.hidden", i);
        want = golden_floats(w, name, &t);
        assert_int_equal(tensor_count(&t), c.n * TOKENS * WIDTH);
        error = relative_l2(got, want, (size_t)tensor_count(&t));
        if (error >= NET_TOLERANCE)
            fail_msg("prompt %zu: %.2e", i, error);
        worst = error > worst ? error : worst;
        free(want);
        free(got);
        chunks_done(&c);
    }
    print_message("%.2e\n", worst);
    weights_close(w);
    json_decref(root);
}

static void encode(struct bench *b, const char *text, enum emphasis emphasis, int clip_skip,
                   const char *adapters, float ret_states[TOKENS * WIDTH])
{
    struct chunks c = chunks_of(b, text);
    struct chunk_text t = chunk_text(&c, 0);

    t.emphasis = emphasis;
    t.clip_skip = clip_skip;
    t.adapters = adapters;
    assert_ok(prompts_encode(&b->cache, b->model, &t, ret_states, NULL, e));
    chunks_done(&c);
}

static void kept_states_equal_computed_ones(void **state)
{
    static float first[TOKENS * WIDTH], again[TOKENS * WIDTH];
    struct bench *b = *state;

    prompts_done(&b->cache);
    encode(b, "a (red:1.2) apple", EMPHASIS_ORIGINAL, 1, NULL, first);
    encode(b, "a (red:1.2) apple", EMPHASIS_ORIGINAL, 1, NULL, again);
    assert_memory_equal(first, again, sizeof first);
    assert_int_equal(b->cache.n, 1);
    assert_memory_equal(b->cache.kept[0].values, first, sizeof first);
    prompts_done(&b->cache);
    b->cache.budget_bytes = sizeof first - 1; /* too little for any */
    encode(b, "a (red:1.2) apple", EMPHASIS_ORIGINAL, 1, NULL, again);
    assert_memory_equal(first, again, sizeof first);
    assert_int_equal(b->cache.n, 0);
    b->cache.budget_bytes = 0;
}

/* Whether a text's states are kept: what is kept is marked first. */
static bool is_kept(struct bench *b, const char *text)
{
    static float states[TOKENS * WIDTH];

    for (size_t i = 0; i < b->cache.n; i++)
        b->cache.kept[i].values[0] = 777;
    encode(b, text, EMPHASIS_ORIGINAL, 1, NULL, states);
    return states[0] == 777;
}

static void the_states_unused_for_longest_leave_a_full_budget(void **state)
{
    struct bench *b = *state;
    char text[32];

    prompts_done(&b->cache);
    b->cache.budget_bytes = 4 * TOKENS * WIDTH * sizeof(float);
    assert_false(is_kept(b, "fox"));
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "apple %d", i);
        assert_false(is_kept(b, text));
        assert_true(is_kept(b, "fox")); /* asked for again and again, it stays */
        assert_true(b->cache.bytes <= b->cache.budget_bytes);
    }
    assert_int_equal(b->cache.n, 4);
    assert_true(is_kept(b, "apple 3"));
    assert_false(is_kept(b, "apple 2"));
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "pear %d", i);
        assert_false(is_kept(b, text));
    }
    assert_false(is_kept(b, "fox"));
    prompts_done(&b->cache);
    b->cache.budget_bytes = 0;
}

static void whatever_decides_the_states_tells_them_apart(void **state)
{
    static float states[TOKENS * WIDTH];
    static float vector[WIDTH];
    struct clip_vector vectors[] = {{2, vector}};
    struct bench *b = *state;
    struct chunks c = chunks_of(b, "a (red:1.2) apple");
    struct chunk_text t = chunk_text(&c, 0);
    size_t n = 0;

    prompts_done(&b->cache);
    encode(b, "a (red:1.2) apple", EMPHASIS_ORIGINAL, 1, NULL, states);
    assert_int_equal(b->cache.n, ++n);
    encode(b, "a (red:1.3) apple", EMPHASIS_ORIGINAL, 1, NULL, states);
    assert_int_equal(b->cache.n, ++n);
    encode(b, "a (reds:1.2) apple", EMPHASIS_ORIGINAL, 1, NULL, states);
    assert_int_equal(b->cache.n, ++n);
    encode(b, "a (red:1.2) apple", EMPHASIS_NO_NORM, 1, NULL, states);
    assert_int_equal(b->cache.n, ++n);
    encode(b, "a (red:1.2) apple", EMPHASIS_ORIGINAL, 2, NULL, states);
    assert_int_equal(b->cache.n, ++n);
    encode(b, "a (red:1.2) apple", EMPHASIS_ORIGINAL, 1, "3:fur:0x1p-1;", states);
    assert_int_equal(b->cache.n, ++n);
    t.texts[0].vectors = vectors;
    t.texts[0].n_vectors = 1;
    assert_ok(prompts_encode(&b->cache, b->model, &t, states, NULL, e));
    assert_int_equal(b->cache.n, ++n);
    vector[WIDTH - 1] = 1;
    assert_ok(prompts_encode(&b->cache, b->model, &t, states, NULL, e));
    assert_int_equal(b->cache.n, ++n);
    vectors[0].at = 3;
    assert_ok(prompts_encode(&b->cache, b->model, &t, states, NULL, e));
    assert_int_equal(b->cache.n, ++n);
    chunks_done(&c);
}

static void weights_of_one_change_no_bit(void **state)
{
    static float plain[TOKENS * WIDTH], weighted[TOKENS * WIDTH];
    struct bench *b = *state;

    encode(b, "a red apple", EMPHASIS_NONE, 1, NULL, plain);
    encode(b, "a (red:1.0) apple", EMPHASIS_ORIGINAL, 1, NULL, weighted);
    assert_memory_equal(plain, weighted, sizeof plain);
    encode(b, "a (red:7) apple", EMPHASIS_IGNORE, 1, NULL, weighted);
    assert_memory_equal(plain, weighted, sizeof plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_of_all_recorded_prompts_equal_the_web_uis),
        cmocka_unit_test(kept_states_equal_computed_ones),
        cmocka_unit_test(the_states_unused_for_longest_leave_a_full_budget),
        cmocka_unit_test(whatever_decides_the_states_tells_them_apart),
        cmocka_unit_test(weights_of_one_change_no_bit),
    };

    return cmocka_run_group_tests(tests, bench_open, bench_close);
}
