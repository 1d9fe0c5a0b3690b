/* The VAE's decoder against diffusers: models/sd1 and sd2, batch 2. */
#include "tests/engine/nets.h"

#include "engine/vae.h"

struct call {
    struct vae *vae;
    struct extent extent;
    const float *z;
    float *y;
};

static int forward(void *user, struct err *e)
{
    struct call *c = user;

    return vae_decode(c->vae, c->y, c->z, &c->extent, e);
}

static void check_model(const char *model)
{
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/vae.safetensors", model);
    for (int b = 0; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct weights *w = NULL;
        struct call c = {0};
        struct extent picture;
        int64_t channels;
        uint64_t bytes = 0;
        struct part p;
        float *z, *want;
        size_t n;
        double error;

        assert_ok(weights_open(path, &w, e));
        p = golden_part(model, "vae");
        assert_ok(vae_open(&p.source, o, 0, &bytes, &c.vae, e));
        part_close(&p);
        c.z = z = golden_map(w, "latent", &c.extent, &channels);
        want = golden_map(w, "decoded", &picture, &channels);
        assert_int_equal(picture.h, c.extent.h * vae_factor(c.vae));
        assert_int_equal(picture.w, c.extent.w * vae_factor(c.vae));
        n = (size_t)(extent_rows(&picture) * channels);
        c.y = calloc(n, sizeof *c.y);
        assert_non_null(c.y);
        run_planned(o, forward, &c);
        error = relative_l2(c.y, want, n);
        print_message("%s %s: %.2e\n", model, o->name, error);
        assert_true(error < NET_TOLERANCE);
        free(z);
        free(want);
        free(c.y);
        vae_close(c.vae);
        weights_close(w);
        o->free(o);
    }
}

static void sd1_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd1");
}

static void sd2_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_equals_diffusers),
        cmocka_unit_test(sd2_equals_diffusers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
