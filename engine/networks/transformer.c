#include "engine/networks/transformer.h"

#include <math.h>

#define NORM_EPS       1e-5f /* layer norms; torch's default, which diffusers leaves */
#define GROUP_NORM_EPS 1e-6f /* Transformer2DModel sets its own, whatever norm_eps says */
#define FF_ROWS        512   /* the feed-forward is twelve times as wide as the map: in pieces */

static void attention_load(struct attention *a, struct loader *ld, int64_t channels, int64_t text,
                           const char *name, int i, const char *which)
{
    a->q = loader_linear(ld, channels, channels, false, "%s.transformer_blocks.%d.%s.to_q", name, i,
                         which);
    a->k = loader_linear(ld, text, channels, false, "%s.transformer_blocks.%d.%s.to_k", name, i,
                         which);
    a->v = loader_linear(ld, text, channels, false, "%s.transformer_blocks.%d.%s.to_v", name, i,
                         which);
    a->out = loader_linear(ld, channels, channels, true, "%s.transformer_blocks.%d.%s.to_out.0",
                           name, i, which);
}

static void block_load(struct transformer_block *b, struct loader *ld,
                       const struct transformer_config *c, const char *name, int i)
{
    loader_norm(ld, &b->norm1, c->channels, "%s.transformer_blocks.%d.norm1", name, i);
    loader_norm(ld, &b->norm2, c->channels, "%s.transformer_blocks.%d.norm2", name, i);
    loader_norm(ld, &b->norm3, c->channels, "%s.transformer_blocks.%d.norm3", name, i);
    attention_load(&b->self, ld, c->channels, c->channels, name, i, "attn1");
    attention_load(&b->cross, ld, c->channels, c->text, name, i, "attn2");
    b->ff_in = loader_linear(ld, c->channels, 8 * c->channels, true,
                             "%s.transformer_blocks.%d.ff.net.0.proj", name, i);
    b->ff_out = loader_linear(ld, 4 * c->channels, c->channels, true,
                              "%s.transformer_blocks.%d.ff.net.2", name, i);
}

void transformer_load(struct transformer *t, struct loader *ld,
                      const struct transformer_config *config, int64_t *kv_width, const char *name)
{
    *t = (struct transformer){.config = *config};
    loader_norm(ld, &t->norm, config->channels, "%s.norm", name);
    t->proj_in = loader_linear(ld, config->channels, config->channels, true, "%s.proj_in", name);
    t->proj_out = loader_linear(ld, config->channels, config->channels, true, "%s.proj_out", name);
    t->blocks = loader_items(ld, (size_t)config->blocks, sizeof *t->blocks);
    for (int i = 0; t->blocks != NULL && i < config->blocks; i++) {
        block_load(&t->blocks[i], ld, config, name, i);
        t->blocks[i].kv_offset = *kv_width;
        *kv_width += 2 * config->channels;
    }
}

static void attention_done(struct attention *a, struct ops *o)
{
    linear_layer_free(o, a->q);
    linear_layer_free(o, a->k);
    linear_layer_free(o, a->v);
    linear_layer_free(o, a->out);
}

static void block_done(struct transformer_block *b, struct ops *o)
{
    norm_done(&b->norm1);
    norm_done(&b->norm2);
    norm_done(&b->norm3);
    attention_done(&b->self, o);
    attention_done(&b->cross, o);
    linear_layer_free(o, b->ff_in);
    linear_layer_free(o, b->ff_out);
}

void transformer_done(struct transformer *t, struct ops *o)
{
    for (int i = 0; t->blocks != NULL && i < t->config.blocks; i++)
        block_done(&t->blocks[i], o);
    free(t->blocks);
    norm_done(&t->norm);
    linear_layer_free(o, t->proj_in);
    linear_layer_free(o, t->proj_out);
    *t = (struct transformer){0};
}

int transformer_context(const struct transformer *t, struct ops *o, float *kv, const float *text,
                        int64_t tokens, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < t->config.blocks; i++) {
        const struct transformer_block *b = &t->blocks[i];
        float *k = kv + tokens * b->kv_offset, *v = k + tokens * t->config.channels;

        TRY(linear_layer_forward(o, k, text, b->cross.k, tokens, ACT_NONE, NULL, e));
        TRY(linear_layer_forward(o, v, text, b->cross.v, tokens, ACT_NONE, NULL, e));
    }
out:
    return rc;
}

static float attention_scale(const struct transformer *t)
{
    return 1.0f / sqrtf((float)(t->config.channels / t->config.heads));
}

