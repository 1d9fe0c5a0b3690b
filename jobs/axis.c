#include "jobs/axis.h"

#include "jobs/job.h"
#include "jobs/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_MAX    (INT64_C(1) << 53)
#define DECIMALS_MAX 12

bool axis_name_valid(const char *name)
{
    size_t size = strlen(name);

    if (size == 0 || size > AXIS_NAME_MAX || name[0] == ' ' || name[size - 1] == ' ')
        return false;
    if (strcmp(name, "job") == 0 || strcmp(name, "index") == 0)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] < 32 || name[i] == 127 || strchr("${}:", name[i]))
            return false;
    return true;
}

static int read_name(const json_t *value, const char *what, char **ret_name, struct err *e)
{
    const char *name = json_string_value(value);

    if (!name || !axis_name_valid(name))
        return err_set(e, ERR_INPUT,
                       "%s name '%.80s' must be text of 1 to %d bytes without any of ${}: and not "
                       "'job' or 'index'",
                       what, name ? name : "", AXIS_NAME_MAX);
    *ret_name = strdup(name);
    return *ret_name ? 0 : err_set(e, ERR_OOM, "out of memory for the axes");
}

/* --- ranges --- */

static double range_real(const struct range *r, uint64_t at)
{
    return r->first + (double)at * r->step;
}

static void range_text(const struct range *r, uint64_t at, struct buf *ret_text)
{
    char text[64];
    size_t n;

    if (r->whole) {
        buf_printf(ret_text, "%" PRId64, r->first_n + (int64_t)at * r->step_n);
        return;
    }
    snprintf(text, sizeof text, "%.*f", r->decimals, range_real(r, at));
    n = strlen(text);
    if (r->decimals > 0) {
        while (text[n - 1] == '0')
            n--;
        n -= text[n - 1] == '.';
    }
    text[n] = 0;
    buf_puts(ret_text, strcmp(text, "-0") == 0 ? "0" : text);
}

/* Places after the point in the shortest text of x, at most DECIMALS_MAX + 1. */
static int decimals_of(double x)
{
    for (int n = 0; n <= DECIMALS_MAX; n++) {
        char text[400];

        snprintf(text, sizeof text, "%.*f", n, x);
        if (strtod(text, NULL) == x)
            return n;
    }
    return DECIMALS_MAX + 1;
}

/*
 * Rounding to a fixed number of places makes 0.1, 0.2, 0.3 of a range print so. Doubles hold 15
 * digits, which bounds the places; the step must stand clear of them, so that all values differ.
 */
static int range_plan_real(struct range *r, uint64_t length, const char *name, struct err *e)
{
    double last = range_real(r, length - 1);
    double largest = fmax(fabs(r->first), fabs(last));
    int wanted = decimals_of(r->first), step = decimals_of(r->step), whole_digits = 1, room;

    if (!(largest <= 1e12)) /* NaN and infinity too */
        return err_set(e, ERR_INPUT, "axis '%s': its range has more digits than a number holds",
                       name);
    wanted = step > wanted ? step : wanted;
    for (double x = largest; x >= 10; x /= 10)
        whole_digits++;
    room = 15 - whole_digits;
    room = room > DECIMALS_MAX ? DECIMALS_MAX : room;
    r->decimals = wanted < room ? wanted : room;
    if (wanted > r->decimals && length > 1 && fabs(r->step) < 1000 * pow(10, -r->decimals))
        return err_set(e, ERR_INPUT, "axis '%s': its range has more digits than a number holds",
                       name);
    return 0;
}

static int range_plan(struct range *r, const json_t *first, const json_t *step, uint64_t length,
                      const char *name, struct err *e)
{
    int64_t last;

    r->first = json_number_value(first);
    r->step = json_number_value(step);
    r->whole = json_is_integer(first) && json_is_integer(step);
    if (length > 1 && r->step == 0)
        return err_set(e, ERR_INPUT, "axis '%s': the step of its range is 0", name);
    if (!r->whole)
        return range_plan_real(r, length, name, e);
    if (!(fabs(r->first) <= (double)WHOLE_MAX &&
          fabs(range_real(r, length - 1)) <= (double)WHOLE_MAX))
        return err_set(e, ERR_INPUT, "axis '%s': its range goes beyond 2^53", name);
    r->first_n = json_integer_value(first);
    r->step_n = json_integer_value(step);
    last =
        r->first_n + (int64_t)(length - 1) * r->step_n; /* at most rounding away from the above */
    if (length > 1 && (last > WHOLE_MAX || last < -WHOLE_MAX))
        return err_set(e, ERR_INPUT, "axis '%s': its range goes beyond 2^53", name);
    return 0;
}

