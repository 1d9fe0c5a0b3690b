/* A bundle read, checked and compiled. */
#include "jobs/clash.h"
#include "jobs/job_inner.h"
#include "jobs/param.h"
#include "jobs/variables.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_SIDE 20 /* JOB_SHEET_CELLS = 20 * 20 */

/* --- reading --- */

static int check_keys(const json_t *object, const char *what, const char *const *keys, size_t n,
                      struct err *e)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return err_set(e, ERR_INPUT, "%s must be an object", what);
    json_object_foreach((json_t *)object, key, value)
    {
        bool known = false;

        for (size_t i = 0; i < n; i++)
            known = known || strcmp(keys[i], key) == 0;
        if (!known)
            return err_set(e, ERR_INPUT, "%s: unknown key '%.80s'", what, key);
    }
    return 0;
}

static int read_document(const void *bundle, size_t size, struct job *job, json_t **ret_root,
                         struct err *e)
{
    static const char *const keys[] = {"litho",   "job",     "fixed",      "axes",
                                       "combine", "exclude", "output",     "styles",
                                       "conduct", "loras",   "embeddings", "chain"};
    struct buf canonical = {0};
    json_t *root = NULL;
    int rc;

    if (size > JOB_BUNDLE_MAX)
        TRY(err_set(e, ERR_INPUT, "larger than the limit of %u bytes", JOB_BUNDLE_MAX));
    TRY(json_read("bundle", bundle, size, &root, e));
    /* One job, one text: its hash is the job's identity. */
    json_canonical(root, &canonical);
    if (canonical.size != size || canonical.failed || memcmp(canonical.data, bundle, size) != 0)
        TRY(err_set(e, ERR_INPUT, "is not canonical JSON (RFC 8785)"));
    TRY(check_keys(root, "bundle", keys, sizeof keys / sizeof *keys, e));
    if (json_integer_value(json_object_get(root, "litho")) != 1)
        TRY(err_set(e, ERR_INPUT, "is not of language version 1 (litho: 1)"));
    TRY(hash_bytes(bundle, size, job->hash, e));
    job->bundle = buf_detach(&canonical);
    job->bundle_size = size;
    *ret_root = root;
    root = NULL;
out:
    buf_done(&canonical);
    json_decref(root);
    return rc;
}

static bool name_valid(const char *name)
{
    size_t size = strlen(name);

    if (size == 0 || size > JOB_NAME_MAX || !isalnum((unsigned char)name[0]) ||
        !isalnum((unsigned char)name[size - 1]))
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] > 126 ||
            (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i])))
            return false;
    return true;
}

static int read_name(const json_t *value, struct job *job, struct err *e)
{
    const char *name = json_string_value(value);

    if (!name || !name_valid(name))
        return err_set(e, ERR_INPUT,
                       "job '%.100s' must be a name of 1 to %d letters and digits, with . _ - "
                       "inside",
                       name ? name : "", JOB_NAME_MAX);
    job->name = strdup(name);
    return job->name ? 0 : err_set(e, ERR_OOM, "out of memory for a job");
}

/* True if a column sets the parameter, or a size that holds it. */
static bool set_by_axis(const struct axes *axes, enum param p)
{
    size_t axis, column;

    return axes_find_param(axes, p, &axis, &column) ||
           ((p == PARAM_WIDTH || p == PARAM_HEIGHT) &&
            axes_find_param(axes, PARAM_SIZE, &axis, &column));
}

static int read_fixed_param(const json_t *fixed, enum param p, struct job *job, struct err *e)
{
    const json_t *value = json_object_get(fixed, param_name(p));

    if (!set_by_axis(&job->axes, p))
        return param_from_json(&job->fixed, p, value, "fixed", e);
    if (value)
        return err_set(e, ERR_INPUT, "fixed: an axis sets '%s' already", param_name(p));
    return 0;
}

static int find_styles(const struct job *job, const char *selection,
                       const struct style_set **ret_set, struct err *e)
{
    *ret_set = styles_find(&job->styles, selection);
    return *ret_set ? 0
                    : err_set(e, ERR_INPUT, "styles: there is no selection '%.100s'", selection);
}

/* Every selection that a task can have is there. */
static int read_styles(const json_t *fixed, struct job *job, struct err *e)
{
    const json_t *value = json_object_get(fixed, "styles");
    const struct style_set *set;
    size_t axis, column;
    int rc = 0;

    if (!axes_find_param(&job->axes, PARAM_STYLES, &axis, &column)) {
        if (!value)
            return 0;
        return find_styles(job, json_is_string(value) ? json_string_value(value) : "",
                           &job->fixed_styles, e);
    }
    if (value)
        return err_set(e, ERR_INPUT, "fixed: an axis sets 'styles' already");
    for (uint64_t at = 0; at < job->axes.items[axis].length && rc == 0; at++) {
        const struct axis *a = &job->axes.items[axis];

        rc = find_styles(job, a->cells[at * a->n_columns + column], &set, e);
    }
    return rc;
}

