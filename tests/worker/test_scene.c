#include "proto/png.h"
#include "worker/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_scene.XXXXXX";
static char init[64], mask[64], broken[64];

static int write_all(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    int rc = f && fwrite(data, 1, size, f) == size ? 0 : -1;

    if (f)
        fclose(f);
    return rc;
}

static int make_files(void **state)
{
    const uint8_t red[2 * 3 * 3] = {255, 0, 0}, white[2 * 3 * 3] = {255, 255, 255};
    struct buf a = {0}, b = {0};
    int rc;

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(init, sizeof init, "%s/a.png", folder);
    snprintf(mask, sizeof mask, "%s/m.png", folder);
    snprintf(broken, sizeof broken, "%s/b.png", folder);
    if (png_encode(red, 2, 3, NULL, 0, &a, NULL) || png_encode(white, 2, 3, NULL, 0, &b, NULL))
        return -1;
    rc = write_all(init, a.data, a.size) || write_all(mask, b.data, b.size) ||
         write_all(broken, a.data, a.size - 20);
    buf_done(&a);
    buf_done(&b);
    return rc;
}

static int remove_files(void **state)
{
    (void)state;
    return unlink(init) || unlink(mask) || unlink(broken) || rmdir(folder);
}

static struct task base(void)
{
    struct task t = task_defaults();

    t.model = (char *)(uintptr_t) "m";
    t.prompt = t.negative_prompt = (char *)(uintptr_t) "";
    t.steps = 20;
    t.width = 64;
    t.height = 96;
    t.cfg_scale = 7;
    return t;
}

static void every_field_reaches_the_engine(void **state)
{
    struct task t = base();
    struct scene s;

    (void)state;
    t.clip_skip = 2;
    t.eta = (struct task_number){true, 0.5};
    t.mask_blur = (struct task_number){true, 2.5};
    t.subseed = 9;
    t.subseed_strength = 0.25;
    t.seed_resize_from_w = 32;
    t.outpaint_top = 8;
    t.rng = RNG_NV;
    t.vae_tile = 512;
    assert_int_equal(scene_open(&t, &s, NULL), 0);
    assert_int_equal(s.render.clip_skip, 2);
    assert_true(s.render.eta.set && s.render.eta.value == 0.5);
    assert_false(s.render.s_noise.set);
    assert_true(s.render.inpaint.blur == 2.5);
    assert_int_equal(s.render.inpaint.full_res_padding, 32);
    assert_int_equal(s.render.subseed, 9);
    assert_int_equal(s.render.seed_resize_width, 32);
    assert_int_equal(s.render.outpaint_top, 8);
    assert_int_equal(s.render.rng, RNG_NV);
    assert_int_equal(s.render.vae_tile, 512);
    assert_null(s.render.init.pixels);
    assert_int_equal(s.n_assets, 0);
    scene_done(&s);
}

static void the_second_pass_gets_both_sides_or_a_scale(void **state)
{
    struct task t = base();
    struct scene s;
    int w, h;

    (void)state;
    t.hr_resize_x = 128;
    assert_int_equal(scene_open(&t, &s, NULL), 0);
    assert_int_equal(s.render.hires.width, 128);
    assert_int_equal(s.render.hires.height, 192);
    scene_done(&s);
    t.hr_resize_x = 0;
    t.hr_scale = 1.3;
    assert_int_equal(scene_open(&t, &s, NULL), 0);
    assert_true(s.render.hires.scale == 1.3);
    assert_int_equal(s.render.hires.width, 0);
    render_size(&s.render, &w, &h);
    assert_int_equal(w, 80); /* 83.2 */
    assert_int_equal(h, 120);
    scene_done(&s);
}

static void engine_and_task_agree_on_the_finished_size(void **state)
{
    static const struct {
        double scale;
        int x, y, left, bottom;
    } cases[] = {{0, 0, 0, 0, 0},   {2, 0, 0, 0, 0},   {1.3, 0, 0, 0, 0}, {0, 128, 0, 0, 0},
                 {0, 0, 104, 0, 0}, {0, 64, 64, 0, 0}, {0, 0, 0, 16, 40}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct task t = base();
        struct scene s;
        int64_t width, height;
        int w, h;

        t.hr_scale = cases[i].scale;
        t.hr_resize_x = cases[i].x;
        t.hr_resize_y = cases[i].y;
        t.outpaint_left = cases[i].left;
        t.outpaint_bottom = cases[i].bottom;
        assert_int_equal(scene_open(&t, &s, NULL), 0);
        task_size(&t, &width, &height);
        render_size(&s.render, &w, &h);
        assert_int_equal(w, width);
        assert_int_equal(h, height);
        scene_done(&s);
    }
}

static void pictures_are_read_and_hashed(void **state)
{
    struct task t = base();
    char hash[HASH_HEX_SIZE];
    struct buf file = {0};
    struct scene s;

    (void)state;
    t.init_image = init;
    t.mask = mask;
    assert_int_equal(scene_open(&t, &s, NULL), 0);
    assert_int_equal(s.render.init.width, 2);
    assert_int_equal(s.render.init.height, 3);
    assert_int_equal(s.render.init.pixels[0], 255);
    assert_int_equal(s.render.init.pixels[1], 0);
    assert_int_equal(s.render.inpaint.mask.pixels[0], 255);
    assert_int_equal(s.n_assets, 2);
    assert_string_equal(s.assets[0].path, "init_image");
    assert_int_equal(buf_read_file(&file, init, 1 << 20, NULL), 0);
    assert_int_equal(hash_bytes(file.data, file.size, hash, NULL), 0);
    assert_string_equal(s.assets[0].sha256, hash);
    assert_string_not_equal(s.assets[1].sha256, hash);
    buf_done(&file);
    scene_done(&s);
}

static void what_cannot_be_read_is_named_with_its_class(void **state)
{
    struct task t = base();
    struct scene s;
    struct err e = {0};

    (void)state;
    t.init_image = (char *)(uintptr_t) "/no/such.png";
    assert_int_equal(scene_open(&t, &s, &e), ERR_MISSING);
    assert_memory_equal(e.text, "init_image: /no/such.png: ", 26);
    t.init_image = init;
    t.mask = broken;
    assert_int_equal(scene_open(&t, &s, &e), ERR_INPUT);
    assert_memory_equal(e.text, "mask: ", 6);
    t.mask = folder;
    assert_true(scene_open(&t, &s, &e) != 0);
}

static void planning_reads_no_file(void **state)
{
    struct task t = base();
    struct scene s;

    (void)state;
    t.init_image = (char *)(uintptr_t) "/no/such.png";
    t.mask = t.init_image;
    assert_int_equal(scene_plan(&t, &s, NULL), 0);
    assert_int_equal(s.render.init.width, 64);
    assert_int_equal(s.render.inpaint.mask.height, 96);
    assert_int_equal(s.n_assets, 0);
    scene_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_reaches_the_engine),
        cmocka_unit_test(the_second_pass_gets_both_sides_or_a_scale),
        cmocka_unit_test(engine_and_task_agree_on_the_finished_size),
        cmocka_unit_test(pictures_are_read_and_hashed),
        cmocka_unit_test(what_cannot_be_read_is_named_with_its_class),
        cmocka_unit_test(planning_reads_no_file),
    };

    return cmocka_run_group_tests_name("scene", tests, make_files, remove_files);
}
