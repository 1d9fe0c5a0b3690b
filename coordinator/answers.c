#include "coordinator/answers.h"

#define PAGE_BYTES (8u << 20) /* a page ends early beyond this, so that it fits a frame */

struct page {
    struct record_row *rows;
    struct record *records; /* own the rows' strings */
    size_t n, limit, bytes;
    uint64_t next;
};

static int page_add(void *user, const struct record *r, struct err *e)
{
    struct page *p = user;
    struct record *copy = &p->records[p->n];
    int rc;

    if (p->n == p->limit || p->bytes > PAGE_BYTES) {
        p->next = r->index;
        return 1;
    }
    TRY(record_picture(copy, r->path, r->worker, r->device_class, r->precision, e));
    if (r->failed)
        TRY(record_failure(copy, r->worker, r->code, r->text, e));
    p->rows[p->n++] = (struct record_row){
        .index = r->index,
        .state = r->failed ? "failed" : "done",
        .path = copy->path,
        .bytes = r->bytes,
        .attempt = r->attempt,
        .worker = copy->worker,
        .device_class = copy->device_class,
        .precision = copy->precision,
        .render_seconds = r->render_seconds,
        .code = copy->code,
        .text = copy->text,
    };
    memcpy(copy->sha256, r->sha256, sizeof copy->sha256);
    p->rows[p->n - 1].sha256 = copy->sha256;
    p->bytes += strlen(copy->path) + strlen(copy->text) + 512;
out:
    return rc;
}

static int answer_records(struct store *s, const struct out *out, struct msg *m, struct page *p,
                          struct err *e)
{
    int rc;

    p->limit = out->limit && out->limit < MSG_PAGE_MAX ? out->limit : MSG_PAGE_MAX;
    p->rows = calloc(p->limit, sizeof *p->rows);
    p->records = calloc(p->limit, sizeof *p->records);
    if (!p->rows || !p->records)
        return err_set(e, ERR_OOM, "no memory for a page of records");
    rc = store_records(s, out->job, out->from, page_add, p, e);
    *m = (struct msg){
        .type = MSG_PAGE,
        .page = {.request = out->request, .records = p->rows, .n_records = p->n, .next = p->next}};
    return rc < 0 ? rc : 0;
}

static int answer_fetch(struct store *s, struct output *o, const struct out *out, struct msg *m,
                        struct record *record, struct buf *png, struct err *e)
{
    int rc;

    TRY(store_record(s, out->job, out->index, record, e));
    if (record->failed)
        TRY(err_set(e, ERR_MISSING, "task %llu has no picture: %s", (unsigned long long)out->index,
                    record->text));
    TRY(output_read(o, record->path, MSG_PNG_MAX, png, e));
    *m = (struct msg){.type = MSG_PICTURE,
                      .picture = {.request = out->request,
                                  .index = out->index,
                                  .path = record->path,
                                  .sha256 = record->sha256,
                                  .png = png->data,
                                  .png_size = png->size}};
out:
    return rc;
}

struct history {
    struct attempt_row rows[MSG_PAGE_MAX];
    char *texts[MSG_PAGE_MAX * 2]; /* owned: worker and text of each row */
    size_t n;
};

static int history_add(struct history *h, struct attempt_row row, struct err *e)
{
    char *worker, *text;

    if (h->n == MSG_PAGE_MAX)
        return 0;
    h->texts[2 * h->n] = worker = strdup(row.worker ? row.worker : "");
    h->texts[2 * h->n + 1] = text = strdup(row.text ? row.text : "");
    row.worker = worker;
    row.text = text;
    h->rows[h->n++] = row;
    return worker && text ? 0 : err_set(e, ERR_OOM, "no memory for a task's history");
}

static int history_row(void *user, const struct history_row *row, struct err *e)
{
    return history_add(user,
                       (struct attempt_row){.attempt = row->attempt,
                                            .worker = row->worker,
                                            .code = err_name(err_from_name(row->code)),
                                            .text = row->text,
                                            .started_ms = (uint64_t)row->started_ms,
                                            .ended_ms = (uint64_t)row->ended_ms},
                       e);
}

