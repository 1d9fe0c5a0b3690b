#include "jobs/clash_table.h"

#include <math.h>
#include <string.h>

static bool has_text(const char *text)
{
    return text && *text;
}

/* Samplers that walk over training steps have no sigmas to be spread in another way. */
static bool no_sigmas(const struct task *t)
{
    bool steps = t->sampler == SAMPLER_DDIM || t->sampler == SAMPLER_DDPM ||
                 t->sampler == SAMPLER_PNDM || t->sampler == SAMPLER_LCM ||
                 t->sampler == SAMPLER_TCD;

    return steps && t->scheduler != SCHEDULER_AUTOMATIC && t->scheduler != SCHEDULER_UNIFORM;
}

static bool no_eta(const struct task *t)
{
    return isnan(sampler_eta(t->sampler)) && t->eta.set && t->eta.value != 0;
}

static bool no_s_noise(const struct task *t)
{
    return !sampler_adds_noise(t->sampler) && t->s_noise.set && t->s_noise.value != 1;
}

static bool mask_alone(const struct task *t)
{
    return has_text(t->mask) && !has_text(t->init_image);
}

static bool full_res_alone(const struct task *t)
{
    return t->inpaint_full_res && !has_text(t->mask);
}

static bool hires_of_picture(const struct task *t)
{
    return task_is_hires(t) && has_text(t->init_image);
}

static bool outpaint_alone(const struct task *t)
{
    return (t->outpaint_left || t->outpaint_right || t->outpaint_top || t->outpaint_bottom) &&
           !has_text(t->init_image);
}

static bool half_resize(const struct task *t)
{
    return !t->seed_resize_from_w != !t->seed_resize_from_h;
}

static bool hires_size(const struct task *t)
{
    int64_t w, h;

    task_hires_size(t, &w, &h);
    return w < TASK_SIDE_MIN || w > TASK_SIDE_MAX || h < TASK_SIDE_MIN || h > TASK_SIDE_MAX;
}

static bool outpaint_width(const struct task *t)
{
    return (int64_t)t->width + t->outpaint_left + t->outpaint_right > TASK_SIDE_MAX;
}

static bool outpaint_height(const struct task *t)
{
    return (int64_t)t->height + t->outpaint_top + t->outpaint_bottom > TASK_SIDE_MAX;
}

static bool no_step(const struct task *t)
{
    return has_text(t->init_image) && (int)(t->steps * t->denoising_strength) < 1;
}

static bool no_second_step(const struct task *t)
{
    int steps = t->hr_second_pass_steps ? t->hr_second_pass_steps : t->steps;

    return task_is_hires(t) && (int)(steps * t->denoising_strength) < 1;
}

static const struct clash clashes[] = {
    {no_sigmas,
     {PARAM_SAMPLER, PARAM_SCHEDULER},
     2,
     "sampler '%s' cannot use scheduler '%s'",
     "choose scheduler: automatic, or another sampler"},
    {no_eta,
     {PARAM_ETA, PARAM_SAMPLER},
     2,
     "eta: sampler '%s' has none",
     "leave it open, or choose another sampler"},
    {no_s_noise,
     {PARAM_S_NOISE, PARAM_SAMPLER},
     2,
     "s_noise: sampler '%s' adds no noise",
     "leave it open, or choose another sampler"},
    {mask_alone,
     {PARAM_MASK, PARAM_INIT_IMAGE},
     2,
     "mask: there is no init_image whose parts it could mark",
     "give init_image"},
    {full_res_alone,
     {PARAM_INPAINT_FULL_RES, PARAM_MASK},
     2,
     "inpaint_full_res: there is no mask that it could look at more closely",
     "give mask"},
    {hires_of_picture,
     {PARAM_HR_SCALE, PARAM_HR_RESIZE_X, PARAM_HR_RESIZE_Y, PARAM_INIT_IMAGE},
     4,
     "hr_scale: a second pass at a larger size is for pictures from text alone, not with "
     "init_image",
     "leave hr_scale, hr_resize_x and hr_resize_y at 0, and choose a larger size"},
    {outpaint_alone,
     {PARAM_OUTPAINT_LEFT, PARAM_OUTPAINT_RIGHT, PARAM_OUTPAINT_TOP, PARAM_OUTPAINT_BOTTOM,
      PARAM_INIT_IMAGE},
     5,
     "outpaint_left: there is no init_image that could be extended",
     "give init_image"},
    {half_resize,
     {PARAM_SEED_RESIZE_FROM_W, PARAM_SEED_RESIZE_FROM_H},
     2,
     "seed_resize_from_w and seed_resize_from_h belong together",
     "give both, or none"},
    {hires_size,
     {PARAM_WIDTH, PARAM_HEIGHT, PARAM_HR_SCALE, PARAM_HR_RESIZE_X, PARAM_HR_RESIZE_Y},
     5,
     "hr_scale: the second pass must be 8 to 8192 pixels wide and high",
     "choose a smaller size, hr_scale, hr_resize_x or hr_resize_y"},
    {outpaint_width,
     {PARAM_OUTPAINT_LEFT, PARAM_OUTPAINT_RIGHT, PARAM_WIDTH},
     3,
     "outpaint_left: the extended picture must be at most 8192 pixels wide",
     "choose a smaller outpaint_left, outpaint_right or width"},
    {outpaint_height,
     {PARAM_OUTPAINT_TOP, PARAM_OUTPAINT_BOTTOM, PARAM_HEIGHT},
     3,
     "outpaint_top: the extended picture must be at most 8192 pixels high",
     "choose a smaller outpaint_top, outpaint_bottom or height"},
    {no_step,
     {PARAM_DENOISING_STRENGTH, PARAM_STEPS, PARAM_INIT_IMAGE},
     3,
     "denoising_strength: steps times denoising_strength leaves no whole step to run",
     "choose more steps or a larger denoising_strength"},
    {no_second_step,
     {PARAM_DENOISING_STRENGTH, PARAM_STEPS, PARAM_HR_SECOND_PASS_STEPS, PARAM_HR_SCALE,
      PARAM_HR_RESIZE_X, PARAM_HR_RESIZE_Y},
     6,
     "denoising_strength: the second pass' steps times it leave no whole step to run",
     "choose more steps or a larger denoising_strength"},
};

#define N_CLASHES (sizeof clashes / sizeof *clashes)

/* The sentence for a task. */
static void put_why(const struct clash *c, const struct task *t, struct buf *ret_text)
{
    const char *names[] = {sampler_name(t->sampler), scheduler_name(t->scheduler)};
    const char *p = c->why, *at;

    for (size_t i = 0; i < 2 && (at = strstr(p, "%s")); i++, p = at + 2) {
        buf_append(ret_text, p, (size_t)(at - p));
        buf_puts(ret_text, names[i]);
    }
    buf_puts(ret_text, p);
}

int clash_refuse(const struct clash *c, const struct task *t, const char *rule, struct err *e)
{
    struct buf why = {0};
    int rc;

    put_why(c, t, &why);
    rc = err_set(e, ERR_INPUT, "%s: %s%s%s", buf_text(&why), c->cure,
                 *rule ? ", or leave the pair out with " : "", rule);
    buf_done(&why);
    return rc;
}

const struct clash *clash_at(size_t i)
{
    return i < N_CLASHES ? &clashes[i] : NULL;
}

int clash_check_task(const struct task *t, struct err *e)
{
    for (size_t i = 0; i < N_CLASHES; i++)
        if (clashes[i].refused(t))
            return clash_refuse(&clashes[i], t, "", e);
    return 0;
}
