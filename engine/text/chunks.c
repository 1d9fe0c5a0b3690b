#include "engine/text/chunks.h"

#include <stdlib.h>
#include <string.h>

#define BACKTRACK 20 /* tokens from a chunk's end in which a comma may end it */

/* A chunk under way; texts are cut into chunks from left to right. */
struct cutter {
    const struct chunker *k;
    struct chunks c;
    size_t capacity, max_chunks, fixes_capacity;
    int room;       /* tokens of a chunk without begin and end */
    int used;       /* tokens in the last chunk, which is not counted in c.n yet */
    int last_comma; /* place of its last comma, -1: none */
    struct err *e;
};

int chunker_init(struct chunker *ret_k, const struct tokenizer *t, const struct embeddings *db,
                 int which, struct embedding_uses *uses, struct err *e)
{
    struct chunker k = {.tokenizer = t, .db = db, .uses = uses, .which = which};
    int32_t *ids;
    size_t n;
    int rc = tokenizer_encode(t, ",", 1, &ids, &n, e);

    if (rc != 0)
        return rc;
    k.length = tokenizer_max_length(t);
    k.comma = n == 1 ? ids[0] : -1;
    free(ids);
    *ret_k = k;
    return 0;
}

void embedding_uses_done(struct embedding_uses *u)
{
    for (size_t i = 0; i < u->n; i++) {
        free(u->items[i].name);
        free(u->items[i].path);
        embedding_vectors_done(&u->items[i].vectors);
    }
    free(u->items);
    u->items = NULL;
    u->n = 0;
}

/* The place of an embedding in the list; its file is read when it is first used. */
static int use_embedding(struct embedding_uses *u, const struct embedding *m, size_t *ret_i,
                         struct err *e)
{
    struct embedding_use use = {0}, *items;
    int rc = 0;

    for (size_t i = 0; i < u->n; i++)
        if (strcmp(u->items[i].path, m->path) == 0) {
            *ret_i = i;
            return 0;
        }
    TRY(embedding_read(m, u->widths, u->max_vectors, &use.vectors, e));
    use.name = strdup(m->name);
    use.path = strdup(m->path);
    items = realloc(u->items, (u->n + 1) * sizeof *items);
    if (items != NULL)
        u->items = items;
    if (items == NULL || use.name == NULL || use.path == NULL)
        TRY(err_set(e, ERR_OOM, "embedding '%s': no memory", m->path));
    *ret_i = u->n;
    u->items[u->n++] = use;
    use = (struct embedding_use){0};
out:
    free(use.name);
    free(use.path);
    embedding_vectors_done(&use.vectors);
    return rc;
}

/* ---- the chunk at hand */

static int32_t *ids_of(const struct cutter *u, size_t chunk)
{
    return u->c.ids + chunk * (size_t)u->c.length;
}

static float *weights_of(const struct cutter *u, size_t chunk)
{
    return u->c.weights + chunk * (size_t)u->c.length;
}

/* Room for one more chunk, which begins empty: begin, then only end. */
static int begin_chunk(struct cutter *u)
{
    size_t length = (size_t)u->c.length, capacity = u->capacity ? 2 * u->capacity : 1;
    int32_t *ids;
    float *weights;

    u->used = 0;
    u->last_comma = -1;
    if (u->c.n == u->max_chunks)
        return err_set(u->e, ERR_INPUT, "the prompt's texts have more than %zu chunks of tokens",
                       u->max_chunks);
    if (u->c.n == u->capacity) {
        ids = realloc(u->c.ids, capacity * length * sizeof *ids);
        if (ids != NULL)
            u->c.ids = ids;
        weights = realloc(u->c.weights, capacity * length * sizeof *weights);
        if (weights != NULL)
            u->c.weights = weights;
        if (ids == NULL || weights == NULL)
            return err_set(u->e, ERR_OOM, "no memory for %zu chunks of tokens", capacity);
        u->capacity = capacity;
    }
    ids_of(u, u->c.n)[0] = tokenizer_bos(u->k->tokenizer);
    for (size_t i = 0; i < length; i++) {
        if (i > 0)
            ids_of(u, u->c.n)[i] = tokenizer_eos(u->k->tokenizer);
        weights_of(u, u->c.n)[i] = 1;
    }
    return 0;
}

/* The chunk is complete, the next begins. */
static int next_chunk(struct cutter *u)
{
    u->c.n++;
    return begin_chunk(u);
}

static void put(struct cutter *u, int32_t id, double weight)
{
    ids_of(u, u->c.n)[1 + u->used] = id;
    weights_of(u, u->c.n)[1 + u->used] = (float)weight;
    u->used++;
}

