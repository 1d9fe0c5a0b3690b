#include "coordinator/index.h"

#include "proto/json.h"

#include <time.h>

#define INDEX_MAX ((size_t)1 << 40) /* bytes; a line is some hundred */

static void put_key(struct buf *b, const char *key)
{
    buf_printf(b, "%s\"%s\":", b->size && b->data[b->size - 1] == '{' ? "" : ",", key);
}

static void put_text(struct buf *b, const char *text)
{
    json_t *value = json_string(text);

    if (value)
        json_canonical(value, b);
    else
        buf_puts(b, "null"); /* not UTF-8, which msg_decode and job_load exclude */
    json_decref(value);
}

static void put_values(struct buf *b, const struct job *job, uint64_t index)
{
    struct buf text = {0};

    put_key(b, "values");
    buf_putc(b, '{');
    for (size_t i = 0; i < job_axis_count(job); i++) {
        buf_done(&text);
        job_axis_value(job, i, job_axis_at(job, i, index), &text);
        if (i > 0)
            buf_putc(b, ',');
        put_text(b, job_axis_name(job, i));
        buf_putc(b, ':');
        put_text(b, buf_text(&text));
        b->failed |= text.failed;
    }
    buf_done(&text);
    buf_putc(b, '}');
}

static void put_time(struct buf *b, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    char text[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "\"%s.%03dZ\"", text, (int)(wall_ms % 1000));
}

int index_line(const struct job *job, const struct record *r, struct buf *ret_text, struct err *e)
{
    struct buf line = {0};
    struct task task = {0};
    int rc;

    TRY(job_task(job, r->index, &task, e));
    buf_printf(&line, "{\"index\":%llu,\"path\":", (unsigned long long)r->index);
    put_text(&line, r->path);
    buf_printf(&line, ",\"sha256\":\"%s\",\"bytes\":%llu,\"seed\":%lld", r->sha256,
               (unsigned long long)r->bytes, (long long)task.seed);
    put_values(&line, job, r->index);
    put_key(&line, "worker");
    put_text(&line, r->worker);
    buf_printf(&line, ",\"attempt\":%u,\"device_class\":", r->attempt);
    put_text(&line, r->device_class);
    put_key(&line, "precision");
    put_text(&line, r->precision);
    put_key(&line, "load_seconds");
    buf_number(&line, r->load_seconds);
    put_key(&line, "render_seconds");
    buf_number(&line, r->render_seconds);
    put_key(&line, "finished");
    put_time(&line, r->finished_ms);
    buf_puts(&line, "}\n");
    TRY(buf_check(&line, e));
    buf_append(ret_text, line.data, line.size);
    TRY(buf_check(ret_text, e));
out:
    task_done(&task);
    buf_done(&line);
    return rc;
}

static int index_path(const char *folder, struct buf *ret_path, struct err *e)
{
    buf_printf(ret_path, "%s/index.jsonl", folder);
    return buf_check(ret_path, e);
}

int index_append(struct output *o, const char *folder, const struct buf *lines, struct err *e)
{
    struct buf path = {0};
    int rc;

    TRY(index_path(folder, &path, e));
    TRY(output_append(o, buf_text(&path), lines, e));
out:
    buf_done(&path);
    return rc;
}

struct rebuild {
    const struct job *job;
    struct buf text;
};

static int rebuild_line(void *user, const struct record *record, struct err *e)
{
    struct rebuild *r = user;

    return record->failed ? 0 : index_line(r->job, record, &r->text, e);
}

static int rebuild(struct output *o, struct store *s, uint64_t number, const char *path,
                   struct err *e)
{
    struct rebuild r = {0};
    struct job *job = NULL;
    int rc;

    TRY(store_job(s, number, &job, e));
    r.job = job;
    TRY(store_records(s, number, 0, rebuild_line, &r, e));
    TRY(output_replace(o, path, &r.text, e));
out:
    buf_done(&r.text);
    job_free(job);
    return rc;
}

int index_check(struct output *o, struct store *s, uint64_t job, const char *folder, struct err *e)
{
    struct buf path = {0}, text = {0};
    uint64_t lines = 0, done;
    int rc;

    TRY(index_path(folder, &path, e));
    TRY(store_count_done(s, job, &done, e));
    rc = output_read(o, buf_text(&path), INDEX_MAX, &text, e);
    if (rc != 0 && rc != ERR_MISSING)
        goto out;
    for (size_t i = 0; i < text.size; i++)
        lines += text.data[i] == '\n';
    rc = 0;
    if (lines != done || (text.size && text.data[text.size - 1] != '\n'))
        TRY(rebuild(o, s, job, buf_text(&path), e));
out:
    buf_done(&path);
    buf_done(&text);
    return rc;
}
