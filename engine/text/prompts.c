#include "engine/text/prompts.h"

#include "proto/buf.h"

#include <stdlib.h>
#include <string.h>

static int encoders(const struct model *m)
{
    return m->clip2 != NULL ? 2 : 1;
}

int64_t prompts_width(const struct model *m)
{
    return clip_config(m->clip)->width + (m->clip2 != NULL ? clip_config(m->clip2)->width : 0);
}

int64_t prompts_pooled_width(const struct model *m)
{
    return m->clip2 != NULL ? clip_pooled_width(m->clip2) : 0;
}

/* ---- encoding */

static double mean(const float *x, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static bool is_plain(const float *weights, int64_t tokens)
{
    for (int64_t i = 0; i < tokens; i++)
        if (weights[i] != 1)
            return false;
    return true;
}

static void emphasise(float *states, const float *weights, int64_t tokens, int64_t width,
                      enum emphasis emphasis)
{
    double before;
    float scale;

    if ((emphasis != EMPHASIS_ORIGINAL && emphasis != EMPHASIS_NO_NORM) ||
        is_plain(weights, tokens))
        return;
    before = mean(states, tokens * width);
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = 0; j < width; j++)
            states[i * width + j] *= weights[i];
    if (emphasis == EMPHASIS_NO_NORM)
        return;
    scale = (float)(before / mean(states, tokens * width));
    for (int64_t i = 0; i < tokens * width; i++)
        states[i] *= scale;
}

static int encode_one(const struct model *m, const struct chunk_text *t, int which, int skip,
                      float *ret_states, float *ret_pooled, struct err *e)
{
    const struct clip *c = which == 0 ? m->clip : m->clip2;
    int rc = clip_encode(c, ret_states, ret_pooled, &t->texts[which], skip, m->clip2 == NULL, e);

    if (rc == 0 && !m->ops->planning)
        emphasise(ret_states, t->weights[which], t->texts[which].tokens, clip_config(c)->width,
                  t->emphasis);
    return rc;
}

/* Each token's states of both encoders, one behind the other. */
static void join(float *out, const float *a, const float *b, int64_t tokens, int64_t width,
                 int64_t width2)
{
    for (int64_t i = 0; i < tokens; i++) {
        memcpy(out + i * (width + width2), a + i * width, (size_t)width * sizeof *out);
        memcpy(out + i * (width + width2) + width, b + i * width2, (size_t)width2 * sizeof *out);
    }
}

static int encode(const struct model *m, const struct chunk_text *t, float *ret_states,
                  float *ret_pooled, struct err *e)
{
    int64_t tokens = t->texts[0].tokens, width, width2;
    int skip = t->clip_skip < 1 ? 0 : t->clip_skip - 1;
    struct ops *o = m->ops;
    size_t mark = arena_mark(o->host);
    float *first, *second;
    int rc = 0;

    if (m->clip2 == NULL)
        return encode_one(m, t, 0, skip, ret_states, NULL, e);
    width = clip_config(m->clip)->width;
    width2 = clip_config(m->clip2)->width;
    skip = skip < 1 ? 1 : skip;
    TRY(host_scratch(o, tokens * width, &first, e));
    TRY(host_scratch(o, tokens * width2, &second, e));
    TRY(encode_one(m, t, 0, skip, first, NULL, e));
    TRY(encode_one(m, t, 1, skip, second, ret_pooled, e));
    if (!o->planning)
        join(ret_states, first, second, tokens, width, width2);
out:
    arena_release(o->host, mark);
    return rc;
}

/* ---- the cache */

static void add_text(struct buf *b, const struct clip_text *t, const float *weights, int64_t width)
{
    size_t tokens = (size_t)t->tokens;

    buf_printf(b, "%zu ", tokens);
    buf_append(b, t->ids, tokens * sizeof *t->ids);
    buf_append(b, weights, tokens * sizeof *weights);
    for (size_t i = 0; i < t->n_vectors; i++) {
        buf_printf(b, "%d ", t->vectors[i].at);
        buf_append(b, t->vectors[i].values, (size_t)width * sizeof(float));
    }
}

