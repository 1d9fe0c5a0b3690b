#include "engine/networks/transformer.h"

#include <math.h>

#define NORM_EPS       1e-5f /* layer norms; torch's default, which diffusers leaves */
#define GROUP_NORM_EPS 1e-6f /* Transformer2DModel sets its own, whatever norm_eps says */
#define FF_UNIT        32    /* channels that bf16 kernels add up at a time */
#define FF_ROWS        512   /* where the backend names no number of rows for a piece */

/* Heads are dealt: q, k and v are cut by their outputs, the way back by its inputs. */
static void attention_load(struct attention *a, struct loader *ld, const struct transformer *t,
                           int64_t text, const char *name, int i, const char *which)
{
    int64_t channels = t->config.channels;
    struct cut of_self = cut_outputs(channels, channels, 1, t->width);
    struct cut of_text = cut_outputs(text, channels, 1, t->width);
    struct cut back = cut_inputs(channels, channels, t->width);

    a->q =
        loader_linear_part(ld, &of_self, false, "%s.transformer_blocks.%d.%s.to_q", name, i, which);
    a->k =
        loader_linear_part(ld, &of_text, false, "%s.transformer_blocks.%d.%s.to_k", name, i, which);
    a->v =
        loader_linear_part(ld, &of_text, false, "%s.transformer_blocks.%d.%s.to_v", name, i, which);
    a->out =
        loader_linear_part(ld, &back, true, "%s.transformer_blocks.%d.%s.to_out.0", name, i, which);
}

static void block_load(struct transformer_block *b, struct loader *ld, const struct transformer *t,
                       const char *name, int i)
{
    const struct transformer_config *c = &t->config;
    struct cut in = cut_outputs(c->channels, 8 * c->channels, 2, t->inner);
    struct cut back = cut_inputs(4 * c->channels, c->channels, t->inner);

    b->norm1 = loader_norm(ld, c->channels, "%s.transformer_blocks.%d.norm1", name, i);
    b->norm2 = loader_norm(ld, c->channels, "%s.transformer_blocks.%d.norm2", name, i);
    b->norm3 = loader_norm(ld, c->channels, "%s.transformer_blocks.%d.norm3", name, i);
    attention_load(&b->self, ld, t, c->channels, name, i, "attn1");
    attention_load(&b->cross, ld, t, c->text, name, i, "attn2");
    b->ff_in = loader_linear_part(ld, &in, true, "%s.transformer_blocks.%d.ff.net.0.proj", name, i);
    b->ff_out = loader_linear_part(ld, &back, true, "%s.transformer_blocks.%d.ff.net.2", name, i);
}

/* This member's heads, and its part of the feed-forward, in the kernels' blocks of channels. */
static void deal(struct transformer *t, const struct ops *o)
{
    const struct transformer_config *c = &t->config;
    int64_t inner = 4 * c->channels;

    t->head_dim = (int)(c->channels / c->heads);
    t->width = shard_range(o, c->channels, t->head_dim);
    t->heads = (int)(t->width.n / t->head_dim);
    t->inner = shard_range(o, inner, inner % FF_UNIT == 0 ? FF_UNIT : 1);
}

