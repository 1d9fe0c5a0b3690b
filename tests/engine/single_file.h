/*
 * Writes a recorded model folder as one file with the names of the original checkpoints, as the
 * oracle's ldm_names.py does. Knows the names by walking the original networks in their order, and
 * nothing of how the engine finds them.
 */
#ifndef TESTS_ENGINE_SINGLE_FILE_H
#define TESTS_ENGINE_SINGLE_FILE_H

#include "tests/engine/writer.h"

struct single_options {
    bool extras;         /* tensors that published files have and nothing needs */
    const char *mark;    /* a tensor of that name and one number; NULL: none */
    const char *without; /* tensors whose names begin so are left out; NULL: none */
    bool bare_text;      /* SD 1's text encoder without "text_model." */
    bool sgm;            /* SD 1 and 2's text encoder where generative-models have it */
    bool other_type;     /* dtype instead of float16 */
    enum dtype dtype;    /* DTYPE_F32 or DTYPE_BF16 */
    /* Gives a tensor a larger shape, which its numbers are repeated to fill; NULL: none. */
    void (*enlarge)(const char *name, struct tensor *t);
};

struct single {
    const struct single_options *options;
    struct writer writer;
    struct {
        char from[64], to[64];
        bool resnet;
    } names[256];
    int n;
};

static inline void single_name(struct single *s, bool resnet, const char *from, const char *to)
{
    assert_in_range(s->n, 0, 255);
    snprintf(s->names[s->n].from, sizeof s->names->from, "%s", from);
    snprintf(s->names[s->n].to, sizeof s->names->to, "%s", to);
    s->names[s->n++].resnet = resnet;
}

/* KIND.J of a block and the number of the original's module. */
static inline void single_block(struct single *s, const char *blocks, int i, const char *kind,
                                int j, const char *original, int at, int module)
{
    char from[64], to[64];

    snprintf(from, sizeof from, "%s_blocks.%d.%s.%d.", blocks, i, kind, j);
    snprintf(to, sizeof to, "%s_blocks.%d.%d.", original, at, module);
    single_name(s, strcmp(kind, "resnets") == 0, from, to);
}

static inline bool single_is_cross(const json_t *config, const char *key, size_t i)
{
    const char *type = json_string_value(json_array_get(json_object_get(config, key), i));

    return strncmp(type, "CrossAttn", 9) == 0;
}

/* openaimodel.UNetModel's blocks in the order in which it makes them. */
static inline void single_unet_names(struct single *s, const json_t *config)
{
    int levels = (int)json_array_size(json_object_get(config, "block_out_channels"));
    int layers = (int)json_integer_value(json_object_get(config, "layers_per_block")), at = 1;

    s->n = 0;
    for (int i = 0; i < levels; i++) {
        for (int j = 0; j < layers; j++, at++) {
            single_block(s, "down", i, "resnets", j, "input", at, 0);
            single_block(s, "down", i, "attentions", j, "input", at, 1);
        }
        if (i < levels - 1)
            single_block(s, "down", i, "downsamplers", 0, "input", at++, 0);
    }
    at = 0;
    for (int i = 0; i < levels; i++) {
        for (int j = 0; j < layers + 1; j++, at++) {
            single_block(s, "up", i, "resnets", j, "output", at, 0);
            single_block(s, "up", i, "attentions", j, "output", at, 1);
        }
        single_block(s, "up", i, "upsamplers", 0, "output", at - 1,
                     single_is_cross(config, "up_block_types", (size_t)i) ? 2 : 1);
    }
    single_name(s, true, "mid_block.resnets.0.", "middle_block.0.");
    single_name(s, false, "mid_block.attentions.0.", "middle_block.1.");
    single_name(s, true, "mid_block.resnets.1.", "middle_block.2.");
    single_name(s, false, "time_embedding.linear_1.", "time_embed.0.");
    single_name(s, false, "time_embedding.linear_2.", "time_embed.2.");
    single_name(s, false, "add_embedding.linear_1.", "label_emb.0.0.");
    single_name(s, false, "add_embedding.linear_2.", "label_emb.0.2.");
    single_name(s, false, "conv_in.", "input_blocks.0.0.");
    single_name(s, false, "conv_norm_out.", "out.0.");
    single_name(s, false, "conv_out.", "out.2.");
}

/* Puts to where from stands in the name, if it does. */
static inline void single_replace(char name[256], const char *from, const char *to)
{
    char *at = strstr(name, from), rest[256];

    if (at == NULL)
        return;
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(at, 256 - (size_t)(at - name), "%s%s", to, rest);
}

