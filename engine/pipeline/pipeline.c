#include "engine/pipeline/pipeline.h"

#include "engine/gang/gang.h"
#include "engine/lora/lora.h"
#include "engine/pipeline/canvas.h"
#include "engine/pipeline/hires.h"

#include <stdlib.h>
#include <string.h>

/* A batch under way. */
struct run {
    struct pipeline *pipeline;
    struct model *model;
    const struct batch *batch;
    const struct render *common; /* the first: what all agree in */
    struct prompts *prompts;     /* NULL while planning */
    struct picture {
        struct canvas canvas;
        struct pass_start start; /* of the next pass */
        struct hires_start enlarged;
    } * pictures;              /* [batch->n], owned */
    struct pass first, second; /* second: zero unless hires */
    struct hires_size hires;
    bool has_second;
    struct pass *last;      /* the one whose latents are decoded */
    struct gang *guides;    /* who share the branches of guidance; NULL: nobody */
    struct gang *splits[2]; /* parts of the gang, owned; NULL: none */
    struct gang *device;    /* the same as shard's, from device to device; owned; NULL: none */
    int part, parts;        /* of guidance */
};

/* ---- what the prompts bring along */

static void forget_used(struct pipeline *p)
{
    for (size_t i = 0; i < p->n_used; i++) {
        for (size_t k = 0; k < p->used[i].n; k++) {
            free(p->used[i].items[k].name);
            free(p->used[i].items[k].path);
        }
        free(p->used[i].items);
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

/* The names and files of the embeddings that a render's prompts use. */
static int note_used(struct used_embeddings *used, const struct conditioning *c, struct err *e)
{
    const struct conditioning_embedding *list;
    size_t n;

    list = conditioning_embeddings(c, &n);
    used->items = calloc(n + 1, sizeof *used->items);
    for (size_t i = 0; i < n && used->items != NULL; i++) {
        used->items[i].name = strdup(list[i].name);
        used->items[i].path = strdup(list[i].path);
        used->n = i + 1;
        if (used->items[i].name == NULL || used->items[i].path == NULL)
            return err_set(e, ERR_OOM, "no memory for the list of embeddings");
    }
    return used->items != NULL ? 0 : err_set(e, ERR_OOM, "no memory for the list of embeddings");
}

static int note_all_used(struct run *run, struct err *e)
{
    struct pipeline *p = run->pipeline;
    int rc = 0;

    forget_used(p);
    p->used = calloc(run->batch->n, sizeof *p->used);
    if (p->used == NULL)
        return err_set(e, ERR_OOM, "no memory for the list of embeddings");
    p->n_used = run->batch->n;
    for (size_t i = 0; i < p->n_used; i++)
        TRY(note_used(&p->used[i], run->first.samples[i].texts.conditioning, e));
out:
    return rc;
}

static bool same_loras(const struct conditioning *a, const struct conditioning *b)
{
    size_t n, m;
    const struct lora_use *x = conditioning_loras(a, &n), *y = conditioning_loras(b, &m);

    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(x[i].name, y[i].name) != 0 || x[i].unet != y[i].unet || x[i].te != y[i].te)
            return false;
    return true;
}

static int apply_prompts(struct run *run, struct err *e)
{
    const struct conditioning *c = run->first.samples[0].texts.conditioning;
    const struct lora_use *loras;
    size_t n;
    int rc = 0;

    TRY(note_all_used(run, e));
    for (size_t i = 1; i < run->batch->n; i++)
        if (!same_loras(c, run->first.samples[i].texts.conditioning))
            TRY(err_set(e, ERR_ARG, "render %zu has other LoRAs than the first", i));
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
 * Member r of a gang holds shard r % shards, whose sums it takes with the others of its part of
 * guidance; it computes part r / shards, whose answers it shares with those of the same shard.
 */
static int open_gang(struct run *run, struct err *e)
{
    struct gang *g = run->common->gang;
    struct shard *shard = &run->model->ops->shard;
    int shards = shard->size > 1 ? shard->size : 1, rc = 0;

    run->part = 0;
    run->parts = 1;
    if (g == NULL && shards == 1)
        return 0;
    if (g == NULL || g->size % shards != 0 || g->rank % shards != shard->rank)
        return err_set(e, ERR_ARG, "part %d of %d of a model does not go with this gang",
                       shard->rank, shards);
    run->part = g->rank / shards;
    run->parts = g->size / shards;
    if (run->parts > 2)
        return err_set(e, ERR_ARG, "guidance has two parts, the gang %d", run->parts);
    if (run->model->ops->planning)
        return 0;
    run->guides = run->parts > 1 ? g : NULL;
    shard->gang = shards > 1 ? g : NULL;
    if (shards > 1 && run->parts > 1) {
        TRY(g->split(g, shard->rank, &run->splits[0], e));
        TRY(g->split(g, run->part, &run->splits[1], e));
        run->guides = run->splits[0];
        shard->gang = run->splits[1];
    }
    if (shards > 1 && run->model->ops->gang_open != NULL) {
        TRY(run->model->ops->gang_open(run->model->ops, shard->gang, &run->device, e));
        shard->gang = run->device;
    }
out:
    return rc;
}

static void close_device(struct run *run)
{
    run->model->ops->shard.gang = NULL;
    if (run->device != NULL)
        run->device->free(run->device);
    run->device = NULL;
}

/*
 * Nobody leaves before all have their latent: a member that goes is taken for lost. Nor is anybody
 * looked after from then on by those who decode.
 */
static int part_ways(struct run *run, struct err *e)
{
    struct gang *g = run->common->gang;
    int64_t counts[GANG_SIZE_MAX];
    float words[GANG_SIZE_MAX] = {0};

    if (g == NULL)
        return 0;
    for (int i = 0; i < g->size; i++)
        counts[i] = 1;
    close_device(run);
    return g->all_gather(g, words, counts, e);
}

static void close_gang(struct run *run)
{
    close_device(run);
    for (int i = 0; i < 2; i++)
        if (run->splits[i] != NULL)
            run->splits[i]->free(run->splits[i]);
}

/* ---- the run */

/* The leader decodes, or all members do it together. */
static bool decodes(const struct run *run)
{
    return leads(run->common) || run->last->decoders != NULL;
}

/* Where sums are taken in parts already, so that no byte is promised, all members decode. */
static void share_decoding(struct run *run)
{
    const struct pass *last = run->last;

    if (run->model->ops->shard.size > 1 && run->common->vae_tile == 0 &&
        vae_shares_rows(run->model->vae, &last->extent, run->common->gang))
        run->last->decoders = run->common->gang;
}

static int init_passes(struct run *run, struct err *e)
{
    const struct render *r = run->common;
    struct pass_options o = {.model = run->model,
                             .embeddings = run->pipeline->embeddings,
                             .renders = run->batch->renders,
                             .n = run->batch->n,
                             .width = run->pictures[0].canvas.width,
                             .height = run->pictures[0].canvas.height,
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
    if (!run->has_second) {
        share_decoding(run);
        goto out;
    }
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
    share_decoding(run);
out:
    return rc;
}

/* The canvas of render i, and where its first pass starts. */
static int open_picture(struct run *run, size_t i, struct err *e)
{
    struct picture *p = &run->pictures[i];
    struct canvas *c = &p->canvas;
    int rc = 0;

    TRY(canvas_open(c, run->model->ops->host, run->batch->renders[i], e));
    p->start.picture = c->picture.data != NULL ? &c->picture : NULL;
    p->start.mask = c->mask.data != NULL ? &c->mask : NULL;
    p->start.fill = c->mask.data != NULL ? run->batch->renders[i]->inpaint.fill : FILL_ORIGINAL;
out:
    return rc;
}

static int run_init(struct run *run, struct pipeline *p, const struct batch *b, struct err *e)
{
    int rc = 0;

    *run = (struct run){.pipeline = p, .model = p->model, .batch = b};
    TRY(batch_check(run->model, b, e));
    run->common = b->renders[0];
    TRY(open_gang(run, e));
    run->pictures = calloc(b->n, sizeof *run->pictures);
    if (run->pictures == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for a batch of %zu pictures", b->n));
    for (size_t i = 0; i < b->n; i++)
        TRY(open_picture(run, i, e));
    TRY(init_passes(run, e));
    TRY(apply_prompts(run, e));
out:
    return rc;
}

static void run_done(struct run *run)
{
    pass_done(&run->first);
    pass_done(&run->second);
    close_gang(run);
    free(run->pictures);
}

static int run_pass(struct run *run, struct pass *pass, struct err *e)
{
    struct pass_start *starts = calloc(run->batch->n, sizeof *starts);
    int rc = 0;

    if (starts == NULL)
        return err_set(e, ERR_OOM, "no memory for a batch of %zu pictures", run->batch->n);
    for (size_t i = 0; i < run->batch->n; i++)
        starts[i] = run->pictures[i].start;
    rc = pass_run(pass, starts, run->prompts, e);
    free(starts);
    return rc;
}

/* All passes: run->last has the final latents. */
static int make_latents(struct run *run, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < run->batch->n && run->has_second; i++)
        TRY(hires_take(&run->second, &run->hires, &run->pictures[i].enlarged, e));
    TRY(run_pass(run, &run->first, e));
    if (!run->has_second)
        goto out;
    for (size_t i = 0; i < run->batch->n; i++) {
        struct picture *p = &run->pictures[i];

        TRY(hires_begin(&run->first, i, &run->second, &run->hires, &p->enlarged, &p->start, e));
    }
    TRY(run_pass(run, &run->second, e));
out:
    return rc;
}

/* The rest of picture i. image: of render i's size; NULL while planning. */
static int finish_picture(struct run *run, size_t i, struct decoded *d, struct image *image,
                          struct err *e)
{
    struct arena *a = run->model->ops->host;
    struct pixels whole = {0};
    int rc = 0;

    TRY(pass_decode_end(run->last, d, e));
    if (!leads(run->common))
        return 0;
    if (image != NULL)
        whole = (struct pixels){image->width, image->height, 3, image->pixels};
    else
        render_size(run->batch->renders[i], &whole.width, &whole.height);
    whole.channels = 3;
    TRY(canvas_finish(&run->pictures[i].canvas, a, &d->pixels, &whole, e));
    if (image != NULL)
        image->black = !d->any;
out:
    return rc;
}

/*
 * A picture is finished on the host while the next one is decoded. images: [n], NULL while
 * planning, and of a member that only helps to decode.
 */
static int make_pictures(struct run *run, struct image *images, struct err *e)
{
    struct ops *o = run->model->ops;
    size_t mark = arena_mark(o->host), n = run->batch->n;
    struct decoded decoded[2] = {0};
    int rc = 0;

    for (size_t i = 0; i < 2 && i < n && leads(run->common); i++)
        TRY(pixels_new(o->host, run->last->width, run->last->height, 3, &decoded[i].pixels, e));
    for (size_t i = 0; i <= n; i++) {
        if (i < n)
            TRY(pass_decode_begin(run->last, i, &decoded[i % 2], e));
        if (i > 0)
            TRY(finish_picture(run, i - 1, &decoded[(i - 1) % 2],
                               images != NULL ? &images[i - 1] : NULL, e));
    }
out:
    if (rc != 0)
        o->step->settle(o, NULL, NULL);
    arena_release(o->host, mark);
    return rc;
}

static int plan_all(struct pipeline *p, const struct batch *b, struct workspace *ret_plan,
                    struct err *e)
{
    struct ops *o = p->model->ops;
    struct run run;
    int rc = 0;

    workspace_plan(ret_plan, o);
    TRY(run_init(&run, p, b, e));
    TRY(make_latents(&run, e));
    if (decodes(&run))
        TRY(make_pictures(&run, NULL, e));
out:
    run_done(&run);
    o->arena = o->host = NULL;
    o->planning = false;
    return rc;
}

int pipeline_plan(struct pipeline *p, const struct batch *b, struct workspace *ret_plan,
                  struct err *e)
{
    struct render copies[ENGINE_BATCH_MAX];
    const struct render *quiet[ENGINE_BATCH_MAX];
    int rc = 0;

    TRY(batch_check_count(b, e));
    /* A plan is short, and its answer should not depend on when it is asked: nothing cancels it. */
    for (size_t i = 0; i < b->n; i++) {
        copies[i] = *b->renders[i];
        copies[i].cancel = NULL;
        quiet[i] = &copies[i];
    }
    TRY(plan_all(p, &(struct batch){quiet, b->n}, ret_plan, e));
out:
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

/* ret_latents: [n, channels, h, w]. */
static int give_latents(const struct pass *p, float *ret_latents, struct err *e)
{
    float *latent = malloc((size_t)p->size * sizeof *latent);
    int rc = 0;

    if (latent == NULL)
        return err_set(e, ERR_OOM, "no memory for a latent");
    for (size_t i = 0; i < p->n; i++) {
        TRY(pass_latent(p, i, latent, e));
        nchw_from_nhwc(ret_latents + (int64_t)i * p->size, latent, p->channels,
                       extent_pixels(&p->extent));
    }
out:
    free(latent);
    return rc;
}

int pipeline_run(struct pipeline *p, const struct batch *b, float *ret_latents,
                 struct image *ret_images, struct err *e)
{
    struct ops *o = p->model->ops;
    size_t mark = arena_mark(o->arena), host_mark = arena_mark(o->host), n = 0;
    struct run run;
    int rc = 0;

    TRY(run_init(&run, p, b, e));
    run.prompts = &p->prompts;
    memset(ret_images, 0, b->n * sizeof *ret_images); /* those who do not lead give no pictures */
    for (; n < b->n && leads(b->renders[0]); n++)
        TRY(image_new(b->renders[n], &ret_images[n], e));
    TRY(make_latents(&run, e));
    TRY(part_ways(&run, e));
    if (ret_latents != NULL)
        TRY(give_latents(run.last, ret_latents, e));
    if (decodes(&run))
        TRY(make_pictures(&run, leads(run.common) ? ret_images : NULL, e));
out:
    arena_release(o->host, host_mark);
    arena_release(o->arena, mark);
    for (size_t i = 0; i < n && rc != 0; i++)
        image_done(&ret_images[i]);
    run_done(&run);
    return rc;
}
