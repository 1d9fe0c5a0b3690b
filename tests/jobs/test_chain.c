/* Frames that start from each other, in manifests and jobs: jobs/chain.h. */
#include "tests/jobs/bundle.h"
#include "tests/jobs/manifest_case.h"

#include "jobs/groups.h"
#include "proto/png.h"

#define FRAMES(n) "{'name':'frame','columns':['frame'],'range':{'first':0,'step':1,'count':" #n "}}"
#define ITER      "{'axis':'frame','seed_behavior':'iter'}"

#define MUST_TASK(call)                                                                            \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, e.text);                                                     \
    } while (0)

static struct job *chain_job(const char *seed_behavior)
{
    char chain[100];

    snprintf(chain, sizeof chain, "{'axis':'frame','seed_behavior':'%s'}", seed_behavior);
    return bundle_job((struct spec){
        .axes = "[{'name':'a','columns':['a'],'rows':[['x'],['y']]}," FRAMES(3) "]",
        .fixed = "'prompt':'${a} ${frame}','init_image':'/pictures/first.png','seed':40",
        .chain = chain});
}

static void a_frame_starts_from_the_one_before_and_the_first_from_init_image(void **state)
{
    char hex[HASH_HEX_SIZE] = {0};
    struct job *job = chain_job("iter");
    struct task t;

    (void)state;
    assert_int_equal(job_frames(job), 3);
    for (uint64_t i = 0; i < 6; i++) {
        assert_int_equal(job_frame(job, i), i % 3);
        MUST_TASK(job_task(job, i, &t, &e));
        assert_string_equal(t.init_image, i % 3 ? JOB_FRAME_BEFORE : "/pictures/first.png");
        assert_int_equal(t.seed, 40 + i % 3);
        task_done(&t);
    }
    memset(hex, 'a', sizeof hex - 1);
    MUST_TASK(job_task_after(job, 4, hex, &t, &e));
    assert_string_equal(t.prompt, "y 1");
    assert_memory_equal(t.init_image, "sha256:aaaa", 11);
    assert_int_equal(task_check(&t, NULL), 0);
    task_done(&t);
    job_free(job);
}

static void a_fixed_seed_stays(void **state)
{
    struct job *job = chain_job("fixed");
    struct task t;

    (void)state;
    MUST_TASK(job_task(job, 2, &t, &e));
    assert_int_equal(t.seed, 40);
    task_done(&t);
    job_free(job);
}

static void frames_of_a_chain_are_in_one_lot_whatever_changes_with_them(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'steps','columns':['steps'],'rows':[[5],[6]]}," FRAMES(
            2) ",{'name':'sampler','columns':['sampler'],'rows':[['ddim'],['euler']]}]",
        .fixed = "'scheduler':'automatic'",
        .combine = "[[0],[1,2]]",
        .chain = ITER});
    struct groups g;

    (void)state;
    job_groups(job, &g);
    assert_int_equal(g.n, 2);
    assert_int_equal(groups_index(&g, 1, 0), 2);
    assert_int_equal(groups_index(&g, 1, 1), 3);
    job_free(job);
}

static void chains_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    bundle_refused((struct spec){.axes = "[" FRAMES(3) ",{'name':'seed','columns':['seed'],'range':"
                                                       "{'first':0,'step':1,'count':2}}]",
                                 .chain = ITER},
                   "must stand in the last factor");
    bundle_refused((struct spec){.axes = "[" FRAMES(3) "]", .chain = "{'axis':'frame'}"},
                   "has axis and seed_behavior");
    bundle_refused((struct spec){.axes = "[" FRAMES(3) "]",
                                 .chain = "{'axis':'frame','seed_behavior':'ladder'}"},
                   "iter or fixed, not 'ladder'");
    bundle_refused((struct spec){.axes = "[" FRAMES(100001) "]", .chain = ITER},
                   "more than 100000");
    bundle_refused((struct spec){.axes = "[" FRAMES(2) ",{'name':'size','columns':['size'],'rows':"
                                                       "[['64x64'],['128x64']]}]",
                                 .combine = "[[0,1]]",
                                 .chain = ITER},
                   "size is one for all frames");
    bundle_refused((struct spec){.axes = "[" FRAMES(2) ",{'name':'seed','columns':['seed'],'rows':"
                                                       "[[1],[2]]}]",
                                 .combine = "[[0,1]]",
                                 .chain = ITER},
                   "goes with seed_behavior: fixed");
    bundle_refused(
        (struct spec){.axes = "[" FRAMES(3) "]", .exclude = "[{'frame':[1]}]", .chain = ITER},
        "only whole chains");
    bundle_refused((struct spec){.axes = "[" FRAMES(3) "]", .fixed = "'hr_scale':2", .chain = ITER},
                   "frames after the first start from a picture");
    bundle_refused((struct spec){.axes = "[" FRAMES(3) "]",
                                 .fixed = "'denoising_strength':0.01",
                                 .chain = ITER},
                   "leaves no whole step");
}

