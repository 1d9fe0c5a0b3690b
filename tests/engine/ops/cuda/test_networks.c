/*
 * Networks on the CUDA backend against diffusers' float32, as the CPU's are: text encoder, U-Net
 * and VAE of the small reference models.
 */
#include "tests/engine/models.h"
#include "tests/engine/nets.h"
#include "tests/engine/ops/cuda/fixture.h"

#include "engine/networks/clip.h"
#include "engine/networks/unet.h"
#include "engine/networks/vae.h"

/*
 * Relative L2 distance allowed. Every operation rounds its result to 11 or 8 bits, a few hundred of
 * them in a row, mostly added to a stream that is rounded as often: PyTorch's own f16 and bf16 runs
 * of these models are as far from its float32 (tests/golden/README.md, oracle). In f32 what is
 * asked is what the CPU's float32 keeps.
 */
static double tolerance(const struct ops *o)
{
    return o->precision == PRECISION_F32   ? NET_TOLERANCE
           : o->precision == PRECISION_F16 ? 5e-3
                                           : 4e-2;
}

static void check(const char *what, const struct ops *o, const float *got, const float *want,
                  size_t n)
{
    double error = relative_l2(got, want, n);

    print_message("  %s %s: %.2e\n", what, precision_name(o->precision), error);
    assert_true(error < tolerance(o));
}

static struct weights *golden(const char *model, const char *file)
{
    struct weights *w = NULL;
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/%s", model, file);
    assert_ok(weights_open(path, &w, e));
    return w;
}

/* --- text --- */

#define TEXTS  2 /* of the recorded ones */
#define TOKENS 77

struct text_call {
    struct clip *clip;
    struct clip_text text;
    float *states, *pooled; /* NULL: not asked for */
};

static int encode_text(void *user, struct err *e)
{
    struct text_call *c = user;

    /* SDXL's second encoder gives the last state but one, and the projected end. */
    bool second = c->pooled != NULL;

    return clip_encode(c->clip, c->states, c->pooled, &c->text, second ? 1 : 0, !second, e);
}

/* pooled: as SDXL takes its second encoder. */
static void text_encoder(struct ops *o, const char *model, const char *part, const char *file,
                         bool pooled)
{
    struct part p = golden_part(model, part);
    struct weights *w = golden(model, file);
    struct text_call c = {0};
    uint64_t bytes = 0;
    struct tensor ids, t;
    float *want = golden_floats(w, pooled ? "hidden_minus_2" : "last_hidden_state", &t), *got;
    float *ends = NULL, *want_ends = NULL;
    int32_t tokens[TOKENS];
    size_t one, end;

    assert_ok(clip_open(&p.source, o, 0, &bytes, &c.clip, e));
    one = TOKENS * (size_t)clip_config(c.clip)->width;
    end = (size_t)clip_pooled_width(c.clip);
    got = calloc(TEXTS * one, sizeof *got);
    assert_non_null(got);
    if (pooled) {
        want_ends = golden_floats(w, "pooled", &t);
        ends = calloc(TEXTS * end, sizeof *ends);
        assert_non_null(ends);
    }
    assert_true(weights_find(w, "ids", &ids));
    for (size_t i = 0; i < TEXTS; i++) {
        for (size_t k = 0; k < TOKENS; k++)
            tokens[k] = (int32_t)((const int64_t *)ids.data)[i * TOKENS + k];
        c.text = (struct clip_text){.ids = tokens, .tokens = TOKENS};
        c.states = got + i * one;
        c.pooled = pooled ? ends + i * end : NULL;
        run_planned(o, encode_text, &c);
    }
    check(part, o, got, want, TEXTS * one);
    if (pooled)
        check("pooled", o, ends, want_ends, TEXTS * end);
    free(got);
    free(want);
    free(ends);
    free(want_ends);
    clip_close(c.clip);
    part_close(&p);
    weights_close(w);
}

/* --- U-Net --- */

struct unet_call {
    struct ops *ops;
    struct unet *unet;
    struct extent extent;
    float t;
    float *x, *text, *pooled, *time_ids, *y;
    struct act *kv, *added;
    int calls;
};

