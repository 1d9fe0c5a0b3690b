#include "jobs/cli/errand.h"

#include "jobs/cli/follow.h"
#include "jobs/cli/interrupts.h"
#include "jobs/cli/views.h"
#include "jobs/library.h"
#include "proto/clock.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_PAGE         200    /* jobs of one answer */
#define LOOK_MS           200    /* between looks at the job */
#define ANSWER_TIMEOUT_MS 120000 /* of our own coordinator, whose death is noticed at once */

int errand_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return CPU_COUNT(&set);
}

static void on_status(void *user, const struct msg_job *m)
{
    struct errand *r = user;

    r->done = m->summary.done;
    if (strncmp(m->summary.reason, MSG_NOBODY_RENDERS, strlen(MSG_NOBODY_RENDERS)) == 0)
        snprintf(r->refused, sizeof(r->refused), "%s", m->summary.reason);
    for (size_t i = 0; i < m->n_running; i++) {
        cluster_worker_works(r->cluster, m->running[i].worker);
        if (r->first_step_ms == 0 && m->running[i].step > 0) {
            r->first_step_ms = clock_monotonic_ms();
            r->done_at_step = m->summary.done;
        }
    }
}

/* Nobody will join: what these workers cannot do would be waited for without end. */
static int check(void *user, struct err *e)
{
    struct errand *r = user;

    if (r->refused[0] != '\0')
        return err_set(e, ERR_ARG,
                       "%s: 'litho submit' reaches a cluster that may have others, or change "
                       "'precision'",
                       r->refused);
    return cluster_check(r->cluster, e);
}

/*
 * What an earlier run into this folder left undone would be rendered beside our job, and first: of
 * a manifest that was stopped and changed, both. Cancelled, it goes on when it is run again.
 */
static int cancel_others(struct errand *r, struct err *e)
{
    struct msg request, answer = {0}, cancelled;
    uint64_t offset = 0;
    bool more;
    int rc = 0;

    do {
        request = (struct msg){.type = MSG_LIST, .list = {.offset = offset, .limit = JOBS_PAGE}};
        TRY(client_ask(r->client, &request, MSG_JOBS, &answer, e));
        for (size_t i = 0; i < answer.jobs.n_jobs; i++) {
            const struct job_summary *s = &answer.jobs.jobs[i];

            if (view_settled(s) || s->pending + s->running == 0 ||
                strcmp(s->job, job_hash(r->job)) == 0)
                continue;
            request = (struct msg){.type = MSG_CANCEL, .cancel = {.job = s->job}};
            TRY(client_ask(r->client, &request, MSG_JOB, &cancelled, e));
            msg_done(&cancelled);
        }
        offset += answer.jobs.n_jobs;
        more = answer.jobs.n_jobs > 0 && offset < answer.jobs.total;
        msg_done(&answer);
        answer = (struct msg){0};
    } while (more);
out:
    msg_done(&answer);
    return rc;
}

static int submit(struct errand *r, bool *ret_settled, struct err *e)
{
    struct msg request = {.type = MSG_SUBMIT}, answer;
    int rc = 0;

    request.submit.bundle = r->bundle->data;
    request.submit.bundle_size = r->bundle->size;
    request.submit.force = r->force;
    TRY(client_ask(r->client, &request, MSG_SUBMITTED, &answer, e));
    msg_done(&answer);
    request = (struct msg){.type = MSG_STATUS, .status = {.job = job_hash(r->job)}};
    for (bool looks = true; looks; msg_done(&answer)) { /* for pictures that are gone */
        TRY(client_ask(r->client, &request, MSG_JOB, &answer, e));
        r->there_at_first = r->done = answer.job.summary.done;
        *ret_settled = answer.job.summary.pending + answer.job.summary.running == 0;
        looks = strcmp(answer.job.summary.state, "waiting") == 0;
        if (looks && (rc = client_pause(r->client, LOOK_MS, e)) != 0) {
            msg_done(&answer);
            goto out;
        }
    }
out:
    return rc;
}

/* Our workers search where we do: what is not here would fail every task that names it. */
static int models_there(const struct errand *r, struct err *e)
{
    size_t n = job_models(r->job, NULL, 0);
    const char **models = calloc(n > 0 ? n : 1, sizeof *models);
    int rc = 0;

    if (models == NULL)
        return err_set(e, ERR_OOM, "out of memory");
    job_models(r->job, models, n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct buf folder = {0};

        rc = library_locate(r->options.models, models[i], &folder, e);
        if (rc != 0 && e != NULL)
            err_set(e, rc,
                    "%s; name its folder with --model PATH, or the library with --models DIR",
                    e->text);
        buf_done(&folder);
    }
    free(models);
    return rc;
}

int errand_run(struct errand *r, struct err *e)
{
    struct client_options o = {.timeout_ms = ANSWER_TIMEOUT_MS, .check = check, .user = r};
    struct follow f = {
        .cli = r->cli, .job = job_hash(r->job), .seen = on_status, .user = r, .lines = r->lines};
    bool settled;
    int rc = 0;

    TRY(interrupts_catch(e));
    TRY(cluster_start(&r->options, &r->cluster, e));
    o.endpoint = cluster_endpoint(r->cluster);
    TRY(client_open(&o, &r->client, e));
    TRY(cancel_others(r, e));
    TRY(submit(r, &settled, e));
    if (!settled) { /* a job with nothing left to render needs no workers */
        TRY(models_there(r, e));
        TRY(cluster_start_workers(r->cluster, e));
    }
    f.client = r->client;
    TRY(follow_job(&f, &r->final, e));
out:
    return rc;
}

void errand_stop(struct errand *r)
{
    client_close(r->client);
    r->client = NULL;
    if (r->cluster != NULL)
        cluster_stop(r->cluster);
}

void errand_done(struct errand *r)
{
    errand_stop(r);
    msg_done(&r->final);
    r->final = (struct msg){0};
    cluster_free(r->cluster);
    r->cluster = NULL;
}
