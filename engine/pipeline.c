#include "engine/pipeline.h"

#include "engine/noise.h"
#include "engine/sampler.h"

#include <math.h>

#define SIDE_MAX 16384 /* pixels */

/* One render under way. Latents are [h, w, channels]. */
struct run {
    struct model *model;
    const struct render *render;
    struct prompts *prompts; /* NULL while planning */
    struct schedule schedule;
    struct noise noise;
    struct extent extent;   /* of the latent, for all branches of guidance */
    int64_t channels, size; /* of one latent: channels, numbers */
    bool guided;            /* the batch is negative prompt, prompt; else the prompt alone */
    int64_t tokens;
    float *x;                  /* [size] the latent */
    float *draw;               /* [size] noise in torch's order, and scratch of the first */
    float *in, *out;           /* [n, size] the U-Net's */
    struct unet_text texts[2]; /* of the batch */
    float *sampler;            /* the sampler's own */
};

static bool cancelled(const struct render *r)
{
    return r->cancel != NULL && atomic_load(r->cancel);
}

static int check_cancel(const struct render *r, struct err *e)
{
    return cancelled(r) ? err_set(e, ERR_CANCELLED, "the render was cancelled") : 0;
}

static int check_render(const struct model *m, const struct render *r, struct err *e)
{
    int factor = vae_factor(m->vae);

    if (r->prompt == NULL)
        return err_set(e, ERR_ARG, "a render needs a prompt");
    if (m->kind.xl || m->masked)
        return err_set(e, ERR_INPUT, "models of this kind are opened, but not rendered yet");
    if (r->width < factor || r->height < factor || r->width > SIDE_MAX || r->height > SIDE_MAX ||
        r->width % factor != 0 || r->height % factor != 0)
        return err_set(e, ERR_INPUT,
                       "a picture of %d x %d: both sides must be multiples of %d up to %d",
                       r->width, r->height, factor, SIDE_MAX);
    if (!(r->subseed_strength >= 0 && r->subseed_strength <= 1))
        return err_set(e, ERR_INPUT, "subseed_strength is %g: it must lie between 0 and 1",
                       r->subseed_strength);
    if (r->seed_resize_width < 0 || r->seed_resize_width > SIDE_MAX || r->seed_resize_height < 0 ||
        r->seed_resize_height > SIDE_MAX)
        return err_set(e, ERR_INPUT, "seed resize from %d x %d: sides are 0 to %d",
                       r->seed_resize_width, r->seed_resize_height, SIDE_MAX);
    if (!isfinite(r->cfg_scale))
        return err_set(e, ERR_INPUT, "cfg_scale must be a finite number");
    return 0;
}

static int run_init(struct run *run, struct model *m, const struct render *r, struct err *e)
{
    struct schedule_options options = {.sampler = r->sampler,
                                       .scheduler = r->scheduler,
                                       .steps = r->steps,
                                       .eta = r->eta,
                                       .s_noise = r->s_noise,
                                       .zero_snr = r->rescale_betas_zero_snr};
    int factor = vae_factor(m->vae);
    int rc = 0;

    TRY(check_render(m, r, e));
    *run = (struct run){.model = m, .render = r, .guided = r->cfg_scale > 1};
    run->extent = (struct extent){run->guided ? 2 : 1, r->height / factor, r->width / factor};
    run->channels = vae_config(m->vae)->latent_channels;
    run->size = extent_pixels(&run->extent) * run->channels;
    run->tokens = tokenizer_max_length(m->tokenizer);
    TRY(schedule_init(&run->schedule, m->schedule, &options, e));
    noise_init(&run->noise, &(struct noise_options){.rng = r->rng,
                                                    .seed = r->seed,
                                                    .subseed = r->subseed,
                                                    .subseed_strength = r->subseed_strength,
                                                    .channels = run->channels,
                                                    .h = run->extent.h,
                                                    .w = run->extent.w,
                                                    .resize_h = r->seed_resize_height / factor,
                                                    .resize_w = r->seed_resize_width / factor});
out:
    return rc;
}

static void run_done(struct run *run)
{
    schedule_done(&run->schedule);
}

static int prompt_states(struct run *run, const char *text, float *ret_states, struct err *e)
{
    return prompts_get(run->prompts, run->model, text != NULL ? text : "", ret_states, e);
}