/* x += out(attention(q(normed), k(normed), v(normed))) */
static int attend_self(const struct transformer *t, struct ops *o, const struct attention *a,
                       float *x, float *normed, const struct extent *s, struct err *e)
{
    int64_t channels = t->config.channels, rows = extent_rows(s), pixels = extent_pixels(s);
    size_t mark = arena_mark(o->arena);
    float *q, *k, *v;
    int rc = 0;

    TRY(scratch(o, rows * channels, &q, e));
    TRY(scratch(o, rows * channels, &k, e));
    TRY(scratch(o, rows * channels, &v, e));
    TRY(linear_layer_forward(o, q, normed, a->q, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, k, normed, a->k, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, v, normed, a->v, rows, ACT_NONE, NULL, e));
    TRY(o->attention(o, normed, q, k, v, s->n, pixels, pixels, t->config.heads,
                     (int)(channels / t->config.heads), attention_scale(t), false, e));
    TRY(linear_layer_forward(o, x, normed, a->out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x += out(attention(q(normed), text)); each sample has its own text, of its own length. */
static int attend_text(const struct transformer *t, struct ops *o,
                       const struct transformer_block *b, float *x, float *normed,
                       const struct extent *s, const struct unet_text *texts, struct err *e)
{
    int64_t channels = t->config.channels, rows = extent_rows(s), pixels = extent_pixels(s);
    size_t mark = arena_mark(o->arena);
    float *q;
    int rc = 0;

    TRY(scratch(o, rows * channels, &q, e));
    TRY(linear_layer_forward(o, q, normed, b->cross.q, rows, ACT_NONE, NULL, e));
    for (int64_t i = 0; i < s->n; i++) {
        int64_t tokens = texts[i].tokens, at = i * pixels * channels;
        const float *k = texts[i].kv + tokens * b->kv_offset, *v = k + tokens * channels;

        TRY(o->attention(o, normed + at, q + at, k, v, 1, pixels, tokens, t->config.heads,
                         (int)(channels / t->config.heads), attention_scale(t), false, e));
    }
    TRY(linear_layer_forward(o, x, normed, b->cross.out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x += ff_out(geglu(ff_in(normed))), for a few rows. */
static int feed_rows(const struct transformer *t, struct ops *o, const struct transformer_block *b,
                     float *x, const float *normed, int64_t rows, struct err *e)
{
    int64_t inner = 4 * t->config.channels;
    size_t mark = arena_mark(o->arena);
    float *wide, *gated;
    int rc = 0;

    TRY(scratch(o, rows * 2 * inner, &wide, e));
    TRY(scratch(o, rows * inner, &gated, e));
    TRY(linear_layer_forward(o, wide, normed, b->ff_in, rows, ACT_NONE, NULL, e));
    TRY(o->geglu(o, gated, wide, rows, inner, e));
    TRY(linear_layer_forward(o, x, gated, b->ff_out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* Rows do not depend on each other, so pieces give the bytes of the whole. */
static int feed_forward(const struct transformer *t, struct ops *o,
                        const struct transformer_block *b, float *x, const float *normed,
                        int64_t rows, struct err *e)
{
    int64_t channels = t->config.channels;
    int rc = 0;

    for (int64_t at = 0; at < rows; at += FF_ROWS)
        TRY(feed_rows(t, o, b, x + at * channels, normed + at * channels,
                      rows - at < FF_ROWS ? rows - at : FF_ROWS, e));
out:
    return rc;
}

static int block_forward(const struct transformer *t, struct ops *o,
                         const struct transformer_block *b, float *x, float *normed,
                         const struct extent *s, const struct unet_text *texts, struct err *e)
{
    int64_t channels = t->config.channels, rows = extent_rows(s);
    int rc = 0;

    TRY(o->layer_norm(o, normed, x, b->norm1.gamma, b->norm1.beta, rows, channels, NORM_EPS, e));
    TRY(attend_self(t, o, &b->self, x, normed, s, e));
    TRY(o->layer_norm(o, normed, x, b->norm2.gamma, b->norm2.beta, rows, channels, NORM_EPS, e));
    TRY(attend_text(t, o, b, x, normed, s, texts, e));
    TRY(o->layer_norm(o, normed, x, b->norm3.gamma, b->norm3.beta, rows, channels, NORM_EPS, e));
    TRY(feed_forward(t, o, b, x, normed, rows, e));
out:
    return rc;
}

int transformer_forward(const struct transformer *t, struct ops *o, float *x,
                        const struct extent *s, const struct unet_text *texts, struct err *e)
{
    int64_t channels = t->config.channels, rows = extent_rows(s);
    size_t mark = arena_mark(o->arena);
    float *stream, *normed;
    int rc = 0;

    TRY(scratch(o, rows * channels, &stream, e));
    TRY(scratch(o, rows * channels, &normed, e));
    TRY(o->group_norm(o, normed, x, t->norm.gamma, t->norm.beta, s->n, extent_pixels(s), channels,
                      t->config.groups, GROUP_NORM_EPS, ACT_NONE, e));
    TRY(linear_layer_forward(o, stream, normed, t->proj_in, rows, ACT_NONE, NULL, e));
    for (int i = 0; i < t->config.blocks; i++)
        TRY(block_forward(t, o, &t->blocks[i], stream, normed, s, texts, e));
    TRY(linear_layer_forward(o, x, stream, t->proj_out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
