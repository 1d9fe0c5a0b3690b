/*
 * The VAE in tiles: equal to diffusers with tiling enabled, without seams, in bounded memory.
 */
#include "tests/engine/nets.h"

#include "engine/networks/vae.h"

struct call {
    struct vae *vae;
    int tile; /* 0: whole */
    struct extent extent;
    const float *in;
    float *out;
};

static int decode(void *user, struct err *e)
{
    struct call *c = user;

    if (c->tile == 0)
        return vae_decode(c->vae, c->out, c->in, &c->extent, e);
    return vae_decode_tiled(c->vae, c->out, c->in, &c->extent, c->tile, e);
}

static int encode(void *user, struct err *e)
{
    struct call *c = user;

    if (c->tile == 0)
        return vae_encode(c->vae, c->out, c->in, &c->extent, e);
    return vae_encode_tiled(c->vae, c->out, c->in, &c->extent, c->tile, e);
}

/* folder: "SOURCE/models/sticker-128" or a golden model's */
static struct vae *open_vae(struct ops *o, const char *folder)
{
    struct vae *vae = NULL;
    uint64_t bytes = 0;
    char path[512];
    struct part p;

    snprintf(path, sizeof path, "%s/vae", folder);
    assert_ok(part_open(&p, path, "diffusion_pytorch_model.safetensors", e));
    assert_ok(vae_open(&p.source, o, 0, &bytes, &vae, e));
    part_close(&p);
    return vae;
}

static float *floats(int64_t n)
{
    float *values = calloc((size_t)n, sizeof *values);

    assert_non_null(values);
    return values;
}

static void check_error(const char *what, const float *got, const float *want, int64_t n)
{
    double error = relative_l2(got, want, (size_t)n);

    print_message("  %s: %.2e\n", what, error);
    assert_true(error < NET_TOLERANCE);
}

/* The recorded latent decoded; the picture, cut to -1..1, encoded. */
static void check_model(const char *model)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct extent picture, latent;
    int64_t channels, n_picture, n_moments;
    float *z, *decoded, *moments, *y, *m;
    struct call c = {0};
    struct weights *w = NULL;
    struct tensor t;
    char path[512];

    print_message("%s\n", model);
    snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", model);
    c.vae = open_vae(o, path);
    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/vae_tiled.safetensors", model);
    assert_ok(weights_open(path, &w, e));
    assert_true(weights_find(w, "tile", &t));
    c.tile = (int)*(const int64_t *)t.data;
    z = golden_map(w, "latent", &latent, &channels);
    moments = golden_map(w, "moments", &latent, &channels);
    n_moments = extent_rows(&latent) * channels;
    decoded = golden_map(w, "decoded", &picture, &channels);
    n_picture = extent_rows(&picture) * channels;
    y = floats(n_picture);
    m = floats(n_moments);
    c.extent = latent;
    c.in = z;
    c.out = y;
    run_planned(o, decode, &c);
    check_error("decoded", y, decoded, n_picture);
    for (int64_t i = 0; i < n_picture; i++)
        decoded[i] = decoded[i] < -1 ? -1 : decoded[i] > 1 ? 1 : decoded[i];
    c.extent = picture;
    c.in = decoded;
    c.out = m;
    run_planned(o, encode, &c);
    check_error("moments", m, moments, n_moments);
    free(z);
    free(decoded);
    free(moments);
    free(y);
    free(m);
    weights_close(w);
    vae_close(c.vae);
    o->free(o);
}

static void tiles_equal_those_of_diffusers(void **state)
{
    (void)state;
    check_model("sd1");  /* 3 x 4 tiles, the last ones narrower than the overlap */
    check_model("sdxl"); /* batch 2 */
}

static double level(float value)
{
    double v = value * 0.5 + 0.5;

    return 255 * (v < 0 ? 0 : v > 1 ? 1 : v);
}

/*
 * A seam, in 8-bit levels: how much the step across the borders of tiles (every `keep` rows or
 * columns) differs from the step that the picture decoded whole has there; mean over all borders.
 */
static double seam(const float *tiled, const float *whole, int64_t h, int64_t w, int64_t keep,
                   bool rows)
{
    int64_t before = 3 * (rows ? w : 1), n = 0;
    double sum = 0;

    for (int64_t y = rows ? keep : 0; y < h; y += rows ? keep : 1)
        for (int64_t x = rows ? 0 : keep; x < w; x += rows ? 1 : keep)
            for (int64_t i = 3 * (y * w + x); i < 3 * (y * w + x) + 3; i++, n++)
                sum += fabs(level(tiled[i]) - level(tiled[i - before]) -
                            (level(whole[i]) - level(whole[i - before])));
    return sum / (double)n;
}

static void smooth_picture(float *x, int64_t h, int64_t w)
{
    for (int64_t i = 0; i < h * w; i++) {
        float down = (float)(i / w) / (float)h, right = (float)(i % w) / (float)w;

        x[3 * i] = 1.2f * down - 0.6f;
        x[3 * i + 1] = 1.2f * right - 0.6f;
        x[3 * i + 2] = 0.5f * (down + right) - 0.5f;
    }
}

