#include "engine/prompt/edit.h"

#include "engine/prompt/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a token does when a text is put together. */
enum role {
    RAW,       /* it is text */
    SCHEDULED, /* '[' of an edit: one of its two parts follows */
    ALTERNATE, /* '[' of an alternation: one of its parts follows */
    END        /* what ends a part of either: goes on behind the closing bracket */
};

struct token {
    uint32_t at, size; /* bytes of the text */
    uint32_t next;     /* of a bracket or separator being read: the next separator or its end */
    uint32_t close;    /* of an edit's tokens: its closing bracket */
    int when;          /* of SCHEDULED: the last step of the part before */
    uint8_t role;      /* enum role */
    uint8_t parts;     /* of SCHEDULED: 1 [to:when] or 2 */
    char what;         /* one of "[]():|", or 0: other text */
};

/* A bracket that is open. */
struct frame {
    uint32_t open, last; /* tokens: the bracket, and its last separator (or itself) */
    uint32_t colons, bars;
};

struct edit {
    const struct prompt_text *t; /* borrowed */
    struct token *tokens;        /* [n], owned */
    size_t n, capacity;
    struct frame *frames; /* [n_frames], owned; innermost last */
    size_t n_frames, frames_capacity;
    int base_steps, hires_steps, steps; /* steps: of the pass asked for */
    bool alternates, edited;            /* some alternation; some edit of either kind */
    bool broken;                        /* the whole text stays as it is */
    size_t broken_at;                   /* because of this byte */
    size_t endless;                     /* token of a step beyond all numbers; 0: none */
    int *ends;                          /* [n_ends], owned */
    size_t n_ends;
    struct prompt_fault *f; /* while parsing */
};

/* ---- tokens */

static int out_of_memory(struct edit *d)
{
    return prompt_fault_set(d->f, ERR_OOM, 0, "no memory for a prompt of %zu bytes", d->t->size);
}

static int add_token(struct edit *d, size_t at, size_t size, char what)
{
    if (d->n == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 32;
        struct token *tokens = realloc(d->tokens, capacity * sizeof *tokens);

        if (tokens == NULL)
            return out_of_memory(d);
        d->tokens = tokens;
        d->capacity = capacity;
    }
    d->tokens[d->n++] = (struct token){.at = (uint32_t)at, .size = (uint32_t)size, .what = what};
    return 0;
}

static void leave_as_it_is(struct edit *d, size_t at)
{
    if (!d->broken || at < d->broken_at)
        d->broken_at = at;
    d->broken = true;
}

/* Other text from `at` on: its bytes, escaped characters among them. */
static size_t plain_size(struct edit *d, size_t at)
{
    const char *text = d->t->text + at;
    size_t size = 0;

    for (;;) {
        size += strcspn(text + size, "\\[]():|");
        if (text[size] != '\\')
            return size;
        if (text[size + 1] == '\0' || text[size + 1] == '\n')
            leave_as_it_is(d, at + size);
        size += text[size + 1] != '\0' ? 2 : 1;
    }
}

static int read_tokens(struct edit *d)
{
    int rc = 0;

    for (size_t at = 0; at < d->t->size; at += d->tokens[d->n - 1].size) {
        size_t size = plain_size(d, at);

        if (size > 0)
            TRY(add_token(d, at, size, 0));
        else
            TRY(add_token(d, at, 1, d->t->text[at]));
    }
out:
    return rc;
}

/* ---- brackets */

static int push_frame(struct edit *d, size_t i)
{
    if (d->n_frames == d->frames_capacity) {
        size_t capacity = d->frames_capacity ? 2 * d->frames_capacity : 16;
        struct frame *frames = realloc(d->frames, capacity * sizeof *frames);

        if (frames == NULL)
            return out_of_memory(d);
        d->frames = frames;
        d->frames_capacity = capacity;
    }
    d->frames[d->n_frames++] = (struct frame){.open = (uint32_t)i, .last = (uint32_t)i};
    return 0;
}

