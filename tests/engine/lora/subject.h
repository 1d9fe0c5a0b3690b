/* A model with LoRAs on it, and what it makes of recorded inputs. */
#ifndef TESTS_ENGINE_LORA_SUBJECT_H
#define TESTS_ENGINE_LORA_SUBJECT_H

#include "engine/lora/lora.h"
#include "tests/engine/cases.h"
#include "tests/engine/lora_files.h"

#define TOKENS 77

/* What a model makes of recorded inputs. */
struct pass {
    struct model *m;
    struct extent extent;
    int64_t channels;
    float *x, *context, *embeds, *time_ids; /* of the U-Net; the last two NULL without */
    int32_t ids[2][TOKENS];
    float t;
    int skip; /* layers that the text states leave out */
    float *y, *text[2], *pooled;
};

static const char *const golden_folders[] = {GOLDEN_DIR "/lora", NULL};

static inline size_t y_size(const struct pass *p)
{
    return (size_t)(extent_rows(&p->extent) * unet_config(p->m->unet)->out_channels);
}

static inline size_t text_size(const struct pass *p, int i)
{
    return TOKENS * (size_t)clip_config(i == 0 ? p->m->clip : p->m->clip2)->width;
}

static inline void read_ids(const struct weights *w, const char *name, int32_t ids[TOKENS])
{
    struct tensor t;

    assert_true(weights_find(w, name, &t));
    assert_int_equal(tensor_count(&t), TOKENS);
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)((const int64_t *)t.data)[i];
}

static inline void *zeros(size_t n)
{
    void *values = calloc(n, sizeof(float));

    assert_non_null(values);
    return values;
}

static inline void pass_init(struct pass *p, struct model *m, const struct weights *w)
{
    bool xl = m->clip2 != NULL;
    struct tensor t;

    *p = (struct pass){.m = m, .skip = xl ? 1 : 0};
    p->x = golden_map(w, "x", &p->extent, &p->channels);
    p->context = golden_floats(w, "context", &t);
    assert_true(weights_find(w, "t", &t));
    p->t = (float)*(const int64_t *)t.data;
    read_ids(w, "ids", p->ids[0]);
    p->y = zeros(y_size(p));
    p->text[0] = zeros(text_size(p, 0));
    if (!xl)
        return;
    read_ids(w, "ids2", p->ids[1]);
    p->embeds = golden_floats(w, "text_embeds", &t);
    p->time_ids = golden_floats(w, "time_ids", &t);
    p->text[1] = zeros(text_size(p, 1));
    p->pooled = zeros((size_t)clip_pooled_width(m->clip2));
}

static inline void pass_done(struct pass *p)
{
    free(p->x);
    free(p->context);
    free(p->embeds);
    free(p->time_ids);
    free(p->y);
    free(p->text[0]);
    free(p->text[1]);
    free(p->pooled);
}

static inline int forward_unet(struct pass *p, struct err *e)
{
    struct ops *o = p->m->ops;
    struct unet *u = p->m->unet;
    size_t mark = arena_mark(o->arena);
    struct unet_text text = {.tokens = TOKENS};
    struct act *kv, *added = NULL;
    int rc = 0;

    TRY(scratch(o, unet_context_size(u, TOKENS), &kv, e));
    TRY(unet_context(u, kv, p->context, TOKENS, e));
    if (p->embeds != NULL) {
        TRY(scratch(o, unet_config(u)->time_width, &added, e));
        TRY(unet_added(u, added, p->embeds, p->time_ids, e));
    }
    text.kv = kv;
    text.added = added;
    TRY(unet_forward(o, u, p->y, p->x, &p->extent, p->t, &text, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static inline int forward(void *user, struct err *e)
{
    struct pass *p = user;
    int rc = 0;

    for (int i = 0; i < 2 && p->text[i] != NULL; i++) {
        const struct clip_text text = {.ids = p->ids[i], .tokens = TOKENS};

        TRY(clip_encode(i == 0 ? p->m->clip : p->m->clip2, p->text[i], i == 1 ? p->pooled : NULL,
                        &text, p->skip, p->skip == 0, e));
    }
    TRY(forward_unet(p, e));
out:
    return rc;
}

static inline void check(const struct weights *w, const char *name, const float *got,
                         const char *backend)
{
    struct tensor t;
    float *values = golden_floats(w, name, &t), *want = values;
    double error;

    if (t.rank == 4) {
        want = zeros((size_t)tensor_count(&t));
        nhwc_from_nchw(want, values, t.shape[1], t.shape[2] * t.shape[3]);
    }
    error = relative_l2(got, want, (size_t)tensor_count(&t));
    print_message("  %s %s: %.2e\n", name, backend, error);
    assert_true(error < NET_TOLERANCE);
    if (want != values)
        free(want);
    free(values);
}

/* A model on a backend, with the recorded LoRAs' folder and one of the test's own. */
struct subject {
    struct ops *ops;
    struct model *model;
    struct weights *results;
    struct pass pass;
};

static inline void subject_open(struct subject *s, int backend, const char *model,
                                const char *results, const char *const *folders)
{
    char path[FOLDER_SIZE];

    *s = (struct subject){.ops = backend_open(backend)};
    snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", model);
    assert_ok(open_model(path, s->ops, &s->model, e));
    assert_ok(model_lora_folders(s->model, folders, 0, e));
    snprintf(path, sizeof path, GOLDEN_DIR "/lora/%s.safetensors", results);
    assert_ok(weights_open(path, &s->results, e));
    pass_init(&s->pass, s->model, s->results);
}

static inline void subject_close(struct subject *s)
{
    pass_done(&s->pass);
    weights_close(s->results);
    model_lora_done(s->model);
    model_close(s->model);
    s->ops->free(s->ops);
}

static inline void put_on(struct subject *s, const char *name, double unet, double te)
{
    const struct lora_use use = {name, unet, te};

    assert_ok(model_loras(s->model, &use, 1, e));
}

static inline void take_off(struct subject *s)
{
    assert_ok(model_loras(s->model, NULL, 0, e));
}

/* Bytes that a pass made. */
struct bytes {
    float *y, *text;
};

static inline struct bytes run(struct subject *s)
{
    struct bytes b;

    run_planned(s->ops, forward, &s->pass);
    b.y = zeros(y_size(&s->pass));
    b.text = zeros(text_size(&s->pass, 0));
    memcpy(b.y, s->pass.y, y_size(&s->pass) * sizeof *b.y);
    memcpy(b.text, s->pass.text[0], text_size(&s->pass, 0) * sizeof *b.text);
    return b;
}

static inline void bytes_done(struct bytes *b)
{
    free(b->y);
    free(b->text);
}

static inline bool same_y(const struct subject *s, const struct bytes *a, const struct bytes *b)
{
    return memcmp(a->y, b->y, y_size(&s->pass) * sizeof *a->y) == 0;
}

static inline bool same_text(const struct subject *s, const struct bytes *a, const struct bytes *b)
{
    return memcmp(a->text, b->text, text_size(&s->pass, 0) * sizeof *a->text) == 0;
}

#endif
