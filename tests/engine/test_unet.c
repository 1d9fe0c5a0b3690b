/* The U-Net against diffusers: models/sd1 and sd2, three steps at batch 2, and an uneven size. */
#include "tests/engine/nets.h"

#include "engine/unet.h"

struct call {
    struct unet *unet;
    struct extent extent;
    float t;
    const float *x, *text;
    float *y, *kv;
    int64_t tokens;
};

static int forward(void *user, struct err *e)
{
    struct call *c = user;
    const struct unet_config *config = unet_config(c->unet);
    int64_t kv = unet_context_floats(c->unet, c->tokens);
    struct unet_text texts[2];
    int rc = 0;

    for (int64_t i = 0; i < c->extent.n; i++) {
        texts[i] = (struct unet_text){.kv = c->kv + i * kv, .tokens = c->tokens};
        TRY(unet_context(c->unet, c->kv + i * kv, c->text + i * c->tokens * config->text_width,
                         c->tokens, e));
    }
    TRY(unet_forward(c->unet, c->y, c->x, &c->extent, c->t, texts, e));
out:
    return rc;
}

static void check_case(struct unet *u, struct ops *o, const struct weights *w, const char *which)
{
    struct call c = {.unet = u};
    struct tensor t_text;
    float *x, *text, *want;
    int64_t channels;
    size_t n;
    double error;
    char name[32];

    snprintf(name, sizeof name, "x%s", which);
    c.x = x = golden_map(w, name, &c.extent, &channels);
    snprintf(name, sizeof name, "context%s", which);
    c.text = text = golden_floats(w, name, &t_text);
    snprintf(name, sizeof name, "y%s", which);
    want = golden_map(w, name, &c.extent, &channels);
    snprintf(name, sizeof name, "t%s", which);
    assert_true(weights_find(w, name, &t_text));
    c.t = (float)*(const int64_t *)t_text.data;
    c.tokens = 77;
    n = (size_t)(extent_rows(&c.extent) * channels);
    c.y = calloc(n, sizeof *c.y);
    c.kv = calloc((size_t)(c.extent.n * unet_context_floats(u, c.tokens)), sizeof *c.kv);
    assert_non_null(c.y);
    assert_non_null(c.kv);
    run_planned(o, forward, &c);
    error = relative_l2(c.y, want, n);
    print_message("y%s %s: %.2e\n", which, o->name, error);
    assert_true(error < NET_TOLERANCE);
    free(x);
    free(text);
    free(want);
    free(c.y);
    free(c.kv);
}

static void check_model(const char *model)
{
    static const char *const cases[] = {"0", "1", "2", "_odd"};
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/unet.safetensors", model);
    for (int b = 0; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct weights *w = NULL;
        struct unet *u = NULL;
        uint64_t bytes = 0;
        struct part p;

        assert_ok(weights_open(path, &w, e));
        p = golden_part(model, "unet");
        assert_ok(unet_open(&p.source, o, 0, &bytes, &u, e));
        part_close(&p);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            check_case(u, o, w, cases[i]);
        unet_close(u);
        weights_close(w);
        o->free(o);
    }
}

static void sd1_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd1");
}

static void sd2_with_linear_projections_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd2");
}

/* y of a batch of two, or of its sample i alone; caller frees. */
static float *forward_sample(const struct weights *w, struct ops *o, int i)
{
    struct call c = {.t = 500, .tokens = 77};
    struct tensor t;
    float *x, *text;
    int64_t channels, n;
    uint64_t bytes = 0;
    struct part p;

    p = golden_part("sd1", "unet");
    assert_ok(unet_open(&p.source, o, 0, &bytes, &c.unet, e));
    part_close(&p);
    x = golden_map(w, "x1", &c.extent, &channels);
    text = golden_floats(w, "context1", &t);
    n = extent_pixels(&c.extent) * channels;
    c.x = i < 0 ? x : x + i * n;
    c.text = i < 0 ? text : text + i * 77 * t.shape[2];
    c.extent.n = i < 0 ? 2 : 1;
    c.y = calloc((size_t)(c.extent.n * n), sizeof *c.y);
    c.kv = calloc((size_t)(c.extent.n * unet_context_floats(c.unet, 77)), sizeof *c.kv);
    assert_non_null(c.y);
    assert_non_null(c.kv);
    run_planned(o, forward, &c);
    unet_close(c.unet);
    free(c.kv);
    free(text);
    free(x);
    return c.y;
}

static void sample_does_not_depend_on_its_batch_mate_or_the_threads(void **state)
{
    static const int threads[] = {1, 2, 4};
    const size_t n = 8 * 16 * 4;
    struct weights *w = NULL;
    float *first = NULL;

    (void)state;
    assert_ok(weights_open(GOLDEN_DIR "/networks/sd1/unet.safetensors", &w, e));
    for (int i = 0; i < 3; i++) {
        struct ops *o = NULL;
        float *both, *one, *two;

        assert_ok(ops_cpu_new(threads[i], &o, e));
        both = forward_sample(w, o, -1);
        one = forward_sample(w, o, 0);
        two = forward_sample(w, o, 1);
        assert_memory_equal(both, one, n * sizeof *one);
        assert_memory_equal(both + n, two, n * sizeof *two);
        free(one);
        free(two);
        if (first != NULL)
            assert_memory_equal(first, both, 2 * n * sizeof *both);
        if (first == NULL)
            first = both;
        else
            free(both);
        o->free(o);
    }
    free(first);
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_equals_diffusers),
        cmocka_unit_test(sd2_with_linear_projections_equals_diffusers),
        cmocka_unit_test(sample_does_not_depend_on_its_batch_mate_or_the_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