/* The attempt that settled the task with a picture; a failure has its row already. */
static int history_record(struct history *h, const struct record *r, struct err *e)
{
    double seconds = r->load_seconds + r->render_seconds;

    if (r->failed && h->n > 0)
        return 0;
    return history_add(
        h,
        (struct attempt_row){.attempt = r->attempt,
                             .worker = r->worker,
                             .code = r->failed ? err_name(err_from_name(r->code)) : "done",
                             .text = r->failed ? r->text : r->path,
                             .started_ms = (uint64_t)(r->finished_ms - (int64_t)(seconds * 1000)),
                             .ended_ms = (uint64_t)r->finished_ms},
        e);
}

static int history_running(const struct coord *c, const struct job_entry *j, uint64_t index,
                           struct history *h, const char **ret_state, struct err *e)
{
    const struct task_entry *t = coord_task(c, j, index);
    int rc = 0;

    *ret_state = t && t->n_runs ? "running" : "pending";
    for (size_t i = 0; t && i < t->n_runs; i++) {
        const struct run *r = &t->runs[i];
        const struct worker *w = r->session ? coord_session(c, r->session) : NULL;
        char text[64] = "not started";

        if (r->started)
            snprintf(text, sizeof text, "step %u of %u", r->step, r->steps);
        TRY(history_add(
            h,
            (struct attempt_row){.attempt = r->attempt,
                                 .worker = w ? w->name : "",
                                 .text = text,
                                 .started_ms = (uint64_t)(r->since_ms + c->wall_offset_ms)},
            e));
    }
out:
    return rc;
}

/* The job of an entry is loaded only while it runs. */
static int check_index(const struct job_entry *j, struct store *s, const struct out *out,
                       struct err *e)
{
    struct job *loaded = NULL;
    const struct job *job = j->job;
    int rc = 0;

    if (!job)
        TRY(store_job(s, out->job, &loaded, e));
    job = job ? job : loaded;
    if (out->index >= job_span(job) || job_excluded(job, out->index))
        rc = err_set(e, ERR_MISSING, "job '%s' has no task %llu", j->name,
                     (unsigned long long)out->index);
out:
    job_free(loaded);
    return rc;
}

static int answer_history(const struct coord *c, struct store *s, const struct job_entry *j,
                          const struct out *out, struct msg *m, struct history *h,
                          struct record *record, struct err *e)
{
    const char *state;
    int rc;

    TRY(store_history(s, out->job, out->index, history_row, h, e));
    rc = store_record(s, out->job, out->index, record, NULL);
    if (rc == 0) {
        state = record->failed ? "failed" : "done";
        TRY(history_record(h, record, e));
    } else if (rc == ERR_MISSING) {
        TRY(check_index(j, s, out, e));
        TRY(history_running(c, j, out->index, h, &state, e));
    } else {
        goto out;
    }
    *m = (struct msg){.type = MSG_ATTEMPTS,
                      .attempts = {.request = out->request,
                                   .index = out->index,
                                   .state = state,
                                   .attempts = h->rows,
                                   .n_attempts = h->n}};
out:
    return rc;
}

#define CHECK_BYTES (64u << 20) /* of files read for one answer */

/* The picture that a chain's next frame must have been made from. */
struct frame_file {
    uint64_t index;
    char sha256[HASH_HEX_SIZE]; /* of the file as it is; "": there is none */
};

struct check {
    struct output *output;
    uint64_t from; /* the first task that is told of: the one before it is only looked at */
    struct frame_file last;
    struct bad_file bad[MSG_PAGE_MAX];
    char *texts[MSG_PAGE_MAX * 2]; /* owned: path and text of each */
    size_t n_bad;
    uint64_t looked, limit, files, bytes, next;
};

static int check_add(struct check *k, const struct record *r, const char *why, struct err *e)
{
    char *path = strdup(r->path), *text = strdup(why);

    k->texts[2 * k->n_bad] = path;
    k->texts[2 * k->n_bad + 1] = text;
    k->bad[k->n_bad++] = (struct bad_file){.index = r->index, .path = path, .text = text};
    return path && text ? 0 : err_set(e, ERR_OOM, "no memory for a list of files");
}

/* ret_sha256: of the file's bytes, "" if they cannot be read. ret_why: what is wrong, or no text.
 */
static int check_bytes(struct check *k, const struct record *r, char ret_sha256[HASH_HEX_SIZE],
                       struct err *ret_why, struct err *e)
{
    struct buf bytes = {0};
    int rc = output_read(k->output, r->path, MSG_PNG_MAX, &bytes, ret_why);

