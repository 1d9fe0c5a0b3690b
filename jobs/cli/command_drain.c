/* litho drain WORKER: it finishes what it is at, and leaves. */
#include "jobs/cli/connect.h"
#include "jobs/cli/views.h"

#include <string.h>

int command_drain(struct cli *c)
{
    const char *name = c->options.arguments[0];
    struct msg request = {.type = MSG_DRAIN, .drain = {.worker = name}}, answer = {0};
    struct client *client = NULL;
    struct err e;
    int rc;

    TRY(connect_open(c, &client, &e));
    TRY(client_ask(client, &request, MSG_FLEET, &answer, &e));
    for (size_t i = 0; i < answer.fleet.n_workers; i++) {
        const struct worker_row *w = &answer.fleet.workers[i];

        if (strcmp(w->name, name) != 0 || strcmp(w->state, "lost") == 0)
            continue;
        if (cli_has(c, OPTION_JSON))
            cli_json(c, view_worker_json(w));
        else
            fprintf(c->out.file, "%s leaves; it holds %zu task%s\n", w->name, w->n_running,
                    w->n_running == 1 ? "" : "s");
    }
out:
    msg_done(&answer);
    client_close(client);
    return rc == 0 ? EXIT_DONE : cli_fail(c, &e);
}
