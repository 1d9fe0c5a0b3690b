/*
 * litho run job.yaml: a whole cluster for one job, from the manifest to the pictures and back to
 * the prompt.
 */
#include "jobs/cli/amounts.h"
#include "jobs/cli/errand.h"
#include "jobs/cli/measure.h"
#include "jobs/cli/missing.h"
#include "jobs/cli/order.h"
#include "jobs/cli/views.h"

#include "coordinator/state_dir.h"
#include "coordinator/store.h"
#include "proto/clock.h"

#include <string.h>

#define DEFAULT_OUT     "out"
#define DEFAULT_WORKERS 2

struct local_run {
    struct cli *cli;
    struct state state;
    struct order order;
    struct errand errand;
    int64_t started_ms; /* monotonic */
};

static int numbers_read(struct local_run *r, struct err *e)
{
    const struct options *o = &r->cli->options;
    int64_t workers, threads;
    int n = errand_cores(), rc = 0;

    TRY(options_number(o, OPTION_WORKERS, 1, CLUSTER_WORKERS_MAX,
                       n < DEFAULT_WORKERS ? n : DEFAULT_WORKERS, &workers, e));
    TRY(options_number(o, OPTION_THREADS, 1, CLUSTER_THREADS_MAX, n > workers ? n / workers : 1,
                       &threads, e));
    r->errand.options.workers = (int)workers;
    r->errand.options.threads = (int)threads;
    r->errand.options.models = o->value[OPTION_MODELS];
out:
    return rc;
}

/*
 * The base of later estimates, of a run that was stopped too; one that cannot keep it has rendered
 * all the same. Small pictures come in batches before a step of theirs was seen: then the run's
 * start counts.
 */
static void remember(struct local_run *r, int64_t ended_ms)
{
    const struct errand *errand = &r->errand;
    bool seen = errand->first_step_ms != 0 && errand->done > errand->done_at_step;
    int64_t since_ms = seen ? errand->first_step_ms : r->started_ms;
    double seconds = (double)(ended_ms - since_ms) / 1000;
    struct measure m = {.images =
                            errand->done - (seen ? errand->done_at_step : errand->there_at_first),
                        .workers = errand->options.workers,
                        .threads = errand->options.threads};
    struct makespan makespan;
    struct workload w;
    double in_turn; /* pictures that were rendered one after another */
    struct err e;

    if (m.images == 0 || seconds <= 0 || workload_of(r->order.job, &w, NULL) != 0)
        return;
    makespan = workload_makespan(&w, r->order.job, m.workers);
    in_turn =
        makespan_left(&makespan, errand->done - m.images) - makespan_left(&makespan, errand->done);
    m.work_per_second = w.work * in_turn * (double)makespan.renderers / seconds;
    m.bytes_per_pixel = measure_pictures(&r->state, r->order.job);
    if (m.bytes_per_pixel > 0 && measure_write(&r->state, r->order.job, &m, &e) != 0)
        cli_note(r->cli, "the next plan will not know this run's speed: %s", e.text);
}

static void headline(const struct local_run *r, double seconds, struct buf *line)
{
    const struct job_summary *s = &r->errand.final.job.summary;
    uint64_t rendered = s->done - r->errand.there_at_first;

    if (rendered == 0 && s->done == s->tasks) {
        buf_puts(line, "nothing to do: ");
        amount_images(s->done, line);
        buf_puts(line, s->done == 1 ? " is there" : " are there");
        return;
    }
    amount_images(rendered, line);
    buf_puts(line, " in ");
    amount_duration(seconds, line);
    if (rendered > 0 && seconds > 0) {
        buf_puts(line, ", ");
        amount_rate((double)rendered / seconds, line);
    }
    if (r->errand.there_at_first > 0) {
        buf_puts(line, "; ");
        amount_count(r->errand.there_at_first, line);
        buf_puts(line, r->errand.there_at_first == 1 ? " was there" : " were there");
    }
}

static void print_summary(struct local_run *r, double seconds)
{
    const struct job_summary *s = &r->errand.final.job.summary;
    const struct terminal *t = &r->cli->out;
    struct buf line = {0};

    headline(r, seconds, &line);
    fprintf(t->file, "%s%s%s\n", style(t, s->failed == 0 ? STYLE_GREEN : STYLE_YELLOW),
            buf_text(&line), style(t, STYLE_OFF));
    fprintf(t->file, "  folder  %s\n", s->folder);
    if (s->sheet[0] != '\0')
        fprintf(t->file, "  sheet   %s\n", s->sheet);
    if (s->done > 0)
        fprintf(t->file, "  index   %s/index.jsonl\n", s->folder);
    fflush(t->file);
    buf_done(&line);
}

static void print_json(struct local_run *r, double seconds)
{
    const struct job_summary *s = &r->errand.final.job.summary;
    json_t *line = view_job_json(&r->errand.final.job);
    struct buf index = {0};

    buf_printf(&index, "%s/index.jsonl", s->folder);
    json_object_set_new(line, "index", json_string(buf_text(&index)));
    json_object_set_new(line, "rendered",
                        json_integer((json_int_t)(s->done - r->errand.there_at_first)));
    json_object_set_new(line, "restarts", json_integer(cluster_restarts(r->errand.cluster)));
    json_object_set_new(line, "seconds", json_real(seconds));
    cli_json(r->cli, line);
    buf_done(&index);
}