    k->bytes += bytes.size;
    *ret_sha256 = 0;
    if (rc == ERR_MISSING)
        err_set(ret_why, rc, "the file is gone");
    if (rc != 0) {
        rc = 0;
        goto out;
    }
    *ret_why = (struct err){0};
    TRY(hash_bytes(bytes.data, bytes.size, ret_sha256, e));
    if (strcmp(ret_sha256, r->sha256) != 0)
        err_set(ret_why, ERR_INPUT, "the file's bytes are not those of the record");
out:
    buf_done(&bytes);
    return rc;
}

/* What is wrong between a frame and the one before it; NULL: nothing, or it starts from none. */
static const char *broken_link(const struct frame_file *last, const struct record *r)
{
    if (!r->before[0])
        return NULL;
    if (last->index + 1 != r->index || !last->sha256[0])
        return "the picture of the frame before, from which it was made, is missing";
    return strcmp(last->sha256, r->before) == 0
               ? NULL
               : "the picture of the frame before is not the one from which it was made";
}

static int check_file(void *user, const struct record *r, struct err *e)
{
    struct check *k = user;
    struct frame_file file = {.index = r->index};
    const char *link = broken_link(&k->last, r);
    struct err why = {0};
    int rc = 0;

    if (k->looked == k->limit || (k->looked > 0 && k->bytes > CHECK_BYTES)) {
        k->next = r->index;
        return 1;
    }
    k->looked += r->index >= k->from;
    if (!r->failed)
        TRY(check_bytes(k, r, file.sha256, &why, e));
    k->last = file;
    if (r->failed || r->index < k->from)
        return 0;
    k->files++;
    if (why.text[0])
        rc = check_add(k, r, why.text, e);
    else if (link)
        rc = check_add(k, r, link, e);
out:
    return rc;
}

static int answer_check(struct store *s, const struct out *out, struct msg *m, struct check *k,
                        struct err *e)
{
    int rc;

    k->limit = out->limit && out->limit < MSG_PAGE_MAX ? out->limit : MSG_PAGE_MAX;
    k->from = out->from;
    rc = store_records(s, out->job, out->from ? out->from - 1 : 0, check_file, k, e);
    *m = (struct msg){.type = MSG_CHECKED,
                      .checked = {.request = out->request,
                                  .files = k->files,
                                  .next = k->next,
                                  .bad = k->bad,
                                  .n_bad = k->n_bad}};
    return rc < 0 ? rc : 0;
}

int answer_frame(struct coord *c, struct store *s, struct output *o, const struct out *out,
                 struct buf *ret_frame, struct err *e)
{
    struct record record = {0};
    struct page page = {0};
    struct buf png = {0};
    struct err why = {0};
    struct history *h = calloc(1, sizeof *h);
    struct check *k = calloc(1, sizeof *k);
    struct msg m;
    int rc;

    if (h && k)
        k->output = o;
    if (!h || !k)
        rc = err_set(&why, ERR_OOM, "no memory for an answer");
    else if (!coord_job(c, out->job))
        rc = err_set(&why, ERR_MISSING, "the job is gone");
    else if (out->answer == MSG_HISTORY)
        rc = answer_history(c, s, coord_job(c, out->job), out, &m, h, &record, &why);
    else if (out->answer == MSG_CHECK)
        rc = answer_check(s, out, &m, k, &why);
    else if (out->answer == MSG_FETCH)
        rc = answer_fetch(s, o, out, &m, &record, &png, &why);
    else
        rc = answer_records(s, out, &m, &page, &why);
    if (rc != 0)
        m = (struct msg){
            .type = MSG_ERROR,
            .error = {.request = out->request, .code = err_name(rc), .text = why.text}};
    rc = msg_encode(&m, ret_frame, e);
    for (size_t i = 0; i < page.n; i++)
        record_done(&page.records[i]);
    for (size_t i = 0; h && i < 2 * h->n; i++)
        free(h->texts[i]);
    for (size_t i = 0; k && i < 2 * k->n_bad; i++)
        free(k->texts[i]);
    free(h);
    free(k);
    free(page.rows);
    free(page.records);
    record_done(&record);
    buf_done(&png);
    return rc;
}
