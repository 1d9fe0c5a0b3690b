#include "engine/text/conditioning.h"

#include "engine/lora/lora.h"
#include "engine/prompt/edit.h"
#include "engine/text/chunks.h"

#include <stdlib.h>
#include <string.h>

/* A text as the encoders get it. */
struct text {
    char *source;            /* what was tokenised, owned */
    bool zero;               /* an empty negative prompt whose states are zeros */
    struct chunks chunks[2]; /* for each encoder; equally many */
};

/* Which texts one part of a prompt is, over time. */
struct branch {
    double weight;
    int *ends, *texts; /* [n], owned: text i holds up to step ends[i] */
    size_t n;
};

struct conditioning {
    const struct model *model; /* borrowed */
    enum emphasis emphasis;
    int clip_skip;
    struct text *texts; /* [n_texts], owned */
    size_t n_texts, texts_capacity, n_chunks;
    struct branch negative, parts[GUIDANCE_PARTS_MAX];
    size_t n_parts;
    bool guided;
    struct lora_use *loras; /* [n_loras], owned */
    size_t n_loras;
    struct embedding_uses uses;
    struct conditioning_embedding *embeddings; /* [uses.n], owned */
};

/* While prompts are read. */
struct reader {
    struct conditioning *c;
    const struct conditioning_request *r;
    struct chunker chunkers[2]; /* for each encoder */
    int n_chunkers;
    const char *which, *prompt; /* "prompt", and the text that columns are of */
    struct err *e;
};

static int fault_error(const struct reader *r, int rc, const struct prompt_fault *f)
{
    if (rc != ERR_INPUT)
        return err_set(r->e, rc, "%s", f->text);
    return err_set(r->e, rc, "%s, column %d: %s", r->which, prompt_column(r->prompt, f->at),
                   f->text);
}

/* ---- texts */

/* Both encoders' chunks of what attention read. */
static int make_chunks(struct reader *r, struct text *t, const struct weighted *a)
{
    size_t room = CONDITIONING_CHUNKS_MAX - r->c->n_chunks, n = 0;
    int rc = 0;

    for (int i = 0; i < r->n_chunkers; i++) {
        TRY(chunks_make(&r->chunkers[i], a, room, &t->chunks[i], r->e));
        n = t->chunks[i].n > n ? t->chunks[i].n : n;
    }
    for (int i = 0; i < r->n_chunkers; i++)
        TRY(chunks_extend(&r->chunkers[i], &t->chunks[i], n, r->e));
    r->c->n_chunks += n;
out:
    return rc;
}

static void text_done(struct text *t)
{
    free(t->source);
    chunks_done(&t->chunks[0]);
    chunks_done(&t->chunks[1]);
    *t = (struct text){0};
}

static int new_text(struct reader *r, const struct prompt_text *source, bool zero)
{
    struct conditioning *c = r->c;
    struct weighted a = {0};
    struct prompt_fault f;
    struct text t = {.zero = zero};
    int rc;

    if (c->n_texts == c->texts_capacity) {
        size_t capacity = c->texts_capacity ? 2 * c->texts_capacity : 4;
        struct text *texts = realloc(c->texts, capacity * sizeof *texts);

        if (texts == NULL)
            return err_set(r->e, ERR_OOM, "no memory for %zu texts", capacity);
        c->texts = texts;
        c->texts_capacity = capacity;
    }
    rc = c->emphasis == EMPHASIS_NONE ? weighted_literal(source, &a, &f)
                                      : weighted_parse(source, &a, &f);
    if (rc != 0)
        return fault_error(r, rc, &f);
    t.source = strdup(source->text);
    if (t.source == NULL)
        TRY(err_set(r->e, ERR_OOM, "no memory for a text"));
    TRY(make_chunks(r, &t, &a));
    c->texts[c->n_texts++] = t;
    t = (struct text){0};
out:
    weighted_done(&a);
    text_done(&t);
    return rc;
}

static int find_text(const struct conditioning *c, const char *source, bool zero)
{
    for (size_t i = 0; i < c->n_texts; i++)
        if (c->texts[i].zero == zero && strcmp(c->texts[i].source, source) == 0)
            return (int)i;
    return -1;
}

/* ---- branches */

static int branch_alloc(struct branch *b, size_t n, struct err *e)
{
    b->ends = calloc(n, sizeof *b->ends);
    b->texts = calloc(n, sizeof *b->texts);
    if (b->ends == NULL || b->texts == NULL)
        return err_set(e, ERR_OOM, "no memory for a prompt of %zu texts", n);
    b->n = n;
    return 0;
}

/* The texts of one part over the steps. */
static int read_branch(struct reader *r, const struct prompt_text *part, bool zero,
                       struct branch *ret_b)
{
    struct prompt_text text = {0};
    struct prompt_fault f;
    struct edit *d = NULL;
    int rc = edit_parse(part, r->r->steps, r->r->hires_steps, &d, &f);

