/* litho plan job.yaml: what a manifest would render, before anything is spent. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/measure.h"
#include "jobs/cli/memory.h"
#include "jobs/cli/missing.h"
#include "jobs/cli/order.h"

#include "coordinator/store.h"
#include "jobs/library.h"

#include <string.h>

#define DEFAULT_OUT    "out"
#define VALUES_SHOWN   5
#define VALUE_COLUMNS  24 /* longer values are cut */
#define LIST_COLUMNS   58 /* of an axis' values, so that most lines have less than 80 */
#define MODELS_SHOWN   100
#define PROMPT_COLUMNS 160

struct plan {
    struct cli *cli;
    struct state state;
    struct order order;
    const struct job *job;
    uint64_t tasks, rendered;
    uint64_t first, last; /* indices, when there is a task */
    struct workload load; /* means */
    struct measure measured;
    bool is_measured;
    size_t n_missing;       /* models */
    struct missing missing; /* other files */
    struct memory memory;
    struct err no_memory; /* why it is not known; code 0: it is */
};

/* The index of the last task: the smallest one with all tasks at or below it. */
static uint64_t last_index(const struct job *job)
{
    uint64_t tasks = job_count(job), low = 0, high = job_span(job) - 1;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (job_rank(job, middle + 1) >= tasks)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* None if no earlier run knew this job. */
static int rendered_count(struct plan *p, struct err *e)
{
    uint64_t failed;
    int rc = store_peek(p->state.folder, job_hash(p->job), &p->rendered, &failed, e);

    if (rc == ERR_MISSING)
        p->rendered = 0;
    return rc == ERR_MISSING ? 0 : rc;
}

static int gather(struct plan *p, struct err *e)
{
    const char *out = p->cli->options.value[OPTION_OUT];
    int rc = 0;

    TRY(state_locate(out != NULL ? out : DEFAULT_OUT, &p->state, e));
    TRY(order_read(p->cli, &p->state, &p->order, e));
    p->job = p->order.job;
    p->tasks = job_count(p->job);
    if (p->tasks > 0) {
        p->first = job_next(p->job, 0);
        p->last = last_index(p->job);
    }
    TRY(rendered_count(p, e));
    TRY(workload_of(p->job, &p->load, e));
    p->is_measured = measure_read(&p->state, p->job, &p->measured);
    memory_ask(p->job, p->cli->options.value[OPTION_MODELS], &p->memory, &p->no_memory);
    TRY(missing_look(p->job, p->cli->options.value[OPTION_MODELS], &p->missing, e));
out:
    return rc;
}

/* ---- for people ---- */

static void label(const struct plan *p, const char *name)
{
    fprintf(p->cli->out.file, "  %s%-9s%s ", style(&p->cli->out, STYLE_BOLD), name,
            style(&p->cli->out, STYLE_OFF));
}

/* Control characters out, long text cut. */
static void append_cut(struct buf *out, const char *text, int columns)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (((unsigned char)*p & 0xC0) != 0x80 && columns-- == 0) {
            buf_puts(out, "...");
            return;
        }
        buf_putc(out, (unsigned char)*p < 0x20 || *p == 0x7F ? ' ' : *p);
    }
}

/* As many first values as fit; "; " between them if one has a comma of its own. */
static void axis_values(const struct plan *p, size_t axis, struct buf *ret_text)
{
    uint64_t length = job_axis_length(p->job, axis);
    struct buf values[VALUES_SHOWN] = {0};
    const char *separator = ", ";
    size_t n = length < VALUES_SHOWN ? (size_t)length : VALUES_SHOWN, shown = n;
    int left = LIST_COLUMNS;

    for (size_t i = 0; i < n; i++) {
        job_axis_value(p->job, axis, i, &values[i]);
        if (strchr(buf_text(&values[i]), ',') != NULL)
            separator = "; ";
    }
    for (size_t i = 0; i < n; i++) {
        struct buf next = {0};

        append_cut(&next, buf_text(&values[i]), VALUE_COLUMNS);
        left -= text_columns(buf_text(&next)) + 2;
        if (i > 0 && left < 0 && i < shown)
            shown = i;
        if (i < shown)
            buf_printf(ret_text, "%s%s", i > 0 ? separator : "", buf_text(&next));
        buf_done(&next);
        buf_done(&values[i]);
    }
    if (length > shown)
        buf_printf(ret_text, "%s...", separator);
}

