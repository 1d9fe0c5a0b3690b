/* Contact sheets of made-up pictures; the larger ones stay in the build folder to be looked at. */
#include "coordinator/sheet.h"
#include "coordinator/thumb.h"
#include "proto/png.h"
#include "tests/jobs/bundle.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256]; /* where this run's pictures are */

struct picture {
    uint8_t *pixels;
    int width, height;
};

static void make_folders(const char *path)
{
    char copy[512];

    snprintf(copy, sizeof copy, "%s", path);
    for (char *p = copy + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(copy, 0777);
            *p = '/';
        }
}

static void write_file(const char *path, const struct buf *b)
{
    FILE *f;

    make_folders(path);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, b->size, f), b->size);
    fclose(f);
}

/* The ground's colour of a picture, its own for each index: one channel of it. */
static int ground(uint64_t index, int channel)
{
    return 100 + (int)((uint32_t)index * 2654435761u >> (24 - 8 * channel) & 127);
}

/* A disc on a ground, both coloured by the index. */
static void write_picture(const struct job *job, uint64_t index)
{
    struct buf path = {0}, file = {0};
    struct task t;
    uint8_t *pixels;

    assert_int_equal(job_task(job, index, &t, NULL), 0);
    pixels = malloc((size_t)t.width * (size_t)t.height * 3);
    for (int y = 0; y < t.height; y++)
        for (int x = 0; x < t.width; x++) {
            double dx = (x + 0.5) / t.width - 0.5, dy = (y + 0.5) / t.height - 0.5;
            bool disc = dx * dx + dy * dy < 0.09;
            uint8_t *p = pixels + ((size_t)y * (size_t)t.width + (size_t)x) * 3;

            p[0] = (uint8_t)(disc ? ground(index + 1, 0) : ground(index, 0));
            p[1] = (uint8_t)(disc ? 40 : ground(index, 1));
            p[2] = (uint8_t)(disc ? ground(index + 2, 2) : ground(index, 2));
        }
    assert_int_equal(png_encode(pixels, t.width, t.height, NULL, 0, &file, NULL), 0);
    buf_printf(&path, "%s/", folder);
    assert_int_equal(job_path(job, index, &path, NULL), 0);
    write_file(path.data, &file);
    free(pixels);
    buf_done(&path);
    buf_done(&file);
    task_done(&t);
}

static void write_pictures(const struct job *job)
{
    struct job_sheet sheet;

    assert_true(job_sheet(job, &sheet));
    for (uint32_t row = 0; row < sheet.rows; row++)
        for (uint32_t column = 0; column < sheet.columns; column++) {
            uint64_t index = job_sheet_index(job, &sheet, column, row);

            if (index < job_span(job))
                write_picture(job, index);
        }
}

/* Draws and decodes; name: kept as BINARY_DIR/name for people to look at. */
static struct picture draw(const struct job *job, sheet_state_of *state_of, const char *name)
{
    struct picture p = {0};
    struct buf png = {0};
    struct err e = {0};
    char path[512];

