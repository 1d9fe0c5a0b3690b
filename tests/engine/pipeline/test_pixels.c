/* Pictures before and after a render, byte for byte as Pillow, OpenCV and AUTOMATIC1111. */
#include "engine/pipeline/pixels.h"

#include "engine/weights/weights.h"
#include "proto/json.h"
#include "tests/engine/nets.h"

static json_t *cases;
static struct weights *arrays;

/* Array NAME of case i; data is NULL if there is none. Borrowed. */
static struct pixels recorded(size_t i, const char *name)
{
    struct pixels p = {0};
    struct tensor t;
    char key[64];

    snprintf(key, sizeof key, "%zu.%s", i, name);
    if (!weights_find(arrays, key, &t))
        return p;
    assert_int_equal(t.dtype, DTYPE_U8);
    p.height = (int)t.shape[0];
    p.width = (int)t.shape[1];
    p.channels = (int)t.shape[2];
    p.data = (uint8_t *)(uintptr_t)t.data;
    return p;
}

static double number(const json_t *c, const char *key)
{
    return json_number_value(json_object_get(c, key));
}

static struct box box_from(const json_t *array)
{
    int v[4];

    for (size_t i = 0; i < 4; i++)
        v[i] = (int)json_integer_value(json_array_get(array, i));
    return (struct box){v[0], v[1], v[2], v[3]};
}

/* What a case calls, in an arena that may only plan. */
static void run_case(struct arena *a, size_t i, const json_t *c, struct pixels *out)
{
    const char *kind = json_string_value(json_object_get(c, "kind"));
    struct pixels in = recorded(i, "in"), mask = recorded(i, "mask");
    struct pixels original = recorded(i, "original"), want = recorded(i, "out");
    const json_t *box = json_object_get(c, "box");
    struct box part = {0};

    assert_ok(pixels_new(a, want.width, want.height, want.channels, out, e));
    if (strcmp(kind, "resize") == 0) {
        bool lanczos = strcmp(json_string_value(json_object_get(c, "filter")), "lanczos") == 0;

        part = box_from(box);
        assert_ok(pixels_resize(a, out, &in, box != NULL ? &part : NULL,
                                lanczos ? RESAMPLE_LANCZOS : RESAMPLE_BICUBIC, e));
        return;
    }
    if (strcmp(kind, "fit") == 0) {
        assert_ok(pixels_fit(a, out, &in, (enum resize_mode)number(c, "mode"), e));
        return;
    }
    if (!pixels_planning(a))
        pixels_copy(out, &in);
    if (strcmp(kind, "blur") == 0)
        assert_ok(mask_blur(a, out, number(c, "sigma"), e));
    else if (strcmp(kind, "gaussian") == 0)
        assert_ok(pixels_gaussian(a, out, number(c, "radius"), e));
    else if (strcmp(kind, "fill") == 0)
        assert_ok(pixels_fill_masked(a, out, &mask, e));
    else if (!pixels_planning(a))
        pixels_overlay(out, &original, &mask);
}

static void check_kind(const char *kind, size_t least)
{
    struct arena plan, arena;
    struct pixels out, want;
    const json_t *c;
    size_t i, n = 0;

    json_array_foreach(cases, i, c)
    {
        if (strcmp(json_string_value(json_object_get(c, "kind")), kind) != 0)
            continue;
        n++;
        arena_plan(&plan);
        run_case(&plan, i, c, &out);
        assert_ok(arena_init(&arena, plan.peak, e));
        run_case(&arena, i, c, &out);
        want = recorded(i, "out");
        if (memcmp(out.data, want.data,
                   (size_t)want.width * (size_t)want.height * (size_t)want.channels) != 0)
            fail_msg("case %zu: %s differs", i, kind);
        arena_done(&arena);
    }
    assert_true(n >= least);
}

static void resized_pictures_equal_pillow(void **state)
{
    (void)state;
    check_kind("resize", 15);
}

static void the_three_resize_modes_equal_the_web_ui(void **state)
{
    (void)state;
    check_kind("fit", 18);
}

static void blurred_masks_equal_opencv(void **state)
{
    (void)state;
    check_kind("blur", 14);
}

static void blurred_pictures_equal_pillow(void **state)
{
    (void)state;
    check_kind("gaussian", 6);
}

static void filled_masks_equal_the_web_ui(void **state)
{
    (void)state;
    check_kind("fill", 4);
}

static void overlays_equal_the_web_ui(void **state)
{
    (void)state;
    check_kind("overlay", 4);
}

static void assert_box(const struct box *got, const json_t *want)
{
    struct box w = box_from(want);

    assert_memory_equal(got, &w, sizeof w);
}