static void frames_make_an_axis_that_comes_last(void **state)
{
    struct outcome out = accepted(HEAD "frames: 24\ndenoising_strength: 0.5\nseed: 7\n"
                                       "axes: {thing: [cat, dog]}\n",
                                  "");

    (void)state;
    part_is(&out, "axes.1",
            "{\"columns\":[\"frame\"],\"name\":\"frame\",\"range\":{\"count\":24,\"first\":0,"
            "\"step\":1}}");
    part_is(&out, "combine", "[[0],[1]]");
    part_is(&out, "chain", "{\"axis\":\"frame\",\"seed_behavior\":\"iter\"}");
    outcome_done(&out);
    out =
        accepted(HEAD "frames: 2\nseed: 7\nseed_behavior: fixed\n"
                      "axes: {thing: [cat, dog], cfg_scale: [4, 5]}\ncombine: cfg_scale * thing\n",
                 "");
    part_is(&out, "combine", "[[1],[0],[2]]");
    part_is(&out, "chain.seed_behavior", "\"fixed\"");
    outcome_done(&out);
}

static void what_changes_from_frame_to_frame_is_zipped_with_it(void **state)
{
    struct outcome out = accepted(HEAD "frames: 3\n"
                                       "axes: {thing: [cat, dog, fox], seed: 5-7}\n"
                                       "combine: (frame, thing, seed)\n",
                                  "");

    (void)state;
    part_is(&out, "combine", "[[2,0,1]]");
    part_is(&out, "chain.seed_behavior", "\"fixed\"");
    outcome_done(&out);
}

static void mistakes_about_frames_name_their_place(void **state)
{
    (void)state;
    refused(HEAD "axes: {thing: [a]}\nframes: many\n",
            "job.yaml:5:9: 'frames' must be a whole number from 1 to 100000, not 'many'\n");
    refused(HEAD "axes: {thing: [a], frame: [b, c]}\nframes: 3\n",
            "job.yaml:4:20: 'frame' counts the frames of 'frames': give this axis another name\n"
            "job.yaml:4:20: warning: no prompt holds ${frame}: each picture will be made once for "
            "every value of this axis\n");
    refused(HEAD "axes: {thing: [a, b]}\nframes: 3\ncombine: frame * thing\n",
            "job.yaml:6:10: combine: 'frame' must stand in the last factor, since the frames of a "
            "chain follow each other; left out, it comes last by itself\n");
    refused(HEAD "axes: {thing: [a], size: [64x64, 128x64]}\nframes: 2\ncombine: thing * (frame, "
                 "size)\n",
            "job.yaml:4:20: 'size' is one for all frames of a chain: take it out of the "
            "parentheses around 'frame' in combine\n");
    refused(HEAD "axes: {thing: [a]}\nseed_behavior: ladder\n",
            "job.yaml:5:16: 'seed_behavior' says what becomes of the seed over frames: give "
            "'frames' too\n"
            "job.yaml:5:16: 'seed_behavior' is iter (each frame's seed is one more) or fixed; for "
            "others zip an axis of seeds with the frames, as in combine: \"(frame, seed)\"\n");
    refused(HEAD "axes: {thing: [a]}\nmax_frames: 20\n",
            "job.yaml:5:1: unknown key 'max_frames', did you mean 'frames'?\n");
    refused(HEAD "axes: {thing: [a]}\nframes: 2\nhr_scale: 2\n",
            "job.yaml:6:11: hr_scale: a second pass at a larger size is for pictures from text "
            "alone, not with init_image: leave hr_scale, hr_resize_x and hr_resize_y at 0, and "
            "choose a larger size; frames after the first start from a picture\n");
    refused(HEAD "axes: {thing: [a]}\nframes: 3\nexclude: [{frame: 1}]\n",
            "job.yaml:6:10: exclude: a rule names what changes from frame to frame; only whole "
            "chains can be left out\n");
}

