#include "engine/prompt/weighted.h"

#include "engine/prompt/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_WEIGHT  1.1
#define SQUARE_WEIGHT (1 / 1.1)

/* The pieces' numbers at which brackets of one kind opened. */
struct open_brackets {
    size_t at[WEIGHTED_DEPTH_MAX];
    int n;
};

struct parser {
    const struct prompt_text *t;
    struct weighted a;
    struct open_brackets round, square;
    struct prompt_fault *f;
};

static int add_piece(struct weighted *a, const char *text, size_t size, double weight,
                     struct prompt_fault *f)
{
    if (a->n == a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 16;
        struct weighted_piece *pieces = realloc(a->pieces, capacity * sizeof *pieces);

        if (pieces == NULL)
            return prompt_fault_set(f, ERR_OOM, 0, "no memory for %zu pieces of text", capacity);
        a->pieces = pieces;
        a->capacity = capacity;
    }
    a->pieces[a->n++] = (struct weighted_piece){a->text.size, size, weight};
    buf_append(&a->text, text, size);
    return 0;
}

/* text[begin..end) with each word BREAK as a piece of its own, the white space around it gone. */
static int add_words(struct parser *p, size_t begin, size_t end)
{
    const char *text = p->t->text;
    size_t from = begin;
    int rc = 0;

    for (size_t i = begin; i + 5 <= end; i++) {
        if (memcmp(text + i, "BREAK", 5) != 0 || !prompt_word_boundary(text, begin, end, i) ||
            !prompt_word_boundary(text, begin, end, i + 5))
            continue;
        TRY(add_piece(&p->a, text + from, prompt_trim_blank(text, from, i) - from, 1, p->f));
        TRY(add_piece(&p->a, "BREAK", 5, -1, p->f));
        from = prompt_skip_blank(text, i + 5, end);
        i = from - 1;
    }
    TRY(add_piece(&p->a, text + from, end - from, 1, p->f));
out:
    return rc;
}

static void multiply(struct weighted *a, size_t from, double weight)
{
    for (size_t i = from; i < a->n; i++)
        a->pieces[i].weight *= weight;
}

static int open_bracket(struct parser *p, struct open_brackets *b, size_t at)
{
    if (b->n == WEIGHTED_DEPTH_MAX)
        return prompt_fault_set(p->f, ERR_INPUT, prompt_text_origin(p->t, at),
                                "more than %d brackets are open here", WEIGHTED_DEPTH_MAX);
    b->at[b->n++] = p->a.n;
    return 0;
}

/*
 * The end of ":1.3)" at byte `at`, and its number's bytes; 0 if nothing like it stands there: a
 * colon, white space, a sign, digits and dots, white space, a bracket.
 */
static size_t weight_end(const struct prompt_text *t, size_t at, size_t *ret_number,
                         size_t *ret_number_end)
{
    size_t begin = prompt_skip_blank(t->text, at + 1, t->size), i = begin, step = 0, digits;

    if (i < t->size && (t->text[i] == '+' || t->text[i] == '-'))
        i++;
    digits = i;
    while (i < t->size &&
           (t->text[i] == '.' || unicode_digit(unicode_next(t->text + i, t->size - i, &step)) >= 0))
        i += t->text[i] == '.' ? 1 : step;
    *ret_number = begin;
    *ret_number_end = i;
    i = i > digits ? prompt_skip_blank(t->text, i, t->size) : t->size;
    return i < t->size && t->text[i] == ')' ? i + 1 : 0;
}

