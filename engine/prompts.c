#include "engine/prompts.h"

static void free_one(struct prompt_states *s)
{
    free(s->text);
    free(s->states);
    *s = (struct prompt_states){0};
}

static struct prompt_states *find(struct prompts *p, const char *text)
{
    for (int i = 0; i < PROMPTS_MAX; i++)
        if (p->kept[i].text != NULL && strcmp(p->kept[i].text, text) == 0)
            return &p->kept[i];
    return NULL;
}

/* A free place, or that of the states that were not asked for the longest. */
static struct prompt_states *oldest(struct prompts *p)
{
    struct prompt_states *oldest = &p->kept[0];

    for (int i = 1; i < PROMPTS_MAX; i++)
        if (p->kept[i].used < oldest->used)
            oldest = &p->kept[i];
    return oldest;
}

static int encode(const struct model *m, const char *text, float *ret_states, struct err *e)
{
    int tokens = tokenizer_max_length(m->tokenizer);
    int32_t *ids = calloc((size_t)tokens, sizeof *ids);
    int rc = 0;

    if (ids == NULL)
        return err_set(e, ERR_OOM, "no memory for %d tokens", tokens);
    if (text != NULL)
        TRY(tokenizer_encode_padded(m->tokenizer, text, ids, NULL, e));
    TRY(clip_encode(m->clip, ret_states, NULL, &(struct clip_text){.ids = ids, .tokens = tokens}, 0,
                    true, e));
out:
    free(ids);
    return rc;
}

int prompts_get(struct prompts *p, const struct model *m, const char *text, float *ret_states,
                struct err *e)
{
    size_t size = (size_t)tokenizer_max_length(m->tokenizer) * (size_t)clip_config(m->clip)->width *
                  sizeof(float);
    struct prompt_states *s = find(p, text);
    int rc = 0;

    if (s == NULL) {
        TRY(encode(m, text, ret_states, e));
        s = oldest(p);
        free_one(s);
        s->text = strdup(text);
        s->states = malloc(size);
        if (s->text == NULL || s->states == NULL) {
            free_one(s);
            return err_set(e, ERR_OOM, "no memory to keep a prompt's states");
        }
        memcpy(s->states, ret_states, size);
    } else {
        memcpy(ret_states, s->states, size);
    }
    s->used = ++p->calls;
out:
    return rc;
}

int prompts_plan(const struct model *m, float *states, struct err *e)
{
    return encode(m, NULL, states, e);
}

void prompts_done(struct prompts *p)
{
    for (int i = 0; i < PROMPTS_MAX; i++)
        free_one(&p->kept[i]);
    p->calls = 0;
}