static int read_range(struct axis *axis, const json_t *range, struct err *e)
{
    const json_t *first = json_object_get(range, "first"), *step = json_object_get(range, "step");
    const json_t *count = json_object_get(range, "count");
    json_int_t n = json_integer_value(count);

    if (!json_is_number(first) || !json_is_number(step) || !json_is_integer(count) ||
        json_object_size(range) != 3 || n < 1 || (uint64_t)n > JOB_SPAN_MAX)
        return err_set(e, ERR_INPUT,
                       "axis '%s': a range holds first, step and a count of at least 1",
                       axis->name);
    if (axis->n_columns != 1)
        return err_set(e, ERR_INPUT, "axis '%s': a range has one column", axis->name);
    axis->length = (uint64_t)n;
    return range_plan(&axis->range, first, step, axis->length, axis->name, e);
}

/* --- rows --- */

int axis_cell_text(const json_t *cell, struct buf *ret_text, struct err *e)
{
    if (json_is_string(cell))
        buf_puts(ret_text, json_string_value(cell));
    else if (json_is_integer(cell))
        buf_printf(ret_text, "%" JSON_INTEGER_FORMAT, json_integer_value(cell));
    else if (json_is_real(cell))
        buf_number(ret_text, json_real_value(cell));
    else
        return err_set(e, ERR_INPUT, "a value must be text or a number");
    return 0;
}

static int read_row(const struct axis *axis, const json_t *row, struct buf *texts, struct err *e)
{
    struct err cause;

    if (!json_is_array(row) || json_array_size(row) != axis->n_columns)
        return err_set(e, ERR_INPUT, "axis '%s': each row holds %zu values", axis->name,
                       axis->n_columns);
    for (size_t i = 0; i < axis->n_columns; i++) {
        size_t start = texts->size, size;

        if (axis_cell_text(json_array_get(row, i), texts, &cause))
            return err_set(e, ERR_INPUT, "axis '%s': %s", axis->name, cause.text);
        size = texts->size - start;
        if (size > TASK_PROMPT_MAX)
            return err_set(e, ERR_INPUT, "axis '%s': a value is longer than %d bytes", axis->name,
                           TASK_PROMPT_MAX);
        if (size > axis->columns[i].max_size)
            axis->columns[i].max_size = size;
        buf_putc(texts, 0);
    }
    return 0;
}

static int read_rows(struct axis *axis, const json_t *rows, struct err *e)
{
    struct buf texts = {0};
    const char *text;
    size_t n_cells;
    int rc = 0;

    axis->length = json_array_size(rows);
    if (axis->length == 0)
        return err_set(e, ERR_INPUT, "axis '%s' is empty: it needs at least one value", axis->name);
    for (size_t i = 0; i < axis->length; i++)
        TRY(read_row(axis, json_array_get(rows, i), &texts, e));
    TRY(buf_check(&texts, e));
    n_cells = axis->length * axis->n_columns;
    axis->cells = calloc(n_cells, sizeof *axis->cells);
    axis->texts = buf_detach(&texts);
    if (!axis->cells || !axis->texts)
        TRY(err_set(e, ERR_OOM, "out of memory for axis '%s'", axis->name));
    text = axis->texts;
    for (size_t i = 0; i < n_cells; i++, text += strlen(text) + 1)
        axis->cells[i] = text;
out:
    buf_done(&texts);
    return rc;
}

/* --- one axis --- */

static int read_columns(struct axis *axis, const json_t *columns, struct err *e)
{
    size_t n = json_array_size(columns);

    if (n == 0 || n > AXIS_COLUMNS_MAX)
        return err_set(e, ERR_INPUT, "axis '%s' must have 1 to %d columns", axis->name,
                       AXIS_COLUMNS_MAX);
    axis->columns = calloc(n, sizeof *axis->columns);
    if (!axis->columns)
        return err_set(e, ERR_OOM, "out of memory for axis '%s'", axis->name);
    axis->n_columns = n;
    for (size_t i = 0; i < n; i++) {
        struct column *c = &axis->columns[i];
        int rc = read_name(json_array_get(columns, i), "column", &c->name, e);

        if (rc)
            return rc;
        c->param = param_from_name(c->name);
    }
    return 0;
}

/* The next position to look at: all of a list; of a range the two at each end, which bound what
 * lies between, 0 being apart from some parameters' other values. */
static uint64_t next_position(const struct axis *axis, uint64_t at)
{
    return !axis->cells && at == 1 && axis->length > 4 ? axis->length - 2 : at + 1;
}

