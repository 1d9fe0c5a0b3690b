#include "jobs/exclude.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Jumps tried before the search by counting, which costs more at once and less in the end. */
#define JUMPS_MAX 64

struct positions {
    uint64_t *items; /* ascending, distinct */
    size_t n, capacity;
    bool failed;
};

static void positions_add(struct positions *p, uint64_t at)
{
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 64;
        uint64_t *items = realloc(p->items, capacity * sizeof *items);

        if (!items) {
            p->failed = true;
            return;
        }
        p->items = items;
        p->capacity = capacity;
    }
    p->items[p->n++] = at;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void positions_sort(struct positions *p)
{
    size_t n = 0;

    if (p->n)
        qsort(p->items, p->n, sizeof *p->items, compare_numbers);
    for (size_t i = 0; i < p->n; i++)
        if (n == 0 || p->items[n - 1] != p->items[i])
            p->items[n++] = p->items[i];
    p->n = n;
}

/* Keeps in a what is in b too. */
static void positions_intersect(struct positions *a, const struct positions *b)
{
    size_t n = 0, j = 0;

    for (size_t i = 0; i < a->n; i++) {
        while (j < b->n && b->items[j] < a->items[i])
            j++;
        if (j < b->n && b->items[j] == a->items[i])
            a->items[n++] = a->items[i];
    }
    a->n = n;
}

/* --- which positions a rule's values name --- */

/* A rule's value, or a cell that is looked for among them. */
struct value {
    const char *text;
    bool number; /* x holds the text as a number */
    double x;
};

static struct value value_of(const char *text, bool numbers)
{
    struct value v = {.text = text};
    char *end;

    if (numbers && *text && !text[strspn(text, "0123456789+-.eE")]) {
        v.x = strtod(text, &end);
        v.number = *end == 0 && isfinite(v.x);
    }
    return v;
}

/* Numbers first and by size, other texts by bytes. */
static int compare_values(const void *a, const void *b)
{
    const struct value *x = a, *y = b;

    if (x->number != y->number)
        return x->number ? -1 : 1;
    if (x->number)
        return (x->x > y->x) - (x->x < y->x);
    return strcmp(x->text, y->text);
}

static void match_rows(const struct axis *axis, size_t column, bool numbers, struct value *values,
                       size_t n, struct positions *ret)
{
    qsort(values, n, sizeof *values, compare_values);
    for (uint64_t at = 0; at < axis->length; at++) {
        struct value cell = value_of(axis->cells[at * axis->n_columns + column], numbers);

        if (bsearch(&cell, values, n, sizeof *values, compare_values))
            positions_add(ret, at);
    }
}

/* Computes where in the range a number would be, and looks at the neighbours for rounding. */
static void match_range(const struct axis *axis, const struct value *value, struct positions *ret)
{
    const struct range *r = &axis->range;
    double k = r->step == 0 ? 0 : round((value->x - r->first) / r->step);
    uint64_t from;

    if (!value->number || !(k >= -1 && k <= (double)axis->length))
        return;
    from = k < 1 ? 0 : (uint64_t)k - 1;
    for (uint64_t at = from; at < axis->length && at < from + 3; at++) {
        struct buf text = {0};

        axis_text(axis, 0, at, &text);
        if (value_of(buf_text(&text), true).x == value->x)
            positions_add(ret, at);
        ret->failed = ret->failed || text.failed;
        buf_done(&text);
    }
}

/* Positions of one axis at which a column has one of the listed values. */
static int match(const struct axis *axis, size_t column, const json_t *list, struct positions *ret,
                 struct err *e)
{
    int param = axis->columns[column].param, rc = 0;
    bool numbers = !axis->cells || (param >= 0 && param_is_number((enum param)param));
    size_t n = json_array_size(list);
    struct value *values = calloc(n ? n : 1, sizeof *values);
    struct buf texts = {0};
    const char *text;

    if (!values)
        TRY(err_set(e, ERR_OOM, "out of memory for the exclude rules"));
    for (size_t i = 0; i < n; i++) {
        TRY(axis_cell_text(json_array_get(list, i), &texts, e));
        buf_putc(&texts, 0);
    }
    TRY(buf_check(&texts, e));
    text = buf_text(&texts);
    for (size_t i = 0; i < n; i++, text += strlen(text) + 1)
        values[i] = value_of(text, numbers);
    if (axis->cells)
        match_rows(axis, column, numbers, values, n, ret);
    else
        for (size_t i = 0; i < n; i++)
            match_range(axis, &values[i], ret);
    positions_sort(ret);
    if (ret->failed)
        TRY(err_set(e, ERR_OOM, "out of memory for the exclude rules"));
out:
    buf_done(&texts);
    free(values);
    return rc;
}

