/* The final latent, before the VAE, against diffusers: it shows what 8 bits hide. */
#include "engine/pipeline.h"
#include "tests/engine/folders.h"

static void check_latent(struct model *m, const char *model, const char *name,
                         enum sampler_id sampler, enum scheduler_id scheduler, double cfg_scale)
{
    struct render r = {.prompt = "cute sticker of a fox, soft studio light",
                       .negative_prompt = "blurry, low quality",
                       .sampler = sampler,
                       .scheduler = scheduler,
                       .steps = 6,
                       .width = 96,
                       .height = 64,
                       .cfg_scale = cfg_scale,
                       .seed = 65};
    struct prompts prompts = {0};
    struct weights *w = NULL;
    struct arena arena;
    struct tensor t;
    char path[FOLDER_SIZE];
    float *want, got[4 * 8 * 12];
    size_t bytes;
    double error;

    snprintf(path, sizeof path, GOLDEN_DIR "/images/%s/%s.safetensors", model, name);
    assert_ok(weights_open(path, &w, e));
    want = golden_floats(w, "latent", &t);
    assert_int_equal(tensor_count(&t), 4 * 8 * 12);
    assert_ok(pipeline_plan(m, &r, &bytes, e));
    assert_ok(arena_init(&arena, bytes, e));
    assert_ok(pipeline_latent(m, &prompts, &arena, &r, got, e));
    assert_int_equal(arena.used, 0);
    error = relative_l2(got, want, 4 * 8 * 12);
    print_message("%s %s %s: %.2e\n", model, name, m->ops->name, error);
    assert_true(error < NET_TOLERANCE);
    arena_done(&arena);
    prompts_done(&prompts);
    free(want);
    weights_close(w);
}

static void check_model(const char *model)
{
    for (int b = 0; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct model *m = NULL;
        char folder[FOLDER_SIZE];

        snprintf(folder, sizeof folder, GOLDEN_DIR "/models/%s", model);
        assert_ok(model_open(folder, o, 0, &m, e));
        check_latent(m, model, "txt2img-ddim", SAMPLER_DDIM, SCHEDULER_UNIFORM, 6);
        if (b != 0) { /* ref is slow, and the samplers are the same code */
            check_latent(m, model, "txt2img-euler", SAMPLER_EULER, SCHEDULER_UNIFORM, 6);
            check_latent(m, model, "txt2img-euler_a", SAMPLER_EULER_A, SCHEDULER_AUTOMATIC, 6);
            check_latent(m, model, "txt2img-dpmpp_2m_karras", SAMPLER_DPMPP_2M, SCHEDULER_KARRAS,
                         6);
        }
        model_close(m);
        o->free(o);
    }
}

static void latents_of_sd1_equal_diffusers(void **state)
{
    (void)state;
    check_model("sd1");
}

static void latents_of_sd2_with_v_prediction_equal_diffusers(void **state)
{
    (void)state;
    check_model("sd2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latents_of_sd1_equal_diffusers),
        cmocka_unit_test(latents_of_sd2_with_v_prediction_equal_diffusers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