/* What stands behind the last comma moves to the next chunk. */
static int break_at_comma(struct cutter *u)
{
    int from = u->last_comma + 1, moved = u->used - from;
    size_t old = u->c.n;
    int rc = 0;

    TRY(next_chunk(u));
    for (int i = from; i < from + moved; i++) {
        put(u, ids_of(u, old)[1 + i], weights_of(u, old)[1 + i]);
        ids_of(u, old)[1 + i] = tokenizer_eos(u->k->tokenizer);
        weights_of(u, old)[1 + i] = 1;
    }
    for (size_t i = 0; i < u->c.n_fixes; i++) {
        struct chunk_fix *fix = &u->c.fixes[i];

        if (fix->chunk == old && fix->at > from) { /* positions count begin */
            fix->chunk = u->c.n;
            fix->at -= from;
        }
    }
out:
    return rc;
}

static int put_embedding(struct cutter *u, const struct embedding *m, double weight)
{
    struct chunk_fix *fixes;
    size_t use = 0, capacity;
    int n, rc = 0;

    TRY(use_embedding(u->k->uses, m, &use, u->e));
    n = u->k->uses->items[use].vectors.n;
    if (u->used + n > u->room)
        TRY(next_chunk(u));
    if (u->c.n_fixes == u->fixes_capacity) {
        capacity = u->fixes_capacity ? 2 * u->fixes_capacity : 4;
        fixes = realloc(u->c.fixes, capacity * sizeof *fixes);
        if (fixes == NULL)
            TRY(err_set(u->e, ERR_OOM, "no memory for %zu embeddings", capacity));
        u->c.fixes = fixes;
        u->fixes_capacity = capacity;
    }
    u->c.fixes[u->c.n_fixes++] = (struct chunk_fix){u->c.n, 1 + u->used, use};
    for (int i = 0; i < n; i++)
        put(u, 0, weight);
out:
    return rc;
}

/* ---- texts */

static int put_tokens(struct cutter *u, const int32_t *ids, size_t n, double weight)
{
    const struct embedding *m;
    size_t length;
    int rc = 0;

    for (size_t i = 0; i < n; i += length) {
        if (ids[i] == u->k->comma)
            u->last_comma = u->used;
        else if (u->used == u->room && u->last_comma >= 0 && u->used - u->last_comma <= BACKTRACK)
            TRY(break_at_comma(u));
        if (u->used == u->room)
            TRY(next_chunk(u));
        length = 1;
        m = u->k->db != NULL ? embeddings_find(u->k->db, u->k->which, ids + i, n - i, &length)
                             : NULL;
        if (m != NULL)
            TRY(put_embedding(u, m, weight));
        else
            put(u, ids[i], weight);
    }
out:
    return rc;
}

static int put_piece(struct cutter *u, const struct weighted *a, size_t i)
{
    const struct weighted_piece *p = &a->pieces[i];
    int32_t *ids = NULL;
    size_t n;
    int rc = 0;

    if (weighted_is_break(a, i))
        return next_chunk(u);
    TRY(tokenizer_encode(u->k->tokenizer, buf_text(&a->text) + p->begin, p->size, &ids, &n, u->e));
    TRY(put_tokens(u, ids, n, p->weight));
out:
    free(ids);
    return rc;
}

/* Where padding is another token than end: only the first end stays (SD 2, SDXL's second). */
static void pad(const struct tokenizer *t, struct chunks *c, size_t chunk)
{
    int32_t *ids = c->ids + chunk * (size_t)c->length;
    bool ended = false;

    if (tokenizer_pad(t) == tokenizer_eos(t))
        return;
    for (int i = 0; i < c->length; i++) {
        if (ended)
            ids[i] = tokenizer_pad(t);
        ended = ended || ids[i] == tokenizer_eos(t);
    }
}

int chunks_make(const struct chunker *k, const struct weighted *a, size_t max_chunks,
                struct chunks *ret_c, struct err *e)
{
    struct cutter u = {.k = k, .max_chunks = max_chunks, .e = e};
    int rc = 0;

    u.c.length = k->length;
    u.room = k->length - 2;
    TRY(begin_chunk(&u));
    for (size_t i = 0; i < a->n; i++)
        TRY(put_piece(&u, a, i));
    u.c.tokens = u.c.n * (size_t)u.room + (size_t)u.used;
    if (u.used > 0 || u.c.n == 0)
        u.c.n++;
    for (size_t i = 0; i < u.c.n; i++)
        pad(k->tokenizer, &u.c, i);
    *ret_c = u.c;
    u.c = (struct chunks){0};
out:
    chunks_done(&u.c);
    return rc;
}

int chunks_extend(const struct chunker *k, struct chunks *c, size_t n, struct err *e)
{
    struct cutter u = {.k = k, .c = *c, .capacity = c->n, .max_chunks = n, .e = e};
    int rc = 0;

    while (u.c.n < n) {
        TRY(begin_chunk(&u));
        pad(k->tokenizer, &u.c, u.c.n);
        u.c.n++;
    }
out:
    *c = u.c;
    return rc;
}

void chunks_done(struct chunks *c)
{
    free(c->ids);
    free(c->weights);
    free(c->fixes);
    *c = (struct chunks){0};
}
