#include "engine/texts.h"

static int prompt_states(struct prompts *prompts, const struct model *m, const char *text,
                         float *ret_states, struct err *e)
{
    return prompts_get(prompts, m, text != NULL ? text : "", ret_states, e);
}

/* A text's keys and values for the whole render; the states themselves are needed no longer. */
static int encode_one(struct prompts *prompts, const struct model *m, const char *text,
                      struct unet_text *ret_text, struct err *e)
{
    int64_t tokens = tokenizer_max_length(m->tokenizer);
    struct ops *o = m->ops;
    size_t mark;
    float *kv, *states;
    int rc = 0;

    TRY(scratch(o, unet_context_floats(m->unet, tokens), &kv, e));
    mark = arena_mark(o->arena);
    TRY(scratch(o, tokens * clip_config(m->clip)->width, &states, e));
    TRY(prompt_states(prompts, m, text, states, e));
    TRY(unet_context(m->unet, kv, states, tokens, e));
    arena_release(o->arena, mark);
    *ret_text = (struct unet_text){.kv = kv, .tokens = tokens};
out:
    return rc;
}

int texts_open(struct texts *t, struct model *m, const struct render *r, struct prompts *prompts,
               int width, int height, struct err *e)
{
    int n = 0, rc = 0;

    (void)width;
    (void)height;
    *t = (struct texts){.guided = r->cfg_scale > 1};
    if (t->guided)
        TRY(encode_one(prompts, m, r->negative_prompt, &t->texts[n++], e));
    TRY(encode_one(prompts, m, r->prompt, &t->texts[n], e));
out:
    return rc;
}

int texts_most(const struct texts *t)
{
    return t->guided ? 2 : 1;
}

int texts_at(const struct texts *t, int call, struct unet_text *ret_texts, double *ret_weights)
{
    int n = texts_most(t);

    (void)call;
    for (int i = 0; i < n; i++)
        ret_texts[i] = t->texts[i];
    ret_weights[0] = 1;
    return n;
}
