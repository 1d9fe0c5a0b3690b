/*
 * Recorded pipelines: a case of images/MODEL/cases.json as a render, and its picture and final
 * latent compared with what was recorded.
 */
#ifndef TESTS_ENGINE_CASES_H
#define TESTS_ENGINE_CASES_H

#include "engine/pipeline/pipeline.h"
#include "proto/png.h"
#include "tests/engine/folders.h"

#include <math.h>

/* A picture file's pixels; grey (its first channel) of a mask. Caller frees pixels. */
static inline struct picture_in read_png(const char *path, bool grey)
{
    struct picture_in p = {0};
    struct buf file = {0};
    uint8_t *pixels;

    read_file(path, &file);
    assert_ok(png_decode(file.data, file.size, &pixels, &p.width, &p.height, e));
    for (int i = 0; i < p.width * p.height && grey; i++)
        pixels[i] = pixels[3 * i];
    p.pixels = pixels;
    buf_done(&file);
    return p;
}

/* Peak signal to noise of the picture against the recorded one, dB; infinite where they are equal.
 */
static inline double psnr(const struct image *image, const char *path)
{
    struct picture_in want = read_png(path, false);
    int n = want.width * want.height * 3;
    double squares = 0;

    assert_int_equal(want.width, image->width);
    assert_int_equal(want.height, image->height);
    for (int i = 0; i < n; i++) {
        double difference = image->pixels[i] - want.pixels[i];

        squares += difference * difference;
    }
    free((void *)(uintptr_t)want.pixels);
    return squares == 0 ? INFINITY : 10 * log10(255.0 * 255.0 * n / squares);
}

static inline const char *case_text(const json_t *c, const char *key)
{
    return json_string_value(json_object_get(c, key));
}

static inline double case_number(const json_t *c, const char *key)
{
    return json_number_value(json_object_get(c, key));
}

/* The value of a term by its name; the table's first where the case has no such key. */
static inline int case_term(const json_t *c, const char *key, enum term_kind kind)
{
    const char *name = case_text(c, key);

    return name != NULL ? term_from_name(kind, name) : 0;
}

/* What the cases of images/more set beyond the others, by the manifest's names. */
static inline void case_more(struct render *r, const json_t *c)
{
    r->guidance_rescale = case_number(c, "guidance_rescale");
    r->vae_tile = (int)case_number(c, "vae_tile");
    r->resize = (enum resize_mode)case_number(c, "resize_mode");
    r->inpaint.blur = case_number(c, "mask_blur");
    r->inpaint.invert = json_is_true(json_object_get(c, "inpainting_mask_invert"));
    r->inpaint.fill = (enum mask_fill)case_term(c, "inpainting_fill", TERM_FILL);
    r->inpaint.full_res = json_is_true(json_object_get(c, "inpaint_full_res"));
    r->inpaint.full_res_padding = (int)case_number(c, "inpaint_full_res_padding");
    r->outpaint_left = (int)case_number(c, "outpaint_left");
    r->outpaint_right = (int)case_number(c, "outpaint_right");
    r->outpaint_top = (int)case_number(c, "outpaint_top");
    r->outpaint_bottom = (int)case_number(c, "outpaint_bottom");
    r->hires.scale = case_number(c, "hr_scale");
    r->hires.width = (int)case_number(c, "hr_resize_x");
    r->hires.height = (int)case_number(c, "hr_resize_y");
    r->hires.upscaler = (enum upscaler)case_term(c, "hr_upscaler", TERM_UPSCALER);
    r->hires.steps = (int)case_number(c, "hr_second_pass_steps");
}

/* Strings stay the case's; init and mask are read from the folder and to be freed. */
static inline struct render case_render(const char *folder, const json_t *c)
{
    const char *name = case_text(c, "sampler"), *karras = strstr(name, "_karras");
    struct render r = {.prompt = case_text(c, "prompt"),
                       .negative_prompt = case_text(c, "negative_prompt"),
                       .steps = (int)case_number(c, "steps"),
                       .width = (int)case_number(c, "width"),
                       .height = (int)case_number(c, "height"),
                       .cfg_scale = case_number(c, "cfg_scale"),
                       .clip_skip = (int)case_number(c, "clip_skip"),
                       .denoising_strength = case_number(c, "denoising_strength"),
                       .seed = (int64_t)case_number(c, "seed")};
    char sampler[64], path[2 * FOLDER_SIZE];
    int id;

    snprintf(sampler, sizeof sampler, "%.*s", (int)(karras ? karras - name : 60), name);
    id = sampler_from_name(sampler);
    assert_true(id >= 0);
    r.sampler = (enum sampler_id)id;
    r.scheduler = karras ? SCHEDULER_KARRAS : SCHEDULER_UNIFORM;
    if (case_text(c, "init_image") != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, case_text(c, "init_image"));
        r.init = read_png(path, false);
        r.width = r.width != 0 ? r.width : r.init.width;
        r.height = r.height != 0 ? r.height : r.init.height;
    }
    if (case_text(c, "mask_image") != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, case_text(c, "mask_image"));
        r.inpaint.mask = read_png(path, true);
    }
    case_more(&r, c);
    return r;
}

