#include "engine/pipeline/texts.h"

#include <stdlib.h>

/* Calls of the denoiser in one step, as AUTOMATIC1111 counts them. */
static int calls_per_step(enum sampler_id sampler)
{
    switch (sampler) {
    case SAMPLER_HEUN:
    case SAMPLER_DPM2:
    case SAMPLER_DPM2_A:
    case SAMPLER_DPMPP_2S_A:
    case SAMPLER_DPMPP_SDE:
        return 2;
    default:
        return 1;
    }
}

/* Whether the prompt's parts are no answer without a negative one to weigh them against. */
static bool needs_negative(const struct conditioning *c)
{
    struct guidance g;

    conditioning_at(c, 0, &g);
    return g.n_parts > 1 || g.parts[0].weight != 1;
}

int texts_new(struct texts *t, const struct model *m, struct embeddings *embeddings,
              const struct render *r, int steps, int first_steps, struct err *e)
{
    int calls = calls_per_step(r->sampler) * steps;
    int first_calls = calls_per_step(r->sampler) * first_steps;
    struct conditioning_request request = {.prompt = r->prompt,
                                           .negative_prompt = r->negative_prompt,
                                           .steps = first_steps > 0 ? first_calls : calls,
                                           .hires_steps = first_steps > 0 ? calls : 0,
                                           .emphasis = r->emphasis,
                                           .clip_skip = r->clip_skip,
                                           .guided = r->cfg_scale > 1,
                                           .embeddings = embeddings};
    int rc = 0;

    TRY(conditioning_new(m, &request, &t->conditioning, e));
    if (!request.guided && needs_negative(t->conditioning)) {
        texts_done(t);
        request.guided = true;
        TRY(conditioning_new(m, &request, &t->conditioning, e));
    }
    t->guided = request.guided;
    t->texts = calloc((size_t)conditioning_texts(t->conditioning), sizeof *t->texts);
    if (t->texts == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for a render's texts"));
out:
    if (rc != 0)
        texts_done(t);
    return rc;
}

void texts_done(struct texts *t)
{
    conditioning_free(t->conditioning);
    free(t->texts);
    *t = (struct texts){0};
}

/* One text's keys and values, and its share of the time embedding; its states are not kept. */
static int encode_one(struct texts *t, const struct model *m, struct prompts *prompts, int i,
                      const float time_ids[UNET_TIME_IDS], struct err *e)
{
    int64_t tokens = conditioning_tokens(t->conditioning, i);
    int64_t n_pooled = prompts_pooled_width(m);
    struct act *kv, *added = NULL;
    float *states, *pooled = NULL;
    struct ops *o = m->ops;
    size_t mark;
    int rc = 0;

    TRY(scratch(o, unet_context_size(m->unet, tokens), &kv, e));
    if (n_pooled > 0)
        TRY(scratch(o, unet_config(m->unet)->time_width, &added, e));
    mark = arena_mark(o->host);
    TRY(host_scratch(o, tokens * prompts_width(m), &states, e));
    if (n_pooled > 0)
        TRY(host_scratch(o, n_pooled, &pooled, e));
    TRY(conditioning_encode(t->conditioning, prompts, i, states, pooled, e));
    TRY(unet_context(m->unet, kv, states, tokens, e));
    if (n_pooled > 0)
        TRY(unet_added(m->unet, added, pooled, time_ids, e));
    arena_release(o->host, mark);
    t->texts[i] = (struct unet_text){.kv = kv, .tokens = tokens, .added = added};
out:
    return rc;
}

int texts_encode(struct texts *t, const struct model *m, struct prompts *prompts, int width,
                 int height, struct err *e)
{
    float w = (float)width, h = (float)height;
    const float time_ids[UNET_TIME_IDS] = {h, w, 0, 0, h, w};
    int rc = 0;

    for (int i = 0; i < conditioning_texts(t->conditioning); i++)
        TRY(encode_one(t, m, prompts, i, time_ids, e));
out:
    return rc;
}

int texts_at(const struct texts *t, int call, struct unet_text *ret_branches,
             struct guidance *ret_guidance)
{
    struct guidance *g = ret_guidance;
    int n = 0;

    conditioning_at(t->conditioning, call, g);
    if (t->guided)
        ret_branches[n++] = t->texts[g->negative];
    for (size_t i = 0; i < g->n_parts; i++)
        ret_branches[n++] = t->texts[g->parts[i].text];
    return n;
}

int texts_most(const struct texts *t)
{
    struct guidance g;

    conditioning_at(t->conditioning, 0, &g);
    return (t->guided ? 1 : 0) + (int)g.n_parts;
}
