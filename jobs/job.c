#include "jobs/job.h"

#include "jobs/axis.h"
#include "jobs/bind.h"
#include "jobs/chain.h"
#include "jobs/clash.h"
#include "jobs/exclude.h"
#include "jobs/param.h"
#include "jobs/path.h"
#include "jobs/style.h"
#include "jobs/variables.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_SIDE 20 /* JOB_SHEET_CELLS = 20 * 20 */

struct job {
    char *bundle; /* owned, NUL-terminated */
    size_t bundle_size;
    char hash[HASH_HEX_SIZE];
    char *name;        /* owned */
    struct task fixed; /* parameters that no column sets; prompts with their variables */
    struct styles styles;
    struct names loras, embeddings;       /* of all tasks, those that they use and others */
    const struct style_set *fixed_styles; /* of every task, unless a column selects them; or NULL */
    struct axes axes;
    struct exclude exclude;
    struct chain chain;
    struct conduct conduct;
    char *path_template; /* owned, like folder */
    struct path path;    /* with folder for {job} */
    char *folder;        /* NULL: name */
    uint64_t count;
    bool has_sheet;
    struct job_sheet sheet;
    const char **models; /* [n_models], distinct, borrowed from axes or fixed */
    size_t n_models;
};

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

/* The styles of a task. NULL: none. */
static const struct style_set *styles_at(const struct job *job, uint64_t index)
{
    size_t axis, column;
    const struct axis *a;

    if (!axes_find_param(&job->axes, PARAM_STYLES, &axis, &column))
        return job->fixed_styles;
    a = &job->axes.items[axis];
    return styles_find(&job->styles,
                       a->cells[axes_at(&job->axes, axis, index) * a->n_columns + column]);
}

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

/* --- answers --- */

const char *job_name(const struct job *job)
{
    return job->name;
}

const char *job_hash(const struct job *job)
{
    return job->hash;
}

const char *job_bundle(const struct job *job, size_t *ret_size)
{
    *ret_size = job->bundle_size;
    return job->bundle;
}

const struct conduct *job_conduct(const struct job *job)
{
    return &job->conduct;
}

uint64_t job_span(const struct job *job)
{
    return job->axes.span;
}

uint64_t job_count(const struct job *job)
{
    return job->count;
}

uint64_t job_rank(const struct job *job, uint64_t index)
{
    return index >= job->axes.span ? job->count : index - exclude_below(&job->exclude, index);
}

bool job_excluded(const struct job *job, uint64_t index)
{
    return exclude_holds(&job->exclude, index);
}

uint64_t job_next(const struct job *job, uint64_t from)
{
    return exclude_next(&job->exclude, from);
}

/* Sets the parameters of one axis at an index; prompts come later, when all columns are known. */
static int apply_axis(const struct job *job, size_t number, uint64_t index, struct task *t,
                      struct err *e)
{
    const struct axis *axis = &job->axes.items[number];
    uint64_t at = axes_at(&job->axes, number, index);
    struct buf text = {0};
    int rc = 0;

    for (size_t c = 0; c < axis->n_columns && rc == 0; c++) {
        if (axis->columns[c].param < 0)
            continue;
        axis_text(axis, c, at, &text);
        rc = buf_check(&text, e);
        if (rc == 0)
            rc = param_set(t, (enum param)axis->columns[c].param, buf_text(&text), e);
        buf_done(&text);
    }
    return rc;
}

/* Replaces a prompt by its text at an index: variables put in, then styles. */
static int expand(const struct job *job, char **prompt, bool negative, uint64_t index,
                  struct err *e)
{
    const struct style_set *set = styles_at(job, index);
    struct buf text = {0}, styled = {0};
    char *expanded;

    variables_expand(*prompt, &job->axes, &job->fixed, index, &text);
    styled.failed = text.failed;
    if (set)
        style_apply(set, negative, buf_text(&text), &styled);
    expanded = buf_detach(set ? &styled : &text);
    buf_done(&text);
    if (!expanded)
        return err_set(e, ERR_OOM, "out of memory for a prompt");
    free(*prompt);
    *prompt = expanded;
    return 0;
}

int job_task(const struct job *job, uint64_t index, struct task *ret_task, struct err *e)
{
    struct task t = {0};
    int rc = 0;

    if (index >= job->axes.span)
        return err_set(e, ERR_ARG, "job '%s' has no such index", job->name);
    TRY(task_copy(&job->fixed, &t, e));
    for (size_t a = 0; a < job->axes.n; a++)
        TRY(apply_axis(job, a, index, &t, e));
    TRY(expand(job, &t.prompt, false, index, e));
    TRY(expand(job, &t.negative_prompt, true, index, e));
    TRY(bind_task(&t, &job->loras, &job->embeddings, e));
    TRY(chain_apply(&job->chain, job_frame(job, index), JOB_FRAME_BEFORE, &t, e));
    *ret_task = t;
    t = (struct task){0};
out:
    task_done(&t);
    return rc;
}

uint64_t job_frames(const struct job *job)
{
    return job->chain.frames;
}

uint64_t job_frame(const struct job *job, uint64_t index)
{
    return index % job->chain.frames; /* the last factor's stride is 1 */
}

