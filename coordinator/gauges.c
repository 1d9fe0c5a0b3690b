#include "coordinator/gauges.h"

#include "monitoring/metrics.h"

static const double render_bounds[] = {0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800};
static const double batch_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                      0.1,   0.25,   0.5,   1,    5};

struct gauges {
    struct metrics *metrics;
    int tasks, jobs, workers, queue, in_flight, images, failed_tasks, bytes, attempts, refused;
    int asset_bytes, hashed_bytes, wants, cache;
    int stuck, rate, render, batch, commit;
    uint64_t rate_images; /* images when the rate was last taken */
    double n_images;
    int64_t rate_ms;
};

static void families(struct gauges *g)
{
    struct metrics *m = g->metrics;

    g->tasks = metrics_family(m, METRIC_GAUGE, "litho_tasks",
                              "Tasks of jobs that are not over, by state.", "state");
    g->jobs = metrics_family(m, METRIC_GAUGE, "litho_jobs", "Jobs by state.", "state");
    g->workers = metrics_family(m, METRIC_GAUGE, "litho_workers", "Workers by state.", "state");
    g->queue = metrics_family(m, METRIC_GAUGE, "litho_queue_depth",
                              "Tasks that wait for a worker, over all running jobs.", NULL);
    g->in_flight = metrics_family(m, METRIC_GAUGE, "litho_tasks_in_flight",
                                  "Tasks given out and not settled.", NULL);
    g->images = metrics_family(m, METRIC_COUNTER, "litho_images_total",
                               "Pictures committed since the coordinator started.", NULL);
    g->failed_tasks = metrics_family(m, METRIC_COUNTER, "litho_failed_tasks_total",
                                     "Tasks that ended as a named failure.", NULL);
    g->bytes = metrics_family(m, METRIC_COUNTER, "litho_picture_bytes_total",
                              "Bytes of the pictures committed.", NULL);
    g->attempts = metrics_family(m, METRIC_COUNTER, "litho_attempts_total",
                                 "Attempts by what became of them.", "outcome");
    g->refused = metrics_family(m, METRIC_COUNTER, "litho_messages_refused_total",
                                "Messages that broke the protocol.", NULL);
    g->asset_bytes = metrics_family(m, METRIC_COUNTER, "litho_asset_bytes_total",
                                    "Bytes of files sent to workers.", NULL);
    g->hashed_bytes = metrics_family(m, METRIC_COUNTER, "litho_asset_hashed_bytes_total",
                                     "Bytes of files read to be hashed.", NULL);
    g->wants =
        metrics_family(m, METRIC_COUNTER, "litho_asset_wants_total",
                       "Parts of files that workers wanted, by what became of them.", "outcome");
    g->cache = metrics_family(m, METRIC_COUNTER, "litho_worker_cache_total",
                              "What the workers' caches of files did.", "event");
    g->stuck = metrics_family(m, METRIC_GAUGE, "litho_stuck_bytes",
                              "Pictures held in memory because the disk refuses them.", NULL);
    g->rate = metrics_family(m, METRIC_GAUGE, "litho_images_per_second",
                             "Pictures committed per second, over the last ten seconds.", NULL);
    g->render =
        metrics_histogram(m, "litho_render_seconds", "Time a worker took from prompt to PNG.",
                          render_bounds, sizeof render_bounds / sizeof *render_bounds);
    g->batch =
        metrics_histogram(m, "litho_batch_seconds", "Time of a batch: files, commit, messages.",
                          batch_bounds, sizeof batch_bounds / sizeof *batch_bounds);
    g->commit = metrics_histogram(m, "litho_commit_seconds",
                                  "Time of a batch's commit: folders synced, rows durable.",
                                  batch_bounds, sizeof batch_bounds / sizeof *batch_bounds);
}

int gauges_new(struct gauges **ret_gauges, struct err *e)
{
    struct gauges *g = calloc(1, sizeof *g);
    int rc;

    if (!g)
        return err_set(e, ERR_OOM, "no memory for metrics");
    rc = metrics_new(&g->metrics, e);
    if (rc != 0) {
        free(g);
        return rc;
    }
    families(g);
    *ret_gauges = g;
    return 0;
}

void gauges_free(struct gauges *g)
{
    if (!g)
        return;
    metrics_free(g->metrics);
    free(g);
}

void gauges_record(struct gauges *g, const struct record *record)
{
    if (record->failed) {
        metrics_add(g->metrics, g->failed_tasks, "", 1);
        return;
    }
    g->n_images++;
    metrics_add(g->metrics, g->images, "", 1);
    metrics_add(g->metrics, g->bytes, "", (double)record->bytes);
    if (record->attempt > 0)
        metrics_observe(g->metrics, g->render, record->render_seconds);
}

