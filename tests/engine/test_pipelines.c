/* Renders of every kind: sizes, progress, what stays to the bit, and what is refused. */
#include "engine/engine.h"
#include "engine/pipeline/pixels.h"
#include "tests/engine/cases.h"

static struct engine *sd1_engine(void)
{
    struct engine_options o = {
        .model = GOLDEN_DIR "/models/sd1", .backend = BACKEND_CPU, .threads = 2};
    struct engine *g = NULL;

    assert_ok(engine_open(&o, &g, e));
    return g;
}

static struct render two_steps(void)
{
    return (struct render){.prompt = "a red apple",
                           .sampler = SAMPLER_EULER,
                           .steps = 2,
                           .width = 64,
                           .height = 48,
                           .cfg_scale = 1,
                           .denoising_strength = 1,
                           .seed = 7};
}

/* A picture of `channels`, 80 x 56, all different numbers; a mask has a white box in the middle. */
static struct picture_in drawn(uint8_t *room, int channels)
{
    for (int i = 0; i < 80 * 56 * channels; i++) {
        int x = i % 80, y = i / 80;

        room[i] = channels == 3 ? (uint8_t)(i * 7 + i / 240)
                                : (x >= 30 && x < 50 && y >= 20 && y < 40 ? 255 : 0);
    }
    return (struct picture_in){80, 56, room};
}

static void assert_size(const struct render *r, int width, int height)
{
    int w, h;

    render_size(r, &w, &h);
    assert_int_equal(w, width);
    assert_int_equal(h, height);
}

static void size_of_the_picture_is_known_from_what_is_asked_for(void **state)
{
    static uint8_t room[80 * 56 * 3];
    struct render r = two_steps();

    (void)state;
    assert_size(&r, 64, 48);
    r.hires.scale = 1.3; /* 83.2 x 62.4 */
    assert_size(&r, 80, 56);
    r.hires.width = 128;
    assert_size(&r, 128, 96);
    r.hires.height = 120;
    assert_size(&r, 128, 120);
    r.hires.width = 0;
    assert_size(&r, 160, 120);
    r.hires = (struct hires){0};
    r.outpaint_left = 8;
    r.outpaint_bottom = 16;
    assert_size(&r, 72, 64);
    r.outpaint_left = r.outpaint_bottom = 0;
    r.init = drawn(room, 3);
    assert_size(&r, 64, 48);
    r.inpaint.full_res = true;
    assert_size(&r, 80, 56);
}

struct seen {
    int calls, steps;
};

static void on_step(void *user, int step, int steps)
{
    struct seen *s = user;

    assert_int_equal(step, ++s->calls);
    s->steps = steps;
}

static void progress_counts_users_steps_over_all_passes(void **state)
{
    static const struct {
        enum sampler_id sampler;
        double hires, strength;
        int second, steps; /* second: steps asked for */
    } cases[] = {{SAMPLER_HEUN, 0, 1, 0, 3},
                 {SAMPLER_EULER, 1.5, 0.5, 4, 5},
                 {SAMPLER_HEUN, 1.5, 0.7, 0, 5}};
    struct engine *g = sd1_engine();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct render r = two_steps();
        struct seen seen = {0};
        struct image image = {0};

        r.steps = 3;
        r.sampler = cases[i].sampler;
        r.hires.scale = cases[i].hires;
        r.hires.steps = cases[i].second;
        r.denoising_strength = cases[i].strength;
        r.progress = on_step;
        r.user = &seen;
        assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
        assert_int_equal(seen.calls, cases[i].steps);
        assert_int_equal(seen.steps, cases[i].steps);
        image_done(&image);
    }
    engine_close(g);
}

/* How many pixels differ from the original, none of them outside the box. */
static int changed_inside(const struct image *image, const uint8_t *original, int width,
                          const struct box *box)
{
    int n = 0;

    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            bool inside = x >= box->left && x < box->right && y >= box->top && y < box->bottom;
            bool same = memcmp(image->pixels + 3 * (y * image->width + x),
                               original + 3 * (y * width + x), 3) == 0;

            if (!same && !inside)
                fail_msg("pixel %d, %d outside the mask is another", x, y);
            n += !same;
        }
    return n;
}