/* Several times in the same memory: from the third time on it is a recording that runs. */
static int denoise(void *user, struct err *e)
{
    struct unet_call *c = user;
    const struct unet_config *config = unet_config(c->unet);
    struct unet_text texts[2];
    int rc = 0;

    for (int64_t i = 0; i < c->extent.n; i++) {
        struct act *kv = act_at(c->ops, c->kv, i * unet_context_size(c->unet, TOKENS));
        struct act *added = act_at(c->ops, c->added, i * config->time_width);

        texts[i] = (struct unet_text){.kv = kv, .tokens = TOKENS};
        TRY(unet_context(c->unet, kv, c->text + i * TOKENS * config->text_width, TOKENS, e));
        if (config->pooled_width == 0)
            continue;
        texts[i].added = added;
        TRY(unet_added(c->unet, added, c->pooled + i * config->pooled_width,
                       c->time_ids + i * UNET_TIME_IDS, e));
    }
    for (int i = 0; i < c->calls; i++)
        TRY(unet_forward(c->ops, c->unet, c->y, c->x, &c->extent, c->t, texts, e));
out:
    return rc;
}

static void denoiser(struct ops *o, const char *model, int calls)
{
    struct part p = golden_part(model, "unet");
    struct weights *w = golden(model, "unet.safetensors");
    struct unet_call c = {.ops = o, .calls = calls};
    uint64_t bytes = 0;
    int64_t channels;
    struct tensor t;
    float *want;
    size_t n;

    assert_ok(unet_open(&p.source, o, 0, &bytes, &c.unet, e));
    c.x = golden_map(w, "x0", &c.extent, &channels);
    c.text = golden_floats(w, "context0", &t);
    if (unet_config(c.unet)->pooled_width > 0) {
        c.pooled = golden_floats(w, "text_embeds0", &t);
        c.time_ids = golden_floats(w, "time_ids0", &t);
    }
    want = golden_map(w, "y0", &c.extent, &channels);
    assert_true(weights_find(w, "t0", &t));
    c.t = (float)*(const int64_t *)t.data;
    n = (size_t)(extent_rows(&c.extent) * channels);
    c.y = calloc(n, sizeof *c.y);
    assert_non_null(c.y);
    c.kv = act_memory(o, c.extent.n * unet_context_size(c.unet, TOKENS));
    c.added = act_memory(o, c.extent.n * unet_config(c.unet)->time_width);
    run_planned(o, denoise, &c);
    check("U-Net", o, c.y, want, n);
    free(c.x);
    free(c.text);
    free(c.pooled);
    free(c.time_ids);
    free(c.y);
    free(want);
    o->memory_free(o, c.kv);
    o->memory_free(o, c.added);
    unet_close(c.unet);
    part_close(&p);
    weights_close(w);
}

/* --- VAE --- */

struct vae_call {
    struct vae *vae;
    struct extent extent;
    float *x, *y;
};

static int decode(void *user, struct err *e)
{
    struct vae_call *c = user;

    return vae_decode(c->vae, c->y, c->x, &c->extent, e);
}

static int encode(void *user, struct err *e)
{
    struct vae_call *c = user;

    return vae_encode(c->vae, c->y, c->x, &c->extent, e);
}

/* Means and logarithms of variances lie side by side. */
static void check_moments(struct ops *o, const struct weights *w, struct vae_call *c)
{
    struct extent latent;
    int64_t channels, n;
    float *mean = golden_map(w, "mean", &latent, &channels);
    float *logvar = golden_map(w, "logvar", &latent, &channels), *want;

    n = extent_pixels(&latent) * channels; /* of the first */
    want = calloc((size_t)(2 * n), sizeof *want);
    assert_non_null(want);
    for (int64_t i = 0; i < n; i++) {
        want[i / channels * 2 * channels + i % channels] = mean[i];
        want[i / channels * 2 * channels + channels + i % channels] = logvar[i];
    }
    c->y = calloc((size_t)(2 * n), sizeof *c->y);
    assert_non_null(c->y);
    run_planned(o, encode, c);
    check("VAE encoder", o, c->y, want, (size_t)(2 * n));
    free(c->y);
    free(mean);
    free(logvar);
    free(want);
}

