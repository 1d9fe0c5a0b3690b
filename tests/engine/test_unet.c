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
    int rc = 0;

    TRY(unet_context(c->unet, c->kv, c->text, c->extent.n, c->tokens, e));
    TRY(unet_forward(c->unet, c->y, c->x, &c->extent, c->t, c->kv, c->tokens, e));
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
    c.kv = calloc((size_t)unet_context_floats(u, c.extent.n, c.tokens), sizeof *c.kv);
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
    char folder[512], path[512];

    snprintf(folder, sizeof folder, GOLDEN_DIR "/models/%s/unet", model);
    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/unet.safetensors", model);
    for (int b = 0; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct weights *w = NULL;
        struct unet *u = NULL;
        uint64_t bytes = 0;

        assert_ok(weights_open(path, &w, e));
        assert_ok(unet_open(folder, o, 0, &bytes, &u, e));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_equals_diffusers),
        cmocka_unit_test(sd2_with_linear_projections_equals_diffusers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
