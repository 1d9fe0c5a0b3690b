#include "engine/pipeline/pipeline.h"

#include "engine/gang/gang.h"
#include "engine/lora/lora.h"
#include "engine/pipeline/canvas.h"
#include "engine/pipeline/hires.h"

#include <math.h>

/* One render under way. */
struct run {
    struct pipeline *pipeline;
    struct model *model;
    const struct render *render;
    struct prompts *prompts; /* NULL while planning */
    struct canvas canvas;
    struct pass first, second; /* second: zero unless hires */
    struct hires_size hires;
    bool has_second;
    struct pass *last;                /* the one whose latent is decoded */
    struct gang *guides, *own_guides; /* guidance's members; a part of the gang, owned, or NULL */
    int part, parts;                  /* of guidance */
};

/* ---- what a render may ask for */

static int check_size(const struct model *m, const struct render *r, struct err *e)
{
    int factor = vae_factor(m->vae), width, height;

    if (r->width < factor || r->height < factor || r->width > RENDER_SIDE_MAX ||
        r->height > RENDER_SIDE_MAX || r->width % factor != 0 || r->height % factor != 0)
        return err_set(e, ERR_INPUT,
                       "a picture of %d x %d: both sides must be multiples of %d up to %d",
                       r->width, r->height, factor, RENDER_SIDE_MAX);
    if (r->seed_resize_width < 0 || r->seed_resize_width > RENDER_SIDE_MAX ||
        r->seed_resize_height < 0 || r->seed_resize_height > RENDER_SIDE_MAX)
        return err_set(e, ERR_INPUT, "seed resize from %d x %d: sides are 0 to %d",
                       r->seed_resize_width, r->seed_resize_height, RENDER_SIDE_MAX);
    if (r->vae_tile != 0 && (r->vae_tile < 64 || r->vae_tile % 64 != 0))
        return err_set(e, ERR_INPUT, "vae_tile is %d: it must be 0 or a multiple of 64",
                       r->vae_tile);
    render_size(r, &width, &height);
    if (width > RENDER_SIDE_MAX || height > RENDER_SIDE_MAX)
        return err_set(e, ERR_INPUT, "the picture would have %d x %d pixels; a side has at most %d",
                       width, height, RENDER_SIDE_MAX);
    return 0;
}

static int check_numbers(const struct render *r, struct err *e)
{
    if (!(r->subseed_strength >= 0 && r->subseed_strength <= 1))
        return err_set(e, ERR_INPUT, "subseed_strength is %g: it must lie between 0 and 1",
                       r->subseed_strength);
    if (!(r->guidance_rescale >= 0 && r->guidance_rescale <= 1))
        return err_set(e, ERR_INPUT, "guidance_rescale is %g: it must lie between 0 and 1",
                       r->guidance_rescale);
    if (!isfinite(r->cfg_scale))
        return err_set(e, ERR_INPUT, "cfg_scale must be a finite number");
    return 0;
}

static bool asks_for_hires(const struct render *r)
{
    return r->hires.scale != 0 || r->hires.width != 0 || r->hires.height != 0;
}

static int check_hires(const struct model *m, const struct render *r, struct err *e)
{
    const struct hires *h = &r->hires;
    int factor = vae_factor(m->vae);
    struct hires_size size;

    if (r->init.pixels != NULL)
        return err_set(e, ERR_INPUT,
                       "hires fix is of text to picture: it does not go with an "
                       "init_image");
    if (h->width < 0 || h->height < 0 || h->width > RENDER_SIDE_MAX ||
        h->height > RENDER_SIDE_MAX || h->width % factor != 0 || h->height % factor != 0)
        return err_set(e, ERR_INPUT, "hires fix to %d x %d: sides are multiples of %d up to %d",
                       h->width, h->height, factor, RENDER_SIDE_MAX);
    if (h->width == 0 && h->height == 0 && !(h->scale >= 1 && h->scale <= HIRES_SCALE_MAX))
        return err_set(e, ERR_INPUT, "hr_scale is %g: it must lie between 1 and %d", h->scale,
                       HIRES_SCALE_MAX);
    if (!hires_size(r, &size) || size.full_width < factor || size.full_height < factor ||
        size.full_width > RENDER_SIDE_MAX || size.full_height > RENDER_SIDE_MAX)
        return err_set(e, ERR_INPUT, "hires fix: the enlarged picture has no size from %d to %d",
                       factor, RENDER_SIDE_MAX);
    return 0;
}

