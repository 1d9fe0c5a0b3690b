#include "jobs/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS_MAX 60

struct reader {
    const char *text, *p;
    struct number_problem *problem;
    bool integer;
};

static bool fail(struct reader *r, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(struct reader *r, const char *at, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(r->problem->text, sizeof r->problem->text, format, ap);
    va_end(ap);
    r->problem->offset = (size_t)(at - r->text);
    return false;
}

static void skip_space(struct reader *r)
{
    while (*r->p == ' ' || *r->p == '\t')
        r->p++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Copies digits; returns how many. */
static size_t take_digits(struct reader *r, char *number, size_t *n)
{
    size_t taken = 0;

    while (is_digit(*r->p)) {
        if (*n < NUMBER_DIGITS_MAX)
            number[(*n)++] = *r->p;
        r->p++;
        taken++;
    }
    return taken;
}

/* [sign] digits [. digits] [e [sign] digits], always decimal. */
static bool take_number(struct reader *r, double *ret_x)
{
    char number[NUMBER_DIGITS_MAX + 8];
    size_t n = 0, digits;
    const char *start;
    bool whole = true;

    skip_space(r);
    start = r->p;
    if (*r->p == '+' || *r->p == '-') {
        if (*r->p++ == '-')
            number[n++] = '-';
        skip_space(r);
    }
    digits = take_digits(r, number, &n);
    if (*r->p == '.' && (digits || is_digit(r->p[1]))) {
        whole = false;
        number[n++] = *r->p++;
        digits += take_digits(r, number, &n);
    }
    if (digits == 0)
        return fail(r, start, "a number is expected here");
    if ((*r->p == 'e' || *r->p == 'E') &&
        (is_digit(r->p[1]) || ((r->p[1] == '+' || r->p[1] == '-') && is_digit(r->p[2])))) {
        whole = false;
        number[n++] = *r->p++;
        if (!is_digit(*r->p))
            number[n++] = *r->p++;
        digits += take_digits(r, number, &n);
    }
    number[n] = 0;
    if (digits > NUMBER_DIGITS_MAX - 4)
        return fail(r, start, "a number with too many digits");
    if (r->integer && !whole)
        return fail(r, start, "whole numbers are expected here, not '%s'", number);
    *ret_x = strtod(number, NULL) + 0.0;
    if (!(fabs(*ret_x) <= NUMBER_MAX))
        return fail(r, start, "'%s' is too large", number);
    return true;
}

static bool take_close(struct reader *r, char close)
{
    skip_space(r);
    if (*r->p != close)
        return fail(r, r->p, "'%c' is expected here", close);
    r->p++;
    return true;
}

/* Whole steps that fit: a real range reaches its end in spite of rounding, and never passes it. */
static bool count_steps(struct reader *r, const char *start, double end, struct number_run *ret)
{
    double steps = (end - ret->first) / ret->step;

    if (ret->step == 0)
        return fail(r, start, "a step of 0 never reaches the end");
    if (steps < 0 && ret->step == 1)
        return fail(r, start,
                    "the range is empty; count down with a negative step, as in 5-1 (-1)");
    if (steps < 0)
        return fail(r, start, "the range is empty: its step leads away from its end");
    steps = floor(ret->integer ? steps : steps + 1e-9);
    if (steps >= NUMBER_MAX)
        return fail(r, start, "the range has too many values");
    ret->count = (uint64_t)steps + 1;
    return true;
}

static bool take_spread(struct reader *r, struct number_run *ret, double end)
{
    bool integer = r->integer, good;
    const char *start = ++r->p;
    double n = 0;

    r->integer = true;
    good = take_number(r, &n) && take_close(r, ']');
    r->integer = integer;
    if (!good)
        return false;
    if (n < 1 || n > 1e6)
        return fail(r, start, "[n] is a number of values from 1 to 1000000");
    ret->spread = true;
    ret->count = (uint64_t)n;
    ret->last = end;
    ret->step = n > 1 ? (end - ret->first) / (n - 1) : 0;
    return true;
}

static bool take_element(struct reader *r, struct number_run *ret)
{
    const char *start;
    double end;

    skip_space(r);
    start = r->p;
    *ret = (struct number_run){
        .step = 1, .count = 1, .integer = r->integer, .offset = (size_t)(start - r->text)};
    if (!take_number(r, &ret->first))
        return false;
    skip_space(r);
    if (*r->p != '-')
        return true;
    ret->written_as_range = true;
    r->p++;
    if (!take_number(r, &end))
        return false;
    skip_space(r);
    if (*r->p == '[')
        return take_spread(r, ret, end);
    if (*r->p == '(') {
        r->p++;
        if (!take_number(r, &ret->step) || !take_close(r, ')'))
            return false;
    } else if (*r->p == ':') {
        r->p++;
        if (!take_number(r, &ret->step))
            return false;
    }
    return count_steps(r, start, end, ret);
}

static int append(struct numbers *list, const struct number_run *item, struct err *e)
{
    struct number_run *items = list->items;

    if ((list->n & (list->n - 1)) == 0) {
        items = realloc(items, (list->n ? 2 * list->n : 1) * sizeof *items);
        if (!items)
            return err_set(e, ERR_OOM, "out of memory");
        list->items = items;
    }
    items[list->n++] = *item;
    list->count += item->count;
    return 0;
}

int numbers_parse(const char *text, bool integer, struct numbers *ret_numbers,
                  struct number_problem *ret_problem, struct err *e)
{
    struct reader r = {.text = text, .p = text, .problem = ret_problem, .integer = integer};
    struct numbers list = {0};
    struct number_run item;
    int rc = 0;

    *ret_problem = (struct number_problem){0};
    do {
        if (list.n == NUMBERS_MAX) {
            fail(&r, r.p, "more than %d elements", NUMBERS_MAX);
            goto out;
        }
        if (!take_element(&r, &item))
            goto out;
        list.any_range |= item.written_as_range;
        TRY(append(&list, &item, e));
        skip_space(&r);
    } while (*r.p == ',' && r.p++);
    if (*r.p)
        fail(&r, r.p, "'%.20s' does not belong to a number or range", r.p);
    else if (list.count >= (uint64_t)NUMBER_MAX)
        fail(&r, text, "too many values");
    if (!ret_problem->text[0]) {
        *ret_numbers = list;
        list = (struct numbers){0};
    }
out:
    numbers_done(&list);
    return rc;
}

void numbers_done(struct numbers *r)
{
    free(r->items);
    *r = (struct numbers){0};
}

double number_at(const struct number_run *r, uint64_t k)
{
    double x = r->spread && k && k + 1 == r->count ? r->last : (double)k * r->step + r->first;

    if (r->integer)
        return trunc(x) + 0.0;
    if (fabs(x) < 1e5)
        x = nearbyint(x * 1e10) / 1e10;
    return x + 0.0;
}