/* One of each batch, whose results do not depend on each other. */
static void vae(struct ops *o, const char *model)
{
    struct part p = golden_part(model, "vae");
    struct weights *w = golden(model, "vae.safetensors");
    struct vae_call c = {0};
    struct extent picture;
    uint64_t bytes = 0;
    int64_t channels;
    float *want;
    size_t n;

    assert_ok(vae_open(&p.source, o, 0, &bytes, &c.vae, e));
    c.x = golden_map(w, "latent", &c.extent, &channels);
    want = golden_map(w, "decoded", &picture, &channels);
    n = (size_t)(extent_pixels(&picture) * channels);
    c.extent.n = 1;
    c.y = calloc(n, sizeof *c.y);
    assert_non_null(c.y);
    run_planned(o, decode, &c);
    check("VAE", o, c.y, want, n);
    free(c.x);
    free(c.y);
    free(want);
    c.x = golden_map(w, "image", &c.extent, &channels);
    c.extent.n = 1;
    check_moments(o, w, &c);
    free(c.x);
    vae_close(c.vae);
    part_close(&p);
    weights_close(w);
}

static void networks_of_sd1_in_f16_equal_diffusers(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);

    (void)state;
    text_encoder(o, "sd1", "text_encoder", "text.safetensors", false);
    denoiser(o, "sd1", 3);
    vae(o, "sd1");
    assert_int_equal(o->weight_bytes, 0);
    o->free(o);
}

static void networks_of_sd2_in_f16_equal_diffusers(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);

    (void)state;
    text_encoder(o, "sd2", "text_encoder", "text.safetensors", false);
    denoiser(o, "sd2", 1);
    vae(o, "sd2");
    o->free(o);
}

static void networks_of_an_inpainting_model_in_bf16_equal_diffusers(void **state)
{
    struct ops *o = cuda_with(PRECISION_BF16);

    (void)state;
    text_encoder(o, "inpaint", "text_encoder", "text.safetensors", false);
    denoiser(o, "inpaint", 1); /* of nine channels */
    vae(o, "inpaint");
    o->free(o);
}

static void networks_of_sdxl_in_bf16_equal_diffusers(void **state)
{
    struct ops *o = cuda_with(PRECISION_BF16);

    (void)state;
    text_encoder(o, "sdxl", "text_encoder", "text.safetensors", false);
    text_encoder(o, "sdxl", "text_encoder_2", "text_2.safetensors", true);
    denoiser(o, "sdxl", 1);
    vae(o, "sdxl");
    o->free(o);
}

static void networks_of_sd1_in_f32_equal_diffusers_as_the_cpus_do(void **state)
{
    struct ops *o = cuda_with(PRECISION_F32);

    (void)state;
    text_encoder(o, "sd1", "text_encoder", "text.safetensors", false);
    denoiser(o, "sd1", 3);
    vae(o, "sd1");
    assert_int_equal(o->weight_bytes, 0);
    o->free(o);
}

static void networks_of_sdxl_in_f32_equal_diffusers_as_the_cpus_do(void **state)
{
    struct ops *o = cuda_with(PRECISION_F32);

    (void)state;
    text_encoder(o, "sdxl", "text_encoder", "text.safetensors", false);
    text_encoder(o, "sdxl", "text_encoder_2", "text_2.safetensors", true);
    denoiser(o, "sdxl", 1);
    vae(o, "sdxl");
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_of_sd1_in_f16_equal_diffusers),
        cmocka_unit_test(networks_of_sd2_in_f16_equal_diffusers),
        cmocka_unit_test(networks_of_an_inpainting_model_in_bf16_equal_diffusers),
        cmocka_unit_test(networks_of_sdxl_in_bf16_equal_diffusers),
        cmocka_unit_test(networks_of_sd1_in_f32_equal_diffusers_as_the_cpus_do),
        cmocka_unit_test(networks_of_sdxl_in_f32_equal_diffusers_as_the_cpus_do),
    };

    return cuda_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
