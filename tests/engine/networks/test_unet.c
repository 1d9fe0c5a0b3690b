/*
 * The U-Net against diffusers: every family's model, three steps at batch 2, and an uneven size.
 */
#include "tests/engine/models.h"
#include "tests/engine/nets.h"

struct call {
    struct ops *ops;
    struct unet *unet;
    struct extent extent;
    float t;
    const float *x, *text;
    const float *pooled, *time_ids; /* SDXL's: of each sample */
    float *y;
    struct act *kv, *added;
    int64_t tokens;
};

static int forward(void *user, struct err *e)
{
    struct call *c = user;
    const struct unet_config *config = unet_config(c->unet);
    int64_t kv = unet_context_size(c->unet, c->tokens);
    struct unet_text texts[2];
    int rc = 0;

    for (int64_t i = 0; i < c->extent.n; i++) {
        struct act *added = act_at(c->ops, c->added, i * config->time_width);
        struct act *own = act_at(c->ops, c->kv, i * kv);

        texts[i] = (struct unet_text){.kv = own, .tokens = c->tokens};
        TRY(unet_context(c->unet, own, c->text + i * c->tokens * config->text_width, c->tokens, e));
        if (config->pooled_width == 0)
            continue;
        texts[i].added = added;
        TRY(unet_added(c->unet, added, c->pooled + i * config->pooled_width,
                       c->time_ids + i * UNET_TIME_IDS, e));
    }
    TRY(unet_forward(c->ops, c->unet, c->y, c->x, &c->extent, c->t, texts, e));
out:
    return rc;
}

/* Memory for what a call computes: y of n numbers, and the text's. */
static void call_alloc(struct call *c, size_t n)
{
    c->y = calloc(n, sizeof *c->y);
    assert_non_null(c->y);
    c->kv = act_memory(c->ops, c->extent.n * unet_context_size(c->unet, c->tokens));
    c->added = act_memory(c->ops, c->extent.n * unet_config(c->unet)->time_width);
}

static struct unet *open_unet(struct ops *o, const char *model)
{
    struct part p = golden_part(model, "unet");
    struct unet *u = NULL;
    uint64_t bytes = 0;

    assert_ok(unet_open(&p.source, o, 0, &bytes, &u, e));
    part_close(&p);
    return u;
}

/* The array NAMEwhich; caller frees. */
static float *case_floats(const struct weights *w, const char *name, const char *which)
{
    struct tensor t;
    char full[32];

    snprintf(full, sizeof full, "%s%s", name, which);
    return golden_floats(w, full, &t);
}

static float *case_map(const struct weights *w, const char *name, const char *which,
                       struct extent *ret_s, int64_t *ret_channels)
{
    char full[32];

    snprintf(full, sizeof full, "%s%s", name, which);
    return golden_map(w, full, ret_s, ret_channels);
}

static void check_case(struct unet *u, struct ops *o, const struct weights *w, const char *which)
{
    bool sized = unet_config(u)->pooled_width > 0;
    struct call c = {.ops = o, .unet = u, .tokens = 77};
    float *x, *text, *want, *pooled = NULL, *time_ids = NULL;
    struct tensor t;
    int64_t channels;
    char name[32];
    size_t n;
    double error;

    c.x = x = case_map(w, "x", which, &c.extent, &channels);
    assert_int_equal(channels, unet_config(u)->in_channels);
    c.text = text = case_floats(w, "context", which);
    if (sized)
        c.pooled = pooled = case_floats(w, "text_embeds", which);
    if (sized)
        c.time_ids = time_ids = case_floats(w, "time_ids", which);
    want = case_map(w, "y", which, &c.extent, &channels);
    snprintf(name, sizeof name, "t%s", which);
    assert_true(weights_find(w, name, &t));
    c.t = (float)*(const int64_t *)t.data;
    n = (size_t)(extent_rows(&c.extent) * channels);
    call_alloc(&c, n);
    run_planned(o, forward, &c);
    error = relative_l2(c.y, want, n);
    print_message("  y%s %s: %.2e\n", which, o->name, error);
    assert_true(error < NET_TOLERANCE);
    free(x);
    free(text);
    free(pooled);
    free(time_ids);
    free(want);
    free(c.y);
    o->memory_free(o, c.kv);
    o->memory_free(o, c.added);
}

static void check_file(const char *model, const char *file, int backend, const char *const *cases,
                       int n_cases)
{
    struct ops *o = backend_open(backend);
    struct unet *u = open_unet(o, model);
    struct weights *w = NULL;
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/%s", model, file);
    assert_ok(weights_open(path, &w, e));
    print_message("%s\n", model);
    for (int i = 0; i < n_cases; i++)
        check_case(u, o, w, cases[i]);
    unet_close(u);
    weights_close(w);
    o->free(o);
}

static void check_model(const char *model, int backend, int n_cases)
{
    static const char *const cases[] = {"_odd", "0", "1", "2"};

    check_file(model, "unet.safetensors", backend, cases, n_cases);
}

static void sd1_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd1", BACKEND_FAST, 4);
}

/* More rows than the feed-forward takes at once. */
static void feed_forward_in_pieces_equals_diffusers(void **state)
{
    static const char *const cases[] = {"_large"};

    (void)state;
    check_file("sd1", "unet_large.safetensors", BACKEND_FAST, cases, 1);
}

static void sd2_with_linear_projections_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd2", BACKEND_FAST, 4);
}