void gauges_batch(struct gauges *g, int64_t took_ms, int64_t commit_ms)
{
    if (commit_ms < 0)
        return; /* nothing happened, or nothing that lasts */
    metrics_observe(g->metrics, g->batch, (double)took_ms / 1000);
    metrics_observe(g->metrics, g->commit, (double)commit_ms / 1000);
}

static void set_jobs(struct gauges *g, const struct coord *c)
{
    double by_phase[JOB_PHASE_COUNT] = {0}, pending = 0, running = 0, done = 0, failed = 0;

    for (size_t i = 0; i < c->n_jobs; i++) {
        const struct job_entry *j = c->jobs[i];

        by_phase[j->phase]++;
        if (j->phase != JOB_RUNNING)
            continue;
        pending += (double)(j->tasks - j->done - j->failed - j->running);
        running += (double)j->running;
        done += (double)j->done;
        failed += (double)j->failed;
    }
    for (int i = 0; i < JOB_PHASE_COUNT; i++)
        metrics_set(g->metrics, g->jobs, job_phase_name((enum job_phase)i), by_phase[i]);
    metrics_set(g->metrics, g->tasks, "pending", pending);
    metrics_set(g->metrics, g->tasks, "running", running);
    metrics_set(g->metrics, g->tasks, "done", done);
    metrics_set(g->metrics, g->tasks, "failed", failed);
    metrics_set(g->metrics, g->queue, "", pending);
    metrics_set(g->metrics, g->in_flight, "", (double)c->n_tasks);
    metrics_set(g->metrics, g->stuck, "", (double)c->stuck_bytes);
}

static void set_workers(struct gauges *g, const struct coord *c)
{
    double idle = 0, busy = 0, lost = 0;

    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *w = c->workers[i];

        *(w->lost ? &lost : w->n_tasks ? &busy : &idle) += 1;
    }
    metrics_set(g->metrics, g->workers, "idle", idle);
    metrics_set(g->metrics, g->workers, "busy", busy);
    metrics_set(g->metrics, g->workers, "lost", lost);
}

static void set_attempts(struct gauges *g, const struct coord *c)
{
    const struct {
        const char *outcome;
        uint64_t n;
    } rows[] = {
        {"leased", c->count.leases},        {"accepted", c->count.accepted},
        {"duplicate", c->count.duplicates}, {"unknown", c->count.unknown},
        {"failed", c->count.failed},        {"lost", c->count.lost},
        {"stalled", c->count.stalled},      {"revoked", c->count.revoked},
        {"adopted", c->count.adopted},      {"gang", c->count.gangs},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        metrics_set(g->metrics, g->attempts, rows[i].outcome, (double)rows[i].n);
    metrics_set(g->metrics, g->refused, "", (double)c->count.refused);
}

static void set_assets(struct gauges *g, const struct assets *a)
{
    metrics_set(g->metrics, g->asset_bytes, "", (double)a->sent_bytes);
    metrics_set(g->metrics, g->hashed_bytes, "", (double)a->hashed_bytes);
    metrics_set(g->metrics, g->wants, "taken", (double)(a->wants - a->refused));
    metrics_set(g->metrics, g->wants, "refused", (double)a->refused);
    metrics_set(g->metrics, g->cache, "hit", (double)a->cache_hits);
    metrics_set(g->metrics, g->cache, "miss", (double)a->cache_misses);
    metrics_set(g->metrics, g->cache, "evicted", (double)a->cache_evictions);
    metrics_set(g->metrics, g->cache, "damaged", (double)a->cache_damaged);
}

static void set_rate(struct gauges *g, int64_t now_ms)
{
    int64_t past_ms = now_ms - g->rate_ms;

    if (past_ms < 10000)
        return;
    if (g->rate_ms)
        metrics_set(g->metrics, g->rate, "",
                    (g->n_images - (double)g->rate_images) * 1000 / (double)past_ms);
    g->rate_images = (uint64_t)g->n_images;
    g->rate_ms = now_ms;
}

int gauges_publish(struct gauges *g, const struct coord *c, int64_t now_ms, struct http *http,
                   struct err *e)
{
    struct buf text = {0};
    int rc;

    set_jobs(g, c);
    set_workers(g, c);
    set_attempts(g, c);
    set_assets(g, &c->assets);
    set_rate(g, now_ms);
    metrics_text(g->metrics, &text);
    rc = buf_check(&text, e);
    if (rc == 0)
        http_publish(http, &text);
    buf_done(&text);
    return rc;
}
