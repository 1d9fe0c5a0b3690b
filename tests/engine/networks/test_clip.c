/*
 * Text encoders against transformers: quick_gelu and gelu, with and without a projection, every
 * state that a pipeline takes; and what no reference shows: end-of-text rules, embedded vectors.
 */
#include "tests/engine/nets.h"

#include "engine/networks/clip.h"

#define TEXTS  8
#define TOKENS 77

struct call {
    struct clip *clip;
    struct clip_text text;
    int skip;
    bool norm;
    float *states, *pooled;
};

static int forward(void *user, struct err *e)
{
    struct call *c = user;

    return clip_encode(c->clip, c->states, c->pooled, &c->text, c->skip, c->norm, e);
}

static struct clip *open_clip(struct ops *o, const char *model, const char *name)
{
    struct part p = golden_part(model, name);
    struct clip *clip = NULL;
    uint64_t bytes = 0;

    assert_ok(clip_open(&p.source, o, 0, &bytes, &clip, e));
    part_close(&p);
    return clip;
}

/* The recorded token ids of all texts. */
static void golden_ids(const struct weights *w, int32_t ids[TEXTS * TOKENS])
{
    struct tensor t;

    assert_true(weights_find(w, "ids", &t));
    assert_int_equal(tensor_count(&t), TEXTS * TOKENS);
    for (int i = 0; i < TEXTS * TOKENS; i++)
        ids[i] = (int32_t)((const int64_t *)t.data)[i];
}

/* One recorded array from states or pooled states of all texts; false if the file lacks it. */
static bool check_array(struct clip *clip, struct ops *o, const struct weights *w, const char *name,
                        int skip, bool norm)
{
    struct call c = {.clip = clip, .skip = skip, .norm = norm};
    bool pooled = strcmp(name, "pooled") == 0;
    size_t width = (size_t)clip_config(clip)->width;
    size_t size = pooled ? (size_t)clip_pooled_width(clip) : TOKENS * width;
    int32_t ids[TEXTS * TOKENS];
    float *states, *got, *want;
    struct tensor t;
    double error;

    if (!weights_find(w, name, &t))
        return false;
    golden_ids(w, ids);
    want = golden_floats(w, name, &t);
    assert_int_equal(tensor_count(&t), TEXTS * size);
    states = calloc(TOKENS * width, sizeof *states);
    got = calloc(TEXTS * size, sizeof *got);
    assert_non_null(states);
    assert_non_null(got);
    for (int i = 0; i < TEXTS; i++) {
        c.text = (struct clip_text){.ids = ids + i * TOKENS, .tokens = TOKENS};
        c.states = pooled ? states : got + (size_t)i * size;
        c.pooled = pooled ? got + (size_t)i * size : NULL;
        run_planned(o, forward, &c);
    }
    error = relative_l2(got, want, TEXTS * size);
    print_message("  %s %s: %.2e\n", name, o->name, error);
    assert_true(error < NET_TOLERANCE);
    free(states);
    free(got);
    free(want);
    return true;
}

static void check_model(const char *model, const char *part, const char *file, int arrays,
                        int backend)
{
    struct ops *o = backend_open(backend);
    struct clip *clip = open_clip(o, model, part);
    struct weights *w = NULL;
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/networks/%s/%s", model, file);
    assert_ok(weights_open(path, &w, e));
    print_message("%s/%s\n", model, part);
    arrays -= check_array(clip, o, w, "last_hidden_state", 0, true);
    arrays -= check_array(clip, o, w, "hidden_minus_1", 0, false);
    arrays -= check_array(clip, o, w, "hidden_minus_2", 1, false);
    arrays -= check_array(clip, o, w, "clip_skip_2", 1, true);
    arrays -= check_array(clip, o, w, "pooled", 1, false);
    assert_int_equal(arrays, 0);
    weights_close(w);
    clip_close(clip);
    o->free(o);
}

static void sd1_equals_transformers(void **state)
{
    (void)state;
    check_model("sd1", "text_encoder", "text.safetensors", 5, BACKEND_FAST);
}

