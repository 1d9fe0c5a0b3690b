#include "coordinator/chains.h"

#include "coordinator/assets.h"
#include "coordinator/attempts.h"

bool chain_is_open(const struct task_entry *t)
{
    return !task_is_unlinked(t);
}

/* A class that tasks of any precision come to; else the one that this precision does. */
static bool makes(const struct abilities *a, enum precision asked, const char *device_class)
{
    bool found = false;

    if (!a->at[asked].device_class || a->at[asked].computed >= 0)
        return a->at[asked].device_class && strcmp(a->at[asked].device_class, device_class) == 0;
    for (int i = 0; i < PRECISION_COUNT; i++) /* the model decides which of them it is */
        found |= a->at[i].device_class && strcmp(a->at[i].device_class, device_class) == 0;
    return found;
}

bool chain_suits(const struct task_entry *t, const struct worker *w)
{
    return !t->later || !t->before.device_class || !t->needs.model_key ||
           makes(&w->abilities, t->needs.precision, t->before.device_class);
}

bool chain_goes_on(const struct task_entry *t)
{
    return job_frame(t->job->job, t->index) + 1 < t->job->frames;
}

bool chain_takes_turns(const struct task_entry *t)
{
    return t->later && t->attempts == 0;
}

/* --- what a frame starts from --- */

/* "cpu" of "cpu+tensor2"; ret_parts: 2. */
static char *class_of(const char *device_class, uint32_t *ret_parts)
{
    const char *plus = strstr(device_class, "+tensor");

    *ret_parts = plus ? (uint32_t)strtoul(plus + strlen("+tensor"), NULL, 10) : 0;
    return plus ? strndup(device_class, (size_t)(plus - device_class)) : strdup(device_class);
}

/* Why the frame after `record` fails: what broke the chain first stays told. */
static char *broken(const struct job_entry *j, const struct record *record)
{
    struct buf text = {0};

    if (strncmp(record->text, CHAINS_BROKEN, strlen(CHAINS_BROKEN)) == 0)
        return strdup(record->text);
    buf_printf(&text, CHAINS_BROKEN "%llu (task %llu): %s: %s",
               (unsigned long long)job_frame(j->job, record->index),
               (unsigned long long)record->index, record->code, record->text);
    return buf_detach(&text);
}

static int take_link(struct coord *c, struct task_entry *t, const struct record *record,
                     uint64_t session, struct err *e)
{
    struct frame_before b = {.known = true, .session = session};
    uint32_t parts = 0;
    bool memory;

    if (record->failed)
        b.failure = broken(t->job, record);
    else if (record->device_class && record->device_class[0])
        b.device_class = class_of(record->device_class, &parts);
    memory = record->failed ? b.failure != NULL
                            : !record->device_class || !record->device_class[0] || b.device_class;
    if (!memory)
        return err_set(e, ERR_OOM, "no memory for a frame");
    memcpy(b.sha256, record->sha256, sizeof b.sha256);
    c->n_unlinked -= b.failure == NULL;
    t->before = b;
    if (t->job->gang == GANG_AUTO)
        t->too_large = parts; /* of one class, so of one shape */
    return 0;
}

int chain_follow(struct coord *c, struct job_entry *j, const struct record *record,
                 uint64_t session, struct err *e)
{
    uint64_t next = record->index + 1;
    struct task_entry *t;
    int rc = 0;

    if (next >= job_span(j->job) || job_frame(j->job, next) == 0 || bits_has(&j->settled, next))
        return 0;
    t = coord_task(c, j, next);
    if (!t)
        TRY(coord_task_add(c, j, next, &t, e));
    if (!t->before.known)
        TRY(take_link(c, t, record, session, e));
out:
    return rc;
}

int chain_start_here(const struct task_entry *entry, struct task *t, struct err *e)
{
    struct buf path = {0};
    char *init = NULL;
    int rc = 0;

    if (!entry->later)
        return 0;
    buf_printf(&path, "%s/", entry->job->out_dir);
    TRY(job_path(entry->job->job, entry->index - 1, &path, e));
    init = buf_detach(&path);
    if (!init)
        TRY(err_set(e, ERR_OOM, "no memory for a frame"));
    free(t->init_image);
    t->init_image = init;
out:
    buf_done(&path);
    return rc;
}