static int read_fixed(const json_t *fixed, struct job *job, struct err *e)
{
    const char *names[PARAM_FIELDS + 1] = {[PARAM_FIELDS] = "styles"};
    int rc;

    for (int p = 0; p < PARAM_FIELDS; p++)
        names[p] = param_name((enum param)p);
    TRY(check_keys(fixed, "fixed", names, PARAM_FIELDS + 1, e));
    for (int p = 0; p < PARAM_FIELDS; p++)
        TRY(read_fixed_param(fixed, (enum param)p, job, e));
    TRY(read_styles(fixed, job, e));
out:
    return rc;
}

/* --- checks that need several parts --- */

/* A prompt with its longest values, and with any of the styles. */
static int check_length(const struct job *job, enum param p, size_t size, struct err *e)
{
    for (size_t i = 0; i < job->styles.n; i++)
        if (style_longest(&job->styles.sets[i], p == PARAM_NEGATIVE_PROMPT, size) > TASK_PROMPT_MAX)
            return err_set(e, ERR_INPUT,
                           "%s: could become more than %d bytes long with styles '%.80s'",
                           param_name(p), TASK_PROMPT_MAX, job->styles.sets[i].selection);
    return 0;
}

static int check_prompt(const struct job *job, enum param p, struct err *e)
{
    const char *fixed = p == PARAM_PROMPT ? job->fixed.prompt : job->fixed.negative_prompt;
    size_t axis, column, size = 0, longest = 0;
    int rc = 0;

    if (!axes_find_param(&job->axes, p, &axis, &column))
        rc = variables_check(param_name(p), fixed, &job->axes, &job->fixed, &longest, e);
    for (uint64_t at = 0; fixed == NULL && at < job->axes.items[axis].length && rc == 0; at++) {
        struct buf text = {0};

        axis_text(&job->axes.items[axis], column, at, &text);
        rc = buf_check(&text, e);
        if (rc == 0)
            rc = variables_check(param_name(p), buf_text(&text), &job->axes, &job->fixed, &size, e);
        longest = size > longest ? size : longest;
        buf_done(&text);
    }
    return rc ? rc : check_length(job, p, longest, e);
}

static int read_exclude(const json_t *list, struct job *job, struct err *e)
{
    int rc;

    if (json_array_size(list) > JOB_EXCLUDE_MAX)
        return err_set(e, ERR_INPUT, "exclude: more than %d rules", JOB_EXCLUDE_MAX);
    TRY(exclude_read(list, &job->axes, &job->exclude, e));
    TRY(chain_check_exclude(&job->chain, &job->exclude, e));
    job->count = job->axes.span - exclude_below(&job->exclude, job->axes.span);
    if (job->count == 0)
        TRY(err_set(e, ERR_INPUT, "exclude leaves no combination to render"));
    TRY(clash_check_job(&job->axes, &job->fixed, &job->exclude, job->chain.frames > 1, e));
out:
    return rc;
}

/* --- output --- */

/* An axis by its own name or one of its columns'; null: none. */
static int read_sheet_axis(const struct job *job, const json_t *sheet, const char *key,
                           int *ret_axis, struct err *e)
{
    const json_t *value = json_object_get(sheet, key);
    const char *name = json_string_value(value);
    size_t axis, column;

    *ret_axis = -1;
    if (!value || json_is_null(value))
        return 0;
    for (size_t a = 0; name && a < job->axes.n; a++)
        if (strcmp(job->axes.items[a].name, name) == 0)
            *ret_axis = (int)a;
    if (*ret_axis < 0 && name && axes_find(&job->axes, name, strlen(name), &axis, &column))
        *ret_axis = (int)axis;
    if (*ret_axis < 0)
        return err_set(e, ERR_INPUT, "output.sheet: %s: no axis is named '%.80s'", key,
                       name ? name : "");
    return 0;
}

static uint64_t sheet_length(const struct job *job, int axis)
{
    return axis < 0 ? 1 : job->axes.items[axis].length;
}

static void limit_sheet(const struct job *job, struct job_sheet *sheet)
{
    uint64_t columns = sheet_length(job, sheet->x_axis), rows = sheet_length(job, sheet->y_axis);

    if (columns > JOB_SHEET_CELLS / rows) {
        if (columns <= SHEET_SIDE)
            rows = JOB_SHEET_CELLS / columns;
        else if (rows <= SHEET_SIDE)
            columns = JOB_SHEET_CELLS / rows;
        else
            columns = rows = SHEET_SIDE;
    }
    sheet->columns = (uint32_t)columns;
    sheet->rows = (uint32_t)rows;
}

