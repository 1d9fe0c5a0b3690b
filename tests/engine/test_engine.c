/* Whole pictures: equal to diffusers, to themselves, and refused where they must be. */
#include "engine/engine.h"
#include "proto/png.h"
#include "tests/engine/folders.h"
#include "tests/engine/small_render.h"

static struct engine *engine_of(const char *folder, enum backend backend, int threads)
{
    struct engine_options o = {.model = folder, .backend = backend, .threads = threads};
    struct engine *g = NULL;

    assert_ok(engine_open(&o, &g, e));
    return g;
}

static struct image render_of(struct engine *g, const struct render *r)
{
    struct image image = {0};

    assert_ok(engine_render(g, (const struct render *[]){r}, 1, &image, e));
    assert_int_equal(image.width, r->width);
    assert_int_equal(image.height, r->height);
    return image;
}

static void assert_same_pixels(const struct image *a, const struct image *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_memory_equal(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3);
}

static bool same_pixels(const struct image *a, const struct image *b)
{
    return a->width == b->width && a->height == b->height &&
           memcmp(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3) == 0;
}

static void threads_do_not_change_a_bit(void **state)
{
    static const int threads[] = {1, 2, 4};
    struct render r = small_render(2, 64, 48);
    struct image first = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, threads[i]);
        struct image image = render_of(g, &r);

        if (i == 0)
            first = image;
        else
            assert_same_pixels(&image, &first);
        if (i != 0)
            image_done(&image);
        engine_close(g);
    }
    image_done(&first);
}

static void what_was_rendered_before_does_not_change_a_bit(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd2", BACKEND_CPU, 2);
    struct render r = small_render(2, 64, 48), other = small_render(2, 64, 48);
    struct image first = render_of(g, &r), between, again;

    (void)state;
    other.width = 104; /* a latent of 13 x 9 */
    other.height = 72;
    other.sampler = SAMPLER_EULER_A;
    other.prompt = "a castle at night";
    between = render_of(g, &other);
    again = render_of(g, &r);
    assert_same_pixels(&first, &again);
    image_done(&first);
    image_done(&between);
    image_done(&again);
    engine_close(g);
}

static void seed_prompt_and_negative_prompt_change_the_picture(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 2);
    struct render r = small_render(2, 64, 48);
    struct image image[4];

    (void)state;
    image[0] = render_of(g, &r);
    r.seed++;
    image[1] = render_of(g, &r);
    r.seed--;
    r.prompt = "a castle at night";
    image[2] = render_of(g, &r);
    r.prompt = small_render(2, 64, 48).prompt;
    r.negative_prompt = "text";
    image[3] = render_of(g, &r);
    for (int i = 1; i < 4; i++)
        assert_false(same_pixels(&image[0], &image[i]));
    for (int i = 0; i < 4; i++)
        image_done(&image[i]);
    engine_close(g);
}

static void without_guidance_the_negative_prompt_is_not_used(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 2);
    struct render r = small_render(2, 64, 48);
    struct image a, b;

    (void)state;
    r.cfg_scale = 1;
    a = render_of(g, &r);
    r.negative_prompt = NULL;
    b = render_of(g, &r);
    assert_same_pixels(&a, &b);
    image_done(&a);
    image_done(&b);
    engine_close(g);
}

static void prompt_past_75_tokens_goes_on_in_another_chunk(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 2);
    struct render r = small_render(2, 64, 48);
    struct image a, b;
    char text[2 * 75 + 64];

    (void)state;
    for (int i = 0; i < 75; i++)
        memcpy(text + 2 * i, "a ", 3);
    snprintf(text + 2 * 75, 64, "castle at night"); /* the same words again would add nothing */
    r.prompt = text;
    a = render_of(g, &r);
    text[2 * 75] = 0; /* what fits between the two specials */
    b = render_of(g, &r);
    assert_false(same_pixels(&a, &b));
    image_done(&a);
    image_done(&b);
    engine_close(g);
}

/* Texts that older files have for the same numbers. */
static void text_model_prefix(const char *name, char ret_name[256])
{
    snprintf(ret_name, 256, "text_model.%s", name);
}

static void old_attention_names(const char *name, char ret_name[256])
{
    static const char *const pairs[][2] = {
        {"to_q.", "query."}, {"to_k.", "key."}, {"to_v.", "value."}, {"to_out.0.", "proj_attn."}};

    for (int i = 0; i < 4; i++) {
        const char *at = strstr(name, pairs[i][0]);

        if (at != NULL)
            snprintf(ret_name, 256, "%.*s%s%s", (int)(at - name), name, pairs[i][1],
                     at + strlen(pairs[i][0]));
    }
}

