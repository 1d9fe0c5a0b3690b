#include "jobs/draft.h"

#include "jobs/axis.h"
#include "jobs/numbers.h"

#include <inttypes.h>
#include <string.h>

/* A value as it is written: in the manifest, or in a list or CSV file (node is then NULL). */
struct written {
    const char *text;
    struct place at;
    const struct node *node;
};

static struct written of_node(const struct node *node)
{
    return (struct written){node->text, node->at, node};
}

static struct place written_place(const struct written *w, size_t offset)
{
    return w->node ? node_place(w->node, offset) : w->at;
}

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory");
}

/* --- names --- */

static bool check_name(struct draft *dr, const char *name, struct place at, const char *what)
{
    if (axis_name_valid(name) && !strpbrk(name, "*(),/\\"))
        return true;
    if (!*name)
        diagnose(dr->d, at, "the first row has a %s without a name here", what);
    else if (strcmp(name, "job") == 0 || strcmp(name, "index") == 0)
        diagnose(dr->d, at, "%s '%s': this name is taken by output.path", what, name);
    else
        diagnose(dr->d, at, "%s '%s': a name is text of 1 to 64 bytes without any of ${}:*(),/\\",
                 what, name);
    return false;
}

static int add_column(struct draft *dr, struct draft_axis *axis, const char *name, struct place at,
                      struct err *e)
{
    struct draft_column *columns;
    size_t a, c;

    if (draft_find(dr, name, &a, &c)) {
        struct buf other = {0};

        place_text(dr->axes[a].columns[c].at, &other);
        diagnose(dr->d, at, "'%s' is set by two axes, first at %s", name, buf_text(&other));
        buf_done(&other);
    }
    for (c = 0; c < axis->n_columns; c++)
        if (*name && strcmp(axis->columns[c].name, name) == 0)
            diagnose(dr->d, at, "two columns are named '%s'", name);
    columns = pool_grow(&dr->pool, axis->columns, axis->n_columns, sizeof *columns);
    if (!columns)
        return no_memory(e);
    axis->columns = columns;
    columns[axis->n_columns++] =
        (struct draft_column){.name = name, .at = at, .param = param_from_name(name)};
    return 0;
}

/* --- rows --- */

/* Takes `cell` over as a row of one column. */
static int add_row(struct draft_axis *axis, json_t *cell, struct err *e)
{
    json_t *row = json_pack("[o]", cell);

    if (!axis->rows)
        axis->rows = json_array();
    if (!row || !axis->rows || json_array_append_new(axis->rows, row) != 0)
        return no_memory(e);
    axis->length++;
    return 0;
}

static int add_text(struct draft *dr, struct draft_axis *axis, const char *text, struct place at,
                    struct err *e)
{
    json_t *cell;
    int rc = draft_value(dr, axis->columns[0].param, text, at, &cell, e);

    if (rc == 0 && cell)
        rc = add_row(axis, cell, e);
    if (rc == 0 && axis->columns[0].param == PARAM_SAMPLER)
        rc = draft_note_label(dr, axis, text, at, e);
    return rc;
}

static json_t *number_json(int param, const struct number_run *run, double x)
{
    struct buf text = {0};
    json_t *value;

    if (param >= 0)
        return run->integer ? json_integer((json_int_t)x) : json_real(x);
    buf_number(&text, x);
    value = json_string(buf_text(&text));
    buf_done(&text);
    return value;
}

static int add_run(struct draft *dr, struct draft_axis *axis, const struct number_run *run,
                   struct place at, struct err *e)
{
    int param = axis->columns[0].param, rc;

    if (axis->length + run->count > DRAFT_VALUES_MAX) {
        diagnose(dr->d, at, "axis '%s' lists more than %d values; one range alone may have more",
                 axis->name, DRAFT_VALUES_MAX);
        return 0;
    }
    for (uint64_t k = 0; k < run->count; k++) {
        json_t *cell = number_json(param, run, number_at(run, k));

        if (!cell)
            return no_memory(e);
        if ((rc = add_row(axis, cell, e)) != 0)
            return rc;
    }
    return 0;
}

/* A range that is the whole axis stays a formula, however long it is. */
static int set_range(struct draft *dr, struct draft_axis *axis, const struct number_run *run,
                     struct err *e)
{
    axis->run = pool_alloc(&dr->pool, sizeof *axis->run);
    if (!axis->run)
        return no_memory(e);
    *axis->run = *run;
    if (run->integer)
        axis->range = json_pack("{s:I, s:I, s:I}", "first", (json_int_t)run->first, "step",
                                (json_int_t)run->step, "count", (json_int_t)run->count);
    else
        axis->range = json_pack("{s:f, s:f, s:I}", "first", run->first, "step", run->step, "count",
                                (json_int_t)run->count);
    axis->length = run->count;
    return axis->range ? 0 : no_memory(e);
}

