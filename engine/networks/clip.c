#include "engine/networks/clip.h"

#include "engine/weights/config.h"

#include <math.h>

#define LEGACY_EOS 2  /* an eos_token_id that never was the tokenizer's */
#define FF_UNIT    32 /* channels that bf16 kernels add up at a time */

struct clip_layer {
    struct norm *norm1, *norm2;
    struct linear_layer *q, *k, *v, *out, *fc1, *fc2;
};

struct clip {
    struct clip_config config;
    struct ops *ops;           /* borrowed */
    struct range own, inner;   /* this member's heads, as channels, and of the feed-forward */
    struct tensor tokens;      /* [vocab, width], data owned */
    float *positions;          /* [positions, width], owned */
    struct clip_layer *layers; /* [config.layers], owned */
    struct norm *norm_out;
    struct layer_list list;          /* all layers, by name */
    struct linear_layer *projection; /* NULL without */
};

static int read_config(const char *path, const json_t *root, struct clip_config *ret_config,
                       struct err *e)
{
    /* Bookkeeping, training, and special ids, which are the tokenizer's. */
    static const char *const harmless[] = {"architectures",
                                           "attention_dropout",
                                           "bos_token_id",
                                           "dropout",
                                           "dtype",
                                           "initializer_factor",
                                           "initializer_range",
                                           "pad_token_id",
                                           "torch_dtype",
                                           "transformers_version",
                                           NULL};
    struct clip_config t = {0};
    struct config c = {0};
    const char *type;
    int rc = 0;

    TRY(config_init(&c, path, root, NULL, e));
    type = config_string(&c, "model_type", "clip_text_model");
    if (c.reader.rc == 0 && strcmp(type, "clip_text_model") != 0)
        config_refuse(&c, "model_type", "this engine reads clip_text_model");
    t.vocab = config_int(&c, "vocab_size", 1, 1 << 24, 49408);
    t.positions = config_int(&c, "max_position_embeddings", 1, 1 << 16, 77);
    t.width = config_int(&c, "hidden_size", 1, CONFIG_CHANNELS_MAX, 512);
    t.inner = config_int(&c, "intermediate_size", 1, 4 * CONFIG_CHANNELS_MAX, 2048);
    t.layers = config_int(&c, "num_hidden_layers", 1, 1024, 12);
    t.heads = config_int(&c, "num_attention_heads", 1, 1024, 8);
    t.projection = config_int(&c, "projection_dim", 1, CONFIG_CHANNELS_MAX, 512);
    t.eos = config_int(&c, "eos_token_id", 0, 1 << 24, 49407);
    t.eps = (float)config_real(&c, "layer_norm_eps", 1e-5);
    t.act = config_activation(&c, "hidden_act", "quick_gelu");
    if (t.heads > 0 && t.width % t.heads != 0)
        config_refuse(&c, "num_attention_heads", "hidden_size %d is not divisible by it", t.width);
    TRY(config_finish(&c, harmless));
    *ret_config = t;
out:
    config_done(&c);
    return rc;
}

/* Heads and the feed-forward's inner channels are dealt among a gang's members (shard.h). */
static void deal(struct clip *t)
{
    const struct clip_config *c = &t->config;

    t->own = shard_range(t->ops, c->width, c->width / c->heads);
    t->inner = shard_range(t->ops, c->inner, c->inner % FF_UNIT == 0 ? FF_UNIT : 1);
}

