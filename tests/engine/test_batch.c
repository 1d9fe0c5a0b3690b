/* Pictures of a batch: each has the bytes that it has alone. */
#include "engine/engine.h"
#include "tests/engine/nets.h"

enum { W = 64, H = 48, N = 3 };

static struct engine *engine_of(const char *model)
{
    static const char *const folders[] = {GOLDEN_DIR "/lora", NULL};
    struct engine *g = NULL;

    assert_ok(engine_open(
        &(struct engine_options){
            .model = model, .lora_folders = folders, .backend = BACKEND_CPU, .threads = 2},
        &g, e));
    return g;
}

/* Prompts of one and of two chunks, with and without guidance, of several parts. */
static void make_renders(struct render r[N])
{
    static char long_prompt[400];

    for (int i = 0; i < 75; i++)
        memcpy(long_prompt + 2 * i, "a ", 3);
    memcpy(long_prompt + 150, "castle", 7);
    for (int i = 0; i < N; i++)
        r[i] = (struct render){.prompt = "a red apple",
                               .negative_prompt = "blurry",
                               .sampler = SAMPLER_EULER_A,
                               .steps = 3,
                               .width = W,
                               .height = H,
                               .cfg_scale = 5,
                               .seed = 7 + i};
    r[1].prompt = long_prompt;
    r[1].guidance_rescale = 0.5;
    r[2].prompt = "[a cat:a dog:2] AND a blue house:0.7";
    r[2].cfg_scale = 1;
    r[2].rng = RNG_NV;
}

/* Together, and each alone: byte for byte. */
static void check(const char *model, struct render r[N])
{
    const struct render *together[N] = {&r[2], &r[0], &r[1]};
    static const int order[N] = {2, 0, 1};
    struct engine *g = engine_of(model);
    struct image batch[N], alone;

    assert_ok(engine_render(g, together, N, batch, e));
    for (int i = 0; i < N; i++) {
        assert_ok(engine_render(g, (const struct render *[]){&r[order[i]]}, 1, &alone, e));
        assert_int_equal(batch[i].width, alone.width);
        assert_int_equal(batch[i].height, alone.height);
        if (memcmp(batch[i].pixels, alone.pixels, (size_t)(3 * alone.width * alone.height)) != 0)
            fail_msg("render %d has other bytes in a batch", order[i]);
        image_done(&alone);
        image_done(&batch[i]);
    }
    engine_close(g);
}

static void
pictures_of_other_prompts_seeds_and_guidance_have_the_bytes_they_have_alone(void **state)
{
    static const enum sampler_id samplers[] = {SAMPLER_EULER_A, SAMPLER_HEUN, SAMPLER_DPMPP_2M_SDE,
                                               SAMPLER_UNIPC};
    struct render r[N];

    (void)state;
    for (size_t k = 0; k < sizeof samplers / sizeof *samplers; k++) {
        make_renders(r);
        for (int i = 0; i < N; i++)
            r[i].sampler = samplers[k];
        check(GOLDEN_DIR "/models/sd1", r);
    }
    make_renders(r);
    check(GOLDEN_DIR "/models/sdxl", r);
}

static void fill(uint8_t *pixels, size_t n, int what)
{
    for (size_t i = 0; i < n; i++)
        pixels[i] = (uint8_t)(i * 7 % 251 * (size_t)(what + 1));
}

static void inpainting_keeps_each_picture_to_its_own_mask(void **state)
{
    static uint8_t pictures[N][W * H * 3], masks[N][W * H];
    static const char *const models[] = {GOLDEN_DIR "/models/sd1", GOLDEN_DIR "/models/inpaint"};
    struct render r[N];

    (void)state;
    for (int m = 0; m < 2; m++) {
        make_renders(r);
        for (int i = 0; i < N; i++) {
            fill(pictures[i], sizeof pictures[i], i);
            memset(masks[i], 0, sizeof masks[i]);
            memset(masks[i] + W * 8 * i, 255, W * 16);
            r[i].denoising_strength = 0.75;
            r[i].init = (struct picture_in){.width = W, .height = H, .pixels = pictures[i]};
            r[i].inpaint.mask = (struct picture_in){.width = W, .height = H, .pixels = masks[i]};
        }
        r[1].inpaint.full_res = true;
        r[2].inpaint.mask.pixels = NULL;
        r[2].inpaint.mask = (struct picture_in){0};
        check(models[m], r);
    }
}