static int check_strength(const struct render *r, struct err *e)
{
    if (r->denoising_strength > 0 && r->denoising_strength <= 1)
        return 0;
    return err_set(e, ERR_INPUT,
                   "denoising_strength is %g: it must be more than 0 and at most 1 where a pass "
                   "starts from a picture",
                   r->denoising_strength);
}

static int check_render(const struct model *m, const struct render *r, struct err *e)
{
    int rc = 0;

    if (r->prompt == NULL)
        return err_set(e, ERR_ARG, "a render needs a prompt");
    TRY(check_numbers(r, e));
    TRY(canvas_check(r, e));
    if (asks_for_hires(r))
        TRY(check_hires(m, r, e));
    TRY(check_size(m, r, e));
    if (asks_for_hires(r) || r->init.pixels != NULL)
        TRY(check_strength(r, e));
out:
    return rc;
}

/* ---- what the prompt brings along */

static void forget_used(struct pipeline *p)
{
    for (size_t i = 0; i < p->n_used; i++) {
        free(p->used[i].name);
        free(p->used[i].path);
    }
    free(p->used);
    p->used = NULL;
    p->n_used = 0;
}

void pipeline_done(struct pipeline *p)
{
    forget_used(p);
    prompts_done(&p->prompts);
}

/* The names and files of the embeddings that the prompts use. */
static int note_used(struct pipeline *p, const struct conditioning *c, struct err *e)
{
    const struct conditioning_embedding *list;
    size_t n;

    forget_used(p);
    list = conditioning_embeddings(c, &n);
    p->used = calloc(n + 1, sizeof *p->used);
    for (size_t i = 0; i < n && p->used != NULL; i++) {
        p->used[i].name = strdup(list[i].name);
        p->used[i].path = strdup(list[i].path);
        p->n_used = i + 1;
        if (p->used[i].name == NULL || p->used[i].path == NULL)
            return err_set(e, ERR_OOM, "no memory for the list of embeddings");
    }
    return p->used != NULL ? 0 : err_set(e, ERR_OOM, "no memory for the list of embeddings");
}

static int apply_prompt(struct run *run, struct err *e)
{
    const struct conditioning *c = run->first.texts.conditioning;
    const struct lora_use *loras;
    size_t n;
    int rc = 0;

    TRY(note_used(run->pipeline, c, e));
    loras = conditioning_loras(c, &n);
    TRY(model_loras(run->model, loras, n, e));
out:
    return rc;
}

/* ---- the gang */

static bool leads(const struct render *r)
{
    return r->gang == NULL || r->gang->rank == 0;
}

/*
 * Member r of a gang holds shard r % shards, and computes part r / shards of guidance, which it
 * shares with those that hold the same shard.
 */
static int open_gang(struct run *run, struct err *e)
{
    struct gang *g = run->render->gang;
    int shards = run->model->shards;
    int rc = 0;

    run->part = 0;
    run->parts = 1;
    if (g == NULL && shards == 1)
        return 0;
    if (g == NULL || g->size % shards != 0 || g->rank % shards != run->model->shard)
        return err_set(e, ERR_ARG, "part %d of %d of a model does not go with this gang",
                       run->model->shard, shards);
    run->part = g->rank / shards;
    run->parts = g->size / shards;
    if (run->parts > 2)
        return err_set(e, ERR_ARG, "guidance has two parts, the gang %d", run->parts);
    if (run->model->ops->planning || run->parts == 1)
        return 0;
    if (shards > 1)
        TRY(g->split(g, run->model->shard, &run->own_guides, e));
    run->guides = shards > 1 ? run->own_guides : g;
out:
    return rc;
}

/* ---- the run */

static int init_passes(struct run *run, struct err *e)
{
    const struct render *r = run->render;
    struct pass_options o = {.model = run->model,
                             .embeddings = run->pipeline->embeddings,
                             .render = r,
                             .width = run->canvas.width,
                             .height = run->canvas.height,
                             .strength = r->init.pixels != NULL ? r->denoising_strength : 0,
                             .steps = r->steps,
                             .guides = run->guides,
                             .part = run->part,
                             .parts = run->parts};
    int rc = 0;

    TRY(pass_init(&run->first, &o, e));
    run->first.steps_total = pass_steps(&run->first);
    run->last = &run->first;
    run->has_second = hires_size(r, &run->hires);
    if (!run->has_second)
        goto out;
    o.width = run->hires.width;
    o.height = run->hires.height;
    o.strength = r->denoising_strength;
    o.first_steps = r->steps;
    o.steps = r->hires.steps > 0 ? r->hires.steps : r->steps;
    TRY(pass_init(&run->second, &o, e));
    run->second.steps_before = pass_steps(&run->first);
    run->second.steps_total = run->second.steps_before + pass_steps(&run->second);
    run->first.steps_total = run->second.steps_total;
    run->last = &run->second;
out:
    return rc;
}