static inline void single_unet_name(const struct single *s, char name[256])
{
    static const char *const resnet[][2] = {
        {"norm1.", "in_layers.0."},          {"conv1.", "in_layers.2."},
        {"time_emb_proj.", "emb_layers.1."}, {"norm2.", "out_layers.0."},
        {"conv2.", "out_layers.3."},         {"conv_shortcut.", "skip_connection."}};

    for (int i = 0; i < s->n; i++) {
        if (strncmp(name, s->names[i].from, strlen(s->names[i].from)) != 0)
            continue;
        single_replace(name, s->names[i].from, s->names[i].to);
        for (int k = 0; s->names[i].resnet && k < 6; k++)
            single_replace(name, resnet[k][0], resnet[k][1]);
        if (strstr(s->names[i].from, "downsamplers") != NULL)
            single_replace(name, "conv.", "op.");
        return;
    }
    fail_msg("'%s' has no place in the original U-Net", name);
}

static inline void single_vae_name(int levels, char name[256])
{
    char from[64], to[64];

    for (int i = 0; i < levels; i++) {
        snprintf(from, sizeof from, "down_blocks.%d.", i);
        snprintf(to, sizeof to, "down.%d.", i);
        single_replace(name, from, to);
        snprintf(from, sizeof from, "up_blocks.%d.", i);
        snprintf(to, sizeof to, "up.%d.", levels - 1 - i);
        single_replace(name, from, to);
    }
    single_replace(name, "mid_block.resnets.1.", "mid.block_2.");
    single_replace(name, "mid_block.resnets.0.", "mid.block_1.");
    single_replace(name, "mid_block.attentions.0.", "mid.attn_1.");
    single_replace(name, "resnets.", "block.");
    single_replace(name, "downsamplers.0.", "downsample.");
    single_replace(name, "upsamplers.0.", "upsample.");
    single_replace(name, "conv_shortcut", "nin_shortcut");
    single_replace(name, "conv_norm_out", "norm_out");
    single_replace(name, "group_norm", "norm");
    single_replace(name, "to_out.0", "proj_out");
    single_replace(name, "to_q", "q");
    single_replace(name, "to_k", "k");
    single_replace(name, "to_v", "v");
}

/* float16 numbers of t in float32, or in bf16: the upper half of a float32. Caller frees. */
static inline void *single_numbers(const struct tensor *t, enum dtype dtype)
{
    size_t n = (size_t)tensor_count(t);
    float *values = malloc(n * sizeof *values);

    assert_non_null(values);
    tensor_to_f32(t, values);
    for (size_t i = 0; dtype == DTYPE_BF16 && i < n; i++) {
        uint16_t half;

        memcpy(&half, (const char *)&values[i] + 2, sizeof half);
        memcpy((char *)values + 2 * i, &half, sizeof half);
    }
    return values;
}

/* float16 numbers of t repeated to the larger shape; caller frees. */
static inline void *single_repeated(const struct tensor *t, const struct tensor *larger)
{
    size_t n = (size_t)tensor_count(larger);
    char *to = malloc(2 * n);

    assert_non_null(to);
    assert_int_equal(dtype_size(t->dtype), 2);
    for (size_t k = 0; k < n; k++) {
        size_t rest = k, from = 0, step = 1;

        for (int d = t->rank - 1; d >= 0; d--) {
            from += rest % (size_t)larger->shape[d] % (size_t)t->shape[d] * step;
            rest /= (size_t)larger->shape[d];
            step *= (size_t)t->shape[d];
        }
        memcpy(to + 2 * k, (const char *)t->data + 2 * from, 2);
    }
    return to;
}

/* Adds a tensor under prefix and name, as the options want it. */
static inline void single_add(struct single *s, const char *prefix, const char *name,
                              const struct tensor *t)
{
    const struct single_options *o = s->options;
    struct tensor other = *t;
    void *numbers = NULL;
    char whole[512];

    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    if (o->without != NULL && strncmp(whole, o->without, strlen(o->without)) == 0)
        return;
    if (o->enlarge != NULL) {
        o->enlarge(whole, &other);
        other.data = numbers = single_repeated(t, &other);
    } else if (o->other_type) {
        other.data = numbers = single_numbers(t, o->dtype);
        other.dtype = o->dtype;
    }
    writer_add(&s->writer, whole, &other);
    free(numbers);
}

