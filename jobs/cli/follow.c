#include "jobs/cli/follow.h"

#include "jobs/cli/progress.h"
#include "jobs/cli/views.h"
#include "proto/clock.h"

#include <string.h>

#define LOOK_MS       200  /* between looks: PROTOCOL.md allows five a second */
#define JSON_LINES_MS 1000 /* between JSON lines while only numbers change */

struct show {
    const struct follow *f;
    struct progress_view view;
    int64_t json_ms;  /* when the last line was written */
    char state[16];   /* in it */
    uint64_t settled; /* images done or failed, in it */
    bool silent;      /* the coordinator was said to be away */
};

static void show_json(struct show *show, const struct msg_job *m, int64_t now_ms)
{
    const struct job_summary *s = &m->summary;
    bool changed = strcmp(show->state, s->state) != 0;

    if (!changed &&
        (s->done + s->failed == show->settled || now_ms - show->json_ms < JSON_LINES_MS))
        return;
    cli_json(show->f->cli, view_job_json(m));
    show->json_ms = now_ms;
    show->settled = s->done + s->failed;
    snprintf(show->state, sizeof(show->state), "%s", s->state);
}

static void show_status(struct show *show, const struct msg_job *m)
{
    struct progress p = view_progress(m);
    struct cli *c = show->f->cli;
    int64_t now_ms = clock_monotonic_ms();

    if (show->f->seen != NULL)
        show->f->seen(show->f->user, m);
    if (cli_has(c, OPTION_JSON)) {
        if (show->f->lines && !view_settled(&m->summary))
            show_json(show, m, now_ms); /* the settled job is the caller's last line */
    } else if (!cli_has(c, OPTION_QUIET)) {
        progress_show(&show->view, &p, now_ms);
    }
}

static void say_away(struct show *show, const struct err *e)
{
    if (show->silent)
        return;
    show->silent = true;
    progress_end(&show->view);
    cli_note(show->f->cli, "%s", e->text);
    cli_note(show->f->cli, "waiting for it");
}

int follow_job(const struct follow *f, struct msg *ret_final, struct err *e)
{
    struct show show = {.f = f, .view = {.terminal = &f->cli->err}};
    struct msg request, answer;
    bool settled = false;
    int rc = 0;

    *ret_final = (struct msg){0};
    while (!settled) {
        request = (struct msg){.type = MSG_STATUS, .status = {.job = f->job}};
        rc = client_ask(f->client, &request, MSG_JOB, &answer, e);
        if (rc == ERR_TIMEOUT && f->patient) {
            say_away(&show, e);
            continue;
        }
        if (rc == ERR_IO) { /* it answers, but its disk takes no writes now */
            say_away(&show, e);
            TRY(client_pause(f->client, LOOK_MS, e));
            continue;
        }
        TRY(rc);
        show.silent = false;
        show_status(&show, &answer.job);
        settled = view_settled(&answer.job.summary);
        if (settled)
            *ret_final = answer;
        else
            msg_done(&answer);
        if (!settled)
            TRY(client_pause(f->client, LOOK_MS, e));
    }
out:
    progress_end(&show.view);
    return rc;
}
