#include "coordinator/coord.h"

#include "coordinator/assets.h"

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

int coord_init(struct coord *c, const struct coord_limits *limits, const char *out_dir,
               struct err *e)
{
    *c = (struct coord){.limits = *limits, .next_number = 1, .next_session = 1};
    c->limits.heartbeat_ms = or_default(limits->heartbeat_ms, 2000);
    c->limits.silence_ms = or_default(limits->silence_ms, 15000);
    c->limits.grace_ms = or_default(limits->grace_ms, 6000);
    c->limits.stall_ms = or_default(limits->stall_ms, 60000);
    c->limits.load_ms = or_default(limits->load_ms, 600000);
    if (!c->limits.stuck_bytes)
        c->limits.stuck_bytes = 256u << 20;
    c->n_buckets = 1024;
    c->buckets = calloc(c->n_buckets, sizeof *c->buckets);
    c->found = calloc(COORD_FOUND_SLOTS, sizeof *c->found);
    c->out_dir = strdup(out_dir);
    if (!c->buckets || !c->found || !c->out_dir) {
        coord_done(c);
        return err_set(e, ERR_OOM, "no memory for the coordinator's state");
    }
    return 0;
}

static void note_done(struct failure_note *note)
{
    free(note->code);
    free(note->text);
}

void job_forget_failures(struct job_entry *j)
{
    while (j->n_failures)
        note_done(&j->failures[--j->n_failures]);
}

static void job_entry_free(struct job_entry *j)
{
    job_forget_failures(j);
    bits_done(&j->settled);
    job_free(j->job);
    free(j->name);
    job_assets_free(j->recheck, j->n_recheck);
    free(j->folder);
    free(j->sheet);
    free(j->wait_reason);
    free(j->token);
    free(j->stop_reason);
    queue_done(&j->queue);
    free(j);
}

void coord_done(struct coord *c)
{
    for (size_t i = 0; i < c->n_buckets && c->buckets; i++)
        while (c->buckets[i])
            coord_task_remove(c, c->buckets[i]);
    while (c->n_workers)
        coord_worker_remove(c, c->workers[c->n_workers - 1]);
    for (size_t i = 0; i < c->n_jobs; i++)
        job_entry_free(c->jobs[i]);
    while (c->stuck) {
        struct delivery *next = c->stuck->next;

        delivery_free(c->stuck);
        c->stuck = next;
    }
    free(c->jobs);
    free(c->workers);
    free(c->found);
    free(c->buckets);
    free(c->out_dir);
    assets_done(&c->assets);
    *c = (struct coord){0};
}

static int job_insert(struct coord *c, struct job_entry *j, struct err *e)
{
    if (c->n_jobs == c->jobs_room) {
        size_t room = c->jobs_room ? c->jobs_room * 2 : 16;
        struct job_entry **jobs = realloc(c->jobs, room * sizeof *jobs);

        if (!jobs)
            return err_set(e, ERR_OOM, "no memory for another job");
        c->jobs = jobs;
        c->jobs_room = room;
    }
    c->jobs[c->n_jobs++] = j;
    if (j->number >= c->next_number)
        c->next_number = j->number + 1;
    return 0;
}

static int job_entry_add(struct coord *c, uint64_t number, const char *hash, const char *name,
                         struct job_entry **ret_entry, struct err *e)
{
    struct job_entry *j = calloc(1, sizeof *j);
    int rc;

    if (!j)
        return err_set(e, ERR_OOM, "no memory for another job");
    j->number = number;
    snprintf(j->hash, sizeof j->hash, "%s", hash);
    j->name = strdup(name);
    if (!j->name) {
        rc = err_set(e, ERR_OOM, "no memory for another job");
        goto out;
    }
    TRY(job_insert(c, j, e));
    *ret_entry = j;
    j = NULL;
out:
    if (j)
        job_entry_free(j);
    return rc;
}

/* Where the job is that had the fewest leases: a new one starts there, and owes no past. */
static uint64_t least_pass(const struct coord *c)
{
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < c->n_jobs; i++)
        if (c->jobs[i]->phase == JOB_RUNNING && c->jobs[i]->pass < least)
            least = c->jobs[i]->pass;
    return least == UINT64_MAX ? 0 : least;
}

