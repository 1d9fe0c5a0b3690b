/* litho logs JOB INDEX: the attempts of one task. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "jobs/cli/grid.h"
#include "proto/clock.h"

#include <stdlib.h>
#include <string.h>

static int read_index(const char *text, uint64_t *ret_index, struct err *e)
{
    char *end;
    unsigned long long index = strtoull(text, &end, 10);

    if (end == text || *end != '\0' || text[0] == '-' || index >= UINT64_C(1) << 53)
        return err_set(e, ERR_ARG, "INDEX is the number of a task, not '%s'", text);
    *ret_index = index;
    return 0;
}

static void add_row(struct grid *g, const struct attempt_row *a)
{
    struct buf number = {0}, took = {0}, age = {0};
    int64_t now_ms = clock_wall_ms();
    uint64_t end_ms = a->ended_ms ? a->ended_ms : (uint64_t)now_ms;

    buf_printf(&number, "%u", a->attempt);
    if (a->started_ms != 0 && end_ms >= a->started_ms)
        amount_duration((double)(end_ms - a->started_ms) / 1000, &took);
    if (a->ended_ms == 0) {
        buf_puts(&age, "now");
    } else {
        amount_duration(
            now_ms > (int64_t)a->ended_ms ? (double)(now_ms - (int64_t)a->ended_ms) / 1000 : 0,
            &age);
        buf_puts(&age, " ago");
    }
    grid_row(g, (const char *const[]){buf_text(&number), a->worker,
                                      a->code[0] != '\0' ? a->code : "running", buf_text(&took),
                                      buf_text(&age), a->text});
    buf_done(&number);
    buf_done(&took);
    buf_done(&age);
}

static json_t *attempt_json(const struct attempt_row *a)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I}", "attempt", (json_int_t)a->attempt, "worker",
                     a->worker, "code", a->code, "text", a->text, "started_ms",
                     (json_int_t)a->started_ms, "ended_ms", (json_int_t)a->ended_ms);
}

static void show(struct cli *c, const struct msg_attempts *m)
{
    json_t *list = json_array();
    struct grid g;

    if (cli_has(c, OPTION_JSON)) {
        for (size_t i = 0; i < m->n_attempts; i++)
            json_array_append_new(list, attempt_json(&m->attempts[i]));
        cli_json(c, json_pack("{s:I, s:s, s:O}", "index", (json_int_t)m->index, "state", m->state,
                              "attempts", list));
    } else {
        grid_init(&g, 6,
                  (const char *const[]){"ATTEMPT", "WORKER", "OUTCOME", "TOOK", "ENDED", "TEXT"},
                  (const bool[]){true, false, false, true, true, false});
        fprintf(c->out.file, "task %llu  %s\n", (unsigned long long)m->index, m->state);
        for (size_t i = 0; i < m->n_attempts; i++)
            add_row(&g, &m->attempts[i]);
        grid_print(&g, &c->out);
        grid_done(&g);
    }
    json_decref(list);
}

int command_logs(struct cli *c)
{
    struct msg request = {.type = MSG_HISTORY, .history = {.job = c->options.arguments[0]}};
    struct client *client = NULL;
    struct msg answer = {0};
    struct err e;
    int rc;

    TRY(read_index(c->options.arguments[1], &request.history.index, &e));
    TRY(connect_open(c, &client, &e));
    TRY(client_ask(client, &request, MSG_ATTEMPTS, &answer, &e));
    show(c, &answer.attempts);
out:
    msg_done(&answer);
    client_close(client);
    return rc == 0 ? EXIT_DONE : cli_fail(c, &e);
}