/* The ends bound what lies between, but for multiples. */
static int check_run(struct draft *dr, int param, const struct number_run *run, struct place at,
                     bool *ret_good, struct err *e)
{
    uint64_t ends[2] = {0, run->count - 1};
    json_t *value = NULL;
    int64_t unit;
    int rc = 0;

    *ret_good = true;
    for (int i = 0; param >= 0 && i < (run->count > 1 ? 2 : 1) && *ret_good; i++) {
        struct buf text = {0};

        buf_number(&text, number_at(run, ends[i]));
        rc = draft_value(dr, param, buf_text(&text), at, &value, e);
        buf_done(&text);
        *ret_good = rc == 0 && value;
        json_decref(value);
    }
    unit = param >= 0 ? param_unit((enum param)param) : 0;
    if (unit > 1 && *ret_good && run->count > 2 && (run->spread || (int64_t)run->step % unit)) {
        diagnose(dr->d, at,
                 "%s takes multiples of %" PRId64 ": give the range a step of %" PRId64
                 " or a multiple",
                 param_name((enum param)param), unit, unit);
        *ret_good = false;
    }
    return rc;
}

static int add_numbers(struct draft *dr, struct draft_axis *axis, const struct numbers *numbers,
                       const struct written *w, bool alone, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < numbers->n && rc == 0; i++) {
        const struct number_run *run = &numbers->items[i];
        struct place at = written_place(w, run->offset);
        bool good;

        rc = check_run(dr, axis->columns[0].param, run, at, &good, e);
        if (rc != 0 || !good)
            continue;
        if (alone && numbers->n == 1 && run->written_as_range && !run->spread)
            rc = set_range(dr, axis, run, e);
        else
            rc = add_run(dr, axis, run, at, e);
    }
    return rc;
}

/* Values of a number parameter: each item may be a list with ranges of its own. */
static int add_number_text(struct draft *dr, struct draft_axis *axis, const struct written *w,
                           bool alone, struct err *e)
{
    int param = axis->columns[0].param, rc;
    struct numbers numbers = {0};
    struct number_problem problem;

    TRY(numbers_parse(w->text, param_unit((enum param)param) != 0, &numbers, &problem, e));
    if (problem.text[0])
        diagnose(dr->d, written_place(w, problem.offset), "%s: %s", param_name((enum param)param),
                 problem.text);
    else if (numbers.count == 1)
        TRY(add_text(dr, axis, w->text, w->at, e)); /* -1 among seeds */
    else
        TRY(add_numbers(dr, axis, &numbers, w, alone, e));
out:
    numbers_done(&numbers);
    return rc;
}

/* A variable's only value: a range if it reads as one and is not quoted, else text. */
static int add_variable_text(struct draft *dr, struct draft_axis *axis, const struct written *w,
                             struct err *e)
{
    struct numbers numbers = {0};
    struct number_problem problem = {.text = "quoted"};
    int rc = 0;

    if (w->node && w->node->plain) {
        TRY(numbers_parse(w->text, true, &numbers, &problem, e));
        if (problem.text[0])
            TRY(numbers_parse(w->text, false, &numbers, &problem, e));
    }
    if (!problem.text[0] && numbers.any_range)
        TRY(add_numbers(dr, axis, &numbers, w, true, e));
    else
        TRY(add_text(dr, axis, w->text, w->at, e));
out:
    numbers_done(&numbers);
    return rc;
}

static int add_written(struct draft *dr, struct draft_axis *axis, const struct written *w,
                       bool alone, struct err *e)
{
    int param = axis->columns[0].param;

    if (param >= 0 && param_is_number((enum param)param) &&
        !(param_kind((enum param)param) == PARAM_KIND_MAYBE && !*w->text))
        return add_number_text(dr, axis, w, alone, e);
    if (param < 0 && alone)
        return add_variable_text(dr, axis, w, e);
    return add_text(dr, axis, w->text, w->at, e);
}

/* --- files --- */

static int add_list_file(struct draft *dr, struct draft_axis *axis, const struct node *path,
                         struct err *e)
{
    struct table *table;
    int rc = draft_read_table(dr, path, DRAFT_LIST, &table, e);