static int make_key(const struct model *m, const struct chunk_text *t, bool pooled,
                    char ret_key[HASH_HEX_SIZE], struct err *e)
{
    struct buf b = {0};
    int rc = 0;

    buf_printf(&b, "%d %d %d %s|", (int)t->emphasis, t->clip_skip, pooled,
               t->adapters != NULL ? t->adapters : "");
    for (int i = 0; i < encoders(m); i++)
        add_text(&b, &t->texts[i], t->weights[i], clip_config(i == 0 ? m->clip : m->clip2)->width);
    TRY(buf_check(&b, e));
    TRY(hash_bytes(b.data, b.size, ret_key, e));
out:
    buf_done(&b);
    return rc;
}

static struct prompt_states *find(struct prompts *p, const char *key)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->kept[i].key, key) == 0)
            return &p->kept[i];
    return NULL;
}

static void drop_oldest(struct prompts *p)
{
    size_t oldest = 0;

    for (size_t i = 1; i < p->n; i++)
        if (p->kept[i].used < p->kept[oldest].used)
            oldest = i;
    p->bytes -= p->kept[oldest].size * sizeof(float);
    free(p->kept[oldest].values);
    p->kept[oldest] = p->kept[--p->n];
}

/* Keeps numbers if they fit the budget at all. */
static int keep(struct prompts *p, const char *key, const float *states, size_t n_states,
                const float *pooled, size_t n_pooled, struct err *e)
{
    uint64_t budget = p->budget_bytes > 0 ? p->budget_bytes : PROMPTS_BUDGET_BYTES;
    struct prompt_states s = {.size = n_states + n_pooled, .used = p->calls};

    if (s.size * sizeof(float) > budget)
        return 0;
    while (p->bytes + s.size * sizeof(float) > budget)
        drop_oldest(p);
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 16;
        struct prompt_states *kept = realloc(p->kept, capacity * sizeof *kept);

        if (kept == NULL)
            return err_set(e, ERR_OOM, "no memory to keep a prompt's states");
        p->kept = kept;
        p->capacity = capacity;
    }
    s.values = malloc(s.size * sizeof(float));
    if (s.values == NULL)
        return err_set(e, ERR_OOM, "no memory to keep a prompt's states");
    memcpy(s.key, key, HASH_HEX_SIZE);
    memcpy(s.values, states, n_states * sizeof(float));
    if (n_pooled > 0)
        memcpy(s.values + n_states, pooled, n_pooled * sizeof(float));
    p->bytes += s.size * sizeof(float);
    p->kept[p->n++] = s;
    return 0;
}

int prompts_encode(struct prompts *p, const struct model *m, const struct chunk_text *t,
                   float *ret_states, float *ret_pooled, struct err *e)
{
    size_t n = (size_t)(t->texts[0].tokens * prompts_width(m));
    size_t n_pooled = ret_pooled != NULL ? (size_t)prompts_pooled_width(m) : 0;
    char key[HASH_HEX_SIZE];
    struct prompt_states *s;
    int rc = 0;

    if (m->ops->planning || m->ops->shard.size > 1)
        return encode(m, t, ret_states, ret_pooled, e);
    TRY(make_key(m, t, n_pooled > 0, key, e));
    p->calls++;
    s = find(p, key);
    if (s == NULL) {
        TRY(encode(m, t, ret_states, ret_pooled, e));
        return keep(p, key, ret_states, n, ret_pooled, n_pooled, e);
    }
    s->used = p->calls;
    memcpy(ret_states, s->values, n * sizeof(float));
    if (n_pooled > 0)
        memcpy(ret_pooled, s->values + n, n_pooled * sizeof(float));
out:
    return rc;
}

void prompts_done(struct prompts *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->kept[i].values);
    free(p->kept);
    *p = (struct prompts){.budget_bytes = p->budget_bytes};
}