    if (sheet_draw(job, folder, state_of, NULL, &png, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(png_decode(png.data, png.size, &p.pixels, &p.width, &p.height, NULL), 0);
    snprintf(path, sizeof path, "%s/sheet-%s.png", BINARY_DIR, name);
    write_file(path, &png);
    buf_done(&png);
    return p;
}

/* Pixels of one colour. */
static size_t count_colour(const struct picture *p, int red, int green, int blue)
{
    size_t n = 0;

    for (size_t i = 0; i < (size_t)p->width * (size_t)p->height; i++)
        n += p->pixels[3 * i] == red && p->pixels[3 * i + 1] == green &&
             p->pixels[3 * i + 2] == blue;
    return n;
}

static const char stickers[] =
    "[{'name':'thing','columns':['thing'],'rows':[['red apple'],['sailboat'],['pizza'],['cat "
    "with a very long description that cannot fit beside its row'],['\xe3\x81\xad\xe3\x81\x93'],"
    "['\xd9\x82\xd8\xa7\xd8\xb1\xd8\xa8']]},"
    "{'name':'ground','columns':['ground'],'rows':[['red'],['sky blue'],['mustard yellow with dots "
    "and stripes'],['\xd0\xb7\xd0\xb5\xd0\xbb\xd1\x91\xd0\xbd\xd1\x8b\xd0\xb9'],['\xce\xbc\xcf\x80"
    "\xce\xbb\xce\xb5']]},"
    "{'name':'cfg_scale','columns':['cfg_scale'],'range':{'first':4,'step':2,'count':3}},"
    "{'name':'seed','columns':['seed'],'range':{'first':1,'step':1,'count':100}}]";

static struct job *sticker_job(void)
{
    return bundle_job((struct spec){
        .axes = stickers,
        .fixed = "'prompt':'a ${thing} on a ${ground} background','negative_prompt':'blurry'",
        .exclude = "[{'thing':['pizza'],'ground':['red']}]",
        .path = "{job}/{thing}/{ground}-{cfg_scale}-{seed}.png",
        .sheet = "{'x':'ground','y':'thing'}"});
}

static enum sheet_state some_failed(void *user, uint64_t index)
{
    (void)user;
    return index / 300 == 7 ? SHEET_FAILED : index / 300 == 13 ? SHEET_MISSING : SHEET_DONE;
}

static void two_axes_make_a_grid_with_every_cell_in_its_place(void **state)
{
    struct job *job = sticker_job();
    struct picture p;

    (void)state;
    write_pictures(job);
    p = draw(job, some_failed, "stickers");
    /* 30 cells of 128: the grounds of the pictures, at their own colours, fill most of them. */
    assert_in_range(p.width, 5 * 128, 1200);
    assert_in_range(p.height, 6 * 128, 1200);
    for (uint64_t i = 0; i < 30; i++) {
        uint64_t index = i * 300;
        size_t n = count_colour(&p, ground(index, 0), ground(index, 1), ground(index, 2));

        if (i == 7 || i == 13 || i == 10) /* failed, missing, excluded */
            assert_true(n < 5000);
        else
            assert_true(n > 10000);
    }
    free(p.pixels);
    job_free(job);
}

static void a_picture_that_cannot_be_read_is_drawn_as_missing(void **state)
{
    struct job *job = sticker_job();
    struct picture before, after;
    struct buf path = {0}, garbage = {0};

    (void)state;
    write_pictures(job);
    before = draw(job, NULL, "whole");
    buf_printf(&path, "%s/", folder);
    assert_int_equal(job_path(job, 0, &path, NULL), 0);
    buf_puts(&garbage, "not a picture");
    write_file(path.data, &garbage);
    after = draw(job, NULL, "damaged");
    assert_int_equal(before.width, after.width);
    assert_int_equal(before.height, after.height);
    assert_true(count_colour(&before, ground(0, 0), ground(0, 1), ground(0, 2)) > 10000);
    assert_true(count_colour(&after, ground(0, 0), ground(0, 1), ground(0, 2)) < 100);
    free(before.pixels);
    free(after.pixels);
    buf_done(&path);
    buf_done(&garbage);
    job_free(job);
}

static void one_axis_is_wrapped_with_labels_below(void **state)
{
    struct job *job = bundle_job((struct spec){
        .job = "seeds",
        .axes = "[{'name':'seed','columns':['seed'],'range':{'first':1,'step':1,'count':40}}]",
        .path = "{job}/{seed}.png",
        .sheet = "{'x':'seed'}"});
    struct picture p;

    (void)state;
    write_pictures(job);
    p = draw(job, NULL, "seeds");
    assert_in_range(p.width, p.height / 2, p.height * 2); /* no ribbon */
    free(p.pixels);
    job_free(job);
}

static void one_picture_makes_a_sheet_too(void **state)
{
    struct job *job = bundle_job((struct spec){.job = "one", .sheet = "{}"});
    struct picture p;

    (void)state;
    write_pictures(job);
    p = draw(job, NULL, "one");
    assert_true(count_colour(&p, ground(0, 0), ground(0, 1), ground(0, 2)) > 10000);
    free(p.pixels);
    job_free(job);
}

static void pictures_of_several_sizes_keep_their_proportions(void **state)
{
    struct job *job = bundle_job((struct spec){
        .job = "sizes",
        .axes = "[{'name':'size','columns':['size'],'rows':[['512x512'],['512x256'],['256x768']]},"
                "{'name':'seed','columns':['seed'],'range':{'first':1,'step':1,'count':3}}]",
        .path = "{job}/{size}-{seed}.png",
        .sheet = "{'x':'size','y':'seed'}"});
    struct picture p;

    (void)state;
    write_pictures(job);
    p = draw(job, NULL, "sizes");
    assert_in_range(p.height, 3 * 256, 3 * 256 + 400); /* 768 became 256 */
    assert_in_range(p.width, 3 * 171, 900);
    free(p.pixels);
    job_free(job);
}

static void the_largest_sheet_stays_within_its_limit(void **state)
{
    struct job *job = bundle_job((struct spec){
        .job = "large",
        .axes = "[{'name':'steps','columns':['steps'],'range':{'first':1,'step':1,'count':200}},"
                "{'name':'seed','columns':['seed'],'range':{'first':1,'step':1,'count':2}}]",
        .path = "{job}/{steps}-{seed}.png",
        .sheet = "{'x':'steps','y':'seed'}"});
    struct job_sheet sheet;
    struct picture p;

    (void)state;
    assert_true(job_sheet(job, &sheet));
    assert_int_equal(sheet.columns * sheet.rows, JOB_SHEET_CELLS);
    p = draw(job, NULL, "large");
    assert_true(p.width <= SHEET_SIDE_MAX && p.height <= SHEET_SIDE_MAX);
    assert_true(p.width > SHEET_SIDE_MAX * 8 / 10);
    free(p.pixels);
    job_free(job);
}

static void a_job_without_a_sheet_is_refused(void **state)
{
    struct job *job = bundle_job((struct spec){0});
    struct buf png = {0};

    (void)state;
    assert_int_equal(sheet_draw(job, folder, NULL, NULL, &png, NULL), ERR_ARG);
    assert_int_equal(png.size, 0);
    job_free(job);
}

static void scaling_down_averages_areas(void **state)
{
    static const uint8_t four[] = {0, 10, 20, 100, 30, 40, 50, 50, 60, 250, 70, 80};
    static const uint8_t three[] = {0, 0, 0, 90, 90, 90, 30, 30, 30};
    uint8_t one[3], two[6];

    (void)state;
    assert_int_equal(thumb_scale(four, 2, 2, 1, 1, one, NULL), 0);
    assert_int_equal(one[0], 100);
    assert_int_equal(one[1], 40);
    assert_int_equal(one[2], 50);
    assert_int_equal(thumb_scale(three, 3, 1, 2, 1, two, NULL), 0);
    assert_int_equal(two[0], 30); /* (0 + 90 / 2) / 1.5 */
    assert_int_equal(two[3], 50); /* (90 / 2 + 30) / 1.5 */
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/sheet-XXXXXX", BINARY_DIR);
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_axes_make_a_grid_with_every_cell_in_its_place),
        cmocka_unit_test(a_picture_that_cannot_be_read_is_drawn_as_missing),
        cmocka_unit_test(one_axis_is_wrapped_with_labels_below),
        cmocka_unit_test(one_picture_makes_a_sheet_too),
        cmocka_unit_test(pictures_of_several_sizes_keep_their_proportions),
        cmocka_unit_test(the_largest_sheet_stays_within_its_limit),
        cmocka_unit_test(a_job_without_a_sheet_is_refused),
        cmocka_unit_test(scaling_down_averages_areas),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