    for (size_t i = 0; rc == 0 && table && i < table->n_rows; i++) {
        const struct cell *cell = table_cell(table, i, 0);
        struct written w = {cell->text, table_place(table, cell), NULL};

        rc = add_written(dr, axis, &w, false, e);
    }
    return rc;
}

/* An empty cell is the default of a parameter that needs no value; seeds are drawn. */
static const char *cell_text(int param, const char *text)
{
    if (*text || param < 0)
        return text;
    if (param == PARAM_SEED || param == PARAM_SUBSEED)
        return "-1";
    return param_is_optional((enum param)param) ? param_default((enum param)param) : text;
}

/* One row of a CSV file; left out if a cell is wrong, which is told. */
static int add_csv_row(struct draft *dr, struct draft_axis *axis, const struct table *table,
                       size_t number, struct err *e)
{
    json_t *row = json_array();
    int rc = row ? 0 : no_memory(e);

    for (size_t c = 0; rc == 0 && c < axis->n_columns; c++) {
        const struct cell *cell = table_cell(table, number, c);
        struct place at = table_place(table, cell);
        const char *text = cell_text(axis->columns[c].param, cell->text);
        json_t *value;

        rc = draft_value(dr, axis->columns[c].param, text, at, &value, e);
        if (rc == 0 && axis->columns[c].param == PARAM_SAMPLER)
            rc = draft_note_label(dr, axis, text, at, e);
        if (rc == 0 && value && json_array_append_new(row, value) != 0)
            rc = no_memory(e);
    }
    if (rc == 0 && json_array_size(row) == axis->n_columns) {
        if (json_array_append(axis->rows, row) != 0)
            rc = no_memory(e);
        axis->length++;
    }
    json_decref(row);
    return rc;
}

static int add_csv(struct draft *dr, struct draft_axis *axis, const struct node *path,
                   struct err *e)
{
    struct table *table;
    int rc;

    axis->n_columns = 0;
    TRY(draft_read_table(dr, path, DRAFT_CSV, &table, e));
    if (!table)
        goto out;
    for (size_t c = 0; c < table->n_columns; c++) {
        if (axis->n_columns == AXIS_COLUMNS_MAX) {
            diagnose(dr->d, path->at, "a CSV file of more than %d columns", AXIS_COLUMNS_MAX);
            goto out;
        }
        check_name(dr, table->names[c].text, table_place(table, &table->names[c]), "column");
        TRY(add_column(dr, axis, table->names[c].text, table_place(table, &table->names[c]), e));
    }
    axis->rows = json_array();
    if (!axis->rows)
        TRY(no_memory(e));
    for (size_t i = 0; i < table->n_rows; i++)
        TRY(add_csv_row(dr, axis, table, i, e));
out:
    return rc;
}

static int add_file(struct draft *dr, struct draft_axis *axis, const struct node *map,
                    struct err *e)
{
    static const char *const keys[] = {"file", "csv"};
    const struct node *file = node_get(map, "file"), *csv = node_get(map, "csv");

    draft_check_keys(dr, map, " (an axis takes file or csv)", keys, 2);
    if (file && csv)
        diagnose(dr->d, map->at, "axis '%s' takes either file or csv", axis->name);
    else if (file)
        return add_list_file(dr, axis, file, e);
    else if (csv)
        return add_csv(dr, axis, csv, e);
    else if (map->n == 0)
        diagnose(dr->d, map->at, "axis '%s' is empty: it needs at least one value", axis->name);
    return 0;
}

/* --- axes --- */

static int add_list(struct draft *dr, struct draft_axis *axis, const struct node *list,
                    struct err *e)
{
    int rc = 0;

    if (list->n == 0)
        diagnose(dr->d, list->at, "axis '%s' is empty: it needs at least one value", axis->name);
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        const struct node *item = list->items[i];
        struct written w = of_node(item);

        if (item->type != NODE_SCALAR)
            diagnose(dr->d, item->at, "axis '%s': a value is text or a number, not a %s",
                     axis->name, item->type == NODE_LIST ? "list" : "mapping");
        else if (item->plain && !*item->text)
            diagnose(dr->d, item->at, "axis '%s': a value is missing; \"\" is empty text",
                     axis->name);
        else
            rc = add_written(dr, axis, &w, false, e);
    }
    return rc;
}

static int read_axis(struct draft *dr, const struct node *key, const struct node *value,
                     struct err *e)
{
    struct draft_axis axis = {.name = key->text, .at = key->at};
    size_t errors = dr->d->n_errors;
    int rc;

