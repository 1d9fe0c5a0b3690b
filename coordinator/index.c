#include "coordinator/index.h"

#include "proto/json.h"

#include <time.h>

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
    if (r->before[0])
        buf_printf(&line, ",\"before\":\"%s\"", r->before);
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

/* Bytes of lines written at a time. */
#define CHUNK_BYTES (1u << 20)

struct rebuild {
    struct output *output;
    const struct job *job;
    const char *path;
    struct buf text;
};

static int rebuild_flush(struct rebuild *r, struct err *e)
{
    int rc = output_append(r->output, r->path, &r->text, e);

    r->text.size = 0;
    return rc;
}

static int rebuild_line(void *user, const struct record *record, struct err *e)
{
    struct rebuild *r = user;
    int rc = 0;

    if (record->failed)
        return 0;
    TRY(index_line(r->job, record, &r->text, e));
    if (r->text.size >= CHUNK_BYTES)
        TRY(rebuild_flush(r, e));
out:
    return rc;
}

/* Not at once: a crash in the midst leaves a file that does not agree, and is made anew again. */
static int rebuild(struct output *o, struct store *s, uint64_t number, const char *path,
                   struct err *e)
{
    struct rebuild r = {.output = o, .path = path};
    struct job *job = NULL;
    int rc;

    TRY(store_job(s, number, &job, e));
    r.job = job;
    TRY(output_replace(o, path, &r.text, e));
    TRY(store_records(s, number, 0, rebuild_line, &r, e));
    TRY(rebuild_flush(&r, e));
out:
    buf_done(&r.text);
    job_free(job);
    return rc;
}

/* ret_whole: it ends with a line's end, or is empty. */
static int count_lines(struct output *o, const char *path, uint64_t *ret_lines, bool *ret_whole,
                       struct err *e)
{
    struct buf block = {0};
    uint64_t size, at = 0;
    int rc;

    *ret_lines = 0;
    *ret_whole = true;
    TRY(output_size(o, path, &size, e));
    while (at < size) {
        block.size = 0;
        TRY(output_read_from(o, path, at, CHUNK_BYTES, &block, e));
        if (block.size == 0)
            break;
        at += block.size;
        for (size_t i = 0; i < block.size; i++)
            *ret_lines += block.data[i] == '\n';
        *ret_whole = block.data[block.size - 1] == '\n';
    }
out:
    buf_done(&block);
    return rc;
}

int index_check(struct output *o, struct store *s, uint64_t job, const char *folder, struct err *e)
{
    struct buf path = {0};
    uint64_t lines, done;
    bool whole;
    int rc;

    TRY(index_path(folder, &path, e));
    TRY(store_count_done(s, job, &done, e));
    TRY(count_lines(o, buf_text(&path), &lines, &whole, e));
    if (lines != done || !whole)
        TRY(rebuild(o, s, job, buf_text(&path), e));
out:
    buf_done(&path);
    return rc;
}

/* The lines that belong after the mark. */
static int marked_lines(struct store *s, uint64_t number, const uint64_t *tasks, size_t n,
                        struct buf *ret_text, struct err *e)
{
    struct record record = {0};
    struct job *job = NULL;
    int rc;

    TRY(store_job(s, number, &job, e));
    for (size_t i = 0; i < n; i++) {
        TRY(store_record(s, number, tasks[i], &record, e));
        TRY(index_line(job, &record, ret_text, e));
        record_done(&record);
    }
out:
    record_done(&record);
    job_free(job);
    return rc;
}

/* What stands before and after the mark. ret_good: the file needs nothing. ret_cut: it is well up
 * to the mark. */
static int compare_tail(struct output *o, const char *path, uint64_t bytes, const struct buf *lines,
                        bool *ret_good, bool *ret_cut, struct err *e)
{
    uint64_t size, from = bytes ? bytes - 1 : 0;
    size_t before = bytes ? 1 : 0;
    struct buf tail = {0};
    int rc;

    *ret_good = *ret_cut = false;
    TRY(output_size(o, path, &size, e));
    if (size < bytes || size == 0)
        goto out;
    TRY(output_read_from(o, path, from, before + lines->size + 1, &tail, e));
    *ret_cut = before == 0 || (tail.size > 0 && tail.data[0] == '\n');
    *ret_good = *ret_cut && tail.size == before + lines->size &&
                memcmp(tail.data + before, buf_text(lines), lines->size) == 0;
out:
    buf_done(&tail);
    return rc;
}