/* With weights that were trained: a random decoder makes no smooth picture of anything. */
static void seams_are_below_one_level(void **state)
{
    enum { H = 160, W = 256, TILE = 128, KEEP = TILE * 3 / 4, LATENT = H / 8 * W / 8 };
    struct ops *o = backend_open(BACKEND_FAST);
    struct call c = {.vae = open_vae(o, SOURCE_DIR "/models/sticker-128")};
    float *picture = floats(3 * H * W), *moments = floats(8 * LATENT), *z = floats(4 * LATENT);
    float *tiled = floats(3 * H * W), *whole = floats(3 * H * W);
    double down, right;

    (void)state;
    smooth_picture(picture, H, W);
    c.extent = (struct extent){1, H, W};
    c.in = picture;
    c.out = moments;
    run_planned(o, encode, &c);
    for (int i = 0; i < LATENT; i++)
        memcpy(z + 4 * i, moments + 8 * i, 4 * sizeof *z);
    c.extent = (struct extent){1, H / 8, W / 8};
    c.in = z;
    c.out = whole;
    run_planned(o, decode, &c);
    c.tile = TILE;
    c.out = tiled;
    run_planned(o, decode, &c);
    down = seam(tiled, whole, H, W, KEEP, true);
    right = seam(tiled, whole, H, W, KEEP, false);
    print_message("  seams: %.2f and %.2f levels\n", down, right);
    assert_true(down < 1 && right < 1);
    free(picture);
    free(moments);
    free(z);
    free(tiled);
    free(whole);
    vae_close(c.vae);
    o->free(o);
}

static size_t planned(struct ops *o, int (*run)(void *user, struct err *e), struct call *c,
                      int64_t h, int64_t w, int tile)
{
    struct workspace plan;

    c->extent = (struct extent){1, h, w};
    c->tile = tile;
    workspace_plan(&plan, o);
    assert_ok(run(c, e));
    return (size_t)workspace_peak(&plan);
}

/* Beyond one tile's own scratch only strips of the tiles above grow, with the picture's width. */
static void memory_grows_with_the_tile_not_with_the_picture(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct call c = {.vae = open_vae(o, GOLDEN_DIR "/models/sd1")};
    size_t tile, wide, high, strips;

    (void)state;
    tile = planned(o, decode, &c, 64, 64, 0) + (512 * 512 * 3 * 5 / 4 + 64 * 64 * 4) * 4;
    strips = 6 * 128 * 512 * 3 * 4;
    wide = planned(o, decode, &c, 256, 256, 512);
    high = planned(o, decode, &c, 1024, 256, 512);
    assert_true(wide <= tile + strips + 1024);
    assert_int_equal(high, wide);
    assert_true(planned(o, decode, &c, 256, 256, 0) > 10 * wide);
    tile = planned(o, encode, &c, 512, 512, 0) + (512 * 512 * 3 + 64 * 64 * 8 * 5 / 4) * 4;
    strips = 6 * 16 * 64 * 8 * 4;
    wide = planned(o, encode, &c, 2048, 2048, 512);
    assert_true(wide <= tile + strips + 1024);
    assert_int_equal(planned(o, encode, &c, 8192, 2048, 512), wide);
    vae_close(c.vae);
    o->free(o);
}

static void picture_no_larger_than_a_tile_is_coded_whole(void **state)
{
    enum { N = 3 * 64 * 48 };
    struct ops *o = backend_open(BACKEND_FAST);
    struct call c = {.vae = open_vae(o, GOLDEN_DIR "/models/sd1"), .extent = {1, 8, 6}};
    float *z = floats(4 * 8 * 6), *whole = floats(N), *tiled = floats(N);

    (void)state;
    for (int i = 0; i < 4 * 8 * 6; i++)
        z[i] = (float)(i % 13) / 6 - 1;
    c.in = z;
    c.out = whole;
    run_planned(o, decode, &c);
    c.out = tiled;
    c.tile = 64;
    run_planned(o, decode, &c);
    assert_memory_equal(whole, tiled, N * sizeof *whole);
    free(z);
    free(whole);
    free(tiled);
    vae_close(c.vae);
    o->free(o);
}

static void tile_whose_quarter_is_no_latent_pixel_is_refused(void **state)
{
    static const int tiles[] = {0, -64, 16, 40, 100};
    struct ops *o = backend_open(BACKEND_FAST);
    struct vae *vae = open_vae(o, GOLDEN_DIR "/models/sd1");
    const struct extent s = {1, 64, 64};

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(vae_decode_tiled(vae, NULL, NULL, &s, tiles[i], NULL), ERR_INPUT);
        assert_int_equal(vae_encode_tiled(vae, NULL, NULL, &s, tiles[i], NULL), ERR_INPUT);
    }
    vae_close(vae);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_equal_those_of_diffusers),
        cmocka_unit_test(seams_are_below_one_level),
        cmocka_unit_test(memory_grows_with_the_tile_not_with_the_picture),
        cmocka_unit_test(picture_no_larger_than_a_tile_is_coded_whole),
        cmocka_unit_test(tile_whose_quarter_is_no_latent_pixel_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