int job_task_after(const struct job *job, uint64_t index, const char sha256[HASH_HEX_SIZE],
                   struct task *ret_task, struct err *e)
{
    int rc = job_task(job, index, ret_task, e);

    if (rc == 0 && (rc = task_start_from(ret_task, sha256, e)) != 0)
        task_done(ret_task);
    return rc;
}

int job_path(const struct job *job, uint64_t index, struct buf *ret_path, struct err *e)
{
    if (index >= job->axes.span)
        return err_set(e, ERR_ARG, "job '%s' has no such index", job->name);
    return path_render(&job->path, index, ret_path, e);
}

int job_path_in(const struct job *job, const char *folder, uint64_t index, struct buf *ret_path,
                struct err *e)
{
    struct path path = {0};
    int rc = 0;

    if (index >= job->axes.span)
        return err_set(e, ERR_ARG, "job '%s' has no such index", job->name);
    TRY(path_rename(job->path_template, folder, &job->axes, &job->fixed, &path, e));
    TRY(path_render(&path, index, ret_path, e));
out:
    path_done(&path);
    return rc;
}

int job_set_folder(struct job *job, const char *folder, struct err *e)
{
    struct path path = {0};
    char *copy;
    int rc = 0;

    if (strcmp(folder, job_folder(job)) == 0)
        return 0;
    copy = strdup(folder);
    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for a job's folder");
    TRY(path_compile(job->path_template, folder, &job->axes, &job->fixed, &path, e));
    path_done(&job->path);
    job->path = path;
    free(job->folder);
    job->folder = copy;
    copy = NULL;
out:
    free(copy);
    return rc;
}

const char *job_folder(const struct job *job)
{
    return job->folder ? job->folder : job->name;
}

size_t job_axis_count(const struct job *job)
{
    return job->axes.n;
}

const char *job_axis_name(const struct job *job, size_t axis)
{
    return job->axes.items[axis].name;
}

uint64_t job_axis_length(const struct job *job, size_t axis)
{
    return job->axes.items[axis].length;
}

uint64_t job_axis_stride(const struct job *job, size_t axis)
{
    return job->axes.factors[job->axes.items[axis].factor].stride;
}

bool job_axis_chained(const struct job *job, size_t axis)
{
    return job->chain.frames > 1 && job->axes.items[axis].factor == job->axes.n_factors - 1;
}

static bool param_costly(int p)
{
    return p == PARAM_MODEL || p == PARAM_MODEL_CONFIG || p == PARAM_VAE || p == PARAM_PRECISION ||
           p == PARAM_WIDTH || p == PARAM_HEIGHT || p == PARAM_SIZE || p == PARAM_STYLES ||
           p == PARAM_SAMPLER || p == PARAM_SCHEDULER || p == PARAM_STEPS;
}

bool job_axis_costly(const struct job *job, size_t axis)
{
    const struct axis *a = &job->axes.items[axis];

    for (size_t c = 0; c < a->n_columns; c++) {
        if (param_costly(a->columns[c].param))
            return true;
        for (uint64_t at = 0; a->cells && at < a->length; at++)
            if (strstr(a->cells[at * a->n_columns + c], "<lora:"))
                return true;
    }
    return false;
}

bool job_axis_textual(const struct job *job, size_t axis)
{
    const struct axis *a = &job->axes.items[axis];

    for (size_t c = 0; c < a->n_columns; c++)
        if (a->columns[c].param < 0 || a->columns[c].param == PARAM_PROMPT ||
            a->columns[c].param == PARAM_NEGATIVE_PROMPT)
            return true;
    return false;
}

bool job_axes_zipped(const struct job *job, size_t a, size_t b)
{
    return job->axes.items[a].factor == job->axes.items[b].factor;
}

uint64_t job_axis_at(const struct job *job, size_t axis, uint64_t index)
{
    return axes_at(&job->axes, axis, index);
}

void job_axis_value(const struct job *job, size_t axis, uint64_t at, struct buf *ret_text)
{
    for (size_t c = 0; c < job->axes.items[axis].n_columns; c++) {
        if (c)
            buf_puts(ret_text, ", ");
        axis_text(&job->axes.items[axis], c, at, ret_text);
    }
}

bool job_sheet(const struct job *job, struct job_sheet *ret_sheet)
{
    if (job->has_sheet)
        *ret_sheet = job->sheet;
    return job->has_sheet;
}

uint64_t job_sheet_index(const struct job *job, const struct job_sheet *sheet, uint32_t column,
                         uint32_t row)
{
    uint64_t index = 0;

    if (sheet->x_axis >= 0)
        index += column * job->axes.factors[job->axes.items[sheet->x_axis].factor].stride;
    if (sheet->y_axis >= 0)
        index += row * job->axes.factors[job->axes.items[sheet->y_axis].factor].stride;
    return job_excluded(job, index) ? job->axes.span : index;
}

size_t job_models(const struct job *job, const char **ret_models, size_t max)
{
    for (size_t i = 0; i < job->n_models && i < max; i++)
        ret_models[i] = job->models[i];
    return job->n_models;
}