    if (rc != 0)
        return fault_error(r, rc, &f);
    TRY(branch_alloc(ret_b, edit_count(d), r->e));
    for (size_t i = 0; i < ret_b->n; i++) {
        rc = edit_text(d, i, &text, &f);
        if (rc != 0)
            TRY(fault_error(r, rc, &f));
        ret_b->ends[i] = edit_end(d, i);
        ret_b->texts[i] = find_text(r->c, text.text, zero);
        if (ret_b->texts[i] < 0) {
            ret_b->texts[i] = (int)r->c->n_texts;
            TRY(new_text(r, &text, zero));
        }
        prompt_text_done(&text);
    }
out:
    prompt_text_done(&text);
    edit_free(d);
    return rc;
}

static void branch_done(struct branch *b)
{
    free(b->ends);
    free(b->texts);
}

static int read_negative(struct reader *r)
{
    struct conditioning *c = r->c;
    struct split s = {0};
    struct prompt_fault f;
    int rc;

    r->which = "negative_prompt";
    r->prompt = r->r->negative_prompt != NULL ? r->r->negative_prompt : "";
    rc = split_negative(r->prompt, &s, &f);
    if (rc != 0)
        return fault_error(r, rc, &f);
    c->negative.weight = 1;
    TRY(read_branch(r, &s.parts[0].text, c->model->kind.force_zeros && *r->prompt == '\0',
                    &c->negative));
out:
    split_done(&s);
    return rc;
}

static int read_positive(struct reader *r)
{
    struct conditioning *c = r->c;
    struct split s = {0};
    struct prompt_fault f;
    int rc;

    r->which = "prompt";
    r->prompt = r->r->prompt != NULL ? r->r->prompt : "";
    rc = split_parse(r->prompt, &s, &f);
    if (rc != 0)
        return fault_error(r, rc, &f);
    TRY(lora_uses(&s, &c->loras, &c->n_loras, r->e));
    for (size_t i = 0; i < s.n_parts; i++) {
        c->parts[i].weight = s.parts[i].weight;
        c->n_parts = i + 1;
        TRY(read_branch(r, &s.parts[i].text, false, &c->parts[i]));
    }
out:
    split_done(&s);
    return rc;
}

/* ---- the whole */

static int check_request(const struct model *m, const struct conditioning_request *r, struct err *e)
{
    const struct clip *encoders[2] = {m->clip, m->clip2};

    if (r->steps < 1 || r->hires_steps < 0)
        return err_set(e, ERR_ARG, "a prompt is read for at least one step");
    for (int i = 0; i < 2 && encoders[i] != NULL; i++) {
        int layers = clip_config(encoders[i])->layers;

        if (r->clip_skip < 0 || r->clip_skip > layers)
            return err_set(e, ERR_INPUT, "clip_skip is %d; the text encoder has %d layers",
                           r->clip_skip, layers);
    }
    return 0;
}

static int prepare(struct reader *r)
{
    const struct model *m = r->c->model;
    const struct tokenizer *tokenizers[2] = {m->tokenizer, m->tokenizer2};
    struct embedding_uses *uses = &r->c->uses;
    int rc = 0;

    uses->max_vectors = tokenizer_max_length(m->tokenizer) - 2;
    uses->widths[0] = clip_config(m->clip)->width;
    uses->widths[1] = m->clip2 != NULL ? clip_config(m->clip2)->width : 0;
    if (r->r->embeddings != NULL)
        TRY(embeddings_refresh(r->r->embeddings, tokenizers, r->e));
    r->n_chunkers = m->clip2 != NULL ? 2 : 1;
    for (int i = 0; i < r->n_chunkers; i++)
        TRY(chunker_init(&r->chunkers[i], tokenizers[i], r->r->embeddings, i, uses, r->e));
    if (r->n_chunkers == 2 && r->chunkers[0].length != r->chunkers[1].length)
        TRY(err_set(r->e, ERR_INPUT, "the model's tokenizers take %d and %d tokens",
                    r->chunkers[0].length, r->chunkers[1].length));
out:
    return rc;
}

static int list_embeddings(struct conditioning *c, struct err *e)
{
    c->embeddings = calloc(c->uses.n + 1, sizeof *c->embeddings);
    if (c->embeddings == NULL)
        return err_set(e, ERR_OOM, "no memory for embeddings");
    for (size_t i = 0; i < c->uses.n; i++)
        c->embeddings[i] =
            (struct conditioning_embedding){c->uses.items[i].name, c->uses.items[i].path};
    return 0;
}

int conditioning_new(const struct model *m, const struct conditioning_request *request,
                     struct conditioning **ret_c, struct err *e)
{
    struct conditioning *c = calloc(1, sizeof *c);
    struct reader r = {.c = c, .r = request, .e = e};
    int rc = 0;

