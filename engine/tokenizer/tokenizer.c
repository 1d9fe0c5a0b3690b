#include "engine/tokenizer/tokenizer.h"

#include "engine/prompt/unicode.h"
#include "engine/tokenizer/tokenizer_vocab.h"

/* One encoding: what it has found, and the scratch of the word at hand. */
struct encoding {
    const struct tokenizer *t;
    int32_t *ids; /* [capacity] */
    size_t n, capacity;
    struct symbol *symbols; /* [word_capacity] */
    struct candidate *heap; /* [3 * word_capacity] */
    size_t word_capacity, n_heap;
    struct err *e;
};

/* A piece of a word; pieces form a list, merged ones leave it. */
struct symbol {
    int32_t id;         /* -1: merged into its left neighbour */
    int32_t prev, next; /* indices, -1 at the ends */
};

/* A pair that could be merged when it was seen. */
struct candidate {
    int32_t rank, at; /* the left symbol's index */
    int32_t left, right;
};

static int push_id(struct encoding *c, int32_t id)
{
    if (c->n == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 128;
        int32_t *ids = realloc(c->ids, capacity * sizeof *ids);
        if (!ids)
            return err_set(c->e, ERR_OOM, "no memory for %zu tokens", capacity);
        c->ids = ids;
        c->capacity = capacity;
    }
    c->ids[c->n++] = id;
    return 0;
}

/* ---- byte-pair merging: Sennrich et al. 2015 (arXiv:1508.07909); a heap keeps long words cheap */

/* Lower ranks first, then from left to right. */
static bool goes_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct encoding *c, struct candidate item)
{
    size_t i = c->n_heap++;

    for (; i > 0 && goes_before(&item, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
        c->heap[i] = c->heap[(i - 1) / 2];
    c->heap[i] = item;
}

static struct candidate heap_pop(struct encoding *c)
{
    struct candidate top = c->heap[0], last = c->heap[--c->n_heap];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < c->n_heap && goes_before(&c->heap[child + 1], &c->heap[child]))
            child++;
        if (child >= c->n_heap || !goes_before(&c->heap[child], &last))
            break;
        c->heap[i] = c->heap[child];
        i = child;
    }
    c->heap[i] = last;
    return top;
}

static void consider(struct encoding *c, int32_t at)
{
    const struct symbol *s = c->symbols;
    const struct merge *m;

    if (at < 0 || s[at].next < 0)
        return;
    m = tokenizer_merge(c->t, s[at].id, s[s[at].next].id);
    if (m)
        heap_push(c, (struct candidate){m->rank, at, m->left, m->right});
}

static void merge_all(struct encoding *c, int32_t n)
{
    struct symbol *s = c->symbols;

    c->n_heap = 0;
    for (int32_t i = 0; i < n; i++)
        consider(c, i);
    while (c->n_heap > 0) {
        struct candidate best = heap_pop(c);
        struct symbol *left = &s[best.at];
        int32_t next = left->next;

        if (left->id != best.left || next < 0 || s[next].id != best.right)
            continue; /* an earlier merge changed the pair */
        left->id = tokenizer_merge(c->t, best.left, best.right)->id;
        left->next = s[next].next;
        s[next].id = -1;
        if (left->next >= 0)
            s[left->next].prev = best.at;
        consider(c, left->prev);
        consider(c, best.at);
    }
}

/* One word of [size] bytes, size > 0, to ids. */
static int encode_word(struct encoding *c, const char *word, size_t size)
{
    int rc = 0;

    if (size > c->word_capacity) {
        free(c->symbols);
        free(c->heap);
        c->word_capacity = size < 256 ? 256 : size;
        c->symbols = malloc(c->word_capacity * sizeof *c->symbols);
        c->heap = malloc(3 * c->word_capacity * sizeof *c->heap);
        if (!c->symbols || !c->heap) {
            c->word_capacity = 0;
            return err_set(c->e, ERR_OOM, "no memory for a word of %zu bytes", size);
        }
    }
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)word[i];
        bool last = i + 1 == size;
        c->symbols[i] = (struct symbol){.id = last ? c->t->final_letter[byte] : c->t->letter[byte],
                                        .prev = (int32_t)i - 1,
                                        .next = last ? -1 : (int32_t)i + 1};
    }
    merge_all(c, (int32_t)size);
    for (int32_t i = 0; i >= 0; i = c->symbols[i].next)
        TRY(push_id(c, c->symbols[i].id));
out:
    return rc;
}

/* ---- words */

static bool starts_with(const char *text, size_t size, const char *prefix)
{
    size_t n = strlen(prefix);

    return n <= size && memcmp(text, prefix, n) == 0;
}