static void older_names_and_float32_files_give_the_same_picture(void **state)
{
    static const struct {
        const char *file;
        struct rewrite how;
    } cases[] = {
        {"text_encoder/model.safetensors", {.rename = text_model_prefix}},
        {"vae/diffusion_pytorch_model.safetensors", {.rename = old_attention_names}},
        {"vae/diffusion_pytorch_model.safetensors",
         {.rename = old_attention_names, .convolution = true}},
        {"unet/diffusion_pytorch_model.safetensors", {.float32 = true}},
    };
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 2);
    struct render r = small_render(2, 64, 48);
    struct image want = render_of(g, &r), image;
    char folder[FOLDER_SIZE];

    (void)state;
    engine_close(g);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_make(folder, "sd1", "names");
        folder_rewrite(folder, cases[i].file, &cases[i].how);
        g = engine_of(folder, BACKEND_CPU, 2);
        image = render_of(g, &r);
        assert_same_pixels(&image, &want);
        image_done(&image);
        engine_close(g);
    }
    folder_remove(folder);
    image_done(&want);
}

struct watch {
    atomic_bool cancel;
    int stop_at, calls;
};

static void on_step(void *user, int step, int steps)
{
    struct watch *w = user;

    w->calls++;
    assert_int_equal(step, w->calls);
    assert_int_equal(steps, 4);
    if (step == w->stop_at)
        atomic_store(&w->cancel, true);
}

static void progress_counts_steps_and_cancel_stops(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 2);
    struct watch w = {.stop_at = 99};
    struct render r = small_render(2, 64, 48);
    struct image image, none = {0};
    struct err why = {0};

    (void)state;
    r.steps = 4;
    r.progress = on_step;
    r.user = &w;
    r.cancel = &w.cancel;
    image = render_of(g, &r);
    assert_int_equal(w.calls, 4);
    image_done(&image);
    w.calls = 0;
    w.stop_at = 2;
    assert_int_equal(engine_render(g, (const struct render *[]){&r}, 1, &none, &why),
                     ERR_CANCELLED);
    assert_int_equal(w.calls, 2);
    assert_int_equal(engine_render(g, (const struct render *[]){&r}, 1, &none, &why),
                     ERR_CANCELLED); /* before it begins */
    assert_int_equal(w.calls, 2);
    assert_null(none.pixels);
    engine_close(g);
}

static void renders_that_cannot_be_are_refused_with_the_reason(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 1);
    struct render r[7];
    struct image image;
    struct err why;
    uint64_t bytes;

    (void)state;
    for (int i = 0; i < 7; i++)
        r[i] = small_render(2, 64, 48);
    r[0].width = 60;
    r[1].height = 0;
    r[2].width = 1 << 20;
    r[3].steps = 0;
    r[4].sampler = SAMPLER_DDIM;
    r[4].scheduler = SCHEDULER_KARRAS;
    r[5].cfg_scale = NAN;
    r[6].steps = 1001;
    for (int i = 0; i < 7; i++) {
        why = (struct err){0};
        assert_int_equal(engine_plan(g, (const struct render *[]){&r[i]}, 1, &bytes, &why),
                         ERR_INPUT);
        assert_int_not_equal(why.text[0], 0);
        assert_int_equal(engine_render(g, (const struct render *[]){&r[i]}, 1, &image, &why),
                         ERR_INPUT);
    }
    engine_close(g);
}

static void plan_grows_with_the_picture_and_the_budget_is_kept(void **state)
{
    struct engine_options o = {
        .model = GOLDEN_DIR "/models/sd1", .backend = BACKEND_CPU, .threads = 1};
    struct render r = small_render(2, 64, 48);
    struct engine *g = engine_of(o.model, BACKEND_CPU, 1);
    uint64_t small, large;
    struct image image;
    struct err why = {0};

    (void)state;
    assert_ok(engine_plan(g, (const struct render *[]){&r}, 1, &small, e));
    r.width = 256;
    assert_ok(engine_plan(g, (const struct render *[]){&r}, 1, &large, e));
    assert_true(large > small);
    engine_close(g);

    o.memory_bytes = small;
    assert_ok(engine_open(&o, &g, e));
    assert_int_equal(engine_render(g, (const struct render *[]){&r}, 1, &image, &why), ERR_OOM);
    assert_non_null(strstr(why.text, "budget"));
    r.width = small_render(2, 64, 48).width;
    image = render_of(g, &r);
    image_done(&image);
    engine_close(g);

    o.memory_bytes = 1 << 20;
    assert_int_equal(engine_open(&o, &g, &why), ERR_OOM);
    assert_non_null(strstr(why.text, "budget"));
}

