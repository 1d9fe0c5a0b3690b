#include "jobs/cli/memory.h"

#include "jobs/cli/child.h"
#include "jobs/library.h"
#include "proto/clock.h"
#include "proto/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUES_MAX  256 /* of an axis that are looked at */
#define KINDS_MAX   16  /* of values of an axis that differ for memory */
#define CASES_MAX   256 /* models and sizes of a job */
#define PATIENCE_MS 120000
#define ANSWER_MAX  (4u << 20) /* bytes */

/* --- which tasks differ --- */

/* A task that stands for all of its model and size. */
struct kind {
    char *key;  /* what memory depends on; owned */
    char *task; /* JSON; owned */
    char *model;
    double pixels;
};

struct kinds {
    struct kind items[CASES_MAX];
    size_t n;
    bool full;
};

static void kind_done(struct kind *k)
{
    free(k->key);
    free(k->task);
    free(k->model);
    *k = (struct kind){0};
}

static const char *text_of(const char *text)
{
    return text ? text : "";
}

static void put_key(const struct task *t, struct buf *key)
{
    int64_t width, height;

    task_size(t, &width, &height);
    buf_printf(key, "%s\n%s\n%s\n%d %d %d %lld %lld %d %d %d %d %d", t->model,
               text_of(t->model_config), text_of(t->vae), (int)t->precision, t->width, t->height,
               (long long)width, (long long)height, t->vae_tile, t->cfg_scale > 1,
               *text_of(t->init_image) != 0, *text_of(t->mask) != 0, t->inpaint_full_res);
}

/* A later frame's with a name for the picture before it, which a worker's plan does not open. */
static int job_task_anyhow(const struct job *job, uint64_t index, struct task *ret_task,
                           struct err *e)
{
    char none[HASH_HEX_SIZE] = {0};

    memset(none, '0', sizeof none - 1);
    return job_frame(job, index) > 0 ? job_task_after(job, index, none, ret_task, e)
                                     : job_task(job, index, ret_task, e);
}

static int make_kind(const struct job *job, uint64_t index, struct kind *ret_kind, struct err *e)
{
    struct buf key = {0}, text = {0};
    struct task t = {0};
    int64_t width, height;
    struct kind k = {0};
    int rc;

    TRY(job_task_anyhow(job, index, &t, e));
    task_size(&t, &width, &height);
    put_key(&t, &key);
    task_to_json(&t, &text);
    k = (struct kind){.key = buf_detach(&key),
                      .task = buf_detach(&text),
                      .model = strdup(t.model),
                      .pixels = (double)width * (double)height};
    if (!k.key || !k.task || !k.model)
        TRY(err_set(e, ERR_OOM, "plan: out of memory"));
    *ret_kind = k;
    k = (struct kind){0};
out:
    kind_done(&k);
    task_done(&t);
    buf_done(&key);
    buf_done(&text);
    return rc;
}

/* Adds the kind of an index, if it is new. */
static int add_kind(const struct job *job, uint64_t index, struct kinds *kinds, struct err *e)
{
    struct kind k;
    int rc = make_kind(job, index, &k, e);

    for (size_t i = 0; rc == 0 && i < kinds->n; i++)
        if (strcmp(kinds->items[i].key, k.key) == 0) {
            kind_done(&k);
            return 0;
        }
    if (rc != 0)
        return rc;
    kinds->full = kinds->n == CASES_MAX;
    if (kinds->full)
        kind_done(&k);
    else
        kinds->items[kinds->n++] = k;
    return 0;
}

/* Positions of an axis, the other axes at their first value, whose tasks differ for memory. */
static int axis_positions(const struct job *job, size_t axis, uint64_t *ret_at, size_t *ret_n,
                          struct err *e)
{
    uint64_t length = job_axis_length(job, axis);
    uint64_t n = length < VALUES_MAX ? length : VALUES_MAX;
    struct kinds seen = {.n = 0};
    int rc = 0;