static void sd2_with_gelu_equals_transformers(void **state)
{
    (void)state;
    check_model("sd2", "text_encoder", "text.safetensors", 5, BACKEND_FAST);
}

static void inpaint_equals_transformers_on_both_backends(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++)
        check_model("inpaint", "text_encoder", "text.safetensors", 5, b);
}

static void both_encoders_of_sdxl_equal_transformers(void **state)
{
    (void)state;
    check_model("sdxl", "text_encoder", "text.safetensors", 5, BACKEND_FAST);
    check_model("sdxl", "text_encoder_2", "text_2.safetensors", 2, BACKEND_FAST);
}

/* ids of 77 tokens, all different, so that positions can be told apart. */
static void count_ids(int32_t ids[TOKENS])
{
    for (int i = 0; i < TOKENS; i++)
        ids[i] = 100 + i;
}

/* Runs one text with an encoder whose configuration says eos_token_id; returns where it pools. */
static int pooled_at(struct ops *o, int eos, const int32_t *ids)
{
    struct part p = golden_part("sd1", "text_encoder");
    struct call c = {.text = {.ids = ids, .tokens = TOKENS}, .norm = true};
    size_t width;
    uint64_t bytes = 0;
    int at = -1;

    json_object_set_new(p.config, "eos_token_id", json_integer(eos));
    assert_ok(clip_open(&p.source, o, 0, &bytes, &c.clip, e));
    part_close(&p);
    width = (size_t)clip_pooled_width(c.clip);
    c.states = calloc(TOKENS * width, sizeof *c.states);
    c.pooled = calloc(width, sizeof *c.pooled);
    assert_non_null(c.states);
    assert_non_null(c.pooled);
    run_planned(o, forward, &c);
    for (int i = 0; i < TOKENS; i++)
        if (memcmp(c.states + (size_t)i * width, c.pooled, width * sizeof *c.pooled) == 0)
            at = i;
    clip_close(c.clip);
    free(c.states);
    free(c.pooled);
    return at;
}

static void text_ends_at_the_first_eos_or_for_old_files_at_the_highest_id(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    int32_t ids[TOKENS];

    (void)state;
    count_ids(ids);
    ids[20] = ids[60] = 700;
    ids[30] = ids[40] = 500;
    assert_int_equal(pooled_at(o, 2, ids), 20);
    assert_int_equal(pooled_at(o, 500, ids), 30);
    assert_int_equal(pooled_at(o, 499, ids), 0);
    o->free(o);
}

static void vector_stands_for_the_token_whose_embedding_it_is(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct call c = {.clip = open_clip(o, "sd1", "text_encoder"), .norm = true};
    struct part p = golden_part("sd1", "text_encoder");
    size_t width = (size_t)clip_config(c.clip)->width, size = TOKENS * width;
    float *with_ids = calloc(size, sizeof *with_ids), *with_vectors = calloc(size, sizeof(float));
    int32_t ids[TOKENS];
    struct tensor t;
    float *table = golden_floats(p.weights, "embeddings.token_embedding.weight", &t);
    const struct clip_vector vectors[] = {{5, table + 105 * width}, {76, table + 176 * width}};

    (void)state;
    count_ids(ids);
    c.text = (struct clip_text){.ids = ids, .tokens = TOKENS};
    c.states = with_ids;
    run_planned(o, forward, &c);
    ids[5] = ids[76] = 0;
    c.states = with_vectors;
    run_planned(o, forward, &c);
    assert_memory_not_equal(with_ids, with_vectors, size * sizeof *with_ids);
    c.text.vectors = vectors;
    c.text.n_vectors = 2;
    run_planned(o, forward, &c);
    assert_memory_equal(with_ids, with_vectors, size * sizeof *with_ids);
    free(table);
    free(with_ids);
    free(with_vectors);
    part_close(&p);
    clip_close(c.clip);
    o->free(o);
}

static int (*own_attention)(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                            const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                            int head_dim, float scale, bool causal, struct err *e);
static int attentions;

