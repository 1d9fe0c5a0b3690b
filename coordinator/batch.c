#include "coordinator/batch.h"

#include "coordinator/answers.h"
#include "coordinator/index.h"
#include "coordinator/job_folder.h"
#include "coordinator/reopening.h"
#include "proto/clock.h"

static int do_open(struct batch *b, const struct out *out, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_OPENED, .job = out->job};
    const struct job_entry *j = coord_job(b->coord, out->job);
    char *folder = NULL;
    int rc;

    if (!j)
        return 0;
    if (job_folder_claim(b->coord, j, b->output, &folder, &event.failure) == 0)
        event.failure.code = 0;
    event.text = folder;
    rc = reactor_on(b->coord, &event, now_ms, &b->outbox, e);
    free(folder);
    return rc;
}

/*
 * The job that made the picture at the path, if it is another one of the same name, over, and its
 * task has the same index. NULL: none. One look-up for each such job; nothing is listed.
 */
static const struct job_entry *superseded(struct batch *b, const struct job_entry *j,
                                          uint64_t index, const char *path)
{
    for (size_t i = 0; i < b->coord->n_jobs; i++) {
        const struct job_entry *other = b->coord->jobs[i];
        struct record record = {0};
        bool it;

        if (other == j || strcmp(other->name, j->name) != 0 || other->phase == JOB_OPENING ||
            other->phase == JOB_RUNNING || other->phase == JOB_FINISHING ||
            store_record(b->store, other->number, index, &record, NULL) != 0)
            continue;
        it = !record.failed && strcmp(record.path, path) == 0;
        record_done(&record);
        if (it)
            return other;
    }
    return NULL;
}

/* Only by the user's word: nothing of another job is lost otherwise. */
static bool may_replace(struct batch *b, uint64_t job, const char *path)
{
    const struct job_entry *j = coord_job(b->coord, job);

    return j && j->force && output_is_ours(b->output, path);
}

/* The picture that was replaced is no longer one of the other job's. */
static int forget(struct batch *b, uint64_t job, uint64_t index, struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(&b->outbox, OUT_STORE, &out, e));
    out->row.op = STORE_FORGET;
    out->row.job = job;
    out->row.index = index;
out:
    return rc;
}

/* This job's own frame, made from another picture than the one before it is now. */
static bool is_older_frame(struct batch *b, uint64_t job, uint64_t index, const char *path,
                           const char *task)
{
    const struct job_entry *j = coord_job(b->coord, job);

    return j && j->job && job_frame(j->job, index) > 0 &&
           output_is_older_frame(b->output, path, task) && !superseded(b, j, index, path);
}

static int do_probe(struct batch *b, const struct out *out, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_PROBED, .job = out->job, .index = out->index};
    const struct job_entry *j = coord_job(b->coord, out->job);
    struct record found;
    int rc;

    event.text = out->task;
    event.probe =
        output_probe(b->output, out->path, out->task, &out->files, &found, &event.failure);
    if ((event.probe == PROBE_OURS && j && j->force) ||
        (event.probe == PROBE_FOREIGN &&
         (may_replace(b, out->job, out->path) ||
          is_older_frame(b, out->job, out->index, out->path, out->task))))
        event.probe = PROBE_FREE;
    else if (event.probe == PROBE_FREE && j && j->job && !j->force &&
             job_folder_take(b->output, j->job, out->index, out->path, out->task, &out->files,
                             &found, NULL) == 0)
        event.probe = PROBE_OURS;
    found.index = out->index;
    event.found = &found;
    rc = reactor_on(b->coord, &event, now_ms, &b->outbox, e);
    record_done(&found);
    return rc;
}