static void outside_a_blurred_mask_the_original_stays_to_the_bit(void **state)
{
    static uint8_t room[80 * 56 * 3], grey[80 * 56];
    struct engine *g = sd1_engine();
    struct render r = two_steps();
    struct image image = {0};
    struct box box = {30 - 5, 20 - 5, 50 + 5, 40 + 5}; /* 2.5 times the blur around the mask */

    (void)state;
    r.init = drawn(room, 3);
    r.inpaint.mask = drawn(grey, 1);
    r.inpaint.blur = 2;
    for (int full_res = 0; full_res < 2; full_res++) {
        r.inpaint.full_res = full_res != 0;
        r.width = full_res ? 64 : 80;
        r.height = full_res ? 64 : 56;
        assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
        assert_int_equal(image.width, 80);
        assert_true(changed_inside(&image, room, 80, &box) > 300);
        image_done(&image);
    }
    engine_close(g);
}

static void outpainting_keeps_the_old_picture_to_the_bit(void **state)
{
    static uint8_t room[80 * 56 * 3], wide[96 * 56 * 3];
    struct engine *g = sd1_engine();
    struct render r = two_steps();
    struct image image = {0};
    struct box border = {0, 0, 16, 56};

    (void)state;
    r.init = drawn(room, 3);
    r.width = 80;
    r.height = 56;
    r.outpaint_left = 16;
    for (int y = 0; y < 56; y++)
        memcpy(wide + 3 * (y * 96 + 16), room + 3 * y * 80, 3 * 80);
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
    assert_int_equal(image.width, 96);
    assert_true(changed_inside(&image, wide, 96, &border) > 300);
    image_done(&image);
    engine_close(g);
}

static void kinds_of_renders_between_do_not_change_a_bit(void **state)
{
    static uint8_t room[80 * 56 * 3], grey[80 * 56];
    struct engine *g = sd1_engine();
    struct render plain = two_steps(), other[3];
    struct image first = {0}, again = {0}, between = {0};

    (void)state;
    for (int i = 0; i < 3; i++)
        other[i] = plain;
    other[0].hires.scale = 2;
    other[1].init = other[2].init = drawn(room, 3);
    other[1].inpaint.mask = drawn(grey, 1);
    other[1].inpaint.full_res = true;
    other[2].vae_tile = 64;
    other[2].prompt = "cat AND dog :0.5";
    assert_ok(engine_render(g, (const struct render *[]){&plain}, 1, &first, e));
    for (int i = 0; i < 3; i++) {
        assert_ok(engine_render(g, (const struct render *[]){&other[i]}, 1, &between, e));
        image_done(&between);
        assert_ok(engine_render(g, (const struct render *[]){&plain}, 1, &again, e));
        assert_memory_equal(first.pixels, again.pixels, 64 * 48 * 3);
        image_done(&again);
    }
    image_done(&first);
    engine_close(g);
}

static void variation_goes_from_one_seeds_picture_to_the_others(void **state)
{
    static uint8_t room[80 * 56 * 3];
    struct engine *g = sd1_engine();
    struct image one = {0}, two = {0}, mixed = {0};

    (void)state;
    for (int from_picture = 0; from_picture < 2; from_picture++) {
        struct render r = two_steps();

        if (from_picture)
            r.init = drawn(room, 3);
        r.denoising_strength = 0.9;
        r.steps = 4;
        assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &one, e));
        r.subseed = 99;
        r.subseed_strength = 1;
        assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &mixed, e));
        r.subseed_strength = 0;
        r.seed = 99;
        assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &two, e));
        assert_memory_not_equal(one.pixels, two.pixels, 64 * 48 * 3);
        if (!from_picture) /* else the encoder's noise stays the first seed's */
            assert_memory_equal(mixed.pixels, two.pixels, 64 * 48 * 3);
        assert_memory_not_equal(mixed.pixels, one.pixels, 64 * 48 * 3);
        image_done(&one);
        image_done(&two);
        image_done(&mixed);
    }
    engine_close(g);
}

