#include "jobs/combine.h"

#include "jobs/suggest.h"

#include <ctype.h>
#include <string.h>

#define DEPTH_MAX 16 /* nesting of parentheses */

struct reader {
    const struct node *text;
    const char *p;
    const char *const *names;
    size_t n_names;
    struct diagnostics *d;
    bool seen[JOB_AXES_MAX];
    bool unknown; /* a name is misspelt, so what is missing cannot be said */
    int depth;
};

static bool take_product(struct reader *r, struct combine *ret);

static struct place here(const struct reader *r, const char *p)
{
    return node_place(r->text, (size_t)(p - r->text->text));
}

static char skip_space(struct reader *r)
{
    while (isspace((unsigned char)*r->p))
        r->p++;
    return *r->p;
}

static bool expected(struct reader *r, const char *what)
{
    if (*r->p)
        diagnose(r->d, here(r, r->p), "combine: %s is expected here, not '%c'", what, *r->p);
    else
        diagnose(r->d, here(r, r->p), "combine: %s is expected at the end", what);
    return false;
}

/* A misspelt or repeated name is told and left out; reading goes on. */
static bool take_name(struct reader *r, struct combine *ret)
{
    char name[SUGGEST_WORD_MAX + 1];
    struct buf hint = {0};
    const char *start = r->p;
    size_t size, i;

    r->p += strcspn(r->p, "*(),");
    for (size = (size_t)(r->p - start); size && isspace((unsigned char)start[size - 1]);)
        size--;
    if (size == 0)
        return expected(r, "the name of an axis or '('");
    snprintf(name, sizeof name, "%.*s", (int)size, start);
    for (i = 0; i < r->n_names; i++)
        if (strlen(r->names[i]) == size && memcmp(r->names[i], start, size) == 0)
            break;
    if (i == r->n_names) {
        suggest_text(name, r->names, r->n_names, &hint);
        diagnose(r->d, here(r, start), "combine: no axis '%s'%s", name, buf_text(&hint));
        buf_done(&hint);
        r->unknown = true;
    } else if (r->seen[i]) {
        diagnose(r->d, here(r, start), "combine: axis '%s' is here twice", name);
    } else {
        r->seen[i] = true;
        ret->factors[ret->n++] = (struct zip){.axes = {(int)i}, .n = 1};
    }
    return true;
}

/* The parts of a zip become one factor. */
static bool join(struct reader *r, const char *start, struct combine *all,
                 const struct combine *part)
{
    struct zip *zip = &all->factors[0];

    if (part->n > 1) {
        diagnose(r->d, here(r, start),
                 "combine: a product cannot be part of a zip; zip single axes: (a, b)");
        return false;
    }
    if (part->n == 0)
        return true;
    for (size_t i = 0; i < part->factors[0].n; i++)
        zip->axes[zip->n++] = part->factors[0].axes[i];
    all->n = 1;
    return true;
}

static bool take_parentheses(struct reader *r, struct combine *ret)
{
    struct combine all = {0}, part;
    const char *start = ++r->p;
    bool zip = false;

    if (++r->depth > DEPTH_MAX) {
        diagnose(r->d, here(r, start), "combine: too many parentheses");
        return false;
    }
    for (;;) {
        part = (struct combine){0};
        start = r->p;
        if (!take_product(r, &part))
            return false;
        zip = zip || skip_space(r) == ',';
        if (!zip)
            all = part;
        else if (!join(r, start, &all, &part))
            return false;
        if (skip_space(r) != ',')
            break;
        r->p++;
    }
    if (*r->p != ')')
        return expected(r, "')', '*' or ','");
    r->p++;
    r->depth--;
    for (size_t i = 0; i < all.n; i++)
        ret->factors[ret->n++] = all.factors[i];
    return true;
}

static bool take_product(struct reader *r, struct combine *ret)
{
    for (;;) {
        bool good = skip_space(r) == '(' ? take_parentheses(r, ret) : take_name(r, ret);

        if (!good)
            return false;
        if (skip_space(r) != '*')
            return true;
        r->p++;
    }
}

static bool check_all_seen(struct reader *r)
{
    struct buf missing = {0};
    size_t n = 0;

    for (size_t i = 0; i < r->n_names; i++)
        if (!r->seen[i])
            buf_printf(&missing, "%s'%s'", n++ ? ", " : "", r->names[i]);
    if (n)
        diagnose(r->d, r->text->at, "combine: every axis must occur once; missing: %s",
                 buf_text(&missing));
    buf_done(&missing);
    return n == 0;
}

bool combine_parse(const struct node *text, const char *const *names, size_t n_names,
                   struct diagnostics *d, struct combine *ret_combine)
{
    struct reader r = {.text = text, .p = text->text, .names = names, .n_names = n_names, .d = d};
    size_t errors = d->n_errors;

    *ret_combine = (struct combine){0};
    if (!take_product(&r, ret_combine))
        return false;
    if (*r.p)
        return expected(&r, "'*' or the end");
    if (!r.unknown)
        check_all_seen(&r);
    return d->n_errors == errors;
}

void combine_default(size_t n_names, struct combine *ret_combine)
{
    *ret_combine = (struct combine){.n = n_names};
    for (size_t i = 0; i < n_names; i++)
        ret_combine->factors[i] = (struct zip){.axes = {(int)i}, .n = 1};
}
