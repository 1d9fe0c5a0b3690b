#include "jobs/draft.h"

#include "jobs/suggest.h"

#include <math.h>
#include <string.h>

#define RULE_VALUES_MAX 10000 /* of one column in one rule */
#define SUGGEST_MAX     1000  /* values that a suggestion looks through */

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* True if a value of the axis equals this one. Ranges are asked by arithmetic. */
static bool axis_has(const struct draft_axis *axis, size_t column, const json_t *value)
{
    double x, k;

    for (size_t i = 0; i < json_array_size(axis->rows); i++)
        if (same(json_array_get(json_array_get(axis->rows, i), column), value))
            return true;
    if (!axis->run)
        return false;
    x = json_is_string(value) ? strtod(json_string_value(value), NULL) : json_number_value(value);
    k = axis->run->step == 0 ? 0 : round((x - axis->run->first) / axis->run->step);
    return k >= 0 && k < (double)axis->length && number_at(axis->run, (uint64_t)k) == x;
}

static void warn_absent(struct draft *dr, const struct draft_axis *axis, size_t column,
                        const char *text, struct place at)
{
    const char *names[SUGGEST_MAX];
    struct buf hint = {0};
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(axis->rows) && n < SUGGEST_MAX; i++) {
        const json_t *cell = json_array_get(json_array_get(axis->rows, i), column);

        if (json_is_string(cell))
            names[n++] = json_string_value(cell);
    }
    suggest_text(text, names, n, &hint);
    diagnose_warning(dr->d, at, "'%s' never is '%s', so this excludes nothing%s",
                     axis->columns[column].name, text, buf_text(&hint));
    buf_done(&hint);
}

/* Takes the value over into the rule's list. */
static int add_value(struct draft *dr, const struct draft_axis *axis, size_t column, json_t *value,
                     const char *text, struct place at, json_t *list, struct err *e)
{
    if (axis->length && !axis_has(axis, column, value))
        warn_absent(dr, axis, column, text, at);
    if (json_array_append_new(list, value) != 0)
        return err_set(e, ERR_OOM, "out of memory");
    return 0;
}

/* Numbers may be written as ranges here too. */
static int add_numbers(struct draft *dr, const struct draft_axis *axis, size_t column,
                       const struct node *node, json_t *list, struct err *e)
{
    int param = axis->columns[column].param, rc;
    struct number_problem problem;
    struct numbers numbers = {0};

    TRY(numbers_parse(node->text, param_unit((enum param)param) != 0, &numbers, &problem, e));
    if (problem.text[0])
        diagnose(dr->d, node_place(node, problem.offset), "%s: %s", param_name((enum param)param),
                 problem.text);
    else if (numbers.count > RULE_VALUES_MAX)
        diagnose(dr->d, node->at, "a rule names at most %d values of a column", RULE_VALUES_MAX);
    for (size_t i = 0; i < numbers.n && numbers.count <= RULE_VALUES_MAX; i++)
        for (uint64_t k = 0; k < numbers.items[i].count; k++) {
            double x = number_at(&numbers.items[i], k);
            json_t *value = numbers.items[i].integer ? json_integer((json_int_t)x) : json_real(x);
            struct buf text = {0};

            if (!value)
                TRY(err_set(e, ERR_OOM, "out of memory"));
            buf_number(&text, x);
            rc = add_value(dr, axis, column, value, buf_text(&text),
                           node_place(node, numbers.items[i].offset), list, e);
            buf_done(&text);
            TRY(rc);
        }
out:
    numbers_done(&numbers);
    return rc;
}

