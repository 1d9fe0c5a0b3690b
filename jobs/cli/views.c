#include "jobs/cli/views.h"

#include "jobs/cli/amounts.h"

#include <string.h>

json_t *view_summary_json(const struct job_summary *s)
{
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:s, s:I, s:s}", "job",
        s->job, "name", s->name, "state", s->state, "tasks", (json_int_t)s->tasks, "pending",
        (json_int_t)s->pending, "running", (json_int_t)s->running, "done", (json_int_t)s->done,
        "failed", (json_int_t)s->failed, "submitted_ms", (json_int_t)s->submitted_ms, "finished_ms",
        (json_int_t)s->finished_ms, "rate", s->rate, "eta_seconds", s->eta_seconds, "folder",
        s->folder, "sheet", s->sheet, "priority", (json_int_t)s->priority, "reason", s->reason);
}

static json_t *running_json(const struct running_task *tasks, size_t n, bool with_job)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *item = json_pack(
            "{s:I, s:I, s:I, s:I, s:I}", "index", (json_int_t)tasks[i].ref.index, "attempt",
            (json_int_t)tasks[i].ref.attempt, "step", (json_int_t)tasks[i].step, "steps",
            (json_int_t)tasks[i].steps, "since_ms", (json_int_t)tasks[i].since_ms);
        if (tasks[i].fetch_bytes > 0) {
            json_object_set_new(item, "fetched", json_integer((json_int_t)tasks[i].fetched));
            json_object_set_new(item, "fetch_bytes",
                                json_integer((json_int_t)tasks[i].fetch_bytes));
        }
        if (with_job)
            json_object_set_new(item, "job", json_string(tasks[i].ref.job));
        else
            json_object_set_new(item, "worker", json_string(tasks[i].worker));
        json_array_append_new(list, item);
    }
    return list;
}

/* Tasks that failed so; an older coordinator tells each by itself. */
static uint64_t tasks_of(const struct failure *f)
{
    return f->tasks ? f->tasks : 1;
}

json_t *view_job_json(const struct msg_job *m)
{
    json_t *job = view_summary_json(&m->summary), *failures = json_array();

    for (size_t i = 0; i < m->n_failures; i++)
        json_array_append_new(failures,
                              json_pack("{s:I, s:I, s:I, s:s, s:s}", "index",
                                        (json_int_t)m->failures[i].index, "attempts",
                                        (json_int_t)m->failures[i].attempts, "tasks",
                                        (json_int_t)tasks_of(&m->failures[i]), "code",
                                        m->failures[i].code, "text", m->failures[i].text));
    json_object_set_new(job, "running_tasks", running_json(m->running, m->n_running, false));
    json_object_set_new(job, "failures", failures);
    json_object_set_new(job, "gang",
                        json_pack("{s:s, s:f, s:f}", "shape", m->gang[0] ? m->gang : "none",
                                  "speedup", m->gang_speedup, "step_ms", m->gang_step_ms));
    return job;
}

json_t *view_worker_json(const struct worker_row *w)
{
    json_t *worker = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "name", w->name,
                               "device", w->device, "device_class", w->device_class, "software",
                               w->software, "state", w->state, "done", (json_int_t)w->done,
                               "failed", (json_int_t)w->failed, "connected_ms",
                               (json_int_t)w->connected_ms, "silent_ms", (json_int_t)w->silent_ms);
    json_t *blocks = json_array();

    for (size_t i = 0; i < w->n_blocks; i++)
        json_array_append_new(blocks, json_pack("{s:s, s:s, s:I, s:I}", "model", w->blocks[i].model,
                                                "code", w->blocks[i].code, "pixels",
                                                (json_int_t)w->blocks[i].pixels, "tasks",
                                                (json_int_t)w->blocks[i].tasks));
    json_object_set_new(worker, "blocked", blocks);
    json_object_set_new(worker, "running_tasks", running_json(w->running, w->n_running, true));
    return worker;
}

bool view_settled(const struct job_summary *s)
{
    return strcmp(s->state, "done") == 0 || strcmp(s->state, "failed") == 0 ||
           strcmp(s->state, "cancelled") == 0;
}

int view_exit_code(const struct job_summary *s)
{
    return strcmp(s->state, "done") == 0 && s->done == s->tasks ? EXIT_DONE : EXIT_FAILED;
}