/* Bytes of the run of characters of one class at text. */
static size_t run_of(const char *text, size_t size, enum unicode_class class)
{
    size_t at = 0, step;

    while (at < size && unicode_class(unicode_next(text + at, size - at, &step)) == class)
        at += step;
    return at;
}

/*
 * CLIP's pattern: contractions, runs of letters, single digits, runs of anything else but white
 * space. Returns the word's bytes; size > 0.
 */
static size_t word_at(const char *text, size_t size)
{
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    enum unicode_class class;
    size_t step;

    for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++)
        if (starts_with(text, size, contractions[i]))
            return strlen(contractions[i]);
    class = unicode_class(unicode_next(text, size, &step));
    return class == UNICODE_NUMBER ? step : run_of(text, size, class);
}

/* Clean text, white space already single blanks, to ids. */
static int encode_words(struct encoding *c, const char *text, size_t size)
{
    static const char *const literals[] = {"<|startoftext|>", "<|endoftext|>"};
    int rc = 0;

    for (size_t at = 0, n; at < size; at += n) {
        size_t literal = 0;

        n = 1;
        if (text[at] == ' ')
            continue;
        /* Written otherwise than as the special token, such as in capitals: three words. */
        for (size_t i = 0; i < 2; i++)
            if (starts_with(text + at, size - at, literals[i]))
                literal = strlen(literals[i]);
        if (literal) {
            TRY(encode_word(c, text + at, 2));
            TRY(encode_word(c, text + at + 2, literal - 4));
            TRY(encode_word(c, text + at + literal - 2, 2));
            n = literal;
            continue;
        }
        n = word_at(text + at, size - at);
        TRY(encode_word(c, text + at, n));
    }
out:
    return rc;
}

/* ---- special tokens written in the text */

/* The longest special token at text, or NULL. */
static const struct special *special_at(const struct tokenizer *t, const char *text, size_t size,
                                        bool normalized)
{
    const struct special *best = NULL;

    for (size_t i = 0; i < t->n_specials; i++) {
        const struct special *s = &t->specials[i];
        if (s->normalized == normalized && s->size > 0 && s->size <= size &&
            s->text[0] == text[0] && memcmp(s->text, text, s->size) == 0 &&
            (!best || s->size > best->size))
            best = s;
    }
    return best;
}

static int encode_clean(struct encoding *c, const char *text, size_t size);

/* Raw text between special tokens. */
static int encode_raw(struct encoding *c, const char *text, size_t size)
{
    struct buf clean = {0};
    int rc = 0;

    TRY(unicode_clean(text, size, &clean, c->e));
    TRY(encode_clean(c, buf_text(&clean), clean.size));
out:
    buf_done(&clean);
    return rc;
}

/* Splits text at special tokens of one kind, what lies between goes to `rest`. */
static int split_specials(struct encoding *c, const char *text, size_t size, bool normalized,
                          int (*rest)(struct encoding *, const char *, size_t))
{
    size_t begin = 0;
    int rc = 0;

    for (size_t at = 0; at < size;) {
        const struct special *s = special_at(c->t, text + at, size - at, normalized);

        if (!s) {
            at++;
            continue;
        }
        if (at > begin)
            TRY(rest(c, text + begin, at - begin));
        TRY(push_id(c, s->id));
        at += s->size;
        begin = at;
    }
    if (size > begin)
        TRY(rest(c, text + begin, size - begin));
out:
    return rc;
}

static int encode_clean(struct encoding *c, const char *text, size_t size)
{
    return split_specials(c, text, size, true, encode_words);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t size, int32_t **ret_ids,
                     size_t *ret_n, struct err *e)
{
    struct encoding c = {.t = t, .e = e};
    int rc = 0;

    if (size > TOKENIZER_TEXT_MAX)
        return err_set(e, ERR_INPUT, "a text of %zu bytes; at most %d", size, TOKENIZER_TEXT_MAX);
    c.capacity = 128;
    c.ids = malloc(c.capacity * sizeof *c.ids);
    if (!c.ids)
        return err_set(e, ERR_OOM, "no memory for tokens");
    TRY(split_specials(&c, text, size, false, encode_raw));
    *ret_ids = c.ids;
    *ret_n = c.n;
    c.ids = NULL;
out:
    free(c.ids);
    free(c.symbols);
    free(c.heap);
    return rc;
}

int tokenizer_max_length(const struct tokenizer *t)
{
    return t->max_length;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int32_t tokenizer_pad(const struct tokenizer *t)
{
    return t->pad;
}

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->vocab_size;
}
