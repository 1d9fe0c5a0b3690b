/* Whether values that clash meet in a task of a job. */
#include "jobs/clash_table.h"

#include <stdlib.h>
#include <string.h>

#define POSITIONS_MAX 1000000             /* of an axis that takes part */
#define WORK_MAX      (UINT64_C(1) << 24) /* combinations looked at */
#define COUNT_MAX     (UINT64_C(1) << 28) /* steps of counting what the exclude rules leave */

/* --- which axes take part --- */

/* A column that sets one of the clash's parameters, or both sides of the size. */
struct part {
    const struct axis *axis;
    size_t column;
    enum param param;
};

/* Positions of a factor at which its parts have the same keys. */
struct group {
    double keys[CLASH_PARAMS_MAX]; /* by part */
    const uint64_t *positions;
    size_t n;
};

struct side {
    size_t factor;
    struct part parts[CLASH_PARAMS_MAX];
    size_t n_parts;
    struct group *groups; /* owned */
    size_t n_groups;
    uint64_t *positions; /* owned */
};

struct search {
    const struct clash *clash;
    const struct axes *axes;
    const struct exclude *exclude;
    struct task scratch; /* borrows its texts */
    struct side sides[CLASH_PARAMS_MAX];
    size_t n;
    uint64_t counted; /* steps of counting so far */
    bool started;     /* every task starts from a picture */
};

static bool is_text(enum param p)
{
    return param_kind(p) == PARAM_KIND_FILE || param_kind(p) == PARAM_KIND_ASSET;
}

static void add_part(struct search *s, enum param p)
{
    struct part part = {.param = p};
    struct side *side = s->sides;
    size_t axis;

    if (!axes_find_param(s->axes, p, &axis, &part.column))
        return;
    part.axis = &s->axes->items[axis];
    while (side < s->sides + s->n && side->factor != part.axis->factor)
        side++;
    if (side == s->sides + s->n)
        s->n++;
    side->factor = part.axis->factor;
    side->parts[side->n_parts++] = part;
}

static void find_parts(struct search *s)
{
    bool sized = false;

    for (size_t i = 0; i < s->clash->n; i++) {
        enum param p = s->clash->params[i];

        if (p != PARAM_INIT_IMAGE || !s->started)
            add_part(s, p);
        sized = sized || p == PARAM_WIDTH || p == PARAM_HEIGHT;
    }
    if (sized)
        add_part(s, PARAM_SIZE);
}

/* --- what an axis' values mean for the clash --- */

/* Puts a value of a part into the scratch task; of texts it matters only whether there is one. */
static int put(struct search *s, const struct part *part, uint64_t at, struct err *e)
{
    struct buf text = {0};
    int rc;

    axis_text(part->axis, part->column, at, &text);
    rc = buf_check(&text, e);
    if (rc == 0 && is_text(part->param))
        *(part->param == PARAM_MASK ? &s->scratch.mask : &s->scratch.init_image) =
            text.size ? (char *)"x" : NULL;
    else if (rc == 0)
        rc = param_set(&s->scratch, part->param, buf_text(&text), e);
    buf_done(&text);
    return rc;
}

/* A number that tells apart what the clash tells apart. */
static double key_of(const struct task *t, enum param p)
{
    return p == PARAM_SIZE ? t->width * 65536.0 + t->height : param_number(t, p);
}

struct keyed {
    double keys[CLASH_PARAMS_MAX];
    uint64_t at;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    for (size_t i = 0; i < CLASH_PARAMS_MAX; i++)
        if (x->keys[i] != y->keys[i])
            return x->keys[i] < y->keys[i] ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static int read_keys(struct search *s, struct side *side, struct keyed *keyed, uint64_t n,
                     struct err *e)
{
    int rc;

