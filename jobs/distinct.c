#include "jobs/distinct.h"

#include "jobs/filename.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_NAME "sheet.png"

/* The texts that a part can become: a list, or (a range, an index) digits of some length. */
struct values {
    char **items; /* [n] folded, sorted; owned; NULL: numbers */
    size_t n;
    bool distinct;
    const char *twin;     /* a value that occurs twice, if not distinct; borrowed from items */
    bool equal_length;    /* numbers: all texts have as many bytes */
    const char *alphabet; /* numbers: the characters in use; static */
    bool left, right;     /* passed from that side */
};

struct checker {
    const struct path *path;
    struct values *values; /* [path->n] */
    bool *readable;        /* [path->n] */
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Numbers: how long they are and what they are made of follows from the ends of the range. */
static int read_numbers(const struct path *path, const struct path_part *part, struct values *v,
                        struct err *e)
{
    const struct range *r = part->kind == PATH_COLUMN ? &path->axes->items[part->axis].range : NULL;
    uint64_t length = r ? path->axes->items[part->axis].length : path->axes->span;
    struct buf first = {0}, last = {0};
    int rc;

    TRY(path_part_text(path, part, 0, &first, e));
    TRY(path_part_text(path, part, length - 1, &last, e));
    v->distinct = true;
    if ((r && !r->whole) || first.data[0] == '-' || last.data[0] == '-') {
        v->alphabet = "0123456789.-";
    } else {
        v->alphabet = "0123456789";
        v->equal_length = first.size == last.size;
    }
out:
    buf_done(&first);
    buf_done(&last);
    return rc;
}

static int read_list(const struct path *path, const struct path_part *part, struct values *v,
                     struct err *e)
{
    size_t length = part->kind == PATH_COLUMN ? path->axes->items[part->axis].length : 1;
    struct buf text = {0}, folded = {0};
    int rc = 0;

    v->items = calloc(length, sizeof *v->items);
    if (!v->items)
        return err_set(e, ERR_OOM, "out of memory for output.path");
    for (v->n = 0; v->n < length;) {
        text.size = 0;
        TRY(path_part_text(path, part, v->n, &text, e));
        filename_fold(text.data, text.size, &folded);
        v->items[v->n] = buf_detach(&folded);
        if (!v->items[v->n])
            TRY(err_set(e, ERR_OOM, "out of memory for output.path"));
        v->n++;
    }
    qsort(v->items, v->n, sizeof *v->items, compare_texts);
    v->distinct = true;
    for (size_t i = 1; i < v->n; i++)
        if (strcmp(v->items[i - 1], v->items[i]) == 0) {
            v->distinct = false;
            v->twin = v->items[i];
        }
out:
    buf_done(&text);
    buf_done(&folded);
    return rc;
}

/* --- reading from one side --- */

/* True if v w s X can be v s Y: the text after the shorter value looks like what follows it. */
static bool continues_alike(const char *longer, size_t shorter_size, const char *after)
{
    const char *w = longer + shorter_size;
    size_t w_size = strlen(w);

    for (size_t i = 0; after[i]; i++)
        if ((i < w_size ? w[i] : after[i - w_size]) != after[i])
            return false;
    return true;
}

/* items sorted: the values that begin a value are on a stack below it. */
static int list_passes(char *const *items, size_t n, const char *after, bool *ret_passes,
                       struct err *e)
{
    char *const **stack = calloc(n + 1, sizeof *stack);
    size_t depth = 0;