int chain_start_named(const struct task_entry *entry, struct task *t, struct err *e)
{
    return entry->later ? task_start_from(t, entry->before.sha256, e) : 0;
}

bool chain_is_torn(const struct coord *c, const struct task_entry *t, struct err *e)
{
    struct task here = {0};
    const char *now;
    bool torn = false;

    if (!t->later || !c->limits.assets || chain_start_here(t, &here, NULL) != 0)
        return false;
    now = assets_sha256(c, ASSET_INIT, here.init_image);
    torn = !now || strcmp(now, t->before.sha256) != 0;
    if (torn)
        err_set(
            e, ERR_MISSING,
            "the frame before, '%s', is not as it was recorded: it was %s. Submit the job again "
            "when it is removed, and it is rendered anew with all after it",
            here.init_image, now ? "changed" : "moved or removed, or is no picture any more");
    task_done(&here);
    return torn;
}

/* --- what is not known yet, or broken --- */

static int ask(struct task_entry *t, struct outbox *o, struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(o, OUT_BEFORE, &out, e));
    out->job = t->job->number;
    out->index = t->index;
    t->before.asked = true;
out:
    return rc;
}

int on_before(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);
    struct task_entry *t = j && j->job ? coord_task(c, j, event->index) : NULL;

    if (!t || !t->later || t->before.known)
        return 0;
    if (event->found)
        return take_link(c, t, event->found, 0, e);
    return task_fail(c, t, NULL, err_name(ERR_INTERNAL),
                     "the record of the frame before it is missing", now_ms, o, e);
}

/* This frame, and those after it, as far as one call goes. */
static int break_chain(struct coord *c, struct task_entry *t, int64_t now_ms, struct outbox *o,
                       struct err *e)
{
    struct job_entry *j = t->job;
    int rc = 0;

    if (strncmp(t->before.failure, CHAINS_BROKEN, strlen(CHAINS_BROKEN)) == 0)
        TRY(outbox_log(o, LOG_WARN, e, "chain_broken", "job=%.12s index=%llu why=\"%.300s\"",
                       j->hash, (unsigned long long)t->index, t->before.failure));
    for (int n = 0; t && task_is_unlinked(t) && t->before.failure && n < CHAINS_AT_ONCE; n++) {
        struct record record = {.index = t->index, .attempt = t->attempts};
        uint64_t next = t->index + 1;
        char text[1000];

        text_cut(text, sizeof text, t->before.failure);
        rc = record_failure(&record, "", err_name(ERR_MISSING), text, e);
        if (rc == 0)
            rc = task_settle(c, j, &record, now_ms, o, e);
        record_done(&record);
        TRY(rc);
        t = next < job_span(j->job) ? coord_task(c, j, next) : NULL;
    }
out:
    return rc;
}

/* ret_broken: one that is to fail, if there is one. */
static int look(struct coord *c, struct task_entry **ret_broken, struct outbox *o, struct err *e)
{
    int rc = 0;

    *ret_broken = NULL;
    for (size_t i = 0; i < c->n_buckets; i++) {
        for (struct task_entry *t = c->buckets[i]; t; t = t->chain) {
            if (!task_is_unlinked(t) || t->job->phase != JOB_RUNNING)
                continue;
            if (t->before.failure)
                *ret_broken = t;
            else if (!t->before.asked && bits_has(&t->job->settled, t->index - 1))
                TRY(ask(t, o, e));
        }
    }
out:
    return rc;
}

int chains_step(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct task_entry *t;
    int rc = 0;

    for (int n = 0; c->n_unlinked && n < CHAINS_AT_ONCE; n++) {
        TRY(look(c, &t, o, e));
        if (!t)
            break;
        TRY(break_chain(c, t, now_ms, o, e));
    }
out:
    return rc;
}

void chains_forget_broken(struct coord *c, const struct job_entry *j)
{
    for (size_t i = 0; c->n_unlinked && i < c->n_buckets; i++) {
        for (struct task_entry *t = c->buckets[i], *chain; t; t = chain) {
            chain = t->chain;
            if (t->job == j && t->before.failure)
                coord_task_remove(c, t);
        }
    }
}