    for (uint64_t at = 0; at < n; at++) {
        keyed[at].at = at;
        for (size_t i = 0; i < side->n_parts; i++) {
            if ((rc = put(s, &side->parts[i], at, e)) != 0)
                return rc;
            keyed[at].keys[i] = key_of(&s->scratch, side->parts[i].param);
        }
    }
    return 0;
}

static bool same_keys(const struct keyed *a, const struct keyed *b)
{
    return memcmp(a->keys, b->keys, sizeof a->keys) == 0;
}

/* Sorts a factor's positions into groups. */
static int group(struct search *s, struct side *side, struct err *e)
{
    uint64_t n = s->axes->factors[side->factor].length;
    struct keyed *keyed = NULL;
    int rc = 0;

    if (n > POSITIONS_MAX)
        return err_set(e, ERR_INPUT, "axis '%s': more than %d values of %s",
                       side->parts[0].axis->name, POSITIONS_MAX, param_name(side->parts[0].param));
    keyed = calloc(n, sizeof *keyed);
    side->positions = calloc(n, sizeof *side->positions);
    side->groups = calloc(n, sizeof *side->groups);
    if (!keyed || !side->positions || !side->groups)
        TRY(err_set(e, ERR_OOM, "out of memory for the values of axis '%s'",
                    side->parts[0].axis->name));
    TRY(read_keys(s, side, keyed, n, e));
    qsort(keyed, n, sizeof *keyed, compare_keyed);
    for (uint64_t i = 0; i < n; i++) {
        struct group *g = &side->groups[side->n_groups];

        side->positions[i] = keyed[i].at;
        if (i == 0 || !same_keys(&keyed[i - 1], &keyed[i])) {
            memcpy(g->keys, keyed[i].keys, sizeof g->keys);
            g->positions = &side->positions[i];
            side->n_groups++;
        }
        side->groups[side->n_groups - 1].n++;
    }
out:
    free(keyed);
    return rc;
}

/* --- the search --- */

/* Where only texts take part, there are few cases: whether each is there or not. */
static bool texts_are_fine(struct search *s)
{
    const struct part *parts[CLASH_PARAMS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->sides[i].n_parts; k++) {
            if (!is_text(s->sides[i].parts[k].param))
                return false;
            parts[n++] = &s->sides[i].parts[k];
        }
    for (unsigned set = 0; set < 1u << n; set++) {
        struct task t = s->scratch;

        for (size_t i = 0; i < n; i++)
            *(parts[i]->param == PARAM_MASK ? &t.mask : &t.init_image) =
                set >> i & 1 ? (char *)"x" : NULL;
        if (s->clash->refused(&t))
            return false;
    }
    return true;
}

/* "exclude: [{mask: a.png, init_image: ""}]" from the first positions of the groups. */
static void put_rule(const struct search *s, const size_t *chosen, struct buf *ret_text)
{
    const char *separator = "";

    buf_puts(ret_text, "exclude: [{");
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->sides[i].n_parts; k++) {
            const struct part *part = &s->sides[i].parts[k];
            size_t start;

            buf_printf(ret_text, "%s%s: ", separator, part->axis->columns[part->column].name);
            start = ret_text->size;
            axis_text(part->axis, part->column, s->sides[i].groups[chosen[i]].positions[0],
                      ret_text);
            if (ret_text->size == start)
                buf_puts(ret_text, "\"\"");
            separator = ", ";
        }
    buf_puts(ret_text, "}]");
}

static int too_much(const struct search *s, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "%s: the axes have too many combinations to check that its values go together; "
                   "give them fewer values",
                   param_name(s->clash->params[0]));
}

/* A combination of groups that the clash refuses: is any of it left to render? */
static int tell_if_left(struct search *s, const size_t *chosen, struct err *e)
{
    struct exclude_slice slices[CLASH_PARAMS_MAX];
    struct buf rule = {0};
    int rc;

    for (size_t i = 0; i < s->n; i++) {
        const struct group *g = &s->sides[i].groups[chosen[i]];

        slices[i] = (struct exclude_slice){s->sides[i].factor, g->positions, g->n};
        s->counted += g->n;
    }
    s->counted += (s->axes->n_factors + 1) << s->exclude->n_rules;
    if (s->counted > COUNT_MAX)
        return too_much(s, e);
    if (exclude_kept(s->exclude, slices, s->n) == 0)
        return 0;
    if (s->n > 0)
        put_rule(s, chosen, &rule);
    rc = clash_refuse(s->clash, &s->scratch, buf_text(&rule), e);
    buf_done(&rule);
    return rc;
}

/* The next combination of groups; false after the last. */
static bool advance(const struct search *s, size_t *chosen)
{
    for (size_t i = 0; i < s->n; i++) {
        if (++chosen[i] < s->sides[i].n_groups)
            return true;
        chosen[i] = 0;
    }
    return false;
}

static int try_all(struct search *s, struct err *e)
{
    size_t chosen[CLASH_PARAMS_MAX] = {0};
    uint64_t total = 1;
    int rc;

    for (size_t i = 0; i < s->n; i++) {
        total *= s->sides[i].n_groups;
        if (total > WORK_MAX)
            return too_much(s, e);
    }
    do {
        for (size_t i = 0; i < s->n; i++)
            for (size_t k = 0; k < s->sides[i].n_parts; k++)
                TRY(put(s, &s->sides[i].parts[k], s->sides[i].groups[chosen[i]].positions[0], e));
        if (s->clash->refused(&s->scratch))
            TRY(tell_if_left(s, chosen, e));
    } while (advance(s, chosen));
    return 0;
out:
    return rc;
}

static int check_clash(const struct clash *clash, const struct axes *axes, const struct task *fixed,
                       const struct exclude *exclude, bool started, struct err *e)
{
    struct search s = {
        .clash = clash, .axes = axes, .exclude = exclude, .scratch = *fixed, .started = started};
    int rc = 0;

    if (started)
        s.scratch.init_image = (char *)"x";

    find_parts(&s);
    if (s.n > 0 && texts_are_fine(&s))
        return 0;
    for (size_t i = 0; i < s.n; i++)
        TRY(group(&s, &s.sides[i], e));
    TRY(try_all(&s, e));
out:
    for (size_t i = 0; i < s.n; i++) {
        free(s.sides[i].groups);
        free(s.sides[i].positions);
    }
    return rc;
}

int clash_check_job(const struct axes *axes, const struct task *fixed,
                    const struct exclude *exclude, bool chained, struct err *e)
{
    const struct clash *clash;
    struct err why;
    int rc = 0;

    for (size_t i = 0; rc == 0 && (clash = clash_at(i)); i++)
        rc = check_clash(clash, axes, fixed, exclude, false, e);
    for (size_t i = 0; chained && rc == 0 && (clash = clash_at(i)); i++)
        if ((rc = check_clash(clash, axes, fixed, exclude, true, &why)) != 0)
            err_set(e, rc,
                    rc == ERR_INPUT ? "%s; frames after the first start from a picture" : "%s",
                    why.text);
    return rc;
}