static int finish(struct local_run *r)
{
    double seconds = (double)(clock_monotonic_ms() - r->started_ms) / 1000;
    int restarts = cluster_restarts(r->errand.cluster);

    remember(r, clock_monotonic_ms());
    if (cli_has(r->cli, OPTION_JSON))
        print_json(r, seconds);
    else if (!cli_has(r->cli, OPTION_QUIET))
        print_summary(r, seconds);
    if (restarts > 0)
        cli_note(r->cli, "workers died and were started again %d time%s: see %s", restarts,
                 restarts == 1 ? "" : "s", r->state.logs);
    if (!cli_has(r->cli, OPTION_JSON))
        view_failures(&r->cli->err, &r->errand.final.job);
    return view_exit_code(&r->errand.final.job.summary);
}

/* Workers hand in what they have ready: what is there is known when all have ended. */
static int give_up(struct local_run *r, const struct err *e)
{
    int64_t ended_ms = clock_monotonic_ms();
    struct buf tasks = {0}, there = {0};
    uint64_t done, failed;

    if (e->code != ERR_CANCELLED)
        return cli_fail(r->cli, e);
    cli_note(r->cli, "stopping; Ctrl-C again to kill");
    errand_stop(&r->errand);
    if (store_peek(r->state.folder, job_hash(r->order.job), &done, &failed, NULL) == 0)
        r->errand.done = done;
    remember(r, ended_ms);
    amount_images(job_count(r->order.job), &tasks);
    amount_count(r->errand.done, &there);
    cli_note(r->cli, "%s of %s %s there; the same command renders the rest", buf_text(&there),
             buf_text(&tasks), r->errand.done == 1 ? "is" : "are");
    buf_done(&tasks);
    buf_done(&there);
    return EXIT_INTERRUPTED;
}

/* The coordinator would say so itself, but in its log. */
static int check_alone(const struct local_run *r, struct err *e)
{
    int fd, rc = state_lock(r->state.folder, &fd, e);

    if (rc == 0)
        state_unlock(fd);
    else if (rc == ERR_CONFLICT)
        err_set(e, rc,
                "another run is at work in %s: wait for it, or give this one a folder of its own "
                "with --out DIR (%s)",
                r->state.out, e ? e->text : "");
    return rc;
}

/* A gang that the cluster cannot form would be waited for without end. */
static int check_gang(const struct local_run *r, struct err *e)
{
    const struct conduct *conduct = job_conduct(r->order.job);
    uint32_t members = conduct->shape.guidance * conduct->shape.tensor;

    if (conduct->gang != GANG_SHAPE || members <= (uint32_t)r->errand.options.workers)
        return 0;
    return err_set(e, ERR_ARG,
                   "the manifest asks for gangs of %u workers, this run has %d: give it "
                   "--workers %u, or leave 'gang' out",
                   members, r->errand.options.workers, members);
}

/* The rest can be rendered; what cannot is better known now than at the end. */
static int warn_of_missing(const struct local_run *r, struct err *e)
{
    struct missing missing = {0};
    int rc = missing_look(r->order.job, r->cli->options.value[OPTION_MODELS], &missing, e);

    for (size_t i = 0; i < missing.n; i++)
        cli_note(r->cli, "pictures will fail: %s", missing.texts[i]);
    missing_done(&missing);
    return rc;
}

static void tell_folder(const struct local_run *r)
{
    const struct job *job = r->order.job;

    if (!cli_has(r->cli, OPTION_QUIET) && strcmp(job_folder(job), job_name(job)) != 0)
        cli_note(r->cli,
                 "%s/%s is another manifest's of this name and stays as it is: this one's pictures "
                 "go to %s/%s",
                 r->state.out, job_name(job), r->state.out, job_folder(job));
}

static int prepare(struct local_run *r, struct err *e)
{
    int rc = 0;

    TRY(check_gang(r, e));
    TRY(state_make(&r->state, e));
    TRY(check_alone(r, e));
    TRY(warn_of_missing(r, e));
    TRY(order_keep(&r->order, &r->state, e));
    tell_folder(r);
    r->errand.cli = r->cli;
    r->errand.lines = true;
    r->errand.force = cli_has(r->cli, OPTION_FORCE);
    r->errand.job = r->order.job;
    r->errand.bundle = &r->order.bundle;
    r->errand.options.state = r->state.folder;
    r->errand.options.out = r->state.out;
    r->errand.options.logs = r->state.logs;
out:
    return rc;
}

int command_run(struct cli *c)
{
    const char *out = c->options.value[OPTION_OUT];
    struct local_run r = {.cli = c, .started_ms = clock_monotonic_ms()};
    struct err e = {0};
    int rc = 0, code;

    TRY(numbers_read(&r, &e));
    TRY(state_locate(out != NULL ? out : DEFAULT_OUT, &r.state, &e));
    if ((rc = order_read(c, &r.state, &r.order, &e)) == 0) {
        TRY(prepare(&r, &e));
        TRY(errand_run(&r.errand, &e));
    }
out:
    if (rc == 0)
        code = finish(&r);
    else if (r.order.job == NULL)
        code = order_fail(c, &r.order, &e);
    else
        code = give_up(&r, &e);
    errand_done(&r.errand);
    order_done(&r.order);
    state_done(&r.state);
    return code;
}
