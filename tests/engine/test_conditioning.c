/* Prompts as states, against the web UI's, through models/sd1; and what holds at which step. */
#include "engine/conditioning.h"
#include "proto/json.h"
#include "tests/engine/nets.h"

struct bench {
    struct ops *ops;
    struct model *model;
    struct arena arena;
    struct prompts cache;
};

static void bench_open(struct bench *b, const char *model)
{
    *b = (struct bench){.ops = backend_open(1)};
    assert_ok(model_open(model, b->ops, 0, &b->model, e));
    assert_ok(arena_init(&b->arena, 16u << 20, e));
    b->ops->arena = &b->arena;
}

static void bench_close(struct bench *b)
{
    prompts_done(&b->cache);
    arena_done(&b->arena);
    model_close(b->model);
    b->ops->free(b->ops);
}

static struct conditioning *read_prompt(struct bench *b, const struct conditioning_request *r)
{
    struct conditioning *c = NULL;

    assert_ok(conditioning_new(b->model, r, &c, e));
    return c;
}

/* A text's states; caller frees. */
static float *encode(struct bench *b, const struct conditioning *c, int text, float *ret_pooled)
{
    size_t n = (size_t)(conditioning_tokens(c, text) * prompts_width(b->model));
    float *states = malloc(n * sizeof *states);

    assert_non_null(states);
    assert_ok(conditioning_encode(c, &b->cache, text, states, ret_pooled, e));
    assert_int_equal(b->arena.used, 0);
    return states;
}

static void states_after_emphasis_equal_the_web_uis(void **state)
{
    json_t *root = NULL, *one;
    struct weights *w = NULL;
    struct bench b;
    double worst = 0;
    size_t i;

    (void)state;
    bench_open(&b, GOLDEN_DIR "/models/sd1");
    assert_ok(json_read_file(GOLDEN_DIR "/a1111/prompts.json", &root, e));
    assert_ok(weights_open(GOLDEN_DIR "/a1111/prompts.safetensors", &w, e));
    json_array_foreach(root, i, one)
    {
        /* As a negative prompt: no AND. One call of the denoiser: brackets of edits are words. */
        struct conditioning_request r = {.steps = 1, .guided = true};
        struct conditioning *c;
        struct guidance g;
        float *got, *want;
        struct tensor t;
        char name[32];
        double error;

        if (json_array_size(json_object_get(one, "schedule_10")) > 1)
            continue; /* the recorded states are of the text before editing */
        r.negative_prompt = json_string_value(json_object_get(one, "prompt"));
        if (strchr(r.negative_prompt, '[') != NULL &&
            strcmp(json_string_value(
                       json_array_get(json_array_get(json_object_get(one, "schedule_10"), 0), 1)),
                   r.negative_prompt) != 0)
            continue;
        c = read_prompt(&b, &r);
        conditioning_at(c, 0, &g);
        got = encode(&b, c, g.negative, NULL);
        snprintf(name, sizeof name, "%zu.hidden", i);
        want = golden_floats(w, name, &t);
        assert_int_equal(tensor_count(&t), conditioning_tokens(c, g.negative) * 32);
        error = relative_l2(got, want, (size_t)tensor_count(&t));
        if (error >= NET_TOLERANCE)
            fail_msg("%s: %.2e", r.negative_prompt, error);
        worst = error > worst ? error : worst;
        free(want);
        free(got);
        conditioning_free(c);
    }
    print_message("%.2e\n", worst);
    weights_close(w);
    json_decref(root);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_after_emphasis_equal_the_web_uis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