    if (!stack)
        return err_set(e, ERR_OOM, "out of memory for output.path");
    *ret_passes = true;
    for (size_t i = 0; i < n && *ret_passes; i++) {
        if (i && strcmp(items[i - 1], items[i]) == 0)
            continue;
        while (depth && strncmp(*stack[depth - 1], items[i], strlen(*stack[depth - 1])) != 0)
            depth--;
        for (size_t k = 0; k < depth && *ret_passes; k++)
            *ret_passes = !continues_alike(items[i], strlen(*stack[k]), after);
        stack[depth++] = &items[i];
    }
    free(stack);
    return 0;
}

static void reverse(char *text)
{
    for (size_t i = 0, j = strlen(text); i + 1 < j; i++) {
        char c = text[--j];

        text[j] = text[i];
        text[i] = c;
    }
}

static void reverse_all(struct values *v)
{
    for (size_t i = 0; i < v->n; i++)
        reverse(v->items[i]);
    if (v->n)
        qsort(v->items, v->n, sizeof *v->items, compare_texts);
}

/* Whether a variable is passed, `after` being the plain text that follows it (reversed items and
 * text for the other direction). */
static int passes(const struct values *v, const char *after, bool *ret_passes, struct err *e)
{
    if (v->items)
        return list_passes(v->items, v->n, after, ret_passes, e);
    *ret_passes = v->equal_length || after[strspn(after, v->alphabet)];
    return 0;
}

static bool is_variable(const struct path_part *part)
{
    return part->kind == PATH_COLUMN || part->kind == PATH_INDEX;
}

/* The folded plain text next to part i in a direction, "" beside a variable or a slash. */
static void neighbour(const struct path *path, size_t i, int step, struct buf *ret_text)
{
    const struct path_part *part;

    if ((step < 0 && i == 0) || (step > 0 && i + 1 == path->n))
        return;
    part = &path->parts[step < 0 ? i - 1 : i + 1];
    if (part->kind == PATH_TEXT)
        filename_fold(part->text, strlen(part->text), ret_text);
}

static int pass_part(struct checker *c, size_t i, struct err *e)
{
    struct values *v = &c->values[i];
    struct buf after = {0}, before = {0};
    int rc;

    neighbour(c->path, i, 1, &after);
    neighbour(c->path, i, -1, &before);
    TRY(buf_check(&after, e));
    TRY(buf_check(&before, e));
    TRY(passes(v, buf_text(&after), &v->left, e));
    reverse_all(v);
    if (before.data)
        reverse(before.data);
    TRY(passes(v, buf_text(&before), &v->right, e));
    reverse_all(v);
out:
    buf_done(&after);
    buf_done(&before);
    return rc;
}

/* Marks what is readable in parts[from..to), one folder or file name. */
static void read_component(struct checker *c, size_t from, size_t to)
{
    size_t first = to, last = from; /* not passed from the left, from the right */

    for (size_t i = from; i < to && first == to; i++)
        if (is_variable(&c->path->parts[i]) && !c->values[i].left)
            first = i;
    for (size_t i = to; i > from && last == from; i--)
        if (is_variable(&c->path->parts[i - 1]) && !c->values[i - 1].right)
            last = i; /* one past it */
    for (size_t i = from; i < to; i++)
        c->readable[i] = is_variable(&c->path->parts[i]) &&
                         (i < first || i >= last || (i == first && i + 1 == last));
}

/* --- the rule --- */

static int report(const struct checker *c, size_t factor, struct err *e)
{
    const struct axes *axes = c->path->axes;
    const struct axis *axis = NULL;
    struct buf name = {0};
    int rc = 0;

    for (size_t i = 0; i < c->path->n; i++) {
        const struct path_part *part = &c->path->parts[i];

        if (part->kind != PATH_INDEX &&
            (part->kind != PATH_COLUMN || axes->items[part->axis].factor != factor))
            continue;
        path_part_name(c->path, part, &name);
        if (!c->values[i].distinct)
            rc = err_set(e, ERR_INPUT,
                         "output.path: two values of %s give the same file name '%.120s' (case "
                         "is ignored): add {index}, or another column",
                         buf_text(&name), c->values[i].twin);
        else
            rc = err_set(e, ERR_INPUT,
                         "output.path: %s cannot be told from what stands beside it, so that two "
                         "pictures could get one name: put '/' or another separator that its "
                         "values do not hold between them",
                         buf_text(&name));
        buf_done(&name);
        if (c->values[i].distinct)
            return rc;
    }
    if (rc)
        return rc;
    for (size_t a = 0; a < axes->n && !axis; a++)
        if (axes->items[a].factor == factor)
            axis = &axes->items[a];
    return err_set(e, ERR_INPUT,
                   "output.path: does not tell the %" PRIu64
                   " values of axis '%s' apart: add {%s} or {index}",
                   axis->length, axis->name, axis->columns[0].name);
}

static int check_factors(const struct checker *c, struct err *e)
{
    const struct axes *axes = c->path->axes;

    for (size_t f = 0; f < axes->n_factors; f++) {
        bool told = axes->factors[f].length == 1;

        for (size_t i = 0; i < c->path->n && !told; i++) {
            const struct path_part *part = &c->path->parts[i];

            told = c->readable[i] && c->values[i].distinct &&
                   (part->kind == PATH_INDEX || axes->items[part->axis].factor == f);
        }
        if (!told)
            return report(c, f, e);
    }
    return 0;
}

/* True if parts[i..n) can become exactly `name` (folded). */
static bool can_be(const struct checker *c, size_t i, const char *name)
{
    const struct values *v = &c->values[i];
    char prefix[sizeof SHEET_NAME];
    const char *key = prefix;

    if (i == c->path->n)
        return *name == 0;
    if (!v->items)
        return false; /* numbers: "sheet.png" holds no digit */
    for (size_t n = 1; n <= strlen(name); n++) {
        memcpy(prefix, name, n);
        prefix[n] = 0;
        if (bsearch(&key, v->items, v->n, sizeof *v->items, compare_texts) &&
            can_be(c, i + 1, name + n))
            return true;
    }
    return false;
}

static int check_sheet(const struct checker *c, struct err *e)
{
    size_t slashes = 0, last = 0;

    for (size_t i = 0; i < c->path->n; i++)
        if (c->path->parts[i].kind == PATH_SLASH) {
            slashes++;
            last = i + 1;
        }
    if (slashes == 1 && can_be(c, last, SHEET_NAME))
        return err_set(e, ERR_INPUT,
                       "output.path: a picture would be named 'sheet.png', which is the contact "
                       "sheet's name: add something to the file name");
    return 0;
}

static int check_all(struct checker *c, struct err *e)
{
    const struct path *path = c->path;
    size_t from = 0;
    int rc = 0;

    for (size_t i = 0; i < path->n; i++) {
        const struct path_part *part = &path->parts[i];

        if (part->kind == PATH_SLASH)
            continue;
        if (part->kind == PATH_INDEX ||
            (part->kind == PATH_COLUMN && !path->axes->items[part->axis].cells))
            TRY(read_numbers(path, part, &c->values[i], e));
        else
            TRY(read_list(path, part, &c->values[i], e));
        if (is_variable(part))
            TRY(pass_part(c, i, e));
    }
    for (size_t i = 0; i <= path->n; i++)
        if (i == path->n || path->parts[i].kind == PATH_SLASH) {
            read_component(c, from, i);
            from = i + 1;
        }
    TRY(check_factors(c, e));
    TRY(check_sheet(c, e));
out:
    return rc;
}

int distinct_check(const struct path *path, struct err *e)
{
    struct checker c = {.path = path};
    int rc;

    c.values = calloc(path->n + 1, sizeof *c.values);
    c.readable = calloc(path->n + 1, sizeof *c.readable);
    if (!c.values || !c.readable)
        TRY(err_set(e, ERR_OOM, "out of memory for output.path"));
    TRY(check_all(&c, e));
out:
    for (size_t i = 0; c.values && i < path->n; i++) {
        for (size_t k = 0; k < c.values[i].n; k++)
            free(c.values[i].items[k]);
        free(c.values[i].items);
    }
    free(c.values);
    free(c.readable);
    return rc;
}