/* A text's keys and values for the whole render; the states themselves are needed no longer. */
static int encode_one(struct run *run, const char *text, struct unet_text *ret_text, struct err *e)
{
    struct unet *u = run->model->unet;
    struct ops *o = run->model->ops;
    size_t mark;
    float *kv, *states;
    int rc = 0;

    TRY(scratch(o, unet_context_floats(u, run->tokens), &kv, e));
    mark = arena_mark(o->arena);
    TRY(scratch(o, run->tokens * clip_config(run->model->clip)->width, &states, e));
    TRY(prompt_states(run, text, states, e));
    TRY(unet_context(u, kv, states, run->tokens, e));
    arena_release(o->arena, mark);
    *ret_text = (struct unet_text){.kv = kv, .tokens = run->tokens};
out:
    return rc;
}

static int encode_text(struct run *run, struct err *e)
{
    int n = 0, rc = 0;

    if (run->guided)
        TRY(encode_one(run, run->render->negative_prompt, &run->texts[n++], e));
    TRY(encode_one(run, run->render->prompt, &run->texts[n], e));
out:
    return rc;
}

static int reserve(struct run *run, struct err *e)
{
    struct ops *o = run->model->ops;
    size_t sampler = sampler_scratch_floats(run->render->sampler, (size_t)run->size);
    int rc = 0;

    TRY(scratch(o, run->size + (int64_t)noise_scratch_floats(&run->noise.options), &run->draw, e));
    TRY(scratch(o, run->extent.n * run->size, &run->in, e));
    TRY(scratch(o, run->extent.n * run->size, &run->out, e));
    TRY(scratch(o, (int64_t)sampler, &run->sampler, e));
out:
    return rc;
}

/* The next normal numbers of the picture's generator, which torch draws in its own layout. */
static int draw_noise(void *user, float *out, struct err *e)
{
    struct run *run = user;

    (void)e;
    noise_next(&run->noise, run->draw);
    nhwc_from_nchw(out, run->draw, run->channels, extent_pixels(&run->extent));
    return 0;
}

/* out = negative + cfg_scale * (prompt - negative), of Ho and Salimans 2022. */
static void guide(const struct run *run, float *out)
{
    const float *negative = run->out, *prompt = run->out + run->size;
    float scale = (float)run->render->cfg_scale;

    for (int64_t i = 0; i < run->size; i++)
        out[i] = negative[i] + scale * (prompt[i] - negative[i]);
}