static int run_init(struct run *run, struct pipeline *p, const struct render *r, struct err *e)
{
    int rc = 0;

    *run = (struct run){.pipeline = p, .model = p->model, .render = r};
    TRY(check_render(run->model, r, e));
    TRY(open_gang(run, e));
    TRY(canvas_open(&run->canvas, p->model->ops->host, r, e));
    TRY(init_passes(run, e));
    TRY(apply_prompt(run, e));
out:
    return rc;
}

static void run_done(struct run *run)
{
    pass_done(&run->first);
    pass_done(&run->second);
    if (run->own_guides != NULL)
        run->own_guides->free(run->own_guides);
}

/* All passes: run->last->x becomes the final latent. */
static int make_latent(struct run *run, struct err *e)
{
    const struct canvas *c = &run->canvas;
    struct pass_start from = {
        .picture = c->picture.data != NULL ? &c->picture : NULL,
        .mask = c->mask.data != NULL ? &c->mask : NULL,
        .fill = c->mask.data != NULL ? run->render->inpaint.fill : FILL_ORIGINAL,
    };
    struct pixels enlarged;
    int rc = 0;

    TRY(pass_run(&run->first, &from, run->prompts, e));
    if (!run->has_second)
        goto out;
    TRY(hires_begin(&run->first, &run->second, &run->hires, &from, &enlarged, e));
    TRY(pass_run(&run->second, &from, run->prompts, e));
out:
    return rc;
}

/* image: of the render's size; NULL while planning. */
static int make_picture(struct run *run, struct image *image, struct err *e)
{
    struct arena *a = run->model->ops->host;
    struct pixels rendered, whole = {0};
    bool black = false;
    int rc = 0;

    if (image != NULL)
        whole = (struct pixels){image->width, image->height, 3, image->pixels};
    else
        render_size(run->render, &whole.width, &whole.height);
    whole.channels = 3;
    TRY(pixels_new(a, run->last->width, run->last->height, 3, &rendered, e));
    TRY(pass_decode(run->last, &rendered, &black, e));
    TRY(canvas_finish(&run->canvas, a, &rendered, &whole, e));
    if (image != NULL)
        image->black = black;
out:
    return rc;
}

int pipeline_plan(struct pipeline *p, const struct render *r, struct workspace *ret_plan,
                  struct err *e)
{
    struct render quiet = *r;
    struct ops *o = p->model->ops;
    struct run run;
    int rc = 0;

    quiet.cancel = NULL; /* a plan is short, and its answer should not depend on when it is asked */
    workspace_plan(ret_plan, o);
    TRY(run_init(&run, p, &quiet, e));
    TRY(make_latent(&run, e));
    if (leads(r))
        TRY(make_picture(&run, NULL, e));
out:
    run_done(&run);
    o->arena = o->host = NULL;
    o->planning = false;
    return rc;
}

static int image_new(const struct render *r, struct image *ret_image, struct err *e)
{
    struct image image = {0};

    render_size(r, &image.width, &image.height);
    image.pixels = malloc((size_t)image.width * (size_t)image.height * 3);
    if (image.pixels == NULL)
        return err_set(e, ERR_OOM, "no memory for a picture of %d x %d", image.width, image.height);
    *ret_image = image;
    return 0;
}

int pipeline_run(struct pipeline *p, const struct render *r, float *ret_latent,
                 struct image *ret_image, struct err *e)
{
    struct ops *o = p->model->ops;
    size_t mark = arena_mark(o->arena), host_mark = arena_mark(o->host);
    struct image image = {0};
    struct run run;
    int rc = 0;

    TRY(run_init(&run, p, r, e));
    run.prompts = &p->prompts;
    if (leads(r))
        TRY(image_new(r, &image, e));
    TRY(make_latent(&run, e));
    if (ret_latent != NULL)
        nchw_from_nhwc(ret_latent, run.last->x, run.last->channels,
                       extent_pixels(&run.last->extent));
    if (leads(r))
        TRY(make_picture(&run, &image, e));
    *ret_image = image;
    image.pixels = NULL;
out:
    arena_release(o->host, host_mark);
    arena_release(o->arena, mark);
    free(image.pixels);
    run_done(&run);
    return rc;
}