static int read_sheet(const json_t *sheet, struct job *job, struct err *e)
{
    static const char *const keys[] = {"x", "y"};
    struct job_sheet *s = &job->sheet;
    int rc;

    if (json_is_null(sheet))
        return 0;
    TRY(check_keys(sheet, "output.sheet", keys, 2, e));
    TRY(read_sheet_axis(job, sheet, "x", &s->x_axis, e));
    TRY(read_sheet_axis(job, sheet, "y", &s->y_axis, e));
    if (s->x_axis >= 0 && s->y_axis >= 0 &&
        job->axes.items[s->x_axis].factor == job->axes.items[s->y_axis].factor)
        TRY(err_set(e, ERR_INPUT, "output.sheet: x and y must be axes that are not zipped"));
    limit_sheet(job, s);
    job->has_sheet = true;
out:
    return rc;
}

static int read_output(const json_t *output, struct job *job, struct err *e)
{
    static const char *const keys[] = {"path", "sheet"};
    const char *path = json_string_value(json_object_get(output, "path"));
    int rc;

    TRY(check_keys(output, "output", keys, 2, e));
    if (!path)
        TRY(err_set(e, ERR_INPUT, "output: 'path' must be text"));
    TRY(path_compile(path, job->name, &job->axes, &job->fixed, &job->path, e));
    if (!(job->path_template = strdup(path)))
        TRY(err_set(e, ERR_OOM, "out of memory for output.path"));
    TRY(read_sheet(json_object_get(output, "sheet"), job, e));
out:
    return rc;
}

static int compare_models(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int list_models(struct job *job, struct err *e)
{
    size_t axis, column, n = 0, length = 1;
    bool is_column = axes_find_param(&job->axes, PARAM_MODEL, &axis, &column);

    if (is_column)
        length = job->axes.items[axis].length;
    job->models = calloc(length, sizeof *job->models);
    if (!job->models)
        return err_set(e, ERR_OOM, "out of memory for the list of models");
    for (size_t i = 0; i < length; i++)
        job->models[i] =
            is_column ? job->axes.items[axis].cells[i * job->axes.items[axis].n_columns + column]
                      : job->fixed.model;
    qsort(job->models, length, sizeof *job->models, compare_models);
    for (size_t i = 0; i < length; i++)
        if (n == 0 || strcmp(job->models[n - 1], job->models[i]) != 0)
            job->models[n++] = job->models[i];
    job->n_models = n;
    return 0;
}

static int load(const void *bundle, size_t size, struct job *job, struct err *e)
{
    json_t *root = NULL;
    int rc;

    TRY(read_document(bundle, size, job, &root, e));
    TRY(read_name(json_object_get(root, "job"), job, e));
    TRY(axes_read(json_object_get(root, "axes"), json_object_get(root, "combine"), &job->axes, e));
    TRY(styles_read(json_object_get(root, "styles"), &job->styles, e));
    TRY(names_read(json_object_get(root, "loras"), NAMES_LORAS, "bundle", &job->loras, e));
    TRY(names_read(json_object_get(root, "embeddings"), NAMES_EMBEDDINGS, "bundle",
                   &job->embeddings, e));
    TRY(read_fixed(json_object_get(root, "fixed"), job, e));
    TRY(chain_read(json_object_get(root, "chain"), &job->axes, &job->chain, e));
    TRY(check_prompt(job, PARAM_PROMPT, e));
    TRY(check_prompt(job, PARAM_NEGATIVE_PROMPT, e));
    TRY(read_exclude(json_object_get(root, "exclude"), job, e));
    TRY(read_output(json_object_get(root, "output"), job, e));
    TRY(conduct_read(json_object_get(root, "conduct"), &job->conduct, e));
    TRY(list_models(job, e));
out:
    json_decref(root);
    return rc;
}

int job_load(const void *bundle, size_t size, struct job **ret_job, struct err *e)
{
    struct job *job = calloc(1, sizeof *job);
    struct err cause;
    int rc;

    if (!job)
        return err_set(e, ERR_OOM, "out of memory for a job");
    rc = load(bundle, size, job, &cause);
    if (rc) {
        job_free(job);
        return err_set(e, rc, "%s", cause.text);
    }
    *ret_job = job;
    return 0;
}

void job_free(struct job *job)
{
    if (!job)
        return;
    exclude_done(&job->exclude);
    path_done(&job->path);
    axes_done(&job->axes);
    task_done(&job->fixed);
    styles_done(&job->styles);
    names_done(&job->loras);
    names_done(&job->embeddings);
    free(job->models);
    free(job->path_template);
    free(job->folder);
    free(job->name);
    free(job->bundle);
    free(job);
}
