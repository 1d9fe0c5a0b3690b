#include "worker/scene.h"

#include "proto/buf.h"

#include <stdlib.h>

#define OUTPAINT_BLUR 4 /* pixels */

static struct optional optional(struct task_number n)
{
    return (struct optional){.set = n.set, .value = n.value};
}

/* Left open: a hard mask, as diffusers has it, but a soft edge where the picture is extended. */
static double blur(const struct task *t)
{
    bool extended = t->outpaint_left > 0 || t->outpaint_right > 0 || t->outpaint_top > 0 ||
                    t->outpaint_bottom > 0;

    if (t->mask_blur.set)
        return t->mask_blur.value;
    return extended ? OUTPAINT_BLUR : 0;
}

/* Width and height are given to the engine together: one follows from the other here. */
static struct hires hires(const struct task *t)
{
    struct hires h = {.upscaler = t->hr_upscaler, .steps = t->hr_second_pass_steps};
    int64_t width, height;

    if (t->hr_resize_x > 0 || t->hr_resize_y > 0) {
        task_hires_size(t, &width, &height);
        h.width = (int)width;
        h.height = (int)height;
    } else {
        h.scale = t->hr_scale;
    }
    return h;
}

static struct render render_of(const struct task *t)
{
    return (struct render){
        .prompt = t->prompt,
        .negative_prompt = t->negative_prompt,
        .emphasis = t->emphasis,
        .clip_skip = t->clip_skip,
        .sampler = t->sampler,
        .scheduler = t->scheduler,
        .steps = t->steps,
        .eta = optional(t->eta),
        .s_noise = optional(t->s_noise),
        .rescale_betas_zero_snr = t->rescale_betas_zero_snr,
        .width = t->width,
        .height = t->height,
        .cfg_scale = t->cfg_scale,
        .guidance_rescale = t->guidance_rescale,
        .seed = t->seed,
        .rng = t->rng,
        .subseed = t->subseed,
        .subseed_strength = t->subseed_strength,
        .seed_resize_width = t->seed_resize_from_w,
        .seed_resize_height = t->seed_resize_from_h,
        .resize = t->resize_mode,
        .denoising_strength = t->denoising_strength,
        .inpaint = {.blur = blur(t),
                    .invert = t->inpainting_mask_invert,
                    .fill = t->inpainting_fill,
                    .full_res = t->inpaint_full_res,
                    .full_res_padding = t->inpaint_full_res_padding},
        .outpaint_left = t->outpaint_left,
        .outpaint_right = t->outpaint_right,
        .outpaint_top = t->outpaint_top,
        .outpaint_bottom = t->outpaint_bottom,
        .hires = hires(t),
        .vae_tile = t->vae_tile,
    };
}

/* Reads a picture's file once, for its pixels and its hash. */
static int read_picture(struct scene *s, const char *name, const char *path, enum image_kind kind,
                        struct image_file *ret_image, struct picture_in *ret_in, struct err *e)
{
    struct model_file *asset = &s->assets[s->n_assets];
    struct buf file = {0};
    struct err cause;
    int rc;

    if ((rc = buf_read_file(&file, path, IMAGE_FILE_MAX, &cause)) != 0)
        TRY(err_set(e, rc, "%s: %s", name, cause.text));
    if ((rc = image_file_decode(path, file.data, file.size, kind, ret_image, &cause)) != 0)
        TRY(err_set(e, rc, "%s: %s", name, cause.text));
    TRY(hash_bytes(file.data, file.size, asset->sha256, e));
    asset->path = name;
    s->n_assets++;
    *ret_in = (struct picture_in){
        .width = ret_image->width, .height = ret_image->height, .pixels = ret_image->pixels};
out:
    buf_done(&file);
    return rc;
}

static bool has_text(const char *text)
{
    return text && *text;
}

int scene_open(const struct task *t, struct scene *ret_scene, struct err *e)
{
    struct scene s = {.render = render_of(t)};
    int rc = 0;

    if (has_text(t->init_image))
        TRY(read_picture(&s, "init_image", t->init_image, IMAGE_RGB, &s.init, &s.render.init, e));
    if (has_text(t->mask))
        TRY(read_picture(&s, "mask", t->mask, IMAGE_MASK, &s.mask, &s.render.inpaint.mask, e));
    *ret_scene = s;
    s = (struct scene){0};
out:
    scene_done(&s);
    return rc;
}

/* A picture of zeros: memory that is never touched. */
static int empty_picture(const struct task *t, size_t channels, struct image_file *ret_image,
                         struct picture_in *ret_in, struct err *e)
{
    ret_image->width = t->width;
    ret_image->height = t->height;
    ret_image->pixels = calloc((size_t)t->width * (size_t)t->height, channels);
    if (!ret_image->pixels)
        return err_set(e, ERR_OOM, "out of memory for a picture of %dx%d", t->width, t->height);
    *ret_in = (struct picture_in){t->width, t->height, ret_image->pixels};
    return 0;
}

int scene_plan(const struct task *t, struct scene *ret_scene, struct err *e)
{
    struct scene s = {.render = render_of(t)};
    int rc = 0;

    if (has_text(t->init_image))
        TRY(empty_picture(t, 3, &s.init, &s.render.init, e));
    if (has_text(t->mask))
        TRY(empty_picture(t, 1, &s.mask, &s.render.inpaint.mask, e));
    *ret_scene = s;
    s = (struct scene){0};
out:
    scene_done(&s);
    return rc;
}

void scene_done(struct scene *scene)
{
    image_file_done(&scene->init);
    image_file_done(&scene->mask);
    *scene = (struct scene){0};
}
