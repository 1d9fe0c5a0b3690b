/* The VAE against diffusers, both ways: every family's model, batch 2. */
#include "tests/engine/nets.h"

#include "engine/networks/vae.h"

struct call {
    struct vae *vae;
    struct extent extent;
    const float *in;
    float *out;
};

static int decode(void *user, struct err *e)
{
    struct call *c = user;

    return vae_decode(c->vae, c->out, c->in, &c->extent, e);
}

static int encode(void *user, struct err *e)
{
    struct call *c = user;

    return vae_encode(c->vae, c->out, c->in, &c->extent, e);
}

static struct vae *open_vae(struct ops *o, const char *model)
{
    struct part p = golden_part(model, "vae");
    struct vae *vae = NULL;
    uint64_t bytes = 0;

    assert_ok(vae_open(&p.source, o, 0, &bytes, &vae, e));
    part_close(&p);
    return vae;
}

static void check_result(const char *what, const struct ops *o, const float *got, const float *want,
                         size_t n)
{
    double error = relative_l2(got, want, n);

    print_message("  %s %s: %.2e\n", what, o->name, error);
    assert_true(error < NET_TOLERANCE);
}

static void check_decoder(struct vae *vae, struct ops *o, const struct weights *w)
{
    struct call c = {.vae = vae};
    struct extent picture;
    int64_t channels;
    float *z = golden_map(w, "latent", &c.extent, &channels);
    float *want = golden_map(w, "decoded", &picture, &channels);
    size_t n = (size_t)(extent_rows(&picture) * channels);

    assert_int_equal(picture.h, c.extent.h * vae_factor(vae));
    assert_int_equal(picture.w, c.extent.w * vae_factor(vae));
    c.in = z;
    c.out = calloc(n, sizeof *c.out);
    assert_non_null(c.out);
    run_planned(o, decode, &c);
    check_result("decoded", o, c.out, want, n);
    free(z);
    free(want);
    free(c.out);
}

/* The recorded means and logarithms of variances, as the encoder gives them: side by side. */
static float *golden_moments(const struct weights *w, struct extent *ret_s)
{
    int64_t channels, rows;
    float *mean = golden_map(w, "mean", ret_s, &channels);
    float *logvar = golden_map(w, "logvar", ret_s, &channels), *both;

    rows = extent_rows(ret_s);
    both = calloc((size_t)(2 * rows * channels), sizeof *both);
    assert_non_null(both);
    for (int64_t i = 0; i < rows * channels; i++) {
        both[i / channels * 2 * channels + i % channels] = mean[i];
        both[i / channels * 2 * channels + channels + i % channels] = logvar[i];
    }
    free(mean);
    free(logvar);
    return both;
}

static void check_encoder(struct vae *vae, struct ops *o, const struct weights *w)
{
    struct call c = {.vae = vae};
    struct extent latent;
    int64_t channels;
    float *picture = golden_map(w, "image", &c.extent, &channels);
    float *want = golden_moments(w, &latent);
    size_t n = (size_t)(extent_rows(&latent) * 2 * vae_config(vae)->latent_channels);

    c.in = picture;
    c.out = calloc(n, sizeof *c.out);
    assert_non_null(c.out);
    run_planned(o, encode, &c);
    check_result("moments", o, c.out, want, n);
    free(picture);
    free(want);
    free(c.out);
}

static void check_model(const char *model, int backend)
{
    struct ops *o = backend_open(backend);
    struct vae *vae = open_vae(o, model);
    struct weights *w = NULL;
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/vae.safetensors", model);
    assert_ok(weights_open(path, &w, e));
    print_message("%s\n", model);
    check_decoder(vae, o, w);
    check_encoder(vae, o, w);
    weights_close(w);
    vae_close(vae);
    o->free(o);
}

static void every_family_equals_diffusers_both_ways(void **state)
{
    static const char *const models[] = {"sd1", "sd2", "inpaint", "sdxl"};

    (void)state;
    for (int i = 0; i < 4; i++)
        check_model(models[i], BACKEND_FAST);
}

static void oracle_backend_equals_diffusers_both_ways(void **state)
{
    (void)state;
    check_model("sd1", 0);
}

static void picture_whose_sides_are_no_multiples_of_8_is_refused(void **state)
{
    static const struct extent sizes[] = {{1, 64, 60}, {1, 12, 64}, {1, 0, 64}};
    struct ops *o = backend_open(BACKEND_FAST);
    struct vae *vae = open_vae(o, "sd1");
    struct workspace plan;

    (void)state;
    workspace_plan(&plan, o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(vae_encode(vae, NULL, NULL, &sizes[i], NULL), ERR_INPUT);
    vae_close(vae);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_equals_diffusers_both_ways),
        cmocka_unit_test(oracle_backend_equals_diffusers_both_ways),
        cmocka_unit_test(picture_whose_sides_are_no_multiples_of_8_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