static void what_does_not_go_together_is_refused_with_the_reason(void **state)
{
    static uint8_t room[80 * 56 * 3], grey[80 * 56], black[80 * 56];
    struct picture_in init = drawn(room, 3), mask = drawn(grey, 1);
    struct engine *g = sd1_engine();
    struct {
        struct render r;
        const char *reason;
    } c[25];
    int n = 0;

    (void)state;
    for (int i = 0; i < 25; i++)
        c[i].r = two_steps();
#define WISH(set, why)                                                                             \
    do {                                                                                           \
        struct render *r = &c[n].r;                                                                \
        set;                                                                                       \
        c[n++].reason = why;                                                                       \
    } while (0)
    WISH(r->inpaint.mask = mask, "a mask needs an init_image");
    WISH(r->inpaint.full_res = true, "needs a mask");
    WISH(r->outpaint_left = 8, "needs an init_image");
    WISH((r->init = init, r->outpaint_left = 12), "multiple of 8");
    WISH((r->init = init, r->outpaint_top = -8), "multiple of 8");
    WISH((r->init = init, r->outpaint_right = INT_MAX - 7), "multiple of 8");
    WISH((r->init = init, r->inpaint.mask = mask, r->inpaint.full_res = true, r->outpaint_top = 8),
         "do not go together");
    WISH((r->init = init, r->inpaint.mask = mask, r->inpaint.mask.width = 40),
         "the mask has 40 x 56 pixels, its init_image 80 x 56");
    WISH((r->init = init, r->inpaint.mask = mask, r->inpaint.blur = 65), "mask_blur");
    WISH((r->init = init, r->inpaint.mask = mask, r->inpaint.blur = (double)NAN), "mask_blur");
    WISH((r->init = init, r->inpaint.mask = mask, r->inpaint.full_res_padding = -1), "padding");
    WISH((r->init = init, r->inpaint.mask = mask, r->inpaint.mask.pixels = black,
          r->inpaint.full_res = true),
         "nothing to repaint");
    WISH((r->init = init, r->denoising_strength = 0), "denoising_strength");
    WISH((r->init = init, r->denoising_strength = 1.1), "denoising_strength");
    WISH((r->init = init, r->denoising_strength = 0.4), "leaves no step");
    WISH((r->init = init, r->hires.scale = 2), "hires fix is of text to picture");
    WISH(r->hires.scale = 0.5, "hr_scale");
    WISH(r->hires.scale = 17, "hr_scale");
    WISH(r->hires.width = 60, "multiples of 8");
    WISH((r->hires.scale = 2, r->denoising_strength = 0), "denoising_strength");
    WISH((r->width = 16384, r->hires.scale = 2), "16384");
    WISH(r->vae_tile = 96, "vae_tile");
    WISH(r->guidance_rescale = 1.5, "guidance_rescale");
    WISH(r->clip_skip = 40, "clip_skip");
    WISH(r->prompt = "a (red:1.2.3) <lora:x:much>", "prompt, column");
#undef WISH
    assert_int_equal(n, 25);
    for (int i = 0; i < n; i++) {
        struct err why = {0};
        uint64_t bytes;
        struct image image;

        if (c[i].r.inpaint.mask.pixels == black) /* of a plan it is a mask yet unknown */
            assert_ok(engine_plan(g, (const struct render *[]){&c[i].r}, 1, &bytes, e));
        else
            assert_int_equal(engine_plan(g, (const struct render *[]){&c[i].r}, 1, &bytes, &why),
                             ERR_INPUT);
        why = (struct err){0};
        assert_int_equal(engine_render(g, (const struct render *[]){&c[i].r}, 1, &image, &why),
                         ERR_INPUT);
        if (strstr(why.text, c[i].reason) == NULL)
            fail_msg("%d: %s", i, why.text);
    }
    engine_close(g);
}