void job_entry_read(const struct coord *c, struct job_entry *j)
{
    j->gang = job_conduct(j->job)->gang;
    j->gang_shape = job_conduct(j->job)->shape;
    j->frames = job_frames(j->job);
    j->out_dir = c->out_dir;
}

int coord_job_add(struct coord *c, uint64_t number, struct job *job, struct job_entry **ret_entry,
                  struct err *e)
{
    struct job_entry *j = NULL;
    int rc = job_entry_add(c, number, job_hash(job), job_name(job), &j, e);

    if (rc != 0)
        return rc;
    rc = queue_open(&j->queue, job, e);
    if (rc != 0) {
        coord_job_remove(c, j);
        return rc;
    }
    j->job = job;
    j->tasks = job_count(job);
    j->priority = job_conduct(job)->priority;
    job_entry_read(c, j);
    j->pass = least_pass(c);
    *ret_entry = j;
    return 0;
}

int coord_job_add_settled(struct coord *c, uint64_t number, const char *hash, const char *name,
                          struct job_entry **ret_entry, struct err *e)
{
    return job_entry_add(c, number, hash, name, ret_entry, e);
}

void coord_job_remove(struct coord *c, struct job_entry *j)
{
    coord_job_tasks_remove(c, j);
    for (size_t i = 0; i < c->n_jobs; i++) {
        if (c->jobs[i] != j)
            continue;
        memmove(c->jobs + i, c->jobs + i + 1, (c->n_jobs - i - 1) * sizeof *c->jobs);
        c->n_jobs--;
        break;
    }
    job_entry_free(j);
}

struct job_entry *coord_job(const struct coord *c, uint64_t number)
{
    for (size_t i = c->n_jobs; i-- > 0;)
        if (c->jobs[i]->number == number)
            return c->jobs[i];
    return NULL;
}

struct job_entry *coord_job_by_hash(const struct coord *c, const char *hash)
{
    for (size_t i = c->n_jobs; i-- > 0;)
        if (strcmp(c->jobs[i]->hash, hash) == 0)
            return c->jobs[i];
    return NULL;
}

struct job_entry *coord_job_by_token(const struct coord *c, const char *token)
{
    for (size_t i = c->n_jobs; i-- > 0;)
        if (c->jobs[i]->token && strcmp(c->jobs[i]->token, token) == 0)
            return c->jobs[i];
    return NULL;
}

static struct job_entry *job_by_name(const struct coord *c, const char *name)
{
    for (size_t i = c->n_jobs; i-- > 0;)
        if (strcmp(c->jobs[i]->name, name) == 0)
            return c->jobs[i];
    return NULL;
}

static int ambiguous(const struct coord *c, const char *prefix, struct err *e)
{
    struct buf list = {0};
    size_t n = strlen(prefix);
    int shown = 0, rc;

    for (size_t i = 0; i < c->n_jobs; i++) {
        if (strncmp(c->jobs[i]->hash, prefix, n) != 0)
            continue;
        if (shown++ < 8)
            buf_printf(&list, "%s%.12s (%s)", shown > 1 ? ", " : "", c->jobs[i]->hash,
                       c->jobs[i]->name);
    }
    rc = err_set(e, ERR_ARG, "'%s' names %d jobs: %s%s", prefix, shown, buf_text(&list),
                 shown > 8 ? ", ..." : "");
    buf_done(&list);
    return rc;
}

int coord_job_find(const struct coord *c, const char *typed, struct job_entry **ret_entry,
                   struct err *e)
{
    struct job_entry *found = job_by_name(c, typed);
    size_t n = strlen(typed), matches = 0;

    if (!found && n >= 4 && n < HASH_HEX_SIZE) {
        for (size_t i = 0; i < c->n_jobs; i++) {
            if (strncmp(c->jobs[i]->hash, typed, n) != 0)
                continue;
            found = c->jobs[i];
            matches++;
        }
    }
    if (matches > 1)
        return ambiguous(c, typed, e);
    if (!found)
        return err_set(e, ERR_MISSING,
                       "no job '%.100s' (a job's name, its hash, or at least 4 digits of it)",
                       typed);
    *ret_entry = found;
    return 0;
}

int job_settle(struct job_entry *j, uint64_t index, struct err *e)
{
    int rc = bits_add(&j->settled, index, e);

    if (rc == 0)
        settled_raise(j->job, &j->settled);
    return rc;
}