void transformer_load(struct transformer *t, struct loader *ld,
                      const struct transformer_config *config, int64_t *kv_width, const char *name)
{
    *t = (struct transformer){.config = *config};
    deal(t, ld->ops);
    t->norm = loader_norm(ld, config->channels, "%s.norm", name);
    t->proj_in = loader_linear(ld, config->channels, config->channels, true, "%s.proj_in", name);
    t->proj_out = loader_linear(ld, config->channels, config->channels, true, "%s.proj_out", name);
    t->blocks = loader_items(ld, (size_t)config->blocks, sizeof *t->blocks);
    for (int i = 0; t->blocks != NULL && i < config->blocks; i++) {
        block_load(&t->blocks[i], ld, t, name, i);
        t->blocks[i].kv_offset = *kv_width;
        *kv_width += 2 * t->width.n;
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
    o->norm_free(o, b->norm1);
    o->norm_free(o, b->norm2);
    o->norm_free(o, b->norm3);
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
    o->norm_free(o, t->norm);
    linear_layer_free(o, t->proj_in);
    linear_layer_free(o, t->proj_out);
    *t = (struct transformer){0};
}

int transformer_context(const struct transformer *t, struct ops *o, struct act *kv,
                        const struct act *text, int64_t tokens, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < t->config.blocks && t->heads > 0; i++) {
        const struct transformer_block *b = &t->blocks[i];
        struct act *k = act_at(o, kv, tokens * b->kv_offset);
        struct act *v = act_at(o, k, tokens * t->width.n);

        TRY(linear_layer_forward(o, k, text, b->cross.k, tokens, ACT_NONE, NULL, e));
        TRY(linear_layer_forward(o, v, text, b->cross.v, tokens, ACT_NONE, NULL, e));
    }
out:
    return rc;
}

static float attention_scale(const struct transformer *t)
{
    return 1.0f / sqrtf((float)t->head_dim);
}

/* normed becomes attention(q(normed), k(normed), v(normed)), [rows, width] of the own heads. */
static int attend_self(const struct transformer *t, struct ops *o, const struct attention *a,
                       struct act *normed, const struct extent *s, struct err *e)
{
    int64_t width = t->width.n, rows = extent_rows(s), pixels = extent_pixels(s);
    size_t mark = arena_mark(o->arena);
    struct act *q, *k, *v;
    int rc = 0;