/* No bracket that is open can be read any more: what it holds is no balanced text. */
static void drop_frames(struct edit *d)
{
    for (size_t i = 0; i < d->n_frames; i++) {
        const struct frame *f = &d->frames[i];
        uint32_t at = f->open;

        for (uint32_t n = 0; n < f->colons + f->bars && f->bars > 0; n++) {
            at = d->tokens[at].next;
            if (d->tokens[at].what == '|')
                leave_as_it_is(d, d->tokens[at].at);
        }
    }
    d->n_frames = 0;
}

/* A colon or bar of the innermost bracket. */
static void add_separator(struct edit *d, size_t i)
{
    bool bar = d->tokens[i].what == '|';
    struct frame *f;

    if (d->n_frames == 0) {
        if (bar)
            leave_as_it_is(d, d->tokens[i].at);
        return;
    }
    f = &d->frames[d->n_frames - 1];
    f->colons += !bar;
    f->bars += bar;
    d->tokens[f->last].next = (uint32_t)i;
    f->last = (uint32_t)i;
}

/* Whether the tokens between a bracket's last colon and its end are one number; and that number. */
static bool find_when(const struct edit *d, const struct frame *f, size_t close, double *ret_when,
                      bool *ret_whole)
{
    const struct token *number = &d->tokens[f->last + 1];
    const char *text = d->t->text;
    size_t begin, end;

    if (f->last + 2 != close || number->what != 0)
        return false;
    begin = prompt_skip_blank(text, number->at, number->at + number->size);
    end = prompt_trim_blank(text, begin, number->at + number->size);
    for (size_t i = begin; i < end; i++) /* digits of other scripts are none here */
        if ((unsigned char)text[i] >= 0x80)
            return false;
    *ret_whole = memchr(text + begin, '.', end - begin) == NULL;
    return prompt_number(text + begin, end - begin, ret_when);
}

/* The step up to which the part before holds. */
static int step_of(struct edit *d, const struct frame *f, double when, bool whole)
{
    bool second = d->hires_steps > 0;
    double step = whole ? when - (second ? d->base_steps : 0)
                        : (when - (second ? 1.0 : 0.0)) * (double)d->steps;

    if (!isfinite(step) && d->endless == 0)
        d->endless = f->last + 1;
    return step >= d->steps ? d->steps : step < 1 ? 0 : (int)step;
}

/* Tokens of an edit that was read: every separator, and the end, go on behind it. */
static void mark(struct edit *d, uint32_t open, uint32_t close, enum role role)
{
    struct token *t = &d->tokens[open];

    d->edited = true;
    t->role = (uint8_t)role;
    t->close = close;
    for (uint32_t i = t->next;; i = d->tokens[i].next) {
        d->tokens[i].role = END;
        d->tokens[i].close = close;
        if (i == close)
            break;
    }
}

/*
 * The innermost bracket ends at token `close`. "(a)", "(a:b)" and "[a]" are balanced text;
 * "[a|b]", "[a:1]" and "[a:b:1]" are edits; anything else is none of them.
 */
static void close_frame(struct edit *d, size_t close)
{
    const struct frame *f = &d->frames[d->n_frames - 1];
    bool square = d->tokens[f->open].what == '[', whole;
    double when;

    if (square != (d->tokens[close].what == ']')) {
        drop_frames(d);
        return;
    }
    d->tokens[f->last].next = (uint32_t)close;
    if (square && f->bars > 0 && f->colons == 0) {
        d->alternates = true;
        mark(d, f->open, (uint32_t)close, ALTERNATE);
    } else if (square && f->bars == 0 && (f->colons == 1 || f->colons == 2) &&
               find_when(d, f, close, &when, &whole)) {
        d->tokens[f->open].when = step_of(d, f, when, whole);
        d->tokens[f->open].parts = (uint8_t)f->colons;
        mark(d, f->open, (uint32_t)close, SCHEDULED);
    } else if (f->bars > 0 || f->colons > (square ? 0 : 1)) {
        drop_frames(d);
        return;
    }
    d->n_frames--;
}