static bool all_finite(const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

static int denoise(void *user, const float *x, int call, int step, float timestep, float *out,
                   struct err *e)
{
    struct run *run = user;
    size_t bytes = (size_t)run->size * sizeof *x;
    int rc = 0;

    (void)call;
    TRY(check_cancel(run->render, e));
    for (int64_t i = 0; i < run->extent.n; i++)
        memcpy(run->in + i * run->size, x, bytes);
    TRY(unet_forward(run->model->unet, run->out, run->in, &run->extent, timestep, run->texts, e));
    if (run->guided)
        guide(run, out);
    else
        memcpy(out, run->out, bytes);
    if (!all_finite(out, run->size))
        return err_set(e, ERR_OUTPUT, "the U-Net gave NaN or Inf in step %d of %d",
                       schedule_count(&run->schedule, step), run->schedule.n_steps);
out:
    return rc;
}

static int after_step(void *user, int step, float *x)
{
    struct run *run = user;

    (void)x;
    if (run->render->progress != NULL)
        run->render->progress(run->render->user, schedule_count(&run->schedule, step),
                              run->schedule.n_steps);
    return cancelled(run->render);
}

/* The start latent and all steps. */
static int sample(struct run *run, struct err *e)
{
    struct sampler_run s = {.schedule = &run->schedule,
                            .x = run->x,
                            .size = (size_t)run->size,
                            .scratch = run->sampler,
                            .denoise = denoise,
                            .noise = draw_noise,
                            .after_step = after_step,
                            .user = run};

    noise_first(&run->noise, run->draw, run->draw + run->size);
    nhwc_from_nchw(run->x, run->draw, run->channels, extent_pixels(&run->extent));
    for (int64_t i = 0; i < run->size; i++)
        run->x[i] *= run->schedule.init_noise_sigma;
    return sampler_run(&s, e);
}

/* x becomes the final latent. While planning: one step without numbers. */
static int make_latent(struct run *run, struct err *e)
{
    struct ops *o = run->model->ops;
    size_t mark;
    int rc = 0;

    TRY(check_cancel(run->render, e));
    TRY(scratch(o, run->size, &run->x, e));
    mark = arena_mark(o->arena);
    TRY(encode_text(run, e));
    TRY(reserve(run, e));
    if (o->planning)
        TRY(unet_forward(run->model->unet, run->out, run->in, &run->extent, 0, run->texts, e));
    else
        TRY(sample(run, e));
    arena_release(o->arena, mark);
out:
    return rc;
}

/* Values of about -1..1 to 8 bits, as diffusers: halves are rounded to even. */
static int to_pixels(const float *values, size_t n, struct image *image, struct err *e)
{
    unsigned any = 0;

    if (!all_finite(values, (int64_t)n))
        return err_set(e, ERR_OUTPUT, "the VAE gave NaN or Inf");
    for (size_t i = 0; i < n; i++) {
        float v = values[i] * 0.5f + 0.5f;

        v = v < 0 ? 0 : v > 1 ? 1 : v;
        image->pixels[i] = (uint8_t)rintf(v * 255.0f);
        any |= image->pixels[i];
    }
    image->black = any == 0;
    return 0;
}

/* The latent as the VAE has it, in place; and the picture, unless planning. */
static int decode(struct run *run, struct image *image, struct err *e)
{
    const struct vae_config *c = vae_config(run->model->vae);
    size_t n = (size_t)run->render->width * (size_t)run->render->height * 3;
    struct extent one = {1, run->extent.h, run->extent.w};
    struct ops *o = run->model->ops;
    float *values;
    int rc = 0;

    TRY(check_cancel(run->render, e));
    for (int64_t i = 0; i < run->size && !o->planning; i++)
        run->x[i] = run->x[i] / (float)c->scaling_factor + (float)c->shift_factor;
    TRY(scratch(o, (int64_t)n, &values, e));
    TRY(vae_decode(run->model->vae, values, run->x, &one, e));
    if (!o->planning)
        TRY(to_pixels(values, n, image, e));
out:
    return rc;
}

int pipeline_plan(struct model *m, const struct render *r, size_t *ret_bytes, struct err *e)
{
    struct render quiet = *r;
    struct run run = {0};
    struct arena plan;
    int rc = 0;

    quiet.cancel = NULL; /* a plan is short, and its answer should not depend on when it is asked */
    arena_plan(&plan);
    m->ops->arena = &plan;
    m->ops->planning = true;
    TRY(run_init(&run, m, &quiet, e));
    TRY(make_latent(&run, e));
    TRY(decode(&run, NULL, e));
    *ret_bytes = plan.peak;
out:
    m->ops->planning = false;
    m->ops->arena = NULL;
    run_done(&run);
    return rc;
}

int pipeline_run(struct model *m, struct prompts *prompts, struct arena *arena,
                 const struct render *r, struct image *ret_image, struct err *e)
{
    struct image image = {.width = r->width, .height = r->height};
    size_t mark = arena_mark(arena);
    struct run run = {0};
    int rc = 0;

    m->ops->arena = arena;
    TRY(run_init(&run, m, r, e));
    run.prompts = prompts;
    image.pixels = malloc((size_t)r->width * (size_t)r->height * 3);
    if (image.pixels == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for a picture of %d x %d", r->width, r->height));
    TRY(make_latent(&run, e));
    TRY(decode(&run, &image, e));
    *ret_image = image;
    image.pixels = NULL;
out:
    arena_release(arena, mark);
    m->ops->arena = NULL;
    free(image.pixels);
    run_done(&run);
    return rc;
}

int pipeline_latent(struct model *m, struct prompts *prompts, struct arena *arena,
                    const struct render *r, float *ret_latent, struct err *e)
{
    size_t mark = arena_mark(arena);
    struct run run = {0};
    int rc = 0;

    m->ops->arena = arena;
    TRY(run_init(&run, m, r, e));
    run.prompts = prompts;
    TRY(make_latent(&run, e));
    nchw_from_nhwc(ret_latent, run.x, run.channels, extent_pixels(&run.extent));
out:
    arena_release(arena, mark);
    m->ops->arena = NULL;
    run_done(&run);
    return rc;
}