static void load_layer(struct clip_layer *l, struct loader *ld, const struct clip *t, int i)
{
    const char *at = "encoder.layers";
    int64_t w = t->config.width;
    struct cut in = cut_outputs(w, w, 1, t->own), back = cut_inputs(w, w, t->own);
    struct cut wide = cut_outputs(w, t->config.inner, 1, t->inner);
    struct cut narrow = cut_inputs(t->config.inner, w, t->inner);

    l->norm1 = loader_norm(ld, w, "%s.%d.layer_norm1", at, i);
    l->norm2 = loader_norm(ld, w, "%s.%d.layer_norm2", at, i);
    l->q = loader_linear_part(ld, &in, true, "%s.%d.self_attn.q_proj", at, i);
    l->k = loader_linear_part(ld, &in, true, "%s.%d.self_attn.k_proj", at, i);
    l->v = loader_linear_part(ld, &in, true, "%s.%d.self_attn.v_proj", at, i);
    l->out = loader_linear_part(ld, &back, true, "%s.%d.self_attn.out_proj", at, i);
    l->fc1 = loader_linear_part(ld, &wide, true, "%s.%d.mlp.fc1", at, i);
    l->fc2 = loader_linear_part(ld, &narrow, true, "%s.%d.mlp.fc2", at, i);
}

/*
 * Every file states projection_dim; what has a projection is the class CLIPTextModelWithProjection,
 * or a file that holds its weights.
 */
static bool has_projection(const struct part_source *p, const struct loader *ld)
{
    const json_t *classes = json_object_get(p->config, "architectures");
    const char *class_name = json_string_value(json_array_get(classes, 0));

    return loader_has(ld, "text_projection.weight") ||
           (class_name != NULL && strcmp(class_name, "CLIPTextModelWithProjection") == 0);
}

static void load_all(struct clip *t, struct loader *ld, const struct part_source *p)
{
    struct clip_config *c = &t->config;

    if (!has_projection(p, ld))
        c->projection = 0;
    if (c->projection > 0)
        t->projection = loader_linear(ld, c->width, c->projection, false, "text_projection");
    /* transformers 5 dropped the prefix that files of version 4 have. */
    if (loader_has(ld, "text_model.final_layer_norm.weight"))
        ld->prefix = "text_model.";
    loader_rows(ld, c->vocab, c->width, &t->tokens, "embeddings.token_embedding.weight");
    t->positions = loader_table(ld, c->positions, c->width, "embeddings.position_embedding.weight");
    t->layers = loader_items(ld, (size_t)c->layers, sizeof *t->layers);
    deal(t);
    for (int i = 0; t->layers != NULL && i < c->layers; i++)
        load_layer(&t->layers[i], ld, t, i);
    t->norm_out = loader_norm(ld, c->width, "final_layer_norm");
}

int clip_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
              struct clip **ret_clip, struct err *e)
{
    struct loader ld = {
        .ops = o, .weights = p->weights, .budget_bytes = budget_bytes, .bytes = *bytes, .e = e};
    struct clip *t = calloc(1, sizeof *t);
    int rc = 0;

    if (t == NULL)
        return err_set(e, ERR_OOM, "%s: no memory", p->where);
    t->ops = o;
    ld.layers = &t->list;
    TRY(read_config(p->where, p->config, &t->config, e));
    load_all(t, &ld, p);
    TRY(ld.rc);
    *bytes = ld.bytes;
    *ret_clip = t;
    t = NULL;
out:
    clip_close(t);
    return rc;
}

static void layer_done(struct clip_layer *l, struct ops *o)
{
    o->norm_free(o, l->norm1);
    o->norm_free(o, l->norm2);
    linear_layer_free(o, l->q);
    linear_layer_free(o, l->k);
    linear_layer_free(o, l->v);
    linear_layer_free(o, l->out);
    linear_layer_free(o, l->fc1);
    linear_layer_free(o, l->fc2);
}

void clip_close(struct clip *t)
{
    if (t == NULL)
        return;
    for (int i = 0; t->layers != NULL && i < t->config.layers; i++)
        layer_done(&t->layers[i], t->ops);
    free(t->layers);
    free((void *)t->tokens.data);
    free(t->positions);
    t->ops->norm_free(t->ops, t->norm_out);
    layer_list_done(&t->list);
    linear_layer_free(t->ops, t->projection);
    free(t);
}

const struct clip_config *clip_config(const struct clip *t)
{
    return &t->config;
}

const struct layer_list *clip_layers(const struct clip *t)
{
    return &t->list;
}