static void crop_regions_equal_the_web_ui(void **state)
{
    const json_t *c, *size, *inside, *render;
    size_t i, n = 0, empty = 0;

    (void)state;
    json_array_foreach(cases, i, c)
    {
        struct pixels mask = {.channels = 1};
        struct box b, white;

        if (strcmp(json_string_value(json_object_get(c, "kind")), "region") != 0)
            continue;
        size = json_object_get(c, "size");
        inside = json_object_get(c, "inside");
        render = json_object_get(c, "render");
        mask.width = (int)json_integer_value(json_array_get(size, 0));
        mask.height = (int)json_integer_value(json_array_get(size, 1));
        mask.data = calloc((size_t)mask.width, (size_t)mask.height);
        assert_non_null(mask.data);
        white = box_from(inside);
        for (int y = white.top; y < white.bottom; y++)
            for (int x = white.left; x < white.right; x++)
                mask.data[y * mask.width + x] = (x + y) % 3 == 0 ? 1 : 255;
        assert_int_equal(mask_box(&mask, (int)number(c, "padding"), &b), json_is_array(inside));
        if (json_is_array(inside)) {
            assert_box(&b, json_object_get(c, "region"));
            box_expand(&b, (int)json_integer_value(json_array_get(render, 0)),
                       (int)json_integer_value(json_array_get(render, 1)), mask.width, mask.height);
            assert_box(&b, json_object_get(c, "expanded"));
        }
        empty += !json_is_array(inside);
        n++;
        free(mask.data);
    }
    assert_true(n >= 60);
    print_message("%zu regions, %zu of empty masks\n", n, empty);
}

static void outside_the_mask_the_original_stays_to_the_bit(void **state)
{
    uint8_t picture[3 * 256], original[3 * 256], mask[256] = {0};
    struct pixels p = {256, 1, 3, picture}, o = {256, 1, 3, original}, m = {256, 1, 1, mask};

    (void)state;
    for (int i = 0; i < 3 * 256; i++) {
        picture[i] = (uint8_t)(i * 7);
        original[i] = (uint8_t)(i / 3);
    }
    pixels_overlay(&p, &o, &m);
    assert_memory_equal(picture, original, sizeof picture);
}

static void edges_are_drawn_out_to_all_sides(void **state)
{
    uint8_t data[5 * 4] = {0},
                     want[5 * 4] = {1, 1, 2, 2, 2, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 3, 3, 4, 4, 4};
    struct pixels p = {5, 4, 1, data};

    (void)state;
    data[6] = 1;
    data[7] = 2;
    data[11] = 3;
    data[12] = 4;
    pixels_extend(&p, &(struct box){1, 1, 3, 3});
    assert_memory_equal(data, want, sizeof want);
}

static void what_lies_outside_is_cut_off_when_pasted(void **state)
{
    uint8_t data[3 * 3] = {0}, want[3 * 3] = {4, 0, 0, 0, 0, 0, 0, 0, 1}, in[4] = {1, 2, 3, 4};
    struct pixels p = {3, 3, 1, data}, small = {2, 2, 1, in};

    (void)state;
    pixels_paste(&p, &small, -1, -1);
    pixels_paste(&p, &small, 2, 2);
    pixels_paste(&p, &small, 3, 0);
    pixels_paste(&p, &small, 0, -2);
    assert_memory_equal(data, want, sizeof want);
}

static void pictures_too_narrow_to_scale_are_refused(void **state)
{
    uint8_t data[3 * 200] = {0}, room[3 * 64];
    struct pixels in = {200, 1, 3, data}, out = {8, 8, 3, room};
    struct arena a;
    struct err why = {0};

    (void)state;
    assert_ok(arena_init(&a, 1 << 16, e));
    assert_int_equal(pixels_fit(&a, &out, &in, RESIZE_FILL, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "200 x 1"));
    assert_int_equal(a.used, 0);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resized_pictures_equal_pillow),
        cmocka_unit_test(the_three_resize_modes_equal_the_web_ui),
        cmocka_unit_test(blurred_masks_equal_opencv),
        cmocka_unit_test(blurred_pictures_equal_pillow),
        cmocka_unit_test(filled_masks_equal_the_web_ui),
        cmocka_unit_test(overlays_equal_the_web_ui),
        cmocka_unit_test(crop_regions_equal_the_web_ui),
        cmocka_unit_test(outside_the_mask_the_original_stays_to_the_bit),
        cmocka_unit_test(edges_are_drawn_out_to_all_sides),
        cmocka_unit_test(what_lies_outside_is_cut_off_when_pasted),
        cmocka_unit_test(pictures_too_narrow_to_scale_are_refused),
    };
    const char *folder = getenv("LITHO_PIXELS"); /* fresh cases, when a person has some */
    char path[2][512];
    int rc;

    folder = folder != NULL ? folder : GOLDEN_DIR "/pixels";
    snprintf(path[0], sizeof path[0], "%s/cases.json", folder);
    snprintf(path[1], sizeof path[1], "%s/pixels.safetensors", folder);
    if (json_read_file(path[0], &cases, NULL) != 0 || weights_open(path[1], &arrays, NULL) != 0)
        return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(cases);
    weights_close(arrays);
    return rc;
}