static void second_pass_starts_from_each_pictures_own_latent(void **state)
{
    static const enum upscaler upscalers[] = {UPSCALER_LATENT, UPSCALER_LANCZOS};
    struct render r[N];

    (void)state;
    for (int k = 0; k < 2; k++) {
        make_renders(r);
        for (int i = 0; i < N; i++) {
            r[i].hires = (struct hires){.scale = 1.5, .upscaler = upscalers[k]};
            r[i].denoising_strength = 0.6;
        }
        check(GOLDEN_DIR "/models/sd1", r);
    }
}

static void renders_that_step_or_measure_differently_are_refused(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1");
    struct render r[N], other[6];
    struct image images[2];

    (void)state;
    make_renders(r);
    for (int i = 0; i < 6; i++)
        other[i] = r[1];
    other[0].steps++;
    other[1].width += 8;
    other[2].sampler = SAMPLER_DDIM;
    other[3].eta = (struct optional){true, 0.5};
    other[4].outpaint_left = 8;
    other[5].hires.scale = 2;
    assert_true(render_batches(&r[0], &r[1]));
    for (int i = 0; i < 6; i++) {
        const struct render *both[] = {&r[0], &other[i]};

        assert_false(render_batches(&r[0], &other[i]));
        assert_int_not_equal(engine_render(g, both, 2, images, NULL), 0);
    }
    engine_close(g);
}

static void renders_with_other_loras_are_refused(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1");
    struct render r[N];
    const struct render *both[] = {&r[0], &r[1]};
    struct image images[2];
    struct err why = {0};

    (void)state;
    make_renders(r);
    r[0].prompt = "a pear <lora:lora:0.5>";
    r[1].prompt = "an apple <lora:lora:0.5>";
    assert_ok(engine_render(g, both, 2, images, e));
    image_done(&images[0]);
    image_done(&images[1]);
    r[1].prompt = "an apple <lora:lora:0.6>";
    assert_int_equal(engine_render(g, both, 2, images, &why), ERR_ARG);
    assert_non_null(strstr(why.text, "LoRA"));
    engine_close(g);
}

struct seen {
    int calls, last;
};

static void on_step(void *user, int step, int steps)
{
    struct seen *s = user;

    s->calls++;
    s->last = step;
    assert_int_equal(steps, 3);
}

static void every_render_hears_of_its_steps_and_one_that_is_cancelled_ends_all(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1");
    struct seen seen[N] = {0};
    struct render r[N];
    const struct render *all[] = {&r[0], &r[1], &r[2]};
    struct image images[N];
    atomic_bool cancel = true;

    (void)state;
    make_renders(r);
    for (int i = 0; i < N; i++) {
        r[i].progress = on_step;
        r[i].user = &seen[i];
    }
    assert_ok(engine_render(g, all, N, images, e));
    for (int i = 0; i < N; i++) {
        assert_int_equal(seen[i].calls, 3);
        assert_int_equal(seen[i].last, 3);
        image_done(&images[i]);
    }
    r[2].cancel = &cancel;
    assert_int_equal(engine_render(g, all, N, images, NULL), ERR_CANCELLED);
    assert_int_equal(seen[0].calls, 3);
    engine_close(g);
}

static void a_batch_takes_less_memory_than_its_pictures_one_by_one(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1");
    struct render r[N];
    const struct render *all[] = {&r[0], &r[0], &r[0]};
    uint64_t one, three, weights;

    (void)state;
    make_renders(r);
    assert_ok(engine_plan(g, all, 1, &one, e));
    assert_ok(engine_plan(g, all, 3, &three, e));
    weights = engine_weight_bytes(g);
    assert_true(three > one);
    assert_true(three - weights < 3 * (one - weights));
    assert_int_equal(engine_plan(g, all, 0, &one, NULL), ERR_ARG);
    assert_int_equal(engine_plan(g, all, ENGINE_BATCH_MAX + 1, &one, NULL), ERR_ARG);
    engine_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            pictures_of_other_prompts_seeds_and_guidance_have_the_bytes_they_have_alone),
        cmocka_unit_test(inpainting_keeps_each_picture_to_its_own_mask),
        cmocka_unit_test(second_pass_starts_from_each_pictures_own_latent),
        cmocka_unit_test(renders_that_step_or_measure_differently_are_refused),
        cmocka_unit_test(renders_with_other_loras_are_refused),
        cmocka_unit_test(every_render_hears_of_its_steps_and_one_that_is_cancelled_ends_all),
        cmocka_unit_test(a_batch_takes_less_memory_than_its_pictures_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