static void print_axis(const struct plan *p, size_t axis, int name_columns)
{
    const char *name = job_axis_name(p->job, axis);
    struct buf count = {0}, values = {0};

    amount_count(job_axis_length(p->job, axis), &count);
    axis_values(p, axis, &values);
    label(p, axis == 0 ? "axes" : "");
    fprintf(p->cli->out.file, "%s%*s  %6s  %s\n", name, name_columns - text_columns(name), "",
            buf_text(&count), buf_text(&values));
    buf_done(&count);
    buf_done(&values);
}

static void print_axes(const struct plan *p)
{
    struct buf span = {0};
    double product = 1; /* exact as far as it is compared */
    int columns = 0;

    for (size_t i = 0; i < job_axis_count(p->job); i++)
        if (text_columns(job_axis_name(p->job, i)) > columns)
            columns = text_columns(job_axis_name(p->job, i));
    for (size_t i = 0; i < job_axis_count(p->job); i++)
        print_axis(p, i, columns);
    for (size_t i = 0; i < job_axis_count(p->job); i++)
        product *= (double)job_axis_length(p->job, i);
    if (product == (double)job_span(p->job))
        return;
    amount_count(job_span(p->job), &span);
    label(p, "zipped");
    fprintf(p->cli->out.file, "some axes move together: %s combinations\n", buf_text(&span));
    buf_done(&span);
}

static void print_models(struct plan *p)
{
    const struct terminal *t = &p->cli->out;
    const char *models[MODELS_SHOWN];
    size_t n = job_models(p->job, models, MODELS_SHOWN);
    struct buf folder = {0};
    struct err e;

    for (size_t i = 0; i < n && i < MODELS_SHOWN; i++) {
        label(p, i > 0 ? "" : n == 1 ? "model" : "models");
        folder.size = 0;
        if (library_locate(p->cli->options.value[OPTION_MODELS], models[i], &folder, &e) == 0) {
            fprintf(t->file, "%s  (%s)\n", models[i], buf_text(&folder));
        } else {
            p->n_missing++;
            fprintf(t->file, "%smissing:%s %s\n", style(t, STYLE_RED), style(t, STYLE_OFF), e.text);
        }
    }
    if (n > MODELS_SHOWN)
        fprintf(t->file, "            and %zu more\n", n - MODELS_SHOWN);
    buf_done(&folder);
}

static void print_missing(const struct plan *p)
{
    const struct terminal *t = &p->cli->out;

    for (size_t i = 0; i < p->missing.n; i++) {
        label(p, i > 0 ? "" : "missing");
        fprintf(t->file, "%s%s%s\n", style(t, STYLE_RED), p->missing.texts[i], style(t, STYLE_OFF));
    }
}

/* What a task does beside a picture from text, on a line of its own. */
static void print_passes(const struct plan *p, const struct task *t)
{
    bool picture = t->init_image != NULL && *t->init_image != '\0';
    struct buf strength = {0};
    int64_t width, height;

    if (!picture && !task_is_hires(t))
        return;
    task_size(t, &width, &height);
    buf_number(&strength, t->denoising_strength);
    label(p, "");
    if (picture)
        fprintf(p->cli->out.file, "from %s%s%s, ", t->init_image,
                t->mask != NULL && *t->mask != '\0' ? " where the mask is white: " : "",
                t->mask != NULL ? t->mask : "");
    else
        fprintf(p->cli->out.file, "a second pass from %s, ",
                term_name(TERM_UPSCALER, (int)t->hr_upscaler));
    fprintf(p->cli->out.file, "denoising_strength %s, to %lldx%lld\n", buf_text(&strength),
            (long long)width, (long long)height);
    buf_done(&strength);
}