/* Values of parameters, so that no task of the job can fail later. */
static int check_values(struct axis *axis, struct err *e)
{
    struct task scratch = {0};
    struct buf text = {0};
    struct err cause;
    int rc = 0;

    for (size_t c = 0; c < axis->n_columns; c++) {
        struct column *column = &axis->columns[c];

        for (uint64_t at = 0; at < axis->length; at = next_position(axis, at)) {
            text.size = 0;
            buf_puts(&text, "");
            axis_text(axis, c, at, &text);
            TRY(buf_check(&text, e));
            if (text.size > column->max_size)
                column->max_size = text.size;
            if (column->param >= 0 &&
                (rc = param_set(&scratch, (enum param)column->param, buf_text(&text), &cause)))
                TRY(err_set(e, rc, "axis '%s': %s", axis->name, cause.text));
        }
    }
out:
    task_done(&scratch);
    buf_done(&text);
    return rc;
}

/* Between the ends of a range its values must stay valid too: whole numbers, multiples. */
static int check_range(const struct axis *axis, struct err *e)
{
    int param = axis->columns[0].param;
    int64_t unit;

    if (axis->cells || param < 0)
        return 0;
    if (!param_is_number((enum param)param))
        return err_set(e, ERR_INPUT, "axis '%s': %s has no ranges of numbers", axis->name,
                       param_name((enum param)param));
    unit = param_unit((enum param)param);
    if (unit && !axis->range.whole)
        return err_set(e, ERR_INPUT, "axis '%s': %s takes whole numbers", axis->name,
                       param_name((enum param)param));
    if (unit && axis->range.step_n % unit)
        return err_set(e, ERR_INPUT, "axis '%s': %s takes multiples of %" PRId64, axis->name,
                       param_name((enum param)param), unit);
    return 0;
}

static int read_axis(const json_t *value, struct axis *axis, struct err *e)
{
    const json_t *rows = json_object_get(value, "rows"), *range = json_object_get(value, "range");
    int rc;

    TRY(read_name(json_object_get(value, "name"), "axis", &axis->name, e));
    TRY(read_columns(axis, json_object_get(value, "columns"), e));
    if (json_object_size(value) != 3 || !json_is_array(rows) == !json_is_object(range))
        TRY(err_set(e, ERR_INPUT, "axis '%s' must hold name, columns, and either rows or a range",
                    axis->name));
    TRY(rows ? read_rows(axis, rows, e) : read_range(axis, range, e));
    TRY(check_range(axis, e));
    TRY(check_values(axis, e));
out:
    return rc;
}

/* --- all axes --- */

static int check_names(const struct axes *axes, struct err *e)
{
    size_t n_columns = 0, axis, column;

    for (size_t a = 0; a < axes->n; a++) {
        n_columns += axes->items[a].n_columns;
        for (size_t b = 0; b < a; b++)
            if (strcmp(axes->items[a].name, axes->items[b].name) == 0)
                return err_set(e, ERR_INPUT, "two axes are named '%s'", axes->items[a].name);
    }
    if (n_columns > AXIS_COLUMNS_MAX)
        return err_set(e, ERR_INPUT, "more than %d columns", AXIS_COLUMNS_MAX);
    for (size_t a = 0; a < axes->n; a++)
        for (size_t c = 0; c < axes->items[a].n_columns; c++) {
            const char *name = axes->items[a].columns[c].name;

            axes_find(axes, name, strlen(name), &axis, &column);
            if (axis != a || column != c)
                return err_set(e, ERR_INPUT, "two columns are named '%s'", name);
        }
    if (axes_find_param(axes, PARAM_SIZE, &axis, &column) &&
        (axes_find_param(axes, PARAM_WIDTH, &axis, &column) ||
         axes_find_param(axes, PARAM_HEIGHT, &axis, &column)))
        return err_set(e, ERR_INPUT, "axes set both size and width or height");
    return 0;
}

static int read_factor(struct axes *axes, size_t number, const json_t *list, bool *used,
                       struct err *e)
{
    struct factor *f = &axes->factors[number];

    if (json_array_size(list) == 0)
        return err_set(e, ERR_INPUT, "combine must be a list of lists of axis numbers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t a = json_integer_value(item);
        struct axis *axis;

        if (!json_is_integer(item) || a < 0 || (size_t)a >= axes->n || used[a])
            return err_set(e, ERR_INPUT, "combine must name every axis number once");
        axis = &axes->items[a];
        used[a] = true;
        axis->factor = number;
        if (i > 0 && axis->length != f->length)
            return err_set(e, ERR_INPUT,
                           "zipped axes must have as many values as each other: '%s' has %" PRIu64
                           ", '%s' has %" PRIu64,
                           axes->items[json_integer_value(json_array_get(list, 0))].name, f->length,
                           axis->name, axis->length);
        f->length = axis->length;
    }
    return 0;
}