int clip_pooled_width(const struct clip *t)
{
    return t->config.projection > 0 ? t->config.projection : t->config.width;
}

static void embed(const struct clip *t, float *x, const struct clip_text *text)
{
    int64_t width = t->config.width;
    struct tensor row = {.dtype = t->tokens.dtype, .rank = 1, .shape = {width}};
    size_t size = (size_t)width * dtype_size(row.dtype);

    for (int64_t i = 0; i < text->tokens; i++) {
        row.data = (const char *)t->tokens.data + (size_t)text->ids[i] * size;
        tensor_to_f32(&row, x + i * width);
    }
    for (size_t i = 0; i < text->n_vectors; i++)
        memcpy(x + text->vectors[i].at * width, text->vectors[i].values, (size_t)width * sizeof *x);
    for (int64_t i = 0; i < text->tokens * width; i++)
        x[i] += t->positions[i];
}

/* x[rows, width] += back(inner), over all members' parts. */
static int add_back(struct ops *o, struct act *x, const struct act *inner,
                    const struct linear_layer *back, int64_t rows, int64_t width, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    struct act *part;
    int rc = 0;

    if (!shard_is_cut(o))
        return linear_layer_forward(o, x, inner, back, rows, ACT_NONE, x, e);
    TRY(scratch(o, rows * width, &part, e));
    TRY(linear_layer_partial(o, part, inner, back, rows, e));
    TRY(shard_add(o, x, x, part, rows * width, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x += out(attention(norm1(x))), each token seeing itself and those before it. */
static int attend(const struct clip *t, const struct clip_layer *l, struct act *x, int64_t rows,
                  struct err *e)
{
    int64_t width = t->config.width, own = t->own.n;
    int head_dim = t->config.width / t->config.heads;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    struct act *normed, *q, *k, *v;
    int rc = 0;

    TRY(scratch(o, rows * width, &normed, e));
    TRY(scratch(o, rows * own, &q, e));
    TRY(scratch(o, rows * own, &k, e));
    TRY(scratch(o, rows * own, &v, e));
    if (own > 0) {
        TRY(o->layer_norm(o, normed, x, l->norm1, rows, width, t->config.eps, e));
        TRY(linear_layer_forward(o, q, normed, l->q, rows, ACT_NONE, NULL, e));
        TRY(linear_layer_forward(o, k, normed, l->k, rows, ACT_NONE, NULL, e));
        TRY(linear_layer_forward(o, v, normed, l->v, rows, ACT_NONE, NULL, e));
        TRY(o->attention(o, normed, q, k, v, 1, rows, rows, (int)(own / head_dim), head_dim,
                         1.0f / sqrtf((float)head_dim), true, e));
    }
    TRY(add_back(o, x, normed, l->out, rows, width, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x += fc2(act(fc1(norm2(x)))) */
static int feed_forward(const struct clip *t, const struct clip_layer *l, struct act *x,
                        int64_t rows, struct err *e)
{
    const struct clip_config *c = &t->config;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    struct act *normed, *inner;
    int rc = 0;

    TRY(scratch(o, rows * c->width, &normed, e));
    TRY(scratch(o, rows * t->inner.n, &inner, e));
    if (t->inner.n > 0) {
        TRY(o->layer_norm(o, normed, x, l->norm2, rows, c->width, c->eps, e));
        TRY(linear_layer_forward(o, inner, normed, l->fc1, rows, c->act, NULL, e));
    }
    TRY(add_back(o, x, inner, l->fc2, rows, c->width, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int check_text(const struct clip *t, const struct clip_text *text, struct err *e)
{
    if (text->tokens < 1 || text->tokens > t->config.positions)
        return err_set(e, ERR_INPUT, "%lld tokens, while the text encoder has %d positions",
                       (long long)text->tokens, t->config.positions);
    for (int64_t i = 0; i < text->tokens; i++)
        if (text->ids[i] < 0 || text->ids[i] >= t->config.vocab)
            return err_set(e, ERR_INPUT, "token %d is not in the text encoder's table of %d",
                           (int)text->ids[i], t->config.vocab);
    for (size_t i = 0; i < text->n_vectors; i++)
        if (text->vectors[i].at < 0 || text->vectors[i].at >= text->tokens)
            return err_set(e, ERR_INPUT, "an embedding's vector at position %d of %lld tokens",
                           text->vectors[i].at, (long long)text->tokens);
    return 0;
}

static int run_layers(const struct clip *t, struct act *x, int64_t rows, int first, int end,
                      struct err *e)
{
    int rc = 0;

    for (int i = first; i < end; i++) {
        TRY(attend(t, &t->layers[i], x, rows, e));
        TRY(feed_forward(t, &t->layers[i], x, rows, e));
    }
out:
    return rc;
}

/* y[rows, width] = the final norm of x, or x itself, for the host. */
static int finish(const struct clip *t, float *y, const struct act *x, int64_t rows, bool norm,
                  struct err *e)
{
    const struct clip_config *c = &t->config;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    struct act *normed;
    int rc = 0;

    TRY(scratch(o, rows * c->width, &normed, e));
    if (norm)
        TRY(o->layer_norm(o, normed, x, t->norm_out, rows, c->width, c->eps, e));
    TRY(o->get(o, y, norm ? normed : x, rows * c->width, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* The position whose state stands for the whole text; 0 if there is no eos, as torch's argmax. */
static int64_t end_of_text(const struct clip *t, const struct clip_text *text)
{
    int64_t highest = 0;

    for (int64_t i = 0; i < text->tokens; i++) {
        if (t->config.eos != LEGACY_EOS && text->ids[i] == t->config.eos)
            return i;
        if (text->ids[i] > text->ids[highest])
            highest = i;
    }
    return t->config.eos == LEGACY_EOS ? highest : 0;
}

static int pool(const struct clip *t, float *pooled, const struct act *x, struct err *e)
{
    const struct clip_config *c = &t->config;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    struct act *normed, *projected;
    int rc = 0;

    TRY(scratch(o, c->width, &normed, e));
    TRY(scratch(o, clip_pooled_width(t), &projected, e));
    TRY(o->layer_norm(o, normed, x, t->norm_out, 1, c->width, c->eps, e));
    if (t->projection != NULL)
        TRY(linear_layer_forward(o, projected, normed, t->projection, 1, ACT_NONE, NULL, e));
    TRY(o->get(o, pooled, t->projection != NULL ? projected : normed, clip_pooled_width(t), e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x[tokens, width]: the text as its first layer takes it. */
static int put_text(const struct clip *t, struct act *x, const struct clip_text *text,
                    struct err *e)
{
    int64_t n = text->tokens * t->config.width;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->host);
    float *embedded;
    int rc = 0;

    TRY(host_scratch(o, n, &embedded, e));
    if (!o->planning)
        embed(t, embedded, text);
    TRY(o->put(o, x, embedded, n, e));
out:
    arena_release(o->host, mark);
    return rc;
}

int clip_encode(const struct clip *t, float *states, float *pooled, const struct clip_text *text,
                int skip, bool norm, struct err *e)
{
    const struct clip_config *c = &t->config;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    struct act *x;
    int rc = 0;

    TRY(check_text(t, text, e));
    if (skip < 0 || skip > c->layers)
        TRY(err_set(e, ERR_INPUT, "%d layers left out of the %d of the text encoder", skip,
                    c->layers));
    TRY(scratch(o, text->tokens * c->width, &x, e));
    TRY(put_text(t, x, text, e));
    TRY(run_layers(t, x, text->tokens, 0, c->layers - skip, e));
    TRY(finish(t, states, x, text->tokens, norm, e));
    if (pooled != NULL) {
        TRY(run_layers(t, x, text->tokens, c->layers - skip, c->layers, e));
        TRY(pool(t, pooled, act_at(o, x, end_of_text(t, text) * c->width), e));
    }
out:
    arena_release(o->arena, mark);
    return rc;
}