    if (c == NULL)
        return err_set(e, ERR_OOM, "no memory for a prompt");
    c->model = m;
    c->emphasis = request->emphasis;
    c->clip_skip = request->clip_skip < 1 ? 1 : request->clip_skip;
    c->guided = request->guided;
    TRY(check_request(m, request, e));
    TRY(prepare(&r));
    if (c->guided)
        TRY(read_negative(&r));
    TRY(read_positive(&r));
    TRY(list_embeddings(c, e));
    *ret_c = c;
    c = NULL;
out:
    conditioning_free(c);
    return rc;
}

void conditioning_free(struct conditioning *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n_texts; i++)
        text_done(&c->texts[i]);
    free(c->texts);
    branch_done(&c->negative);
    for (size_t i = 0; i < c->n_parts; i++)
        branch_done(&c->parts[i]);
    lora_uses_free(c->loras, c->n_loras);
    embedding_uses_done(&c->uses);
    free(c->embeddings);
    free(c);
}

int conditioning_texts(const struct conditioning *c)
{
    return (int)c->n_texts;
}

int64_t conditioning_tokens(const struct conditioning *c, int text)
{
    const struct chunks *chunks = &c->texts[text].chunks[0];

    return (int64_t)chunks->n * chunks->length;
}

static int text_at(const struct branch *b, int call)
{
    size_t i = 0;

    while (i + 1 < b->n && b->ends[i] < call)
        i++;
    return b->texts[i];
}

void conditioning_at(const struct conditioning *c, int call, struct guidance *ret_g)
{
    ret_g->negative = c->guided ? text_at(&c->negative, call) : -1;
    ret_g->n_parts = c->n_parts;
    for (size_t i = 0; i < c->n_parts; i++)
        ret_g->parts[i] = (struct guidance_part){text_at(&c->parts[i], call), c->parts[i].weight};
}

const struct lora_use *conditioning_loras(const struct conditioning *c, size_t *ret_n)
{
    *ret_n = c->n_loras;
    return c->loras;
}

const struct conditioning_embedding *conditioning_embeddings(const struct conditioning *c,
                                                             size_t *ret_n)
{
    *ret_n = c->uses.n;
    return c->embeddings;
}

/* ---- states */

/* The vectors of chunk i for one encoder, at most one for each token. */
static void find_vectors(const struct conditioning *c, const struct chunks *chunks, int which,
                         size_t i, struct clip_vector *ret_vectors, size_t *ret_n)
{
    size_t n = 0;

    for (size_t k = 0; k < chunks->n_fixes; k++) {
        const struct chunk_fix *fix = &chunks->fixes[k];
        const struct embedding_vectors *v = &c->uses.items[fix->use].vectors;

        for (int j = 0; fix->chunk == i && j < v->n; j++)
            ret_vectors[n++] =
                (struct clip_vector){fix->at + j, v->values[which] + j * c->uses.widths[which]};
    }
    *ret_n = n;
}

static int encode_chunk(const struct conditioning *c, struct prompts *cache, const struct text *t,
                        size_t i, struct clip_vector *vectors, float *ret_states, float *ret_pooled,
                        struct err *e)
{
    struct chunk_text chunk = {.emphasis = c->emphasis,
                               .clip_skip = c->clip_skip,
                               .adapters = model_lora_text_id(c->model)};

    for (int which = 0; which < (c->model->clip2 != NULL ? 2 : 1); which++) {
        const struct chunks *chunks = &t->chunks[which];
        struct clip_text *text = &chunk.texts[which];
        size_t length = (size_t)chunks->length;

        text->ids = chunks->ids + i * length;
        text->tokens = chunks->length;
        text->vectors = vectors + (size_t)which * length;
        find_vectors(c, chunks, which, i, vectors + (size_t)which * length, &text->n_vectors);
        chunk.weights[which] = chunks->weights + i * length;
    }
    return prompts_encode(cache, c->model, &chunk, ret_states, ret_pooled, e);
}

int conditioning_encode(const struct conditioning *c, struct prompts *cache, int text,
                        float *ret_states, float *ret_pooled, struct err *e)
{
    const struct text *t = &c->texts[text];
    int64_t length = t->chunks[0].length, width = prompts_width(c->model);
    int64_t pooled = prompts_pooled_width(c->model);
    struct clip_vector *vectors;
    int rc = 0;

    if (t->zero) {
        if (!c->model->ops->planning) {
            memset(ret_states, 0, (size_t)(length * width) * t->chunks[0].n * sizeof(float));
            if (pooled > 0)
                memset(ret_pooled, 0, (size_t)pooled * sizeof(float));
        }
        return 0;
    }
    vectors = calloc((size_t)length * 2, sizeof *vectors);
    if (vectors == NULL)
        return err_set(e, ERR_OOM, "no memory for a text's embeddings");
    for (size_t i = 0; i < t->chunks[0].n; i++)
        TRY(encode_chunk(c, cache, t, i, vectors, ret_states + (int64_t)i * length * width,
                         i == 0 && pooled > 0 ? ret_pooled : NULL, e));
out:
    free(vectors);
    return rc;
}
