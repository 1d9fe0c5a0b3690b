#include "worker/plan.h"

#include "jobs/param.h"
#include "worker/places.h"
#include "worker/probe.h"
#include "worker/scene.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS_MAX (16u << 20) /* bytes */

struct planner {
    const struct options *options;
    FILE *out, *err;
    struct library *library;
    struct resident *resident;
    const struct task *task; /* at hand; borrowed */
    uint64_t memory_bytes;   /* of a CUDA device; 0: the host's memory is used */
    int code;                /* exit code so far */
};

/* --- tasks --- */

/* Values that a manifest leaves to their defaults; a prompt that is not the negative one's text. */
static int default_task(struct task *ret_t, struct err *e)
{
    int rc = 0;

    *ret_t = task_defaults();
    for (int p = 0; p < PARAM_FIELDS; p++) {
        const char *preset = param_default((enum param)p);

        if (preset && !param_is_optional((enum param)p))
            TRY(param_set(ret_t, (enum param)p, strcmp(preset, "-1") == 0 ? "0" : preset, e));
    }
    TRY(param_set(ret_t, PARAM_PROMPT, "a picture", e));
out:
    return rc;
}

/* A relative path becomes absolute, as a manifest's does. */
static int set_path(struct task *t, enum param p, const char *text, struct err *e)
{
    char path[PATH_MAX];
    bool relative = *text && *text != '/' &&
                    (param_kind(p) == PARAM_KIND_FILE ||
                     (param_kind(p) == PARAM_KIND_ASSET && strchr(text, '/')));

    if (relative && !realpath(text, path))
        return err_errno(e, text);
    return param_set(t, p, relative ? path : text, e);
}

static int apply(struct task *t, const char *set, struct err *e)
{
    const char *equals = strchr(set, '=');
    struct buf name = {0};
    int p, rc;

    buf_append(&name, set, equals ? (size_t)(equals - set) : 0);
    TRY(buf_check(&name, e));
    p = param_from_name(buf_text(&name));
    if (p < 0 || p == PARAM_STYLES)
        TRY(err_set(e, ERR_ARG, "--set %s: write KEY=VALUE with a parameter such as steps", set));
    TRY(set_path(t, (enum param)p, equals + 1, e));
out:
    buf_done(&name);
    return rc;
}

/* What the command line changes. */
static int change(const struct options *o, struct task *t, struct err *e)
{
    int rc = 0;

    if (o->model)
        TRY(set_path(t, PARAM_MODEL, o->model, e));
    if (o->size)
        TRY(param_set(t, PARAM_SIZE, o->size, e));
    for (size_t i = 0; i < o->n_sets; i++)
        TRY(apply(t, o->sets[i], e));
    if (!t->model)
        TRY(err_set(e, ERR_ARG, "which model? give --model NAME, or tasks"));
    TRY(task_check(t, e));
out:
    return rc;
}

static int read_input(struct buf *text, struct err *e)
{
    char chunk[65536];
    ssize_t n;

    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno != EINTR)
            return err_errno(e, "standard input");
        if (n > 0)
            buf_append(text, chunk, (size_t)n);
        if (text->size > TASKS_MAX)
            return err_set(e, ERR_INPUT, "standard input: more than %u bytes", TASKS_MAX);
    }
    return buf_check(text, e);
}

/* --- one task --- */

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* The file that a LoRA's name means in the task at hand. */
static int lora_path(void *user, const char *name, char ret_path[PATH_MAX], struct err *e)
{
    const struct planner *p = user;
    const char *file = names_find(&p->task->loras, name);
    struct buf path = {0};
    int rc = 0;

    if (file && *file != '/')
        TRY(err_set(e, ERR_MISSING, "LoRA '%s': where '%.20s...' is, the coordinator knows", name,
                    file));
    if (file)
        buf_puts(&path, file);
    else
        TRY(library_find_lora(p->library, name, &path, e));
    TRY(buf_check(&path, e));
    if (path.size >= PATH_MAX)
        TRY(err_set(e, ERR_INPUT, "LoRA '%s': its path is too long", name));
    memcpy(ret_path, path.data, path.size + 1);
out:
    buf_done(&path);
    return rc;
}