    check_name(dr, key->text, key->at, "axis");
    if (!(value->type == NODE_MAP && node_get(value, "csv")))
        TRY(add_column(dr, &axis, key->text, key->at, e));
    if (value->type == NODE_LIST)
        TRY(add_list(dr, &axis, value, e));
    else if (value->type == NODE_MAP)
        TRY(add_file(dr, &axis, value, e));
    else if (value->plain && !*value->text)
        diagnose(dr->d, key->at, "axis '%s' is empty: it needs at least one value", key->text);
    else
        TRY(add_written(dr, &axis, &(struct written){value->text, value->at, value}, true, e));
    TRY(draft_split_labels(dr, &axis, e));
out:
    if (dr->d->n_errors != errors)
        axis.length = 0;
    dr->axes[dr->n_axes++] = axis;
    return rc;
}

static void check_sizes(struct draft *dr)
{
    size_t size, side, column;

    if (draft_find(dr, "size", &size, &column) &&
        (draft_find(dr, "width", &side, &column) || draft_find(dr, "height", &side, &column)))
        diagnose(dr->d, dr->axes[side].at, "axes '%s' and '%s' both set the size",
                 dr->axes[size].name, dr->axes[side].name);
}

int draft_axes(struct draft *dr, struct err *e)
{
    const struct node *axes = node_get(dr->root, "axes");
    int rc = 0;

    if (!axes)
        return 0;
    if (axes->type != NODE_MAP) {
        if (axes->type == NODE_LIST || *axes->text)
            diagnose(dr->d, axes->at, "'axes' is a mapping of names to values");
        return 0;
    }
    for (size_t i = 0; i < axes->n && rc == 0; i++) {
        if (dr->n_axes == JOB_AXES_MAX) {
            diagnose(dr->d, axes->items[2 * i]->at, "more than %d axes", JOB_AXES_MAX);
            return 0;
        }
        rc = read_axis(dr, axes->items[2 * i], axes->items[2 * i + 1], e);
    }
    check_sizes(dr);
    return rc;
}

/* --- combine --- */

/* Zipped axes must be equally long. *ret_length 0 if they are not, or one is broken. */
static void zip_length(struct draft *dr, const struct zip *zip, struct place at,
                       uint64_t *ret_length)
{
    const struct draft_axis *first = &dr->axes[zip->axes[0]];

    *ret_length = first->length;
    for (size_t i = 1; i < zip->n; i++) {
        const struct draft_axis *axis = &dr->axes[zip->axes[i]];

        if (axis->length && first->length && axis->length != first->length)
            diagnose(dr->d, at,
                     "combine: zipped axes need equally many values, but '%s' has %" PRIu64
                     " and '%s' has %" PRIu64,
                     first->name, first->length, axis->name, axis->length);
        if (axis->length != first->length)
            *ret_length = 0;
    }
}

/* The expression says where the frames stand; else they come last. */
static bool names_frames(const char *text)
{
    size_t size = strlen(DRAFT_FRAME);

    for (const char *p = text; (p = strstr(p, DRAFT_FRAME)); p++)
        if ((p == text || strchr("*(), \t\n", p[-1])) && strchr("*(), \t\n", p[size]))
            return true;
    return false;
}

static bool parse_combine(struct draft *dr, const struct node *combine, const char *const *names)
{
    bool last = dr->frames && !names_frames(combine->text);

    if (!combine_parse(combine, names, dr->n_axes - last, dr->d, &dr->combine))
        return false;
    if (last)
        dr->combine.factors[dr->combine.n++] = (struct zip){.axes = {(int)dr->frames - 1}, .n = 1};
    return true;
}

int draft_combine(struct draft *dr, struct err *e)
{
    const struct node *combine = node_get(dr->root, "combine");
    const char *names[JOB_AXES_MAX];
    struct place at = combine ? combine->at : (struct place){dr->file, 1, 1};

    (void)e;
    for (size_t i = 0; i < dr->n_axes; i++)
        names[i] = dr->axes[i].name;
    combine_default(dr->n_axes, &dr->combine);
    if (combine && combine->type != NODE_SCALAR)
        diagnose(dr->d, at, "'combine' is text such as \"a * (b, c)\"");
    else if (combine && !parse_combine(dr, combine, names))
        return 0;
    dr->span = 1;
    for (size_t i = 0; i < dr->combine.n; i++) {
        uint64_t length;

        zip_length(dr, &dr->combine.factors[i], at, &length);
        if (length && dr->span > JOB_SPAN_MAX / length) {
            diagnose(dr->d, at, "the axes multiply to more than 2^53 combinations");
            length = 0;
        }
        dr->span *= length;
    }
    return 0;
}
