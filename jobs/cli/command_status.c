/* litho status JOB, and what changes one job: cancel, pause, resume, retry, rm. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "jobs/cli/views.h"

#include <string.h>

static void print_counts(const struct terminal *t, const struct msg_job *m)
{
    const struct job_summary *s = &m->summary;
    struct progress p = view_progress(m);
    struct buf line = {0};

    amount_count(s->done, &line);
    buf_puts(&line, " of ");
    amount_images(s->tasks, &line);
    if (s->running > 0)
        buf_printf(&line, ", %llu running", (unsigned long long)s->running);
    if (s->failed > 0)
        buf_printf(&line, ", %llu failed", (unsigned long long)s->failed);
    if (!view_settled(s) && p.rate > 0) {
        buf_puts(&line, ", ");
        amount_rate(p.rate, &line);
    }
    if (!view_settled(s) && p.eta_seconds >= 0) {
        buf_puts(&line, ", ");
        amount_duration(p.eta_seconds, &line);
        buf_puts(&line, " left");
    }
    fprintf(t->file, "  images  %s\n", buf_text(&line));
    buf_done(&line);
}

static void print_job(const struct terminal *t, const struct msg_job *m)
{
    const struct job_summary *s = &m->summary;

    fprintf(t->file, "%s%s%s  %s\n", style(t, STYLE_BOLD), s->name, style(t, STYLE_OFF), s->state);
    fprintf(t->file, "  job     %s\n", s->job);
    print_counts(t, m);
    view_reason(t, m);
    if (s->priority != 50 && s->priority != 0)
        fprintf(t->file, "  priority %u\n", s->priority);
    view_gang(t, m);
    fprintf(t->file, "  folder  %s\n", s->folder);
    if (s->sheet[0] != '\0')
        fprintf(t->file, "  sheet   %s\n", s->sheet);
    for (size_t i = 0; i < m->n_running; i++)
        if (m->running[i].fetch_bytes > 0)
            fprintf(t->file, "  task %llu, attempt %u on %s: fetching, %.1f of %.1f MB, %.1f s\n",
                    (unsigned long long)m->running[i].ref.index, m->running[i].ref.attempt,
                    m->running[i].worker, (double)m->running[i].fetched / 1e6,
                    (double)m->running[i].fetch_bytes / 1e6, (double)m->running[i].since_ms / 1000);
        else
            fprintf(t->file, "  task %llu, attempt %u on %s: step %u of %u, %.1f s\n",
                    (unsigned long long)m->running[i].ref.index, m->running[i].ref.attempt,
                    m->running[i].worker, m->running[i].step, m->running[i].steps,
                    (double)m->running[i].since_ms / 1000);
    view_failures(t, m);
}

static int show_answer(struct cli *c, struct msg *request)
{
    struct client *client = NULL;
    struct msg answer = {0};
    struct err e;
    int rc = 0;

    TRY(connect_open(c, &client, &e));
    TRY(client_ask(client, request, MSG_JOB, &answer, &e));
    if (cli_has(c, OPTION_JSON))
        cli_json(c, view_job_json(&answer.job));
    else
        print_job(&c->out, &answer.job);
out:
    msg_done(&answer);
    client_close(client);
    return rc == 0 ? EXIT_DONE : cli_fail(c, &e);
}

int command_status(struct cli *c)
{
    struct msg request = {.type = MSG_STATUS, .status = {.job = c->options.arguments[0]}};

    return show_answer(c, &request);
}

int command_cancel(struct cli *c)
{
    struct msg request = {.type = MSG_CANCEL, .cancel = {.job = c->options.arguments[0]}};

    return show_answer(c, &request);
}

int command_pause(struct cli *c)
{
    struct msg request = {.type = MSG_PAUSE, .pause = {.job = c->options.arguments[0]}};

    return show_answer(c, &request);
}

int command_resume(struct cli *c)
{
    struct msg request = {.type = MSG_RESUME, .resume = {.job = c->options.arguments[0]}};

    return show_answer(c, &request);
}

int command_retry(struct cli *c)
{
    struct msg request = {
        .type = MSG_RETRY,
        .retry = {.job = c->options.arguments[0], .failed = cli_has(c, OPTION_FAILED)}};

    return show_answer(c, &request);
}

int command_rm(struct cli *c)
{
    struct msg request = {.type = MSG_REMOVE, .remove = {.job = c->options.arguments[0]}};

    return show_answer(c, &request);
}