void settled_raise(const struct job *job, struct bits *settled)
{
    uint64_t span = job_span(job), next = job_next(job, settled->floor), end;

    while (next < span && (end = bits_gap(settled, next)) > next)
        next = job_next(job, end);
    bits_raise(settled, next);
}

static void note_remove(struct job_entry *j, size_t at)
{
    memmove(j->failures + at, j->failures + at + 1, (--j->n_failures - at) * sizeof *j->failures);
}

/* Of the notes so far the one of the same text, taken out; else a copy. false: no memory. */
static bool note_take(struct job_entry *j, const struct failure_note *by, struct failure_note *ret)
{
    for (size_t i = 0; i < j->n_failures; i++) {
        struct failure_note *old = &j->failures[i];

        if (strcmp(old->code, by->code) != 0 || strcmp(old->text, by->text) != 0)
            continue;
        *ret = *old;
        ret->tasks += by->tasks;
        if (by->index < ret->index) {
            ret->index = by->index;
            ret->attempts = by->attempts;
        }
        note_remove(j, i);
        return true;
    }
    *ret = *by;
    ret->code = strdup(by->code);
    ret->text = strdup(by->text);
    return ret->code && ret->text;
}

int job_note_failure(struct job_entry *j, const struct failure_note *by, struct err *e)
{
    struct failure_note note;
    size_t at;

    if (!note_take(j, by, &note)) {
        note_done(&note);
        return err_set(e, ERR_OOM, "no memory for a failure");
    }
    for (at = j->n_failures; at > 0 && j->failures[at - 1].index > note.index; at--)
        ;
    if (at == COORD_FAILURES_SHOWN) {
        note_done(&note);
        return 0;
    }
    if (j->n_failures == COORD_FAILURES_SHOWN)
        note_done(&j->failures[--j->n_failures]);
    memmove(j->failures + at + 1, j->failures + at, (j->n_failures - at) * sizeof note);
    j->failures[at] = note;
    j->n_failures++;
    return 0;
}

int text_replace(char **text, const char *by, struct err *e)
{
    char *copy;

    if (*text && by && strcmp(*text, by) == 0)
        return 0;
    copy = by ? strdup(by) : NULL;
    if (by && !copy)
        return err_set(e, ERR_OOM, "no memory for a text");
    free(*text);
    *text = copy;
    return 0;
}

int job_wait(struct job_entry *j, int64_t until_ms, const char *reason, struct err *e)
{
    free(j->wait_reason);
    j->wait_reason = reason ? strdup(reason) : NULL;
    j->wait_until_ms = reason ? until_ms : 0;
    if (reason && !j->wait_reason)
        return err_set(e, ERR_OOM, "no memory for a reason");
    return 0;
}

void coord_absent(struct coord *c, int64_t for_ms)
{
    for (size_t i = 0; i < c->n_workers; i++) {
        c->workers[i]->heard_ms += for_ms;
        c->workers[i]->active_ms += for_ms;
    }
    for (size_t i = 0; i < c->n_clients; i++)
        c->clients[i].heard_ms += for_ms;
    for (size_t i = 0; i < c->n_buckets; i++)
        for (struct task_entry *t = c->buckets[i]; t; t = t->chain)
            for (size_t k = 0; k < t->n_runs; k++) {
                t->runs[k].since_ms += for_ms;
                t->runs[k].until_ms += for_ms;
            }
}

void text_cut(char *ret_text, size_t size, const char *text)
{
    size_t n = strlen(text);

    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(ret_text, text, n);
    ret_text[n] = 0;
}

double job_rate(const struct job_entry *j, int64_t now_ms)
{
    uint64_t n = j->n_recent < COORD_RECENT ? j->n_recent : COORD_RECENT;
    int64_t oldest;

    if (n < 2 || j->phase != JOB_RUNNING)
        return 0;
    oldest = j->recent_ms[(j->n_recent - n) % COORD_RECENT];
    return now_ms > oldest ? (double)(n - 1) * 1000.0 / (double)(now_ms - oldest) : 0;
}

const char *job_phase_name(enum job_phase phase)
{
    static const char *const names[JOB_PHASE_COUNT] = {
        [JOB_OPENING] = "queued", [JOB_RUNNING] = "running", [JOB_FINISHING] = "finishing",
        [JOB_DONE] = "done",      [JOB_FAILED] = "failed",   [JOB_CANCELLED] = "cancelled",
    };

    return names[phase];
}