static int add_item(struct draft *dr, const struct draft_axis *axis, size_t column,
                    const struct node *node, json_t *list, struct err *e)
{
    int param = axis->columns[column].param, scheduler, rc;
    enum sampler_id sampler;
    json_t *value;

    if (node->type != NODE_SCALAR) {
        diagnose(dr->d, node->at, "a rule names a value, or a list of values, of '%s'",
                 axis->columns[column].name);
        return 0;
    }
    if (param >= 0 && param_is_number((enum param)param) && *node->text)
        return add_numbers(dr, axis, column, node, list, e);
    if (param == PARAM_SAMPLER && sampler_from_label(node->text, &sampler, &scheduler) == 0 &&
        scheduler >= 0) {
        diagnose(dr->d, node->at,
                 "exclude: name sampler and scheduler by themselves: {sampler: %s, scheduler: %s}",
                 sampler_name(sampler), term_name(TERM_SCHEDULER, scheduler));
        return 0;
    }
    rc = draft_value(dr, param, node->text, node->at, &value, e);
    if (rc == 0 && value)
        rc = add_value(dr, axis, column, value, node->text, node->at, list, e);
    return rc;
}

/* column: value, or column: [values] */
static int add_condition(struct draft *dr, const struct node *key, const struct node *value,
                         json_t *rule, struct err *e)
{
    const char *names[JOB_AXES_MAX * 8];
    struct buf hint = {0};
    size_t axis, column, n = 0;
    json_t *list;
    int rc = 0;

    if (!draft_find(dr, key->text, &axis, &column)) {
        if (draft_lacks_columns(dr))
            return 0;
        for (size_t a = 0; a < dr->n_axes; a++)
            for (size_t c = 0; c < dr->axes[a].n_columns && n < JOB_AXES_MAX * 8; c++)
                names[n++] = dr->axes[a].columns[c].name;
        suggest_text(key->text, names, n, &hint);
        diagnose(dr->d, key->at, "exclude: no axis '%s'%s", key->text, buf_text(&hint));
        buf_done(&hint);
        return 0;
    }
    list = json_array();
    if (!list || json_object_set_new(rule, key->text, list) != 0)
        return err_set(e, ERR_OOM, "out of memory");
    if (value->type != NODE_LIST)
        return add_item(dr, &dr->axes[axis], column, value, list, e);
    if (value->n == 0 || value->n > RULE_VALUES_MAX)
        diagnose(dr->d, value->at, "a rule names 1 to %d values of a column", RULE_VALUES_MAX);
    for (size_t i = 0; i < value->n && i < RULE_VALUES_MAX && rc == 0; i++)
        rc = add_item(dr, &dr->axes[axis], column, value->items[i], list, e);
    return rc;
}

int draft_exclude(struct draft *dr, struct err *e)
{
    const struct node *rules = node_get(dr->root, "exclude");
    int rc = 0;

    dr->exclude = json_array();
    if (!dr->exclude)
        return err_set(e, ERR_OOM, "out of memory");
    if (!rules || (rules->type == NODE_SCALAR && rules->plain && !*rules->text))
        return 0;
    if (rules->type != NODE_LIST) {
        diagnose(dr->d, rules->at, "'exclude' is a list of rules: [{thing: pizza, ground: red}]");
        return 0;
    }
    if (rules->n > JOB_EXCLUDE_MAX)
        diagnose(dr->d, rules->items[JOB_EXCLUDE_MAX]->at,
                 "more than %d exclude rules; one rule may list several values of a column",
                 JOB_EXCLUDE_MAX);
    for (size_t i = 0; i < rules->n && i < JOB_EXCLUDE_MAX && rc == 0; i++) {
        const struct node *node = rules->items[i];
        json_t *rule = json_object();

        if (!rule || json_array_append_new(dr->exclude, rule) != 0)
            return err_set(e, ERR_OOM, "out of memory");
        if (node->type != NODE_MAP || node->n == 0)
            diagnose(dr->d, node->at, "a rule is a mapping such as {thing: pizza, ground: red}");
        for (size_t k = 0; node->type == NODE_MAP && k < node->n && rc == 0; k++)
            rc = add_condition(dr, node->items[2 * k], node->items[2 * k + 1], rule, e);
    }
    return rc;
}