static int read_combine(struct axes *axes, const json_t *combine, struct err *e)
{
    bool used[JOB_AXES_MAX] = {false};
    size_t n = json_array_size(combine);
    int rc;

    if (!json_is_array(combine) || n > axes->n)
        return err_set(e, ERR_INPUT, "combine must be a list of lists of axis numbers");
    axes->factors = calloc(n + 1, sizeof *axes->factors);
    if (!axes->factors)
        return err_set(e, ERR_OOM, "out of memory for the axes");
    axes->n_factors = n;
    for (size_t i = 0; i < n; i++)
        if ((rc = read_factor(axes, i, json_array_get(combine, i), used, e)) != 0)
            return rc;
    for (size_t a = 0; a < axes->n; a++)
        if (!used[a])
            return err_set(e, ERR_INPUT, "combine leaves out axis '%s'", axes->items[a].name);
    axes->span = 1;
    for (size_t i = n; i-- > 0;) {
        axes->factors[i].stride = axes->span;
        if (axes->factors[i].length > JOB_SPAN_MAX / axes->span)
            return err_set(e, ERR_INPUT, "the axes multiply to more than 2^53 combinations");
        axes->span *= axes->factors[i].length;
    }
    return 0;
}

int axes_read(const json_t *list, const json_t *combine, struct axes *ret_axes, struct err *e)
{
    struct axes axes = {0};
    size_t n = json_array_size(list);
    int rc;

    if (!json_is_array(list) || n > JOB_AXES_MAX)
        TRY(err_set(e, ERR_INPUT, "axes must be a list of at most %d", JOB_AXES_MAX));
    axes.items = calloc(n + 1, sizeof *axes.items);
    if (!axes.items)
        TRY(err_set(e, ERR_OOM, "out of memory for the axes"));
    for (axes.n = 0; axes.n < n;) {
        axes.n++;
        TRY(read_axis(json_array_get(list, axes.n - 1), &axes.items[axes.n - 1], e));
    }
    TRY(check_names(&axes, e));
    TRY(read_combine(&axes, combine, e));
    *ret_axes = axes;
    axes = (struct axes){0};
out:
    axes_done(&axes);
    return rc;
}

void axes_done(struct axes *axes)
{
    for (size_t a = 0; a < axes->n; a++) {
        struct axis *axis = &axes->items[a];

        for (size_t c = 0; c < axis->n_columns; c++)
            free(axis->columns[c].name);
        free(axis->columns);
        free(axis->cells);
        free(axis->texts);
        free(axis->name);
    }
    free(axes->items);
    free(axes->factors);
    *axes = (struct axes){0};
}

bool axes_find(const struct axes *axes, const char *name, size_t name_size, size_t *ret_axis,
               size_t *ret_column)
{
    for (size_t a = 0; a < axes->n; a++)
        for (size_t c = 0; c < axes->items[a].n_columns; c++) {
            const char *at = axes->items[a].columns[c].name;

            if (strncmp(at, name, name_size) == 0 && at[name_size] == 0) {
                *ret_axis = a;
                *ret_column = c;
                return true;
            }
        }
    return false;
}

bool axes_find_param(const struct axes *axes, enum param p, size_t *ret_axis, size_t *ret_column)
{
    return axes_find(axes, param_name(p), strlen(param_name(p)), ret_axis, ret_column);
}

bool axes_fixed(const struct axes *axes, const char *name, size_t name_size, enum param *ret_param)
{
    char text[AXIS_NAME_MAX];
    size_t axis, column;
    int p;

    if (name_size >= sizeof text)
        return false;
    memcpy(text, name, name_size);
    text[name_size] = 0;
    p = param_from_name(text);
    if (p < 0 || p == PARAM_STYLES || axes_find_param(axes, (enum param)p, &axis, &column))
        return false;
    if ((p == PARAM_WIDTH || p == PARAM_HEIGHT) &&
        axes_find_param(axes, PARAM_SIZE, &axis, &column))
        return false;
    if (p == PARAM_SIZE && (axes_find_param(axes, PARAM_WIDTH, &axis, &column) ||
                            axes_find_param(axes, PARAM_HEIGHT, &axis, &column)))
        return false;
    *ret_param = (enum param)p;
    return true;
}

uint64_t axes_at(const struct axes *axes, size_t axis, uint64_t index)
{
    const struct factor *f = &axes->factors[axes->items[axis].factor];

    return index / f->stride % f->length;
}

void axis_text(const struct axis *axis, size_t column, uint64_t at, struct buf *ret_text)
{
    if (axis->cells)
        buf_puts(ret_text, axis->cells[at * axis->n_columns + column]);
    else
        range_text(&axis->range, at, ret_text);
}