static void inpainting_with_nine_channels_equals_diffusers(void **state)
{
    (void)state;
    check_model("inpaint", BACKEND_FAST, 4);
}

static void sdxl_with_size_conditioning_equals_diffusers(void **state)
{
    (void)state;
    check_model("sdxl", BACKEND_FAST, 4);
}

/* The oracle backend is slow: one case, the smallest, of two models. */
static void oracle_backend_equals_diffusers(void **state)
{
    (void)state;
    check_model("sd1", 0, 1);
    check_model("sdxl", 0, 1);
}

/* y of a batch of two, or of its sample i alone; caller frees. */
static float *forward_sample(const struct weights *w, struct ops *o, const char *model, int i)
{
    struct call c = {.ops = o, .unet = open_unet(o, model), .t = 500, .tokens = 77};
    int64_t channels, n, text_width = unet_config(c.unet)->text_width;
    int64_t pooled_width = unet_config(c.unet)->pooled_width;
    int64_t first = i < 0 ? 0 : i;
    float *x = case_map(w, "x", "1", &c.extent, &channels);
    float *text = case_floats(w, "context", "1");
    float *pooled = pooled_width > 0 ? case_floats(w, "text_embeds", "1") : NULL;
    float *time_ids = pooled_width > 0 ? case_floats(w, "time_ids", "1") : NULL;

    n = extent_pixels(&c.extent) * channels;
    c.x = x + first * n;
    c.text = text + first * 77 * text_width;
    if (pooled_width > 0) {
        c.pooled = pooled + first * pooled_width;
        c.time_ids = time_ids + first * UNET_TIME_IDS;
    }
    c.extent.n = i < 0 ? 2 : 1;
    call_alloc(&c, (size_t)(c.extent.n * n));
    run_planned(o, forward, &c);
    unet_close(c.unet);
    o->memory_free(o, c.kv);
    o->memory_free(o, c.added);
    free(text);
    free(pooled);
    free(time_ids);
    free(x);
    return c.y;
}

static void check_independence(const char *model, size_t n)
{
    static const int threads[] = {1, 2, 4};
    struct weights *w = NULL;
    float *first = NULL;
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/unet.safetensors", model);
    assert_ok(weights_open(path, &w, e));
    for (int i = 0; i < 3; i++) {
        struct ops *o = NULL;
        float *both, *one, *two;

        assert_ok(ops_cpu_new(threads[i], PRECISION_F32, &o, e));
        both = forward_sample(w, o, model, -1);
        one = forward_sample(w, o, model, 0);
        two = forward_sample(w, o, model, 1);
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

static void sample_does_not_depend_on_its_batch_mate_or_the_threads(void **state)
{
    (void)state;
    check_independence("sd1", 8 * 16 * 4);
    check_independence("sdxl", 16 * 24 * 4);
}

static void weights_are_counted_as_the_backend_holds_them(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct part p = golden_part("sd1", "unet");
        uint64_t bytes = 1000, numbers = 0;
        struct unet *u = NULL;

        for (size_t i = 0; i < weights_count(p.weights); i++) {
            struct tensor t;

            assert_true(weights_find(p.weights, weights_name(p.weights, i), &t));
            numbers += (uint64_t)tensor_count(&t);
        }
        assert_int_equal(unet_open(&p.source, o, 4 * numbers, &bytes, &u, NULL), ERR_OOM);
        assert_int_equal(bytes, 1000);
        assert_int_equal(o->weight_bytes, 0);
        assert_ok(unet_open(&p.source, o, 0, &bytes, &u, e));
        part_close(&p);
        assert_true(bytes - 1000 > o->weight_bytes); /* norms, which are not the backend's */
        assert_in_range(bytes - 1000, 4 * numbers, 4 * numbers + 4 * numbers / 10);
        unet_close(u);
        assert_int_equal(o->weight_bytes, 0);
        o->free(o);
    }
}

/*
 * Of a large picture, in maps of the first level's size and width (64 numbers a pixel): about 4 are
 * kept on the way down, 1 is the map of the way up, 7 are in self-attention (the stream, its norm,
 * queries, keys, values, and keys and values as the kernels want them).
 */
static void memory_of_a_large_picture_is_twelve_maps(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct call c = {.ops = o, .unet = open_unet(o, "sd2"), .extent = {1, 256, 256}, .tokens = 77};
    size_t map = (size_t)256 * 256 * 64 * sizeof(float);
    struct workspace plan;

    (void)state;
    workspace_plan(&plan, o);
    assert_ok(forward(&c, e));
    print_message("  %.2f maps\n", (double)plan.acts.peak / (double)map);
    assert_true((double)plan.acts.peak < 12.5 * (double)map);
    unet_close(c.unet);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_equals_diffusers),
        cmocka_unit_test(feed_forward_in_pieces_equals_diffusers),
        cmocka_unit_test(sd2_with_linear_projections_equals_diffusers),
        cmocka_unit_test(inpainting_with_nine_channels_equals_diffusers),
        cmocka_unit_test(sdxl_with_size_conditioning_equals_diffusers),
        cmocka_unit_test(oracle_backend_equals_diffusers),
        cmocka_unit_test(sample_does_not_depend_on_its_batch_mate_or_the_threads),
        cmocka_unit_test(weights_are_counted_as_the_backend_holds_them),
        cmocka_unit_test(memory_of_a_large_picture_is_twelve_maps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
