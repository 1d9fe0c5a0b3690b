/* The text encoder against transformers: models/sd1 (quick_gelu) and sd2 (gelu). */
#include "tests/engine/nets.h"

#include "engine/clip.h"

struct call {
    struct clip *clip;
    const int32_t *ids;
    int64_t n, tokens;
    float *states;
};

static int forward(void *user, struct err *e)
{
    struct call *c = user;

    return clip_encode(c->clip, c->states, c->ids, c->n, c->tokens, e);
}

static void check_model(const char *model)
{
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/text.safetensors", model);
    for (int b = 0; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct weights *w = NULL;
        struct tensor t_ids, t_want;
        struct call c = {0};
        int32_t ids[8 * 77];
        uint64_t bytes = 0;
        struct part p;
        float *want;
        double error;

        assert_ok(weights_open(path, &w, e));
        p = golden_part(model, "text_encoder");
        assert_ok(clip_open(&p.source, o, 0, &bytes, &c.clip, e));
        part_close(&p);
        assert_true(weights_find(w, "ids", &t_ids));
        assert_int_equal(tensor_count(&t_ids), 8 * 77);
        for (int i = 0; i < 8 * 77; i++)
            ids[i] = (int32_t)((const int64_t *)t_ids.data)[i];
        want = golden_floats(w, "last_hidden_state", &t_want);
        c.ids = ids;
        c.n = 8;
        c.tokens = 77;
        c.states = calloc((size_t)tensor_count(&t_want), sizeof *c.states);
        assert_non_null(c.states);
        run_planned(o, forward, &c);
        error = relative_l2(c.states, want, (size_t)tensor_count(&t_want));
        print_message("%s %s: %.2e\n", model, o->name, error);
        assert_true(error < NET_TOLERANCE);
        free(c.states);
        free(want);
        clip_close(c.clip);
        weights_close(w);
        o->free(o);
    }
}

static void sd1_equals_transformers(void **state)
{
    (void)state;
    check_model("sd1");
}

static void sd2_with_gelu_equals_transformers(void **state)
{
    (void)state;
    check_model("sd2");
}

static void ids_and_lengths_outside_the_tables_are_refused(void **state)
{
    struct ops *o = backend_open(0);
    struct call c = {0};
    struct arena plan;
    uint64_t bytes = 0;
    struct part p;
    int32_t ids[78] = {0};

    (void)state;
    p = golden_part("sd1", "text_encoder");
    assert_ok(clip_open(&p.source, o, 0, &bytes, &c.clip, e));
    part_close(&p);
    arena_plan(&plan);
    o->arena = &plan;
    o->planning = true;
    assert_int_equal(clip_encode(c.clip, NULL, ids, 1, 78, NULL), ERR_INPUT);
    assert_int_equal(clip_encode(c.clip, NULL, ids, 1, 0, NULL), ERR_INPUT);
    ids[76] = clip_config(c.clip)->vocab;
    assert_int_equal(clip_encode(c.clip, NULL, ids, 1, 77, NULL), ERR_INPUT);
    ids[76] = -1;
    assert_int_equal(clip_encode(c.clip, NULL, ids, 1, 77, NULL), ERR_INPUT);
    clip_close(c.clip);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_equals_transformers),
        cmocka_unit_test(sd2_with_gelu_equals_transformers),
        cmocka_unit_test(ids_and_lengths_outside_the_tables_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