static int print_task(const struct plan *p, const char *name, uint64_t index, struct err *e)
{
    struct buf path = {0}, prompt = {0}, cfg = {0};
    FILE *file = p->cli->out.file;
    struct task t = {0};
    int rc = 0;

    TRY(job_task(p->job, index, &t, e));
    TRY(job_path(p->job, index, &path, e));
    append_cut(&prompt, t.prompt, PROMPT_COLUMNS);
    buf_number(&cfg, t.cfg_scale);
    label(p, name);
    fprintf(file, "\"%s\"\n", buf_text(&prompt));
    label(p, "");
    fprintf(file, "%dx%d, %s %s, %d steps, cfg_scale %s, ", t.width, t.height,
            sampler_name(t.sampler), scheduler_name(t.scheduler), t.steps, buf_text(&cfg));
    if (p->order.drawn)
        fprintf(file, "seeds drawn at the first run, ");
    else
        fprintf(file, "seed %lld, ", (long long)t.seed);
    fprintf(file, "precision %s\n", precision_name(t.precision));
    print_passes(p, &t);
    label(p, "");
    fprintf(file, "%s/%s\n", p->state.out, buf_text(&path));
out:
    task_done(&t);
    buf_done(&path);
    buf_done(&prompt);
    buf_done(&cfg);
    return rc;
}

/* What takes most with each model. */
static void print_memory(const struct plan *p)
{
    const struct terminal *t = &p->cli->out;
    FILE *file = t->file;
    const char *name = "memory", *last = "";

    if (p->no_memory.code != 0) {
        label(p, name);
        fprintf(file, "unknown: %s\n", p->no_memory.text);
        return;
    }
    for (size_t i = 0; i < p->memory.n; i++) {
        const struct memory_item *item = &p->memory.items[i];
        struct buf total = {0}, weights = {0};

        if (strcmp(item->model, last) == 0)
            continue;
        last = item->model;
        amount_bytes((double)item->total, &total);
        amount_bytes((double)item->weights, &weights);
        label(p, name);
        if (item->error)
            fprintf(file, "%s%s:%s %s\n", style(t, item->unusable ? STYLE_RED : STYLE_OFF),
                    item->unusable ? "unusable" : "unknown", style(t, STYLE_OFF), item->error);
        else
            fprintf(file, "%s of a worker for %lldx%lld with %s (weights %s)\n", buf_text(&total),
                    (long long)item->width, (long long)item->height, item->model,
                    buf_text(&weights));
        name = "";
        buf_done(&total);
        buf_done(&weights);
    }
}

/* Workers that chains leave without work for a while, or for all of it. */
static void print_idle(const struct plan *p)
{
    struct makespan m = workload_makespan(&p->load, p->job, p->measured.workers);
    uint64_t rest = m.chains % m.renderers;

    if (m.frames == 1 || rest == 0)
        return;
    label(p, "");
    fprintf(p->cli->out.file, "frames follow each other: %s%llu of %llu %s %s something to do%s\n",
            m.chains > rest ? "in the end " : "", (unsigned long long)rest,
            (unsigned long long)m.renderers,
            m.renderers < (uint64_t)p->measured.workers ? "gangs" : "workers",
            rest == 1 ? "has" : "have",
            job_conduct(p->job)->gang == GANG_AUTO ? ", but for what gang: auto shares" : "");
}

