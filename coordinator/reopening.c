#include "coordinator/reopening.h"

#include "coordinator/assets.h"
#include "coordinator/index.h"
#include "coordinator/requests.h"
#include "proto/clock.h"

enum stage {
    STAGE_BEGIN,
    STAGE_RECORDS, /* are looked at */
    STAGE_INDEX,   /* is looked at */
    STAGE_LINES,   /* are written */
    STAGE_END
};

struct reopening {
    struct reopening *next;
    uint64_t job; /* number */
    enum reopen what;
    enum stage stage;
    uint64_t at;      /* the next index that is looked at or written */
    uint64_t taken;   /* records taken back */
    struct job *task; /* the bundle; owned */
    struct kept {     /* the last record that stays */
        bool any;
        uint64_t index;
        char sha256[HASH_HEX_SIZE];
    } kept;
    int64_t until_ms; /* monotonic; of the slice */
    struct batch *batch;
};

void reopenings_free(struct reopening *r)
{
    while (r) {
        struct reopening *next = r->next;

        job_free(r->task);
        free(r);
        r = next;
    }
}

int reopening_add(struct batch *b, uint64_t job, enum reopen what, struct err *e)
{
    struct reopening **at = &b->reopenings, *r;

    for (; (r = *at); at = &r->next) {
        if (r->job != job)
            continue;
        if (what == REOPEN_ALL && r->what != REOPEN_ALL) {
            r->what = what;
            r->stage = STAGE_BEGIN;
        }
        return 0;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_OOM, "no memory for a list of jobs");
    r->batch = b;
    r->job = job;
    r->what = what;
    *at = r;
    return 0;
}

int reopening_go_on(struct batch *b, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < b->coord->n_jobs && rc == 0; i++) {
        struct job_entry *j = b->coord->jobs[i];

        if (j->reopening)
            rc = job_reopen(b->coord, j, j->reopen, &b->outbox, e);
    }
    return rc;
}

/* Rows of this batch that the store does not show yet. */
static bool has_rows(const struct batch *b, uint64_t job)
{
    for (size_t i = 0; i < b->outbox.n; i++)
        if (b->outbox.items[i].type == OUT_STORE && b->outbox.items[i].row.job == job)
            return true;
    return false;
}

static bool enough(void *user)
{
    const struct reopening *r = user;

    return clock_monotonic_ms() >= r->until_ms;
}

/* --- records --- */

/* The task with its files as they are now has another hash than the picture's. */
static bool has_changed(const struct reopening *r, const struct record *record)
{
    struct asset_set set = {0};
    struct task task = {0};
    struct buf text = {0};
    bool changed = false;

    if (r->what != REOPEN_CHANGED || !record->task_hash[0] || record->index >= job_span(r->task) ||
        job_task(r->task, record->index, &task, NULL) != 0)
        return false;
    if (job_frame(r->task, record->index) > 0 && task_start_from(&task, record->before, NULL) != 0)
        changed = true;
    task_to_json(&task, &text);
    if (!changed && !text.failed &&
        asset_set_of(r->batch->coord, &task, buf_text(&text), &set, NULL) == 0)
        changed = strcmp(set.task_hash, record->task_hash) != 0;
    asset_set_done(&set);
    task_done(&task);
    buf_done(&text);
    return changed;
}

/* The frame before is done again, or is not what this one started from any more. */
static bool is_broken(const struct reopening *r, const struct record *record)
{
    return job_frame(r->task, record->index) > 0 &&
           (!r->kept.any || r->kept.index + 1 != record->index ||
            strcmp(r->kept.sha256, record->before) != 0);
}

/* Asked in the order of their indices, of pictures alone: failures always go. */
static bool is_due_again(void *user, const struct record *record)
{
    struct reopening *r = user;

    if (!output_has(r->batch->output, record->path) || is_broken(r, record) ||
        has_changed(r, record))
        return true;
    r->kept.any = true;
    r->kept.index = record->index;
    memcpy(r->kept.sha256, record->sha256, sizeof r->kept.sha256);
    return false;
}

static int begin(struct reopening *r, struct err *e)
{
    struct batch *b = r->batch;
    int rc = 0;

    r->kept.any = false;
    if ((r->what == REOPEN_MISSING || r->what == REOPEN_CHANGED) && !r->task)
        TRY(store_job(b->store, r->job, &r->task, e));
    r->at = 0;
    r->stage = STAGE_RECORDS;
out:
    return rc;
}