static void numbers_that_are_not_finite_are_bad_output(void **state)
{
    static const char *const files[][2] = {
        {"unet/diffusion_pytorch_model.safetensors", "conv_out.bias"},
        {"vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias"}};
    static const unsigned char nan16[2] = {0x00, 0x7e};
    struct render r = small_render(2, 64, 48);
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct buf file = {0};
        struct engine *g;
        struct image image;
        struct err why;

        folder_make(folder, "sd1", "nan");
        snprintf(path, sizeof path, "%s/%s", folder, files[i][0]);
        read_file(path, &file);
        memcpy(file.data + tensor_place(&file, files[i][1]), nan16, sizeof nan16);
        write_file(path, file.data, file.size);
        g = engine_of(folder, BACKEND_CPU, 1);
        assert_int_equal(engine_render(g, (const struct render *[]){&r}, 1, &image, &why),
                         ERR_OUTPUT);
        assert_non_null(strstr(why.text, i == 0 ? "U-Net" : "VAE"));
        engine_close(g);
        buf_done(&file);
    }
    folder_remove(folder);
}

static void files_are_named_with_their_hashes(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_REF, 1);
    char path[FOLDER_SIZE], hex[HASH_HEX_SIZE];
    const struct model_file *files;
    size_t n;

    (void)state;
    assert_ok(engine_files(g, &files, &n, e));
    assert_int_equal(n, 12);
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || strcmp(files[i - 1].path, files[i].path) < 0);
        snprintf(path, sizeof path, GOLDEN_DIR "/models/sd1/%s", files[i].path);
        assert_ok(hash_file(path, hex, e));
        assert_string_equal(hex, files[i].sha256);
    }
    assert_ok(engine_model_hash(g, hex, e));
    assert_string_equal(files[9].path, "unet/diffusion_pytorch_model.safetensors");
    assert_string_equal(hex, files[9].sha256);
    engine_close(g);
}

static void probed_class_is_the_class_of_the_engine(void **state)
{
    struct engine *g = engine_of(GOLDEN_DIR "/models/sd1", BACKEND_CPU, 1);
    struct engine_offer offers[PRECISION_COUNT];
    size_t n = 0;

    (void)state;
    assert_string_equal(engine_probe_class(BACKEND_CPU, PRECISION_F32), engine_device_class(g));
    assert_string_equal(engine_probe_class(BACKEND_REF, PRECISION_F32), "ref");
    assert_int_equal(engine_computes(g, PRECISION_F32), PRECISION_F32);
    assert_int_equal(engine_computes(g, PRECISION_F16), PRECISION_COUNT);
    assert_int_equal(engine_offers(BACKEND_CPU, 0, offers, &n, NULL), 0);
    assert_int_equal(n, 3); /* f16 is for cards */
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(offers[i].computed, engine_computes(g, offers[i].asked));
        assert_string_equal(offers[i].device_class,
                            engine_probe_class(BACKEND_CPU, offers[i].asked));
    }
    engine_close(g);
}

static void shipped_model_draws_on_the_named_ground(void **state)
{
    struct render r = {.prompt = "a pizza on a blue background",
                       .negative_prompt = "blurry",
                       .sampler = SAMPLER_DPMPP_2M,
                       .scheduler = SCHEDULER_AUTOMATIC,
                       .steps = 15,
                       .width = 128,
                       .height = 128,
                       .cfg_scale = 4,
                       .seed = 1};
    struct engine *g = engine_of(SOURCE_DIR "/models/sticker-128", BACKEND_CPU, 2);
    struct image image = render_of(g, &r);
    int corners[4] = {8 * 128 + 8, 8 * 128 + 119, 119 * 128 + 8, 119 * 128 + 119};
    struct buf file = {0};

    (void)state;
    assert_ok(png_encode(image.pixels, 128, 128, NULL, 0, &file, e));
    write_file(BINARY_DIR "/pizza.png", file.data, file.size);
    for (int i = 0; i < 4; i++) {
        const uint8_t *p = image.pixels + 3 * corners[i];

        assert_true(p[2] > p[0] + 40 && p[2] > p[1] + 40);
    }
    /* Cheese and tomato in the middle are anything but blue. */
    assert_true(image.pixels[3 * (64 * 128 + 64)] > image.pixels[3 * (64 * 128 + 64) + 2]);
    assert_false(image.black);
    buf_done(&file);
    image_done(&image);
    engine_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(what_was_rendered_before_does_not_change_a_bit),
        cmocka_unit_test(seed_prompt_and_negative_prompt_change_the_picture),
        cmocka_unit_test(without_guidance_the_negative_prompt_is_not_used),
        cmocka_unit_test(prompt_past_75_tokens_goes_on_in_another_chunk),
        cmocka_unit_test(older_names_and_float32_files_give_the_same_picture),
        cmocka_unit_test(progress_counts_steps_and_cancel_stops),
        cmocka_unit_test(renders_that_cannot_be_are_refused_with_the_reason),
        cmocka_unit_test(plan_grows_with_the_picture_and_the_budget_is_kept),
        cmocka_unit_test(numbers_that_are_not_finite_are_bad_output),
        cmocka_unit_test(files_are_named_with_their_hashes),
        cmocka_unit_test(probed_class_is_the_class_of_the_engine),
        cmocka_unit_test(shipped_model_draws_on_the_named_ground),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