static int counted_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                             const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                             int head_dim, float scale, bool causal, struct err *e)
{
    attentions += o->planning ? 0 : 1;
    return own_attention(o, y, q, k, v, n, tq, tk, heads, head_dim, scale, causal, e);
}

static void layers_left_out_run_only_for_the_pooled_state(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct call c = {.clip = open_clip(o, "sd1", "text_encoder"), .norm = true};
    const struct clip_config *config = clip_config(c.clip);
    float *states = calloc((size_t)(TOKENS * config->width), sizeof *states);
    float *pooled = calloc((size_t)config->width, sizeof *pooled);
    int32_t ids[TOKENS];

    (void)state;
    own_attention = o->attention;
    o->attention = counted_attention;
    count_ids(ids);
    c.text = (struct clip_text){.ids = ids, .tokens = TOKENS};
    c.states = states;
    for (int skip = 0; skip <= config->layers; skip++) {
        c.skip = skip;
        c.pooled = NULL;
        attentions = 0;
        run_planned(o, forward, &c);
        assert_int_equal(attentions, config->layers - skip);
        c.pooled = pooled;
        attentions = 0;
        run_planned(o, forward, &c);
        assert_int_equal(attentions, config->layers);
    }
    free(states);
    free(pooled);
    clip_close(c.clip);
    o->free(o);
}

static int try_text(const struct clip *clip, const int32_t *ids, int64_t tokens, int at, int skip)
{
    const struct clip_vector vector = {at, NULL};
    const struct clip_text text = {
        .ids = ids, .tokens = tokens, .vectors = &vector, .n_vectors = at != 0 ? 1 : 0};

    return clip_encode(clip, NULL, NULL, &text, skip, true, NULL);
}

static void ids_lengths_positions_and_skips_out_of_bounds_are_refused(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct clip *clip = open_clip(o, "sd1", "text_encoder");
    struct workspace plan;
    int32_t ids[78] = {0};

    (void)state;
    workspace_plan(&plan, o);
    assert_int_equal(try_text(clip, ids, 77, 76, 3), 0);
    assert_int_equal(try_text(clip, ids, 78, 0, 0), ERR_INPUT);
    assert_int_equal(try_text(clip, ids, 0, 0, 0), ERR_INPUT);
    assert_int_equal(try_text(clip, ids, 77, 77, 0), ERR_INPUT);
    assert_int_equal(try_text(clip, ids, 77, -1, 0), ERR_INPUT);
    assert_int_equal(try_text(clip, ids, 77, 0, 4), ERR_INPUT);
    assert_int_equal(try_text(clip, ids, 77, 0, -1), ERR_INPUT);
    ids[76] = clip_config(clip)->vocab;
    assert_int_equal(try_text(clip, ids, 77, 0, 0), ERR_INPUT);
    ids[76] = -1;
    assert_int_equal(try_text(clip, ids, 77, 0, 0), ERR_INPUT);
    clip_close(clip);
    o->free(o);
}

static void class_with_projection_needs_its_weights(void **state)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct part p = golden_part("sd1", "text_encoder");
    struct clip *clip = NULL;
    uint64_t bytes = 0;
    struct err e;

    (void)state;
    json_array_set_new(json_object_get(p.config, "architectures"), 0,
                       json_string("CLIPTextModelWithProjection"));
    assert_int_equal(clip_open(&p.source, o, 0, &bytes, &clip, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "text_projection.weight"));
    part_close(&p);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd1_equals_transformers),
        cmocka_unit_test(sd2_with_gelu_equals_transformers),
        cmocka_unit_test(inpaint_equals_transformers_on_both_backends),
        cmocka_unit_test(both_encoders_of_sdxl_equal_transformers),
        cmocka_unit_test(text_ends_at_the_first_eos_or_for_old_files_at_the_highest_id),
        cmocka_unit_test(vector_stands_for_the_token_whose_embedding_it_is),
        cmocka_unit_test(layers_left_out_run_only_for_the_pooled_state),
        cmocka_unit_test(ids_lengths_positions_and_skips_out_of_bounds_are_refused),
        cmocka_unit_test(class_with_projection_needs_its_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