static int records(struct reopening *r, struct err *e)
{
    const struct store_slice slice = {
        .job = r->job, .what = r->what, .again = is_due_again, .enough = enough, .user = r};
    struct kept before = r->kept;
    size_t taken = 0;
    bool over = false;
    int rc;

    rc = store_reopen_slice(r->batch->store, &slice, &r->at, &taken, &over, e);
    if (rc != 0)
        r->kept = before; /* the slice is tried again */
    TRY(rc);
    r->taken += taken;
    if (over)
        r->stage = r->what == REOPEN_FAILED ? STAGE_END : STAGE_INDEX;
out:
    return rc;
}

/* --- index.jsonl --- */

static int index_stage(struct reopening *r, const char *folder, struct err *e)
{
    struct batch *b = r->batch;
    bool good = false;
    int rc = 0;

    if (r->taken == 0)
        TRY(index_agrees(b->output, b->store, r->job, folder, &good, e));
    r->stage = good ? STAGE_END : STAGE_LINES;
    if (good)
        goto out;
    if (!r->task)
        TRY(store_job(b->store, r->job, &r->task, e));
    TRY(index_begin(b->output, folder, e));
    r->at = 0;
out:
    return rc;
}

static int lines(struct reopening *r, const char *folder, struct err *e)
{
    struct batch *b = r->batch;
    bool over = false;
    int rc = index_some(b->output, b->store, r->job, r->task, folder, &r->at, &over, e);

    if (rc == 0 && over)
        r->stage = STAGE_END;
    return rc;
}

/* --- the end --- */

struct ending {
    struct batch *batch;
    int64_t now_ms;
};

static int restored(void *user, struct restored *restored, struct err *e)
{
    struct ending *end = user;
    struct event event = {.type = EVENT_RESTORED, .job = restored->number, .restored = restored};

    return reactor_on(end->batch->coord, &event, end->now_ms, &end->batch->outbox, e);
}

/* One stage, or a slice of it. ret_over: that was the last one. */
static int advance(struct reopening *r, const struct job_entry *j, int64_t now_ms, bool *ret_over,
                   struct err *e)
{
    struct ending end = {r->batch, now_ms};
    const char *folder = j->folder ? j->folder : "";

    switch (r->stage) {
    case STAGE_BEGIN:
        return begin(r, e);
    case STAGE_RECORDS:
        return records(r, e);
    case STAGE_INDEX:
        return index_stage(r, folder, e);
    case STAGE_LINES:
        return lines(r, folder, e);
    case STAGE_END:
        break;
    }
    *ret_over = true;
    return store_reopen_end(r->batch->store, r->job, r->what, restored, &end, e);
}

static void take_out(struct batch *b)
{
    struct reopening *r = b->reopenings;

    b->reopenings = r->next;
    r->next = NULL;
    reopenings_free(r);
}

int reopening_step(struct batch *b, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_RESTORED};
    struct reopening *r = b->reopenings;
    const struct job_entry *j = r ? coord_job(b->coord, r->job) : NULL;
    int64_t begun_ms = clock_monotonic_ms();
    bool over = false;
    int rc = 0;

    if (!r || b->reopened || has_rows(b, r->job) || now_ms < b->reopening_wait_ms)
        return 0;
    b->reopened = true;
    if (j && !j->reopening) /* it was cancelled */
        j = NULL;
    r->until_ms = begun_ms + REOPENING_SLICE_MS;
    for (int stages = 0; j && !over && rc == 0 && stages <= STAGE_END; stages++) {
        enum stage stage = r->stage;

        rc = advance(r, j, now_ms, &over, &event.failure);
        if (rc == 0 && (stage == r->stage || enough(r))) /* the rest later */
            break;
    }
    if (rc == 0 && !over && j)
        return 0;
    if (rc == ERR_IO) {
        b->reopening_wait_ms = now_ms + REOPENING_PAUSE_MS;
        b->log(b->user, LOG_WARN, "not_reopened", event.failure.text);
        return 0;
    }
    event.job = r->job;
    take_out(b);
    return rc == 0 ? 0 : reactor_on(b->coord, &event, now_ms, &b->outbox, e);
}