/* --- rules to marks --- */

/* A rule while it is read: a set of positions per factor. */
struct rule {
    struct positions *sets; /* [n_factors] */
    bool *named;            /* [n_factors]: false: all positions */
};

static void rule_done(struct rule *rule, size_t n_factors)
{
    for (size_t f = 0; rule->sets && f < n_factors; f++)
        free(rule->sets[f].items);
    free(rule->sets);
    free(rule->named);
    *rule = (struct rule){0};
}

static int read_column(const struct axes *axes, const char *name, const json_t *list,
                       struct rule *rule, struct err *e)
{
    struct positions found = {0};
    size_t axis, column, factor;
    int rc = 0;

    if (!axes_find(axes, name, strlen(name), &axis, &column))
        TRY(err_set(e, ERR_INPUT, "exclude: no axis has a column '%.80s'", name));
    if (json_array_size(list) == 0)
        TRY(err_set(e, ERR_INPUT, "exclude: '%s' must be a list of values", name));
    TRY(match(&axes->items[axis], column, list, &found, e));
    factor = axes->items[axis].factor;
    if (rule->named[factor]) {
        positions_intersect(&rule->sets[factor], &found);
    } else {
        rule->sets[factor] = found;
        found = (struct positions){0};
    }
    rule->named[factor] = true;
out:
    free(found.items);
    return rc;
}

static int read_rule(const struct axes *axes, const json_t *value, struct rule *rule, struct err *e)
{
    const char *name;
    json_t *list;
    int rc = 0;

    if (json_object_size(value) == 0)
        TRY(err_set(e, ERR_INPUT, "exclude: a rule must name at least one column"));
    rule->sets = calloc(axes->n_factors + 1, sizeof *rule->sets);
    rule->named = calloc(axes->n_factors + 1, sizeof *rule->named);
    if (!rule->sets || !rule->named)
        TRY(err_set(e, ERR_OOM, "out of memory for the exclude rules"));
    json_object_foreach((json_t *)value, name, list) TRY(read_column(axes, name, list, rule, e));
out:
    return rc;
}