    *ret_n = 0;
    for (uint64_t i = 0; i < n && *ret_n < KINDS_MAX; i++) {
        uint64_t at = n == length ? i : i * (length - 1) / (n - 1);
        size_t before = seen.n;

        TRY(add_kind(job, at * job_axis_stride(job, axis), &seen, e));
        if (seen.n > before)
            ret_at[(*ret_n)++] = at;
    }
out:
    for (size_t i = 0; i < seen.n; i++)
        kind_done(&seen.items[i]);
    return rc;
}

static bool zipped_before(const struct job *job, size_t axis)
{
    for (size_t i = 0; i < axis; i++)
        if (job_axes_zipped(job, i, axis))
            return true;
    return false;
}

/* Every combination of positions that differ. */
static int find_kinds(const struct job *job, struct kinds *kinds, struct err *e)
{
    uint64_t at[JOB_AXES_MAX][KINDS_MAX] = {{0}};
    size_t n[JOB_AXES_MAX], chosen[JOB_AXES_MAX] = {0}, axes = job_axis_count(job), a = 0;
    int rc = 0;

    for (size_t i = 0; i < axes; i++) {
        n[i] = 1;
        if (!zipped_before(job, i))
            TRY(axis_positions(job, i, at[i], &n[i], e));
    }
    do {
        uint64_t index = 0;

        for (size_t i = 0; i < axes; i++)
            index += at[i][chosen[i]] * job_axis_stride(job, i);
        if (!job_excluded(job, index))
            TRY(add_kind(job, index, kinds, e));
        for (a = 0; a < axes && ++chosen[a] == n[a]; a++)
            chosen[a] = 0;
    } while (a < axes && !kinds->full);
    if (kinds->n == 0 && job_count(job) > 0)
        TRY(add_kind(job, job_next(job, 0), kinds, e));
out:
    return rc;
}

static int compare_kinds(const void *a, const void *b)
{
    const struct kind *x = a, *y = b;
    int order = strcmp(x->model, y->model);

    return order ? order : (x->pixels < y->pixels) - (x->pixels > y->pixels);
}

/* Keeps the largest sizes of models that are there; counts what goes. */
static size_t choose(struct kinds *kinds, const char *models)
{
    size_t kept = 0, left = 0, n_models = 0, n_sizes = 0;
    bool there = false;

    qsort(kinds->items, kinds->n, sizeof *kinds->items, compare_kinds);
    for (size_t i = 0; i < kinds->n; i++) {
        struct kind k = kinds->items[i];
        bool fresh = kept == 0 || strcmp(kinds->items[kept - 1].model, k.model) != 0;
        struct buf path = {0};

        if (fresh) {
            there = library_locate(models, k.model, &path, NULL) == 0;
            n_sizes = 0;
            buf_done(&path);
        }
        n_models += fresh && there;
        left += there && (n_sizes == MEMORY_SIZES_MAX || n_models > MEMORY_MODELS_MAX);
        if (!there || n_sizes == MEMORY_SIZES_MAX || n_models > MEMORY_MODELS_MAX) {
            kind_done(&k);
            continue;
        }
        n_sizes++;
        kinds->items[kept++] = k;
    }
    kinds->n = kept;
    return left;
}

/* --- the worker's answer --- */

/* What cannot be told goes first, then what takes most. */
static int compare_items(const void *a, const void *b)
{
    const struct memory_item *x = a, *y = b;
    int order = strcmp(x->model, y->model);

    if (order == 0)
        order = (x->error == NULL) - (y->error == NULL);
    return order ? order : (x->total < y->total) - (x->total > y->total);
}

static int write_tasks(int fd, const struct kinds *kinds, struct err *e)
{
    struct buf text = {0};
    int rc;

    for (size_t i = 0; i < kinds->n; i++)
        buf_printf(&text, "%s\n", kinds->items[i].task);
    TRY(buf_check(&text, e));
    if (write(fd, text.data, text.size) != (ssize_t)text.size)
        TRY(err_errno(e, "a temporary file"));
out:
    buf_done(&text);
    return rc;
}

static int run_worker(const char *tasks, const char *answer, const char *models, struct err *e)
{
    const char *argv[] = {"litho-worker", "--plan", tasks, "--json", "--models", models, NULL};
    const struct timespec pause = {.tv_nsec = 5000000};
    struct child child = {0};
    int rc;

    if (!models)
        argv[4] = NULL;
    TRY(child_start(&child, argv, answer, e));
    while (!child_ended(&child)) {
        if (clock_monotonic_ms() - child.started_ms > PATIENCE_MS)
            TRY(err_set(e, ERR_TIMEOUT, "litho-worker took more than %d s", PATIENCE_MS / 1000));
        nanosleep(&pause, NULL);
    }
out:
    child_done(&child);
    return rc;
}