static int do_write(struct batch *b, struct out *out, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_WRITTEN, .delivery = out->delivery};
    struct delivery *d = out->delivery;
    const struct job_entry *j = coord_job(b->coord, d->job), *other;
    int rc;

    out->delivery = NULL;
    if (!reactor_wants(b->coord, d)) /* a file without a record would be left */
        return reactor_on(b->coord, &event, now_ms, &b->outbox, e);
    d->replace = may_replace(b, d->job, d->path);
    rc = output_write(b->output, d, &event.failure);
    if (rc == ERR_CONFLICT &&
        (output_is_stale(b->output, d) || is_older_frame(b, d->job, d->index, d->path, d->task))) {
        d->replace = true;
        rc = output_write(b->output, d, &event.failure);
    }
    if (rc == 0)
        event.failure.code = 0;
    other = rc == 0 && d->replace && j ? superseded(b, j, d->index, d->path) : NULL;
    if (other && (rc = forget(b, other->number, d->index, e)) != 0)
        return rc;
    return reactor_on(b->coord, &event, now_ms, &b->outbox, e);
}

static int do_before(struct batch *b, const struct out *out, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_BEFORE, .job = out->job, .index = out->index};
    struct record record = {0};
    int rc = store_record(b->store, out->job, out->index - 1, &record, e);

    if (rc != 0 && rc != ERR_MISSING)
        return rc;
    if (rc == 0)
        event.found = &record;
    rc = reactor_on(b->coord, &event, now_ms, &b->outbox, e);
    record_done(&record);
    return rc;
}

static int take_asset(void *user, const char *role, const char *name, const char *sha256,
                      struct err *e)
{
    struct event *event = user;
    struct job_asset *grown = realloc(event->assets, (event->n_assets + 1) * sizeof *event->assets);

    if (!grown)
        return err_set(e, ERR_OOM, "no memory for a job's files");
    event->assets = grown;
    grown += event->n_assets;
    *grown = (struct job_asset){.role = asset_role_from_name(role), .name = strdup(name)};
    snprintf(grown->sha256, sizeof grown->sha256, "%s", sha256);
    event->n_assets += grown->name != NULL;
    return grown->name ? 0 : err_set(e, ERR_OOM, "no memory for a job's files");
}

static int do_assets(struct batch *b, uint64_t job, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_ASSETS, .job = job};
    int rc = store_assets(b->store, job, take_asset, &event, e);

    if (rc != 0 || !coord_job(b->coord, job)) {
        job_assets_free(event.assets, event.n_assets);
        return rc;
    }
    return reactor_on(b->coord, &event, now_ms, &b->outbox, e);
}

/* Effects that the reactor waits for; their events may add more. */
static int effects(struct batch *b, int64_t now_ms, struct err *e)
{
    int rc = 0;

    for (; b->n_effects < b->outbox.n; b->n_effects++) {
        enum out_type type = b->outbox.items[b->n_effects].type;
        struct out out;

        if (type == OUT_SEND || type == OUT_STORE || type == OUT_LOG)
            continue;
        /* A copy: events may move the list. What it points to stays. */
        out = b->outbox.items[b->n_effects];
        if (out.type == OUT_WRITE) {
            b->outbox.items[b->n_effects].delivery = NULL;
            TRY(do_write(b, &out, now_ms, e));
        } else if (out.type == OUT_BEFORE) {
            TRY(do_before(b, &out, now_ms, e));
        } else if (out.type == OUT_OPEN) {
            TRY(do_open(b, &out, now_ms, e));
        } else if (out.type == OUT_PROBE) {
            TRY(do_probe(b, &out, now_ms, e));
        } else if (out.type == OUT_REOPEN) {
            TRY(reopening_add(b, out.job, out.reopen, e));
            TRY(reopening_step(b, now_ms, e)); /* a small job's is the only one */
        } else if (out.type == OUT_ASSETS) {
            TRY(do_assets(b, out.job, now_ms, e));
        } else if (out.type == OUT_ASSET) {
            TRY(b->asset(b->user, out.role, out.path, e));
        } else if (out.type == OUT_CHUNK) {
            TRY(b->chunk(b->user, &out.peer, &out.want, e));
        }
    }
out:
    return rc;
}

int batch_run(struct batch *b, int64_t now_ms, struct err *e)
{
    size_t before;
    int rc = 0;

    b->n_effects = 0;
    b->now_ms = now_ms;
    b->reopened = false;
    if (!b->went_on)
        TRY(reopening_go_on(b, e));
    b->went_on = true;
    TRY(effects(b, now_ms, e));
    for (int round = 0; round < BATCH_ROUNDS_MAX; round++) {
        before = b->outbox.n;
        TRY(reactor_schedule(b->coord, now_ms, &b->outbox, e));
        if (b->outbox.n == before)
            break;
        TRY(effects(b, now_ms, e));
    }
    return batch_finish(b, e);
out:
    return rc;
}