static int compare_at(const void *a, const void *b)
{
    const struct exclude_mark *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

static int compare_groups(const void *a, const void *b)
{
    const struct exclude_mark *x = a, *y = b;

    if (x->mask != y->mask)
        return x->mask < y->mask ? -1 : 1;
    return compare_at(a, b);
}

/* Joins the rules' sets of one factor: a mark per position, its mask the rules that hold there. */
static int mark_factor(const struct rule *rules, size_t n_rules, size_t number,
                       struct exclude_factor *f, struct err *e)
{
    size_t total = 0, n = 0;

    for (size_t r = 0; r < n_rules; r++) {
        total += rules[r].sets[number].n;
        f->base |= rules[r].named[number] ? 0 : 1u << r;
    }
    f->marks = calloc(total + 1, sizeof *f->marks);
    f->groups = calloc(total + 1, sizeof *f->groups);
    if (!f->marks || !f->groups)
        return err_set(e, ERR_OOM, "out of memory for the exclude rules");
    for (size_t r = 0; r < n_rules; r++)
        for (size_t i = 0; i < rules[r].sets[number].n; i++)
            f->marks[n++] =
                (struct exclude_mark){.at = rules[r].sets[number].items[i], .mask = 1u << r};
    qsort(f->marks, n, sizeof *f->marks, compare_at);
    f->n_marks = 0;
    for (size_t i = 0; i < n; i++) {
        if (f->n_marks && f->marks[f->n_marks - 1].at == f->marks[i].at)
            f->marks[f->n_marks - 1].mask |= f->marks[i].mask;
        else
            f->marks[f->n_marks++] = f->marks[i];
    }
    for (size_t i = 0; i < f->n_marks; i++)
        f->marks[i].mask |= f->base;
    memcpy(f->groups, f->marks, f->n_marks * sizeof *f->groups);
    qsort(f->groups, f->n_marks, sizeof *f->groups, compare_groups);
    return 0;
}

/* --- counting --- */

static uint32_t n_sets(const struct exclude *x)
{
    return 1u << x->n_rules;
}

/* First of marks[from..to) at or after a position. */
static size_t first_mark(const struct exclude_mark *marks, size_t from, size_t to, uint64_t at)
{
    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (marks[middle].at < at)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* From how many positions exactly a set holds for, to how many all of it hold for. */
static void sum_supersets(const struct exclude *x, uint64_t *counts)
{
    for (size_t r = 0; r < x->n_rules; r++)
        for (uint32_t set = 0; set < n_sets(x); set++)
            if (!(set >> r & 1))
                counts[set] += counts[set | 1u << r];
}

/* For each set of rules: how many positions of a factor below `end` all of them hold for. */
static void count_positions(const struct exclude *x, const struct exclude_factor *f, uint64_t end,
                            uint64_t *ret_counts)
{
    uint64_t marked = 0;
    size_t i = 0;

    memset(ret_counts, 0, n_sets(x) * sizeof *ret_counts);
    while (i < f->n_marks) {
        struct exclude_mark past = {.at = UINT64_MAX, .mask = f->groups[i].mask};
        size_t from = i, to = f->n_marks;

        while (from < to) { /* the end of this group */
            size_t middle = from + (to - from) / 2;

            if (compare_groups(&f->groups[middle], &past) <= 0)
                from = middle + 1;
            else
                to = middle;
        }
        ret_counts[past.mask] += first_mark(f->groups, i, to, end) - i;
        marked += first_mark(f->groups, i, to, end) - i;
        i = to;
    }
    ret_counts[f->base] += end - marked;
    sum_supersets(x, ret_counts);
}

static int plan(struct exclude *x, struct err *e)
{
    uint64_t counts[1u << EXCLUDE_RULES_MAX];
    size_t n = x->axes->n_factors;

    x->after = calloc((n + 1) * n_sets(x), sizeof *x->after);
    if (!x->after)
        return err_set(e, ERR_OOM, "out of memory for the exclude rules");
    for (uint32_t set = 0; set < n_sets(x); set++)
        x->after[n * n_sets(x) + set] = 1;
    for (size_t f = n; f-- > 0;) {
        count_positions(x, &x->factors[f], x->axes->factors[f].length, counts);
        for (uint32_t set = 0; set < n_sets(x); set++)
            x->after[f * n_sets(x) + set] = counts[set] * x->after[(f + 1) * n_sets(x) + set];
    }
    return 0;
}

int exclude_read(const json_t *list, const struct axes *axes, struct exclude *ret_exclude,
                 struct err *e)
{
    struct exclude x = {.axes = axes, .n_rules = json_array_size(list)};
    struct rule rules[EXCLUDE_RULES_MAX] = {{0}};
    int rc;

    if (!json_is_array(list) || x.n_rules > EXCLUDE_RULES_MAX) {
        x.n_rules = 0;
        TRY(err_set(e, ERR_INPUT, "exclude must be a list of rules"));
    }
    x.factors = calloc(axes->n_factors + 1, sizeof *x.factors);
    if (!x.factors)
        TRY(err_set(e, ERR_OOM, "out of memory for the exclude rules"));
    for (size_t r = 0; r < x.n_rules; r++)
        TRY(read_rule(axes, json_array_get(list, r), &rules[r], e));
    for (size_t f = 0; f < axes->n_factors; f++)
        TRY(mark_factor(rules, x.n_rules, f, &x.factors[f], e));
    TRY(plan(&x, e));
    *ret_exclude = x;
    x = (struct exclude){0};
out:
    for (size_t r = 0; r < EXCLUDE_RULES_MAX; r++)
        rule_done(&rules[r], axes->n_factors);
    exclude_done(&x);
    return rc;
}

void exclude_done(struct exclude *x)
{
    for (size_t f = 0; x->factors && f < x->axes->n_factors; f++) {
        free(x->factors[f].marks);
        free(x->factors[f].groups);
    }
    free(x->factors);
    free(x->after);
    *x = (struct exclude){0};
}

static uint32_t mask_at(const struct exclude_factor *f, uint64_t at)
{
    size_t i = first_mark(f->marks, 0, f->n_marks, at);

    return i < f->n_marks && f->marks[i].at == at ? f->marks[i].mask : f->base;
}

static uint64_t digit(const struct axes *axes, size_t f, uint64_t index)
{
    return index / axes->factors[f].stride % axes->factors[f].length;
}

/* The rules that hold for an index. */
static uint32_t rules_at(const struct exclude *x, uint64_t index)
{
    uint32_t alive = n_sets(x) - 1;

    for (size_t f = 0; alive && f < x->axes->n_factors; f++)
        alive &= mask_at(&x->factors[f], digit(x->axes, f, index));
    return alive;
}

bool exclude_holds(const struct exclude *x, uint64_t index)
{
    return rules_at(x, index) != 0;
}

/*
 * Indices below `index` agree with its digits before some factor f and are smaller there. For each
 * f and each set of rules that hold for the digits before it: positions below the digit times the
 * combinations after it, added for odd sets and subtracted for even ones. Single terms may pass
 * 2^64 in sum; unsigned arithmetic returns to the true value, which is at most 2^53.
 */
uint64_t exclude_below(const struct exclude *x, uint64_t index)
{
    uint64_t counts[1u << EXCLUDE_RULES_MAX], total = 0;
    uint32_t alive = n_sets(x) - 1;

    if (x->n_rules == 0)
        return 0;
    if (index >= x->axes->span) {
        for (uint32_t set = 1; set < n_sets(x); set++)
            total += __builtin_popcount(set) % 2 ? x->after[set] : -x->after[set];
        return total;
    }
    for (size_t f = 0; alive && f < x->axes->n_factors; f++) {
        const uint64_t *after = x->after + (f + 1) * n_sets(x);
        uint64_t at = digit(x->axes, f, index);

        if (at > 0) {
            count_positions(x, &x->factors[f], at, counts);
            for (uint32_t set = 1; set < n_sets(x); set++)
                if ((set & alive) == set)
                    total += __builtin_popcount(set) % 2 ? counts[set] * after[set]
                                                         : -(counts[set] * after[set]);
        }
        alive &= mask_at(&x->factors[f], at);
    }
    return total;
}

/* The same for the positions of a slice. */
static void count_slice(const struct exclude *x, const struct exclude_slice *slice,
                        uint64_t *ret_counts)
{
    memset(ret_counts, 0, n_sets(x) * sizeof *ret_counts);
    for (size_t i = 0; i < slice->n; i++)
        ret_counts[mask_at(&x->factors[slice->factor], slice->positions[i])]++;
    sum_supersets(x, ret_counts);
}

uint64_t exclude_kept(const struct exclude *x, const struct exclude_slice *slices, size_t n)
{
    uint64_t counts[1u << EXCLUDE_RULES_MAX], products[1u << EXCLUDE_RULES_MAX], kept = 0;

    for (uint32_t set = 0; set < n_sets(x); set++)
        products[set] = 1;
    for (size_t f = 0; f < x->axes->n_factors; f++) {
        const struct exclude_slice *slice = slices;

        while (slice < slices + n && slice->factor != f)
            slice++;
        if (slice < slices + n)
            count_slice(x, slice, counts);
        else
            count_positions(x, &x->factors[f], x->axes->factors[f].length, counts);
        for (uint32_t set = 0; set < n_sets(x); set++)
            products[set] *= counts[set];
    }
    for (uint32_t set = 0; set < n_sets(x); set++)
        kept += __builtin_popcount(set) % 2 ? -products[set] : products[set];
    return kept;
}

/* The end of the widest block around an index that one of the rules covers whole. */
static uint64_t jump(const struct exclude *x, uint32_t rules, uint64_t index)
{
    uint64_t best = index + 1;

    for (size_t r = 0; r < x->n_rules; r++) {
        size_t f = x->axes->n_factors;
        uint64_t stride, end;

        if (!(rules >> r & 1))
            continue;
        while (f > 0 && x->factors[f - 1].base >> r & 1)
            f--;
        stride = f > 0 ? x->axes->factors[f - 1].stride : x->axes->span;
        end = (index / stride + 1) * stride;
        best = end > best ? end : best;
    }
    return best;
}

uint64_t exclude_next(const struct exclude *x, uint64_t from)
{
    uint64_t span = x->axes->span, low, high, kept;
    uint32_t rules;

    for (int jumps = 0; jumps < JUMPS_MAX; jumps++) {
        if (from >= span)
            return span;
        rules = rules_at(x, from);
        if (!rules)
            return from;
        from = jump(x, rules, from);
    }
    if (from >= span)
        return span;
    /* The first index such that fewer are excluded below and at it than there are from `from` on.
     */
    kept = from - exclude_below(x, from);
    if (span - exclude_below(x, span) == kept)
        return span;
    for (low = from, high = span - 1; low < high;) {
        uint64_t middle = low + (high - low) / 2;

        if (middle + 1 - exclude_below(x, middle + 1) > kept)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}