/* PROTOCOL.md, `job`: such a failure of no attempt tells why the job waits, a full disk say. */
static bool is_reason(const struct failure *f)
{
    return f->attempts == 0 && err_from_name(f->code) == ERR_IO;
}

static const char *reason_of(const struct msg_job *m)
{
    for (size_t i = 0; i < m->n_failures; i++)
        if (is_reason(&m->failures[i]))
            return m->failures[i].text;
    return NULL;
}

/* What to say while no number moves. */
static const char *phase_of(const struct msg_job *m)
{
    const struct job_summary *s = &m->summary;

    if (reason_of(m) != NULL)
        return reason_of(m);
    if (strcmp(s->state, "paused") == 0)
        return "paused";
    if (strcmp(s->state, "finishing") == 0)
        return "drawing the sheet";
    if (s->pending + s->running == 0)
        return NULL;
    if (m->n_running == 0)
        return s->reason[0] ? s->reason : "waiting for workers";
    for (size_t i = 0; i < m->n_running; i++)
        if (m->running[i].step > 0)
            return NULL;
    for (size_t i = 0; i < m->n_running; i++)
        if (m->running[i].fetch_bytes > 0)
            return "fetching files";
    return s->rate > 0 ? NULL : "loading the model";
}

struct progress view_progress(const struct msg_job *m)
{
    const struct job_summary *s = &m->summary;
    bool waits = reason_of(m) != NULL;
    struct progress p = {.tasks = s->tasks,
                         .done = s->done,
                         .failed = s->failed,
                         .rate = waits ? 0 : s->rate,
                         .eta_seconds = waits ? -1 : s->eta_seconds,
                         .phase = phase_of(m)};

    for (size_t i = 0; i < m->n_running; i++)
        if (m->running[i].steps > 0)
            p.partial += (double)m->running[i].step / m->running[i].steps;
    return p;
}

void view_gang(const struct terminal *t, const struct msg_job *m)
{
    if (m->gang[0] == '\0' || strcmp(m->gang, "none") == 0)
        return;
    fprintf(t->file, "  gang    %s", m->gang);
    if (m->gang_step_ms > 0)
        fprintf(t->file, ": %.3g s a step", m->gang_step_ms / 1000);
    if (m->gang_speedup > 0)
        fprintf(t->file, ", %.2f times as fast as one worker", m->gang_speedup);
    else if (m->gang_step_ms > 0)
        fputs("; its worth is known once a worker has rendered such a task alone", t->file);
    fputc('\n', t->file);
}

void view_reason(const struct terminal *t, const struct msg_job *m)
{
    const char *reason = reason_of(m);
    bool over = view_settled(&m->summary);

    if (reason == NULL && m->summary.reason[0] != '\0')
        reason = m->summary.reason;
    if (reason == NULL)
        return;
    fprintf(t->file, "  %s%s%s   ", style(t, STYLE_RED), over ? "ended" : "waits",
            style(t, STYLE_OFF));
    fputs(reason, t->file);
    fputc('\n', t->file);
}

void view_failures(const struct terminal *t, const struct msg_job *m)
{
    struct buf count = {0};
    uint64_t told = 0;

    if (m->summary.failed == 0)
        return;
    amount_images(m->summary.failed, &count);
    fprintf(t->file, "%s%s failed:%s\n", style(t, STYLE_RED), buf_text(&count),
            style(t, STYLE_OFF));
    for (size_t i = 0; i < m->n_failures; i++) {
        const struct failure *f = &m->failures[i];
        if (is_reason(f))
            continue;
        told += tasks_of(f);
        fprintf(t->file, "  task %llu", (unsigned long long)f->index);
        if (tasks_of(f) > 1) {
            fputs(" and ", t->file);
            count.size = 0;
            amount_count(tasks_of(f) - 1, &count);
            fprintf(t->file, "%s more", buf_text(&count));
        }
        fprintf(t->file, ", %s", f->code);
        if (f->attempts > 0)
            fprintf(t->file, " after %u attempt%s", f->attempts, f->attempts == 1 ? "" : "s");
        fputs(": ", t->file);
        fputs(f->text, t->file);
        fputc('\n', t->file);
    }
    if (m->summary.failed > told && told > 0)
        fprintf(t->file, "  and %llu more: %s/index.jsonl\n",
                (unsigned long long)(m->summary.failed - told), m->summary.folder);
    buf_done(&count);
}