static bool is_picture(const struct out *out)
{
    return out->type == OUT_STORE && out->row.op == STORE_RECORD && !out->row.record.failed &&
           out->row.record.path[0];
}

static bool is_torn(const struct batch *b, uint64_t job)
{
    for (size_t i = 0; i < b->n_torn; i++)
        if (b->torn[i] == job)
            return true;
    return false;
}

/* The mark of one job, whose first picture in this batch is item `first`. */
static int mark_job(struct batch *b, size_t first, uint64_t *tasks, struct err *e)
{
    uint64_t number = b->outbox.items[first].row.job;
    const struct job_entry *j = coord_job(b->coord, number);
    size_t n = 0;

    for (size_t i = first; i < b->outbox.n; i++)
        if (is_picture(&b->outbox.items[i]) && b->outbox.items[i].row.job == number)
            tasks[n++] = b->outbox.items[i].row.record.index;
    if (!j || !j->folder || is_torn(b, number))
        return store_unmark(b->store, number, e);
    return index_mark(b->output, b->store, number, j->folder, tasks, n, e);
}

static int marks(struct batch *b, struct err *e)
{
    uint64_t *tasks = NULL, last = 0;
    int rc = 0;

    for (size_t i = 0; i < b->outbox.n; i++) {
        bool first = is_picture(&b->outbox.items[i]) && b->outbox.items[i].row.job != last;

        for (size_t k = 0; k < i && first; k++)
            first = !(is_picture(&b->outbox.items[k]) &&
                      b->outbox.items[k].row.job == b->outbox.items[i].row.job);
        if (!first)
            continue;
        if (!tasks && !(tasks = calloc(b->outbox.n, sizeof *tasks)))
            TRY(err_set(e, ERR_OOM, "no memory for a list of tasks"));
        last = b->outbox.items[i].row.job;
        TRY(mark_job(b, i, tasks, e));
    }
out:
    free(tasks);
    return rc;
}

static int commit(struct batch *b, struct err *e)
{
    int64_t begun_ms = clock_monotonic_ms();
    bool pictures = false;
    int rc;

    b->commit_ms = -1;
    TRY(output_sync(b->output, e));
    if (b->outbox.n_rows == 0)
        goto out;
    TRY(store_begin(b->store, e));
    for (size_t i = 0; i < b->outbox.n && rc == 0; i++) {
        if (b->outbox.items[i].type != OUT_STORE)
            continue;
        rc = store_apply(b->store, &b->outbox.items[i].row, e);
        pictures |= is_picture(&b->outbox.items[i]);
    }
    if (rc == 0 && pictures)
        rc = marks(b, e);
    if (rc == 0)
        rc = store_commit(b->store, e);
    if (rc != 0)
        store_rollback(b->store);
    b->commit_ms = clock_monotonic_ms() - begun_ms;
out:
    return rc;
}

static int index_torn(struct batch *b, uint64_t job, struct err *e)
{
    uint64_t *torn;

    if (is_torn(b, job))
        return 0;
    torn = realloc(b->torn, (b->n_torn + 1) * sizeof *torn);
    if (!torn)
        return err_set(e, ERR_OOM, "no memory for a list of jobs");
    b->torn = torn;
    b->torn[b->n_torn++] = job;
    return 0;
}

/* A line that cannot be written now is made up for later: the row is what counts. */
static int index_flush(struct batch *b, uint64_t number, struct buf *lines, struct err *e)
{
    const struct job_entry *j = coord_job(b->coord, number);
    struct err why;
    int rc = 0;

    if (j && lines->size && index_append(b->output, j->folder, lines, &why) != 0) {
        b->log(b->user, LOG_WARN, "index_not_written", why.text);
        rc = index_torn(b, number, e);
    }
    lines->size = 0;
    return rc;
}