static void print_estimates(const struct plan *p)
{
    double left = (double)(p->tasks - p->rendered);
    FILE *file = p->cli->out.file;
    struct buf text = {0};

    label(p, "disk");
    if (p->is_measured)
        amount_bytes((double)p->tasks * p->load.pixels * p->measured.bytes_per_pixel, &text);
    else
        amount_bytes((double)p->tasks * p->load.pixels * 3, &text);
    fprintf(file,
            p->is_measured ? "about %s, by the size of the pictures that are there\n"
                           : "at most %s (uncompressed); better known after the first run\n",
            buf_text(&text));
    buf_done(&text);
    label(p, "time");
    if (left == 0) {
        fprintf(file, "none: every picture is there\n");
        return;
    }
    if (!p->is_measured) {
        fprintf(file, "unknown until the first run\n");
        return;
    }
    amount_duration(measure_seconds(&p->measured, &p->load, p->job, p->rendered), &text);
    fprintf(file, "about %s for what is missing, measured over ", buf_text(&text));
    buf_done(&text);
    amount_images(p->measured.images, &text);
    fprintf(file, "%s with %d worker%s of %d thread%s\n", buf_text(&text), p->measured.workers,
            p->measured.workers == 1 ? "" : "s", p->measured.threads,
            p->measured.threads == 1 ? "" : "s");
    buf_done(&text);
    print_idle(p);
}

/* How many there are, and that more workers than that are of no use. */
static void print_chains(const struct plan *p)
{
    uint64_t frames = job_frames(p->job), chains = p->tasks / frames;
    struct buf n = {0}, length = {0};

    if (frames == 1)
        return;
    amount_count(chains, &n);
    amount_count(frames, &length);
    label(p, "frames");
    fprintf(p->cli->out.file,
            "%s chain%s of %s frames, each from the one before: no more than %s worker%s at once\n",
            buf_text(&n), chains == 1 ? "" : "s", buf_text(&length), buf_text(&n),
            chains == 1 ? "" : "s");
    buf_done(&n);
    buf_done(&length);
}

static int print_plan(struct plan *p, struct err *e)
{
    const struct terminal *t = &p->cli->out;
    uint64_t excluded = job_span(p->job) - p->tasks;
    struct buf images = {0}, count = {0};
    int rc = 0;

    amount_images(p->tasks, &images);
    fprintf(t->file, "%s%s%s: %s\n", style(t, STYLE_BOLD), job_name(p->job), style(t, STYLE_OFF),
            buf_text(&images));
    print_axes(p);
    if (excluded > 0) {
        amount_count(excluded, &count);
        label(p, "excluded");
        fprintf(t->file, "%s combination%s\n", buf_text(&count), excluded == 1 ? "" : "s");
    }
    print_chains(p);
    print_models(p);
    print_missing(p);
    if (p->tasks > 0)
        TRY(print_task(p, "first", p->first, e));
    if (p->tasks > 1)
        TRY(print_task(p, "last", p->last, e));
    buf_done(&count);
    amount_count(p->rendered, &count);
    label(p, "rendered");
    fprintf(t->file, "%s of %s\n", buf_text(&count), buf_text(&images));
    print_memory(p);
    print_estimates(p);
out:
    buf_done(&images);
    buf_done(&count);
    return rc;
}

/* ---- for programs ---- */

static json_t *axes_json(const struct plan *p)
{
    json_t *axes = json_array();

    for (size_t i = 0; i < job_axis_count(p->job); i++) {
        uint64_t length = job_axis_length(p->job, i);
        json_t *values = json_array();
        for (uint64_t at = 0; at < length && at < VALUES_SHOWN; at++) {
            struct buf value = {0};
            job_axis_value(p->job, i, at, &value);
            json_array_append_new(values, json_string(buf_text(&value)));
            buf_done(&value);
        }
        json_array_append_new(axes,
                              json_pack("{s:s, s:I, s:o}", "name", job_axis_name(p->job, i),
                                        "length", (json_int_t)length, "first_values", values));
    }
    return axes;
}

static json_t *models_json(struct plan *p)
{
    const char *models[MODELS_SHOWN];
    size_t n = job_models(p->job, models, MODELS_SHOWN);
    json_t *list = json_array();
    struct buf folder = {0};

    for (size_t i = 0; i < n && i < MODELS_SHOWN; i++) {
        const char *directory = p->cli->options.value[OPTION_MODELS];
        bool found;

        folder.size = 0;
        found = library_locate(directory, models[i], &folder, NULL) == 0;
        p->n_missing += !found;
        json_array_append_new(list, json_pack("{s:s, s:s?}", "model", models[i], "folder",
                                              found ? buf_text(&folder) : NULL));
    }
    buf_done(&folder);
    return list;
}

