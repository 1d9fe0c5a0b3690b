#include "engine/clip.h"

#include "engine/config.h"

#include <math.h>

struct clip_layer {
    struct norm norm1, norm2;
    struct linear_layer *q, *k, *v, *out, *fc1, *fc2;
};

struct clip {
    struct clip_config config;
    struct ops *ops;           /* borrowed */
    float *tokens, *positions; /* [vocab, width], [positions, width], owned */
    struct clip_layer *layers; /* [config.layers], owned */
    struct norm norm_out;
    struct layer_list list; /* all layers, by name */
};

static int read_config(const char *path, const json_t *root, struct clip_config *ret_config,
                       struct err *e)
{
    /* Bookkeeping, training, and special ids, which only decide the pooled state. */
    static const char *const harmless[] = {"architectures",
                                           "attention_dropout",
                                           "bos_token_id",
                                           "dropout",
                                           "dtype",
                                           "eos_token_id",
                                           "initializer_factor",
                                           "initializer_range",
                                           "pad_token_id",
                                           "projection_dim",
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

static void load_layer(struct clip_layer *l, struct loader *ld, const struct clip_config *c, int i)
{
    const char *at = "encoder.layers";
    int64_t w = c->width;

    loader_norm(ld, &l->norm1, w, "%s.%d.layer_norm1", at, i);
    loader_norm(ld, &l->norm2, w, "%s.%d.layer_norm2", at, i);
    l->q = loader_linear(ld, w, w, true, "%s.%d.self_attn.q_proj", at, i);
    l->k = loader_linear(ld, w, w, true, "%s.%d.self_attn.k_proj", at, i);
    l->v = loader_linear(ld, w, w, true, "%s.%d.self_attn.v_proj", at, i);
    l->out = loader_linear(ld, w, w, true, "%s.%d.self_attn.out_proj", at, i);
    l->fc1 = loader_linear(ld, w, c->inner, true, "%s.%d.mlp.fc1", at, i);
    l->fc2 = loader_linear(ld, c->inner, w, true, "%s.%d.mlp.fc2", at, i);
}

static void load_all(struct clip *t, struct loader *ld)
{
    const struct clip_config *c = &t->config;

    /* transformers 5 dropped the prefix that files of version 4 have. */
    if (loader_has(ld, "text_model.final_layer_norm.weight"))
        ld->prefix = "text_model.";
    t->tokens = loader_table(ld, c->vocab, c->width, "embeddings.token_embedding.weight");
    t->positions = loader_table(ld, c->positions, c->width, "embeddings.position_embedding.weight");
    t->layers = loader_items(ld, (size_t)c->layers, sizeof *t->layers);
    for (int i = 0; t->layers != NULL && i < c->layers; i++)
        load_layer(&t->layers[i], ld, c, i);
    loader_norm(ld, &t->norm_out, c->width, "final_layer_norm");
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
    load_all(t, &ld);
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
    norm_done(&l->norm1);
    norm_done(&l->norm2);
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
    free(t->tokens);
    free(t->positions);
    norm_done(&t->norm_out);
    layer_list_done(&t->list);
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

static void embed(const struct clip *t, float *x, const int32_t *ids, int64_t n, int64_t tokens)
{
    int64_t width = t->config.width;

    for (int64_t i = 0; i < n * tokens; i++) {
        const float *token = t->tokens + ids[i] * width;
        const float *position = t->positions + (i % tokens) * width;

        for (int64_t j = 0; j < width; j++)
            x[i * width + j] = token[j] + position[j];
    }
}

/* x += out(attention(norm1(x))), each token seeing itself and those before it. */
static int attend(const struct clip *t, const struct clip_layer *l, float *x, int64_t n,
                  int64_t tokens, struct err *e)
{
    int64_t width = t->config.width, rows = n * tokens;
    int head_dim = t->config.width / t->config.heads;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    float *normed, *q, *k, *v;
    int rc = 0;

    TRY(scratch(o, rows * width, &normed, e));
    TRY(scratch(o, rows * width, &q, e));
    TRY(scratch(o, rows * width, &k, e));
    TRY(scratch(o, rows * width, &v, e));
    TRY(o->layer_norm(o, normed, x, l->norm1.gamma, l->norm1.beta, rows, width, t->config.eps, e));
    TRY(linear_layer_forward(o, q, normed, l->q, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, k, normed, l->k, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, v, normed, l->v, rows, ACT_NONE, NULL, e));
    TRY(o->attention(o, normed, q, k, v, n, tokens, tokens, t->config.heads, head_dim,
                     1.0f / sqrtf((float)head_dim), true, e));
    TRY(linear_layer_forward(o, x, normed, l->out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* x += fc2(act(fc1(norm2(x)))) */
static int feed_forward(const struct clip *t, const struct clip_layer *l, float *x, int64_t rows,
                        struct err *e)
{
    const struct clip_config *c = &t->config;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    float *normed, *inner;
    int rc = 0;

    TRY(scratch(o, rows * c->width, &normed, e));
    TRY(scratch(o, rows * c->inner, &inner, e));
    TRY(o->layer_norm(o, normed, x, l->norm2.gamma, l->norm2.beta, rows, c->width, c->eps, e));
    TRY(linear_layer_forward(o, inner, normed, l->fc1, rows, c->act, NULL, e));
    TRY(linear_layer_forward(o, x, inner, l->fc2, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int check_ids(const struct clip *t, const int32_t *ids, int64_t n, int64_t tokens,
                     struct err *e)
{
    if (tokens < 1 || tokens > t->config.positions)
        return err_set(e, ERR_INPUT, "%lld tokens, while the text encoder has %d positions",
                       (long long)tokens, t->config.positions);
    for (int64_t i = 0; i < n * tokens; i++)
        if (ids[i] < 0 || ids[i] >= t->config.vocab)
            return err_set(e, ERR_INPUT, "token id %d, while the text encoder has %d tokens",
                           ids[i], t->config.vocab);
    return 0;
}

int clip_encode(const struct clip *t, float *states, const int32_t *ids, int64_t n, int64_t tokens,
                struct err *e)
{
    const struct clip_config *c = &t->config;
    struct ops *o = t->ops;
    size_t mark = arena_mark(o->arena);
    float *x;
    int rc = 0;

    TRY(check_ids(t, ids, n, tokens, e));
    TRY(scratch(o, n * tokens * c->width, &x, e));
    if (!o->planning)
        embed(t, x, ids, n, tokens);
    for (int i = 0; i < c->layers; i++) {
        TRY(attend(t, &t->layers[i], x, n, tokens, e));
        TRY(feed_forward(t, &t->layers[i], x, n * tokens, e));
    }
    TRY(o->layer_norm(o, states, x, t->norm_out.gamma, t->norm_out.beta, n * tokens, c->width,
                      c->eps, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