static int index_lines(struct batch *b, struct err *e)
{
    struct buf lines = {0};
    uint64_t job = 0;
    int rc = 0;

    for (size_t i = 0; i < b->outbox.n; i++) {
        const struct store_row *row = &b->outbox.items[i].row;
        const struct job_entry *j;

        if (b->outbox.items[i].type != OUT_STORE || row->op != STORE_RECORD)
            continue;
        if (b->recorded)
            b->recorded(b->user, &row->record);
        if (row->record.failed || !row->record.path[0])
            continue;
        if (row->job != job)
            TRY(index_flush(b, job, &lines, e));
        job = row->job;
        j = coord_job(b->coord, job);
        if (j && j->job)
            TRY(index_line(j->job, &row->record, &lines, e));
    }
    TRY(index_flush(b, job, &lines, e));
out:
    buf_done(&lines);
    return rc;
}

static void index_repair(struct batch *b)
{
    struct err why;

    while (b->n_torn) {
        uint64_t number = b->torn[b->n_torn - 1];
        const struct job_entry *j = coord_job(b->coord, number);

        if (j && index_check(b->output, b->store, number, j->folder, &why) != 0)
            return; /* said once when it was torn; tried again with the next batch */
        b->n_torn--;
    }
}

static int send_one(struct batch *b, const struct peer *peer, const struct buf *frame,
                    struct err *e)
{
    struct err why;
    int rc = b->send(b->user, peer, frame, &why);

    if (rc == 0)
        return 0;
    if (rc != ERR_MISSING && rc != ERR_TIMEOUT)
        return err_set(e, rc, "%s", why.text);
    if (b->n_gone == b->gone_room) {
        size_t room = b->gone_room ? b->gone_room * 2 : 16;
        struct peer *gone = realloc(b->gone, room * sizeof *gone);

        if (!gone)
            return err_set(e, ERR_OOM, "no memory for a list of peers");
        b->gone = gone;
        b->gone_room = room;
    }
    b->gone[b->n_gone++] = *peer;
    return 0;
}

/* Some of the requests that wait for the disk: now that no row waits. */
static int answers(struct batch *b, struct err *e)
{
    struct buf frame = {0};
    struct out out;
    int rc = 0;

    for (uint64_t cost = 0; cost < BACKLOG_SLICE && backlog_next(&b->backlog, &out);) {
        frame.size = 0;
        TRY(answer_frame(b->coord, b->store, b->output, &out, &frame, e));
        TRY(send_one(b, &out.peer, &frame, e));
        cost += backlog_cost(&out, frame.size);
    }
out:
    buf_done(&frame);
    return rc;
}

int batch_finish(struct batch *b, struct err *e)
{
    int rc = commit(b, e);

    if (rc == ERR_IO)
        return 1;
    TRY(rc);
    TRY(index_lines(b, e));
    index_repair(b);
    for (size_t i = 0; i < b->outbox.n; i++) {
        const struct out *out = &b->outbox.items[i];

        if (out->type == OUT_SEND)
            TRY(send_one(b, &out->peer, &out->frame, e));
        else if (out->type == OUT_ANSWER)
            TRY(backlog_add(&b->backlog, out, e));
        else if (out->type == OUT_LOG)
            b->log(b->user, out->level, out->event, out->text);
        else if (out->type == OUT_SHEET)
            TRY(b->draw(b->user, out->job, e));
    }
    outbox_clear(&b->outbox);
    TRY(answers(b, e));
    TRY(reopening_step(b, b->now_ms, e)); /* now that no row waits */
out:
    return rc;
}

bool batch_waits(const struct batch *b)
{
    return b->outbox.n == 0 && b->backlog.n == 0 &&
           (!b->reopenings || b->now_ms < b->reopening_wait_ms);
}

int batch_gone(struct batch *b, int64_t now_ms, struct err *e)
{
    int rc = 0;

    while (b->n_gone) {
        struct event event = {.type = EVENT_UNREACHABLE, .peer = b->gone[--b->n_gone]};

        TRY(reactor_on(b->coord, &event, now_ms, &b->outbox, e));
    }
out:
    return rc;
}

void batch_done(struct batch *b)
{
    outbox_done(&b->outbox);
    backlog_done(&b->backlog);
    free(b->gone);
    free(b->torn);
    reopenings_free(b->reopenings);
    *b = (struct batch){0};
}