static int read_brackets(struct edit *d)
{
    int rc = 0;

    for (size_t i = 0; i < d->n; i++) {
        char what = d->tokens[i].what;

        if (what == '[' || what == '(')
            TRY(push_frame(d, i));
        else if (what == ':' || what == '|')
            add_separator(d, i);
        else if (what != 0 && d->n_frames > 0)
            close_frame(d, i);
    }
    drop_frames(d);
    if (d->endless != 0 && !d->broken)
        TRY(prompt_fault_set(d->f, ERR_INPUT, prompt_text_origin(d->t, d->tokens[d->endless].at),
                             "the step of this edit is too large to be a number"));
out:
    return rc;
}

/* ---- steps */

/* The steps at which some text ends, in order. */
static int collect_ends(struct edit *d)
{
    bool *at = calloc((size_t)d->steps + 1, sizeof *at);

    d->ends = calloc((size_t)d->steps, sizeof *d->ends);
    if (at == NULL || d->ends == NULL) {
        free(at);
        return out_of_memory(d);
    }
    at[d->steps] = true;
    for (size_t i = 0; i < d->n && !d->broken; i++)
        if (d->tokens[i].role == SCHEDULED)
            at[d->tokens[i].when] = true;
    for (int step = 1; step <= d->steps; step++)
        if (at[step] || (d->alternates && !d->broken))
            d->ends[d->n_ends++] = step;
    free(at);
    return 0;
}

int edit_parse(const struct prompt_text *t, int base_steps, int hires_steps, struct edit **ret_d,
               struct prompt_fault *f)
{
    struct edit *d = calloc(1, sizeof *d);
    int rc = 0;

    if (d == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a prompt");
    d->t = t;
    d->f = f;
    d->base_steps = base_steps;
    d->hires_steps = hires_steps;
    d->steps = hires_steps > 0 ? hires_steps : base_steps;
    TRY(read_tokens(d));
    TRY(read_brackets(d));
    TRY(collect_ends(d));
    d->f = NULL;
    *ret_d = d;
    d = NULL;
out:
    edit_free(d);
    return rc;
}

void edit_free(struct edit *d)
{
    if (d == NULL)
        return;
    free(d->tokens);
    free(d->frames);
    free(d->ends);
    free(d);
}

size_t edit_count(const struct edit *d)
{
    return d->n_ends;
}

int edit_end(const struct edit *d, size_t i)
{
    return d->ends[i];
}

bool edit_left_out(const struct edit *d, size_t *ret_at)
{
    if (!d->broken || !d->edited)
        return false;
    *ret_at = prompt_text_origin(d->t, d->broken_at);
    return true;
}

/* ---- texts */

/* The token at which the part of an edit begins that holds at a step. */
static size_t part_at(const struct edit *d, size_t open, int step)
{
    const struct token *t = &d->tokens[open];
    size_t i = open, n = 0;

    if (t->role == SCHEDULED) {
        if (t->parts == 1)
            return step <= t->when ? (size_t)t->close + 1 : open + 1;
        return (step <= t->when ? open : t->next) + 1;
    }
    for (i = t->next; i != t->close; i = d->tokens[i].next)
        n++;
    n = (size_t)(step - 1) % (n + 1);
    for (i = open; n > 0; n--)
        i = d->tokens[i].next;
    return i + 1;
}

int edit_text(const struct edit *d, size_t i, struct prompt_text *ret_t, struct prompt_fault *f)
{
    struct prompt_text t = {0};
    int rc = 0;

    TRY(prompt_text_append(&t, d->t, 0, 0, f));
    if (d->broken)
        TRY(prompt_text_append(&t, d->t, 0, d->t->size, f));
    for (size_t at = 0; at < d->n && !d->broken;) {
        const struct token *token = &d->tokens[at];

        if (token->role == END) {
            at = (size_t)token->close + 1;
        } else if (token->role != RAW) {
            at = part_at(d, at, d->ends[i]);
        } else {
            TRY(prompt_text_append(&t, d->t, token->at, token->at + token->size, f));
            at++;
        }
    }
    *ret_t = t;
    t = (struct prompt_text){0};
out:
    prompt_text_done(&t);
    return rc;
}