/* float16 numbers in another order, which at() gives: where number (i, j) of the rows goes. */
static inline void single_add_moved(struct single *s, const char *prefix, const char *name,
                                    const struct tensor *t,
                                    size_t (*at)(size_t i, size_t j, size_t rows, size_t columns))
{
    size_t rows = (size_t)t->shape[0], columns = (size_t)(tensor_count(t) / t->shape[0]);
    char *to = malloc(rows * columns * 2);
    struct tensor other = *t;

    assert_non_null(to);
    assert_int_equal(dtype_size(t->dtype), 2);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(to + 2 * at(i, j, rows, columns), (const char *)t->data + 2 * (i * columns + j),
                   2);
    other.data = to;
    single_add(s, prefix, name, &other);
    free(to);
}

static inline size_t single_last_first(size_t i, size_t j, size_t rows, size_t columns)
{
    return (rows - 1 - i) * columns + j;
}

static inline size_t single_as_it_is(size_t i, size_t j, size_t rows, size_t columns)
{
    (void)rows;
    return i * columns + j;
}

/* The same bytes as single_add_moved wants them for [columns, rows]. */
static inline void single_add_transposed(struct single *s, const char *prefix, const char *name,
                                         const struct tensor *t)
{
    size_t rows = (size_t)t->shape[0], columns = (size_t)t->shape[1];
    char *to = malloc(rows * columns * 2);
    struct tensor other = {
        .data = to, .dtype = t->dtype, .rank = 2, .shape = {t->shape[1], t->shape[0]}};

    assert_non_null(to);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(to + 2 * (j * rows + i), (const char *)t->data + 2 * (i * columns + j), 2);
    single_add(s, prefix, name, &other);
    free(to);
}

static inline void single_unet(struct single *s, const char *model)
{
    struct part p = golden_part(model, "unet");

    single_unet_names(s, p.config);
    for (size_t i = 0; i < weights_count(p.weights); i++) {
        char name[256];
        struct tensor t;

        snprintf(name, sizeof name, "%s", weights_name(p.weights, i));
        assert_true(weights_find(p.weights, name, &t));
        single_unet_name(s, name);
        single_add(s, "model.diffusion_model.", name, &t);
    }
    part_close(&p);
}

static inline void single_vae(struct single *s, const char *model, const char *prefix)
{
    struct part p = golden_part(model, "vae");
    int levels = (int)json_array_size(json_object_get(p.config, "block_out_channels"));

    for (size_t i = 0; i < weights_count(p.weights); i++) {
        char name[256];
        struct tensor t;

        snprintf(name, sizeof name, "%s", weights_name(p.weights, i));
        assert_true(weights_find(p.weights, name, &t));
        single_vae_name(levels, name);
        if (strstr(name, "attn_1") != NULL && t.rank == 2) {
            t.rank = 4;
            t.shape[2] = t.shape[3] = 1;
        }
        single_add(s, prefix, name, &t);
    }
    part_close(&p);
}

static inline void single_hf_text(struct single *s, const char *model, const char *prefix)
{
    struct part p = golden_part(model, "text_encoder");

    for (size_t i = 0; i < weights_count(p.weights); i++) {
        const char *name = weights_name(p.weights, i);
        char longer[256];
        struct tensor t;

        assert_true(weights_find(p.weights, name, &t));
        if (strncmp(name, "text_model.", 11) == 0)
            name += 11;
        snprintf(longer, sizeof longer, "%s%s", s->options->bare_text ? "" : "text_model.", name);
        single_add(s, prefix, longer, &t);
    }
    part_close(&p);
}

/* The tensor with or without "text_model.". */
static inline struct tensor single_text_tensor(const struct weights *w, const char *name)
{
    char longer[288];
    struct tensor t;

    snprintf(longer, sizeof longer, "text_model.%s", name);
    if (!weights_find(w, longer, &t) && !weights_find(w, name, &t))
        fail_msg("%s has no '%s'", weights_path(w), name);
    return t;
}