/* A copy of sd1 with float16 numbers of one tensor set. */
static struct engine *changed_engine(char folder[FOLDER_SIZE], const char *file, const char *tensor,
                                     uint16_t number, size_t n)
{
    struct engine_options o = {.model = folder, .backend = BACKEND_CPU, .threads = 2};
    char path[2 * FOLDER_SIZE];
    struct buf data = {0};
    struct engine *g = NULL;

    folder_make(folder, "sd1", "numbers");
    snprintf(path, sizeof path, "%s/%s", folder, file);
    read_file(path, &data);
    for (size_t i = 0; i < n; i++)
        memcpy(data.data + tensor_place(&data, tensor) + 2 * i, &number, sizeof number);
    write_file(path, data.data, data.size);
    buf_done(&data);
    assert_ok(engine_open(&o, &g, e));
    return g;
}

static void an_encoder_without_numbers_is_bad_output(void **state)
{
    static uint8_t room[80 * 56 * 3];
    struct render r = two_steps();
    char folder[FOLDER_SIZE];
    struct engine *g = changed_engine(folder, "vae/diffusion_pytorch_model.safetensors",
                                      "encoder.conv_out.bias", 0x7e00, 1);
    struct image image;
    struct err why;

    (void)state;
    r.init = drawn(room, 3);
    assert_int_equal(engine_render(g, (const struct render *[]){&r}, 1, &image, &why), ERR_OUTPUT);
    assert_non_null(strstr(why.text, "encoder"));
    engine_close(g);
    folder_remove(folder);
}

static void an_all_black_picture_is_told(void **state)
{
    struct render r = two_steps();
    char folder[FOLDER_SIZE];
    struct engine *g = changed_engine(folder, "vae/diffusion_pytorch_model.safetensors",
                                      "decoder.conv_out.bias", 0xfb00, 3); /* -57344 */
    struct image image = {0};

    (void)state;
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
    assert_true(image.black);
    image_done(&image);
    engine_close(g);
    folder_remove(folder);
}

static void embeddings_of_the_prompt_are_told_with_their_hashes(void **state)
{
    static const char *const folders[] = {GOLDEN_DIR "/embedding", NULL};
    struct engine_options o = {.model = GOLDEN_DIR "/models/sd1",
                               .embedding_folders = folders,
                               .backend = BACKEND_CPU,
                               .threads = 2};
    const struct embedding_info *infos;
    struct image plain = {0}, with = {0};
    struct render r = two_steps();
    char hex[HASH_HEX_SIZE];
    struct engine *g = NULL;
    size_t n;

    (void)state;
    assert_ok(engine_open(&o, &g, e));
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &plain, e));
    assert_ok(engine_embeddings(g, 0, &infos, &n, e));
    assert_int_equal(n, 0);
    r.prompt = "a red apple mystyle";
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &with, e));
    assert_ok(engine_embeddings(g, 0, &infos, &n, e));
    assert_int_equal(n, 1);
    assert_string_equal(infos[0].name, "mystyle");
    assert_ok(hash_file(GOLDEN_DIR "/embedding/mystyle.safetensors", hex, e));
    assert_string_equal(infos[0].sha256, hex);
    assert_memory_not_equal(plain.pixels, with.pixels, 64 * 48 * 3);
    image_done(&plain);
    image_done(&with);
    engine_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_of_the_picture_is_known_from_what_is_asked_for),
        cmocka_unit_test(progress_counts_users_steps_over_all_passes),
        cmocka_unit_test(outside_a_blurred_mask_the_original_stays_to_the_bit),
        cmocka_unit_test(outpainting_keeps_the_old_picture_to_the_bit),
        cmocka_unit_test(kinds_of_renders_between_do_not_change_a_bit),
        cmocka_unit_test(variation_goes_from_one_seeds_picture_to_the_others),
        cmocka_unit_test(what_does_not_go_together_is_refused_with_the_reason),
        cmocka_unit_test(an_encoder_without_numbers_is_bad_output),
        cmocka_unit_test(an_all_black_picture_is_told),
        cmocka_unit_test(embeddings_of_the_prompt_are_told_with_their_hashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
