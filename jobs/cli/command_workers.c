/* litho workers: who renders, on what, and what they are at. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "jobs/cli/grid.h"
#include "jobs/cli/views.h"

static void add_row(struct grid *g, const struct worker_row *w)
{
    struct buf done = {0}, failed = {0}, task = {0}, since = {0};

    amount_count(w->done, &done);
    amount_count(w->failed, &failed);
    for (size_t i = 0; i < w->n_running; i++) {
        const struct running_task *r = &w->running[i];

        buf_printf(&task, "%s%.8s/%llu ", i > 0 ? ", " : "", r->ref.job,
                   (unsigned long long)r->ref.index);
        if (r->fetch_bytes > 0)
            buf_printf(&task, "fetching %.0f/%.0f MB", (double)r->fetched / 1e6,
                       (double)r->fetch_bytes / 1e6);
        else
            buf_printf(&task, "step %u/%u", r->step, r->steps);
    }
    for (size_t i = 0; i < w->n_blocks; i++)
        buf_printf(&task, "%sblocked for %s: %s", task.size > 0 ? ", " : "", w->blocks[i].model,
                   w->blocks[i].code);
    amount_duration((double)w->connected_ms / 1000, &since);
    grid_row(g,
             (const char *const[]){w->name, w->state, w->device, w->device_class, buf_text(&done),
                                   buf_text(&failed), buf_text(&since), buf_text(&task)});
    buf_done(&done);
    buf_done(&failed);
    buf_done(&task);
    buf_done(&since);
}

int command_workers(struct cli *c)
{
    struct msg request = {.type = MSG_WORKERS}, answer = {0};
    struct client *client = NULL;
    struct grid g;
    struct err e;
    int rc = 0;

    grid_init(&g, 8,
              (const char *const[]){"WORKER", "STATE", "DEVICE", "CLASS", "DONE", "FAILED", "SINCE",
                                    "TASK"},
              (const bool[]){false, false, false, false, true, true, true, false});
    TRY(connect_open(c, &client, &e));
    TRY(client_ask(client, &request, MSG_FLEET, &answer, &e));
    for (size_t i = 0; i < answer.fleet.n_workers; i++) {
        if (cli_has(c, OPTION_JSON))
            cli_json(c, view_worker_json(&answer.fleet.workers[i]));
        else
            add_row(&g, &answer.fleet.workers[i]);
    }
    if (!cli_has(c, OPTION_JSON))
        grid_print(&g, &c->out);
out:
    msg_done(&answer);
    client_close(client);
    grid_done(&g);
    return rc == 0 ? EXIT_DONE : cli_fail(c, &e);
}