static int task_json(const struct plan *p, uint64_t index, json_t **ret_value, struct err *e)
{
    struct buf path = {0}, text = {0};
    json_t *task = NULL;
    struct task t = {0};
    int rc = 0;

    TRY(job_task(p->job, index, &t, e));
    TRY(job_path(p->job, index, &path, e));
    task_to_json(&t, &text);
    TRY(json_read("task", buf_text(&text), text.size, &task, e));
    *ret_value = json_pack("{s:I, s:s, s:o}", "index", (json_int_t)index, "path", buf_text(&path),
                           "task", task);
out:
    task_done(&t);
    buf_done(&path);
    buf_done(&text);
    return rc;
}

static json_t *memory_json(const struct plan *p)
{
    json_t *list = json_array();

    if (p->no_memory.code != 0) {
        json_decref(list);
        return json_null();
    }
    for (size_t i = 0; i < p->memory.n; i++) {
        const struct memory_item *m = &p->memory.items[i];
        json_t *item = m->error
                           ? json_pack("{s:s, s:s}", "model", m->model, "error", m->error)
                           : json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "model", m->model, "width",
                                       (json_int_t)m->width, "height", (json_int_t)m->height,
                                       "weights", (json_int_t)m->weights, "render",
                                       (json_int_t)m->render, "total", (json_int_t)m->total);
        json_array_append_new(list, item);
    }
    return list;
}

static int json_plan(struct plan *p, struct err *e)
{
    json_t *plan =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:o, s:o}", "name", job_name(p->job), "job",
                  job_hash(p->job), "tasks", (json_int_t)p->tasks, "excluded",
                  (json_int_t)(job_span(p->job) - p->tasks), "rendered", (json_int_t)p->rendered,
                  "seeds_drawn", !p->order.drawn, "axes", axes_json(p), "models", models_json(p));
    json_t *task = NULL;
    int rc = 0;

    if (job_frames(p->job) > 1)
        json_object_set_new(plan, "frames", json_integer((json_int_t)job_frames(p->job)));
    if (p->tasks > 0) {
        TRY(task_json(p, p->first, &task, e));
        json_object_set_new(plan, "first", task);
        TRY(task_json(p, p->last, &task, e));
        json_object_set_new(plan, "last", task);
    }
    json_object_set_new(
        plan, "bytes",
        p->is_measured ? json_real((double)p->tasks * p->load.pixels * p->measured.bytes_per_pixel)
                       : json_null());
    json_object_set_new(
        plan, "seconds",
        p->is_measured ? json_real(measure_seconds(&p->measured, &p->load, p->job, p->rendered))
                       : json_null());
    json_object_set_new(plan, "memory", memory_json(p));
    json_object_set_new(plan, "missing", json_array());
    for (size_t i = 0; i < p->missing.n; i++)
        json_array_append_new(json_object_get(plan, "missing"), json_string(p->missing.texts[i]));
    cli_json(p->cli, plan);
    plan = NULL;
out:
    json_decref(plan);
    return rc;
}

/* Here, that is: another machine may have what is missing. */
static bool cannot_be_rendered(const struct plan *p)
{
    bool unusable = false;

    for (size_t i = 0; i < p->memory.n; i++)
        unusable |= p->memory.items[i].unusable;
    return unusable || p->n_missing > 0 || p->missing.n > 0;
}

int command_plan(struct cli *c)
{
    struct plan p = {.cli = c};
    struct err e = {0};
    int rc = 0, code;

    TRY(gather(&p, &e));
    TRY(cli_has(c, OPTION_JSON) ? json_plan(&p, &e) : print_plan(&p, &e));
out:
    if (rc == 0)
        code = cannot_be_rendered(&p) ? EXIT_FAILED : EXIT_DONE;
    else if (p.job == NULL)
        code = order_fail(c, &p.order, &e);
    else
        code = cli_fail(c, &e);
    memory_done(&p.memory);
    missing_done(&p.missing);
    order_done(&p.order);
    state_done(&p.state);
    return code;
}