static void write_png(const char *name, int width, int height)
{
    uint8_t *pixels = calloc((size_t)width * (size_t)height, 3);
    struct buf png = {0};
    FILE *f = fopen(name, "wb");

    assert_non_null(pixels);
    assert_non_null(f);
    assert_int_equal(png_encode(pixels, width, height, NULL, 0, &png, NULL), 0);
    assert_int_equal(fwrite(png.data, 1, png.size, f), png.size);
    assert_int_equal(fclose(f), 0);
    buf_done(&png);
    free(pixels);
}

#define MASKED                                                                                     \
    HEAD "size: 64x64\nseed: 7\nsteps: 20\ndenoising_strength: 0.5\ninit_image: good.png\n"

/* The manifest is refused at a place, for the mask's size alone. */
static void mask_refused(const char *text, const char *place)
{
    char folder[200];
    struct buf line = {0};

    assert_non_null(getcwd(folder, sizeof folder));
    buf_printf(&line,
               "%s: the mask '%s/wide.png' has 64 x 32 pixels, the frames that it marks 64 x 64\n",
               place, folder);
    refused(text, buf_text(&line));
    buf_done(&line);
}

static void a_mask_of_another_size_than_the_frames_is_told_before_they_are_rendered(void **state)
{
    struct outcome out;

    (void)state;
    write_png("good.png", 64, 64);
    write_png("wide.png", 64, 32);
    mask_refused(MASKED "mask: wide.png\naxes: {thing: [a]}\nframes: 2\n", "job.yaml:9:7");
    mask_refused(MASKED "axes: {thing: [a], mask: [good.png, wide.png]}\nframes: 2\n"
                        "combine: thing * (frame, mask)\n",
                 "job.yaml:9:20");
    mask_refused(MASKED "axes: {thing: [a], mask: [wide.png, good.png]}\nframes: 2\n",
                 "job.yaml:9:20");
    out = accepted(MASKED "mask: good.png\naxes: {thing: [a]}\nframes: 2\n", "");
    outcome_done(&out);
    unlink("good.png");
    unlink("wide.png");
}

static void masks_that_may_be_right_are_left_to_the_render(void **state)
{
    struct outcome out;

    (void)state;
    write_png("good.png", 64, 64);
    write_png("wide.png", 64, 32);
    /* A first frame's mask marks init_image, and so does that of a picture without frames. */
    out = accepted(MASKED "axes: {thing: [a], mask: [wide.png, good.png]}\nframes: 2\n"
                          "combine: thing * (frame, mask)\n",
                   "");
    outcome_done(&out);
    out = accepted(MASKED "mask: wide.png\naxes: {thing: [a]}\n", "");
    outcome_done(&out);
    out = accepted(MASKED "mask: wide.png\naxes: {thing: [a]}\nframes: 1\n", "");
    outcome_done(&out);
    /* Its frames are as large as init_image. */
    out = accepted(MASKED "mask: wide.png\ninpaint_full_res: true\naxes: {thing: [a]}\n"
                          "frames: 2\n",
                   "");
    outcome_done(&out);
    unlink("good.png");
    unlink("wide.png");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_starts_from_the_one_before_and_the_first_from_init_image),
        cmocka_unit_test(a_fixed_seed_stays),
        cmocka_unit_test(frames_of_a_chain_are_in_one_lot_whatever_changes_with_them),
        cmocka_unit_test(chains_that_make_no_sense_are_refused),
        cmocka_unit_test(frames_make_an_axis_that_comes_last),
        cmocka_unit_test(what_changes_from_frame_to_frame_is_zipped_with_it),
        cmocka_unit_test(mistakes_about_frames_name_their_place),
        cmocka_unit_test(a_mask_of_another_size_than_the_frames_is_told_before_they_are_rendered),
        cmocka_unit_test(masks_that_may_be_right_are_left_to_the_render),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
