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

static void kept_prompts_equal_computed_ones(void **state)
{
    struct ops *o = backend_open(0);
    struct prompts prompts = {0};
    struct model *m = NULL;
    struct arena plan, arena;
    float first[77 * 32], again[77 * 32];
    char text[32];

    (void)state;
    assert_ok(model_open(GOLDEN_DIR "/models/sd1", o, 0, &m, e));
    arena_plan(&plan);
    o->arena = &plan;
    o->planning = true;
    assert_ok(prompts_plan(m, first, e));
    o->planning = false;
    assert_ok(arena_init(&arena, plan.peak, e));
    o->arena = &arena;
    assert_ok(prompts_get(&prompts, m, "a red apple", first, e));
    assert_ok(prompts_get(&prompts, m, "a red apple", again, e)); /* kept */
    assert_memory_equal(first, again, sizeof first);
    for (int i = 0; i < PROMPTS_MAX; i++) { /* pushes the first one out */
        snprintf(text, sizeof text, "apple %d", i);
        assert_ok(prompts_get(&prompts, m, text, again, e));
        assert_memory_not_equal(first, again, sizeof first);
    }
    for (int i = 0; i < PROMPTS_MAX; i++)
        assert_string_not_equal(prompts.kept[i].text, "a red apple");
    assert_ok(prompts_get(&prompts, m, "a red apple", again, e)); /* computed again */
    assert_memory_equal(first, again, sizeof first);
    prompts_done(&prompts);
    arena_done(&arena);
    model_close(m);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latents_of_sd1_equal_diffusers),
        cmocka_unit_test(latents_of_sd2_with_v_prediction_equal_diffusers),
        cmocka_unit_test(kept_prompts_equal_computed_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