static int read_item(const json_t *line, struct memory_item *ret_item, struct err *e)
{
    const char *model = json_string_value(json_object_get(line, "model"));
    const char *error = json_string_value(json_object_get(line, "error"));
    const char *code = json_string_value(json_object_get(line, "code"));
    struct memory_item item = {
        .model = strdup(model ? model : ""),
        .width = json_integer_value(json_object_get(line, "width")),
        .height = json_integer_value(json_object_get(line, "height")),
        .weights = (uint64_t)json_integer_value(json_object_get(line, "weights")),
        .render = (uint64_t)json_integer_value(json_object_get(line, "render")),
        .total = (uint64_t)json_integer_value(json_object_get(line, "total")),
        .error = error ? strdup(error) : NULL,
        .unusable = error && code && err_from_name(code) == ERR_INPUT};

    *ret_item = item;
    return !item.model || (error && !item.error) ? err_set(e, ERR_OOM, "plan: out of memory") : 0;
}

/* Lines of JSON; what else is in the log is for people. */
static int read_answer(const char *path, size_t n, struct memory *memory, struct err *e)
{
    struct buf text = {0};
    int rc;

    TRY(buf_read_file(&text, path, ANSWER_MAX, e));
    memory->items = calloc(n + 1, sizeof *memory->items);
    if (!memory->items)
        TRY(err_set(e, ERR_OOM, "plan: out of memory"));
    for (const char *line = buf_text(&text); *line && memory->n < n;) {
        size_t size = strcspn(line, "\n");
        json_t *value = *line == '{' ? json_loadb(line, size, 0, NULL) : NULL;

        rc = value ? read_item(value, &memory->items[memory->n], e) : 0;
        memory->n += value != NULL;
        json_decref(value);
        TRY(rc);
        line += size + (line[size] == '\n');
    }
    if (memory->n < n)
        TRY(err_set(e, ERR_INTERNAL, "litho-worker --plan answered: %.300s", buf_text(&text)));
out:
    buf_done(&text);
    return rc;
}

static int ask(const struct kinds *kinds, const char *models, struct memory *memory, struct err *e)
{
    char tasks[] = "/tmp/litho-plan-XXXXXX", answer[] = "/tmp/litho-plan-XXXXXX";
    int in = mkstemp(tasks), out = mkstemp(answer), rc = 0;

    if (in < 0 || out < 0)
        TRY(err_errno(e, "a temporary file in /tmp"));
    TRY(write_tasks(in, kinds, e));
    TRY(run_worker(tasks, answer, models, e));
    TRY(read_answer(answer, kinds->n, memory, e));
    qsort(memory->items, memory->n, sizeof *memory->items, compare_items);
out:
    if (in >= 0) {
        close(in);
        unlink(tasks);
    }
    if (out >= 0) {
        close(out);
        unlink(answer);
    }
    return rc;
}

int memory_ask(const struct job *job, const char *models, struct memory *ret_memory, struct err *e)
{
    struct kinds *kinds = calloc(1, sizeof *kinds);
    struct memory memory = {0};
    int rc = 0;

    if (!kinds)
        return err_set(e, ERR_OOM, "plan: out of memory");
    TRY(find_kinds(job, kinds, e));
    memory.n_left = choose(kinds, models);
    if (kinds->n > 0)
        TRY(ask(kinds, models, &memory, e));
    *ret_memory = memory;
    memory = (struct memory){0};
out:
    for (size_t i = 0; i < kinds->n; i++)
        kind_done(&kinds->items[i]);
    free(kinds);
    memory_done(&memory);
    return rc;
}

void memory_done(struct memory *memory)
{
    for (size_t i = 0; i < memory->n; i++) {
        free(memory->items[i].model);
        free(memory->items[i].error);
    }
    free(memory->items);
    *memory = (struct memory){0};
}