/* A colon: the end of a bracket with its weight, or text. Moves *at behind it. */
static int read_colon(struct parser *p, size_t *at)
{
    size_t number, number_end, end = weight_end(p->t, *at, &number, &number_end);
    double weight;
    int rc = 0;

    if (end == 0 || p->round.n == 0) {
        end = end == 0 ? *at + 1 : end;
        TRY(add_words(p, *at, end));
    } else {
        size_t size = number_end - number;

        if (!prompt_number(p->t->text + number, size, &weight) || !isfinite(weight))
            TRY(prompt_fault_set(p->f, ERR_INPUT, prompt_text_origin(p->t, number),
                                 "the weight '%.*s' is no number", size < 40 ? (int)size : 40,
                                 p->t->text + number));
        multiply(&p->a, p->round.at[--p->round.n], weight);
    }
    *at = end;
out:
    return rc;
}

/* A backslash and the bracket or backslash whose meaning it takes away; alone it is dropped. */
static int read_escape(struct parser *p, size_t *at)
{
    const char *next = p->t->text + *at + 1;
    size_t n = *next != '\0' && strchr("()[]\\", *next) != NULL;

    *at += 1 + n;
    return add_piece(&p->a, next, n, 1, p->f);
}

static int read_next(struct parser *p, size_t *at)
{
    const char *text = p->t->text + *at;
    size_t plain = strcspn(text, "\\()[]:");
    size_t begin = *at;

    if (plain > 0) {
        *at += plain;
        return add_words(p, begin, *at);
    }
    if (*text == '\\')
        return read_escape(p, at);
    if (*text == ':')
        return read_colon(p, at);
    *at += 1;
    if (*text == '(')
        return open_bracket(p, &p->round, begin);
    if (*text == '[')
        return open_bracket(p, &p->square, begin);
    if (*text == ')' && p->round.n > 0)
        multiply(&p->a, p->round.at[--p->round.n], ROUND_WEIGHT);
    else if (*text == ']' && p->square.n > 0)
        multiply(&p->a, p->square.at[--p->square.n], SQUARE_WEIGHT);
    else
        return add_words(p, begin, *at);
    return 0;
}

static void merge_equal(struct weighted *a)
{
    size_t n = 1;

    for (size_t i = 1; i < a->n; i++)
        if (a->pieces[i].weight == a->pieces[n - 1].weight)
            a->pieces[n - 1].size += a->pieces[i].size;
        else
            a->pieces[n++] = a->pieces[i];
    a->n = n;
}

/* Hands the pieces over. */
static int finish(struct weighted *a, struct weighted *ret_a, struct prompt_fault *f)
{
    if (a->text.failed)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for the prompt's text");
    *ret_a = *a;
    *a = (struct weighted){0};
    return 0;
}

int weighted_parse(const struct prompt_text *t, struct weighted *ret_a, struct prompt_fault *f)
{
    struct parser p = {.t = t, .f = f};
    int rc = 0;

    for (size_t at = 0; at < t->size;)
        TRY(read_next(&p, &at));
    for (int i = 0; i < p.round.n; i++)
        multiply(&p.a, p.round.at[i], ROUND_WEIGHT);
    for (int i = 0; i < p.square.n; i++)
        multiply(&p.a, p.square.at[i], SQUARE_WEIGHT);
    if (p.a.n == 0)
        TRY(add_piece(&p.a, "", 0, 1, f));
    merge_equal(&p.a);
    TRY(finish(&p.a, ret_a, f));
out:
    weighted_done(&p.a);
    return rc;
}

int weighted_literal(const struct prompt_text *t, struct weighted *ret_a, struct prompt_fault *f)
{
    struct weighted a = {0};
    int rc = 0;

    TRY(add_piece(&a, t->text != NULL ? t->text : "", t->size, 1, f));
    TRY(finish(&a, ret_a, f));
out:
    weighted_done(&a);
    return rc;
}

void weighted_done(struct weighted *a)
{
    buf_done(&a->text);
    free(a->pieces);
    *a = (struct weighted){0};
}

bool weighted_is_break(const struct weighted *a, size_t i)
{
    const struct weighted_piece *p = &a->pieces[i];

    return p->weight == -1 && p->size == 5 &&
           memcmp(buf_text(&a->text) + p->begin, "BREAK", 5) == 0;
}