int index_restart(struct output *o, struct store *s, uint64_t job, const char *folder,
                  struct err *e)
{
    struct buf path = {0}, lines = {0};
    uint64_t *tasks = NULL, bytes;
    bool good, cut;
    size_t n;
    int rc;

    rc = store_marked(s, job, &bytes, &tasks, &n, e);
    if (rc == ERR_MISSING)
        return index_check(o, s, job, folder, e);
    TRY(rc);
    TRY(index_path(folder, &path, e));
    TRY(marked_lines(s, job, tasks, n, &lines, e));
    TRY(compare_tail(o, buf_text(&path), bytes, &lines, &good, &cut, e));
    if (good)
        goto out;
    if (!cut)
        TRY(index_check(o, s, job, folder, e));
    else if ((rc = output_cut(o, buf_text(&path), bytes, e)) == 0)
        rc = output_append(o, buf_text(&path), &lines, e);
out:
    free(tasks);
    buf_done(&lines);
    buf_done(&path);
    return rc;
}

int index_agrees(struct output *o, struct store *s, uint64_t job, const char *folder,
                 bool *ret_good, struct err *e)
{
    struct buf path = {0}, lines = {0};
    uint64_t *tasks = NULL, bytes;
    bool cut;
    size_t n;
    int rc;

    *ret_good = false;
    rc = store_marked(s, job, &bytes, &tasks, &n, NULL);
    if (rc == ERR_MISSING)
        return 0;
    if (rc == 0)
        rc = marked_lines(s, job, tasks, n, &lines, NULL);
    if (rc == 0)
        rc = index_path(folder, &path, e);
    if (rc == 0 && compare_tail(o, buf_text(&path), bytes, &lines, ret_good, &cut, NULL) != 0)
        *ret_good = false; /* it cannot be read: made anew, which tells why */
    free(tasks);
    buf_done(&lines);
    buf_done(&path);
    return rc == ERR_MISSING ? 0 : rc; /* a record of the mark is gone */
}

int index_begin(struct output *o, const char *folder, struct err *e)
{
    struct buf path = {0}, nothing = {0};
    int rc;

    TRY(index_path(folder, &path, e));
    TRY(output_replace(o, buf_text(&path), &nothing, e));
out:
    buf_done(&path);
    return rc;
}

struct some {
    const struct job *job;
    struct buf lines;
    uint64_t next;
    size_t n;
};

static int some_line(void *user, const struct record *record, struct err *e)
{
    struct some *some = user;

    if (some->n == INDEX_SOME)
        return 1;
    some->n++;
    some->next = record->index + 1;
    return record->failed ? 0 : index_line(some->job, record, &some->lines, e);
}

int index_some(struct output *o, struct store *s, uint64_t number, const struct job *job,
               const char *folder, uint64_t *next, bool *ret_over, struct err *e)
{
    struct some some = {.job = job, .next = *next};
    int rc = store_records(s, number, *next, some_line, &some, e), over = rc == 0;

    if (rc < 0)
        goto out;
    rc = some.lines.size ? index_append(o, folder, &some.lines, e) : 0;
    if (rc == 0) {
        *next = some.next;
        *ret_over = over;
    }
out:
    buf_done(&some.lines);
    return rc;
}

int index_mark(struct output *o, struct store *s, uint64_t job, const char *folder,
               const uint64_t *tasks, size_t n, struct err *e)
{
    struct buf path = {0};
    uint64_t bytes;
    int rc;

    TRY(index_path(folder, &path, e));
    TRY(output_size(o, buf_text(&path), &bytes, NULL) == 0 ? store_mark(s, job, bytes, tasks, n, e)
                                                           : store_unmark(s, job, e));
out:
    buf_done(&path);
    return rc;
}