/* Layer i as resblock `as`, its rows in the order that at() gives. */
static inline void single_open_layer(struct single *s, const struct weights *w, const char *prefix,
                                     int i, int as,
                                     size_t (*at)(size_t i, size_t j, size_t rows, size_t columns))
{
    static const char *const pairs[][2] = {{"self_attn.out_proj", "attn.out_proj"},
                                           {"layer_norm1", "ln_1"},
                                           {"layer_norm2", "ln_2"},
                                           {"mlp.fc1", "mlp.c_fc"},
                                           {"mlp.fc2", "mlp.c_proj"}};
    static const char *const kinds[] = {"weight", "bias"};
    char from[256], to[256];
    struct tensor t;

    for (int k = 0; k < 2; k++) {
        struct buf packed = {0};

        for (int q = 0; q < 3; q++) {
            snprintf(from, sizeof from, "encoder.layers.%d.self_attn.%c_proj.%s", i, "qkv"[q],
                     kinds[k]);
            t = single_text_tensor(w, from);
            buf_append(&packed, t.data, (size_t)tensor_count(&t) * dtype_size(t.dtype));
        }
        t.shape[0] *= 3;
        t.data = packed.data;
        snprintf(to, sizeof to, "transformer.resblocks.%d.attn.in_proj_%s", as, kinds[k]);
        single_add_moved(s, prefix, to, &t, at);
        buf_done(&packed);
        for (int n = 0; n < 5; n++) {
            snprintf(from, sizeof from, "encoder.layers.%d.%s.%s", i, pairs[n][0], kinds[k]);
            t = single_text_tensor(w, from);
            snprintf(to, sizeof to, "transformer.resblocks.%d.%s.%s", as, pairs[n][1], kinds[k]);
            single_add_moved(s, prefix, to, &t, at);
        }
    }
}

/* unused: one layer more than the folder has, as SD 2's files have it. */
static inline void single_open_text(struct single *s, const char *model, const char *part,
                                    const char *prefix, bool unused)
{
    static const char *const ends[][2] = {
        {"embeddings.token_embedding.weight", "token_embedding.weight"},
        {"embeddings.position_embedding.weight", "positional_embedding"},
        {"final_layer_norm.weight", "ln_final.weight"},
        {"final_layer_norm.bias", "ln_final.bias"}};
    struct part p = golden_part(model, part);
    int layers = (int)json_integer_value(json_object_get(p.config, "num_hidden_layers"));
    struct tensor t;

    for (int i = 0; i < 4; i++) {
        t = single_text_tensor(p.weights, ends[i][0]);
        single_add(s, prefix, ends[i][1], &t);
    }
    if (weights_find(p.weights, "text_projection.weight", &t))
        single_add_transposed(s, prefix, "text_projection", &t);
    for (int i = 0; i < layers; i++)
        single_open_layer(s, p.weights, prefix, i, i, single_as_it_is);
    if (unused)
        single_open_layer(s, p.weights, prefix, layers - 1, layers, single_last_first);
    part_close(&p);
}

/* What published files carry along: averaged weights, the noise schedule, counters, CLIP's scale.
 */
static inline void single_extras(struct single *s)
{
    static const float numbers[1000];
    static const int64_t ids[77];
    const struct tensor f = {.data = numbers, .dtype = DTYPE_F32, .rank = 1, .shape = {1000}};
    const struct tensor i = {.data = ids, .dtype = DTYPE_I64, .rank = 2, .shape = {1, 77}};
    const struct tensor one = {.data = numbers, .dtype = DTYPE_F32, .rank = 0};

    writer_add(&s->writer, "alphas_cumprod", &f);
    writer_add(&s->writer, "betas", &f);
    writer_add(&s->writer, "model_ema.decay", &one);
    writer_add(&s->writer, "model_ema.diffusion_modelinput_blocks00weight", &f);
    writer_add(&s->writer, "cond_stage_model.logit_scale", &one);
    writer_add(&s->writer, "cond_stage_model.transformer.text_model.embeddings.position_ids", &i);
    writer_add(&s->writer, "something.of.the.future", &f);
}

/* model: "sd1", "inpaint", "sd2", "sdxl" of the recorded ones. */
static inline void single_file_write(const char *model, const struct single_options *o,
                                     const char *path)
{
    struct single s = {.options = o};
    const float one[1] = {1};
    const struct tensor mark = {.data = one, .dtype = DTYPE_F32, .rank = 1, .shape = {1}};

    single_unet(&s, model);
    single_vae(&s, model, "first_stage_model.");
    if (strcmp(model, "sdxl") == 0) {
        single_hf_text(&s, model, "conditioner.embedders.0.transformer.");
        single_open_text(&s, model, "text_encoder_2", "conditioner.embedders.1.model.", false);
    } else if (strcmp(model, "sd2") == 0) {
        single_open_text(&s, model, "text_encoder",
                         o->sgm ? "conditioner.embedders.0.model." : "cond_stage_model.model.",
                         true);
    } else {
        single_hf_text(&s, model,
                       o->sgm ? "conditioner.embedders.0.transformer."
                              : "cond_stage_model.transformer.");
    }
    if (o->extras)
        single_extras(&s);
    if (o->mark != NULL)
        writer_add(&s.writer, o->mark, &mark);
    writer_save(&s.writer, path);
}

#endif