static int measure(struct planner *p, const struct task *t, uint64_t *ret_weights,
                   uint64_t *ret_total, struct err *e)
{
    struct places places = {0};
    struct scene scene = {0};
    struct engine *g;
    double seconds;
    int rc;

    TRY(places_find(p->library, t, NULL, &places, e));
    TRY(resident_get(p->resident, &places.wanted, &g, &seconds, e));
    TRY(scene_plan(t, &scene, e));
    TRY(engine_plan(g, (const struct render *[]){&scene.render}, 1, ret_total, e));
    *ret_weights = engine_weight_bytes(g);
    if (p->memory_bytes > 0 && *ret_total > p->memory_bytes)
        TRY(err_set(e, ERR_OOM, "%s needs %.1f MiB, the device has %.1f MiB", t->model,
                    mib(*ret_total), mib(p->memory_bytes)));
out:
    scene_done(&scene);
    places_done(&places);
    return rc;
}

static void print_json(struct planner *p, json_t *document)
{
    struct buf text = {0};

    if (document)
        json_canonical(document, &text);
    fprintf(p->out, "%s\n", buf_text(&text));
    buf_done(&text);
    json_decref(document);
}

static void plan_task(struct planner *p, const struct task *t)
{
    uint64_t weights, total;
    int64_t width, height;
    struct err e;

    p->task = t;
    task_size(t, &width, &height);
    if (measure(p, t, &weights, &total, &e) != 0) {
        p->code = 1;
        fprintf(p->err, "litho-worker: %s\n", e.text);
        if (p->options->json)
            print_json(p, json_pack("{s:s, s:s, s:s}", "model", t->model, "code", err_name(e.code),
                                    "error", e.text));
    } else if (p->options->json) {
        print_json(p, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "model", t->model, "width",
                                (json_int_t)width, "height", (json_int_t)height, "weights",
                                (json_int_t)weights, "render", (json_int_t)(total - weights),
                                "total", (json_int_t)total));
    } else {
        fprintf(p->out, "%s, %lldx%lld: %.1f MiB at its peak: weights %.1f MiB, render %.1f MiB\n",
                t->model, (long long)width, (long long)height, mib(total), mib(weights),
                mib(total - weights));
    }
    fflush(p->out);
}

/* --- all --- */

/* One line of JSON. */
static int plan_line(struct planner *p, const char *line, size_t size, struct err *e)
{
    struct task t = {0};
    int rc;

    TRY(task_from_json(line, size, &t, e));
    TRY(change(p->options, &t, e));
    plan_task(p, &t);
out:
    task_done(&t);
    return rc;
}

static int plan_file(struct planner *p, struct err *e)
{
    const char *path = p->options->tasks;
    struct buf text = {0};
    int rc;

    TRY(strcmp(path, "-") == 0 ? read_input(&text, e) : buf_read_file(&text, path, TASKS_MAX, e));
    for (const char *line = buf_text(&text); *line;) {
        size_t size = strcspn(line, "\n");

        if (size)
            TRY(plan_line(p, line, size, e));
        line += size + (line[size] == '\n');
    }
out:
    buf_done(&text);
    return rc;
}

static int plan_one(struct planner *p, struct err *e)
{
    struct task t = {0};
    int rc;

    TRY(default_task(&t, e));
    TRY(change(p->options, &t, e));
    plan_task(p, &t);
out:
    task_done(&t);
    return rc;
}

int plan_tasks(const struct options *o, FILE *out, FILE *err)
{
    struct resident_options models = {
        .backend = o->backend, .device = o->device, .threads = o->threads};
    struct planner p = {.options = o, .out = out, .err = err};
    struct probe probe;
    struct err e;
    int rc;

    TRY(probe_device(o->backend, o->device, &probe, &e));
    p.memory_bytes = probe.memory_bytes;
    TRY(library_open(o->directories, o->n_directories, &p.library, &e));
    models.lora_path = lora_path;
    models.lora_user = &p;
    models.embedding_folders = library_embedding_folders(p.library);
    TRY(resident_new(&models, &p.resident, &e));
    TRY(o->tasks ? plan_file(&p, &e) : plan_one(&p, &e));
out:
    if (rc != 0) {
        fprintf(err, "litho-worker: %s\n", e.text);
        p.code = 2;
    }
    resident_free(p.resident);
    library_close(p.library);
    return p.code;
}