    TRY(scratch(o, rows * width, &q, e));
    TRY(scratch(o, rows * width, &k, e));
    TRY(scratch(o, rows * width, &v, e));
    TRY(linear_layer_forward(o, q, normed, a->q, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, k, normed, a->k, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, v, normed, a->v, rows, ACT_NONE, NULL, e));
    TRY(o->attention(o, normed, q, k, v, s->n, pixels, pixels, t->heads, t->head_dim,
                     attention_scale(t), false, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* The same of q(normed) and the text; each sample has its own text, of its own length. */
static int attend_text(const struct transformer *t, struct ops *o,
                       const struct transformer_block *b, struct act *normed,
                       const struct extent *s, const struct unet_text *texts, struct err *e)
{
    int64_t width = t->width.n, rows = extent_rows(s), pixels = extent_pixels(s);
    size_t mark = arena_mark(o->arena);
    struct act *q;
    int rc = 0;

    TRY(scratch(o, rows * width, &q, e));
    TRY(linear_layer_forward(o, q, normed, b->cross.q, rows, ACT_NONE, NULL, e));
    for (int64_t i = 0; i < s->n; i++) {
        int64_t tokens = texts[i].tokens, at = i * pixels * width;
        const struct act *k = act_at(o, texts[i].kv, tokens * b->kv_offset);
        const struct act *v = act_at(o, k, tokens * width);

        TRY(o->attention(o, act_at(o, normed, at), act_at(o, q, at), k, v, 1, pixels, tokens,
                         t->heads, t->head_dim, attention_scale(t), false, e));
    }
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x += out(attended), over all members' heads. */
static int attend_back(const struct transformer *t, struct ops *o, const struct attention *a,
                       struct act *x, const struct act *attended, int64_t rows, struct err *e)
{
    int64_t n = rows * t->config.channels;
    size_t mark = arena_mark(o->arena);
    struct act *part;
    int rc = 0;

    if (!shard_is_cut(o))
        return linear_layer_forward(o, x, attended, a->out, rows, ACT_NONE, x, e);
    TRY(scratch(o, n, &part, e));
    TRY(linear_layer_partial(o, part, attended, a->out, rows, e));
    TRY(shard_add(o, x, x, part, n, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/*
 * x += ff_out(geglu(ff_in(normed))), for a few rows; of a gang's member, normed becomes its part of
 * what is added.
 */
static int feed_rows(const struct transformer *t, struct ops *o, const struct transformer_block *b,
                     struct act *x, struct act *normed, int64_t rows, struct err *e)
{
    int64_t inner = t->inner.n;
    size_t mark = arena_mark(o->arena);
    struct act *wide, *gated;
    int rc = 0;

    TRY(scratch(o, rows * inner, &gated, e));
    if (o->linear_geglu != NULL && b->ff_in->adapter == NULL) {
        TRY(o->linear_geglu(o, gated, normed, b->ff_in->base, rows, e));
    } else {
        TRY(scratch(o, rows * 2 * inner, &wide, e));
        TRY(linear_layer_forward(o, wide, normed, b->ff_in, rows, ACT_NONE, NULL, e));
        TRY(o->geglu(o, gated, wide, rows, inner, e));
    }
    if (shard_is_cut(o))
        TRY(linear_layer_partial(o, normed, gated, b->ff_out, rows, e));
    else
        TRY(linear_layer_forward(o, x, gated, b->ff_out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/*
 * In pieces, since it is twelve times as wide as the map. Rows do not depend on each other, so
 * pieces give the bytes of the whole.
 */
static int feed_forward(const struct transformer *t, struct ops *o,
                        const struct transformer_block *b, struct act *x, struct act *normed,
                        int64_t rows, struct err *e)
{
    int64_t channels = t->config.channels, piece = o->piece_rows > 0 ? o->piece_rows : FF_ROWS;
    int rc = 0;

    for (int64_t at = 0; at < rows && t->inner.n > 0; at += piece)
        TRY(feed_rows(t, o, b, act_at(o, x, at * channels), act_at(o, normed, at * channels),
                      rows - at < piece ? rows - at : piece, e));
    if (t->inner.n == 0)
        TRY(shard_zero(o, normed, rows * channels, e));
    if (shard_is_cut(o))
        TRY(shard_add(o, x, x, normed, rows * channels, e));
out:
    return rc;
}

static int block_forward(const struct transformer *t, struct ops *o,
                         const struct transformer_block *b, struct act *x, struct act *normed,
                         const struct extent *s, const struct unet_text *texts, struct err *e)
{
    int64_t channels = t->config.channels, rows = extent_rows(s);
    int rc = 0;

    TRY(o->layer_norm(o, normed, x, b->norm1, rows, channels, NORM_EPS, e));
    if (t->heads > 0)
        TRY(attend_self(t, o, &b->self, normed, s, e));
    TRY(attend_back(t, o, &b->self, x, normed, rows, e));
    TRY(o->layer_norm(o, normed, x, b->norm2, rows, channels, NORM_EPS, e));
    if (t->heads > 0)
        TRY(attend_text(t, o, b, normed, s, texts, e));
    TRY(attend_back(t, o, &b->cross, x, normed, rows, e));
    TRY(o->layer_norm(o, normed, x, b->norm3, rows, channels, NORM_EPS, e));
    TRY(feed_forward(t, o, b, x, normed, rows, e));
out:
    return rc;
}

int transformer_forward(const struct transformer *t, struct ops *o, struct act *x,
                        const struct extent *s, const struct unet_text *texts, struct err *e)
{
    int64_t channels = t->config.channels, rows = extent_rows(s);
    size_t mark = arena_mark(o->arena);
    struct act *stream, *normed;
    int rc = 0;

    TRY(scratch(o, rows * channels, &stream, e));
    TRY(scratch(o, rows * channels, &normed, e));
    TRY(o->group_norm(o, normed, x, t->norm, s->n, extent_pixels(s), channels, t->config.groups,
                      GROUP_NORM_EPS, ACT_NONE, e));
    TRY(linear_layer_forward(o, stream, normed, t->proj_in, rows, ACT_NONE, NULL, e));
    for (int i = 0; i < t->config.blocks; i++)
        TRY(block_forward(t, o, &t->blocks[i], stream, normed, s, texts, e));
    TRY(linear_layer_forward(o, x, stream, t->proj_out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