static inline void case_done(struct render *r)
{
    free((void *)(uintptr_t)r->init.pixels);
    free((void *)(uintptr_t)r->inpaint.mask.pixels);
}

/* No number off by more than one level, fewer than one in `rare` off at all. */
static inline void assert_png_within(const struct image *image, const char *path, int rare)
{
    struct picture_in want = read_png(path, false);
    int off = 0, n = want.width * want.height * 3;

    assert_int_equal(want.width, image->width);
    assert_int_equal(want.height, image->height);
    for (int i = 0; i < n; i++) {
        int difference = abs(image->pixels[i] - want.pixels[i]);

        if (difference > 1)
            fail_msg("%s: number %d is %d, not %d", path, i, image->pixels[i], want.pixels[i]);
        off += difference;
    }
    if (off * rare >= n)
        fail_msg("%s: %d of %d off by one", path, off, n);
    free((void *)(uintptr_t)want.pixels);
}

static inline void assert_near_png(const struct image *image, const char *path)
{
    assert_png_within(image, path, 1000);
}

/* Plans, takes exactly that memory, renders. ret_latent: [channels, h, w]; may be NULL. */
static inline struct image render_planned(struct model *m, const struct render *r,
                                          float *ret_latent)
{
    struct pipeline p = {.model = m};
    struct image image = {0};
    const struct render *renders[] = {r};
    const struct batch b = {renders, 1};
    struct workspace plan, w = {0};

    assert_ok(pipeline_plan(&p, &b, &plan, e));
    assert_ok(workspace_init(&w, m->ops, &plan, e));
    assert_ok(pipeline_run(&p, &b, ret_latent, &image, e));
    assert_int_equal(w.acts.used + w.host.used, 0);
    assert_int_equal(w.acts.peak, plan.acts.peak);
    assert_int_equal(w.host.peak, plan.host.peak);
    workspace_done(&w, m->ops);
    pipeline_done(&p);
    return image;
}

/* The relative error of a latent [n] to FOLDER/NAME.safetensors. */
static inline double latent_error(const char *folder, const char *name, const float *latent)
{
    struct weights *w = NULL;
    char path[2 * FOLDER_SIZE];
    struct tensor t;
    double error;
    float *want;

    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    assert_ok(weights_open(path, &w, e));
    want = golden_floats(w, "latent", &t);
    error = relative_l2(latent, want, (size_t)tensor_count(&t));
    free(want);
    weights_close(w);
    return error;
}

/* Renders a case, and holds picture and (if recorded) latent to what was recorded. */
static inline void check_case(struct model *m, const char *folder, const json_t *c)
{
    bool recorded = strcmp(case_text(c, "kind"), "prompt") != 0;
    struct render r = case_render(folder, c);
    const char *name = case_text(c, "name");
    char path[2 * FOLDER_SIZE];
    struct image image;
    int width, height;
    float *latent;

    render_size(&r, &width, &height);
    latent = malloc(4 * sizeof *latent * (size_t)(width / 8 * (height / 8) + r.width * r.height));
    assert_non_null(latent);
    image = render_planned(m, &r, latent);
    if (recorded) {
        double error = latent_error(folder, name, latent);

        print_message("%s %s %s: %.2e\n", strrchr(folder, '/') + 1, name, m->ops->name, error);
        assert_true(error < NET_TOLERANCE);
    }
    snprintf(path, sizeof path, "%s/%s.png", folder, name);
    /* Where a picture was rounded to 8 bits between two passes, its edges are rounding edges too.
     */
    assert_png_within(&image, path,
                      json_is_true(json_object_get(c, "rounded_between")) ? 100 : 1000);
    image_done(&image);
    free(latent);
    case_done(&r);
}

/*
 * All cases of images/FOLDER on MODEL and the cpu backend; on ref, which is slow, the one of that
 * name (NULL: none).
 */
static inline void check_cases(const char *model, const char *images, const char *ref_case,
                               size_t least)
{
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    json_t *cases = NULL;
    const json_t *c;
    size_t i;

    snprintf(folder, sizeof folder, GOLDEN_DIR "/images/%s", images);
    snprintf(path, sizeof path, "%s/cases.json", folder);
    assert_ok(json_read_file(path, &cases, e));
    assert_true(json_array_size(cases) >= least);
    snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", model);
    for (int b = ref_case != NULL ? 0 : 1; b < N_BACKENDS; b++) {
        struct ops *o = backend_open(b);
        struct model *m = NULL;

        assert_ok(open_model(path, o, &m, e));
        json_array_foreach(cases, i, c)
        {
            if (strcmp(case_text(c, "model"), model) == 0 &&
                (b != 0 || (ref_case != NULL && strcmp(case_text(c, "name"), ref_case) == 0)))
                check_case(m, folder, c);
        }
        model_close(m);
        o->free(o);
    }
    json_decref(cases);
}

#endif
