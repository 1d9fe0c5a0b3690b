/* litho list: the coordinator's jobs, latest first. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "jobs/cli/grid.h"
#include "jobs/cli/views.h"
#include "proto/clock.h"

#define PAGE 200 /* jobs of one answer */

static void add_row(struct grid *g, const struct job_summary *s)
{
    struct buf images = {0}, failed = {0}, left = {0}, age = {0};
    int64_t age_ms = clock_wall_ms() - (int64_t)s->submitted_ms;
    char hash[9];

    snprintf(hash, sizeof(hash), "%.8s", s->job);
    amount_count(s->done, &images);
    buf_putc(&images, '/');
    amount_count(s->tasks, &images);
    amount_count(s->failed, &failed);
    if (!view_settled(s) && s->eta_seconds >= 0)
        amount_duration(s->eta_seconds, &left);
    amount_duration(age_ms > 0 ? (double)age_ms / 1000 : 0, &age);
    buf_puts(&age, " ago");
    grid_row(g, (const char *const[]){hash, s->name, s->state, buf_text(&images), buf_text(&failed),
                                      buf_text(&left), buf_text(&age)});
    buf_done(&images);
    buf_done(&failed);
    buf_done(&left);
    buf_done(&age);
}

static int list_pages(struct cli *c, struct client *client, struct grid *g, struct err *e)
{
    uint64_t offset = 0;
    struct msg request, answer;
    bool more;
    int rc = 0;

    do {
        request = (struct msg){.type = MSG_LIST, .list = {.offset = offset, .limit = PAGE}};
        TRY(client_ask(client, &request, MSG_JOBS, &answer, e));
        for (size_t i = 0; i < answer.jobs.n_jobs; i++) {
            if (cli_has(c, OPTION_JSON))
                cli_json(c, view_summary_json(&answer.jobs.jobs[i]));
            else
                add_row(g, &answer.jobs.jobs[i]);
        }
        offset += answer.jobs.n_jobs;
        more = answer.jobs.n_jobs > 0 && offset < answer.jobs.total;
        msg_done(&answer);
    } while (more);
out:
    return rc;
}

int command_list(struct cli *c)
{
    struct client *client = NULL;
    struct grid g;
    struct err e;
    int rc = 0;

    grid_init(
        &g, 7,
        (const char *const[]){"JOB", "NAME", "STATE", "IMAGES", "FAILED", "LEFT", "SUBMITTED"},
        (const bool[]){false, false, false, true, true, true, true});
    TRY(connect_open(c, &client, &e));
    TRY(list_pages(c, client, &g, &e));
    if (!cli_has(c, OPTION_JSON))
        grid_print(&g, &c->out);
out:
    client_close(client);
    grid_done(&g);
    return rc == 0 ? EXIT_DONE : cli_fail(c, &e);
}
