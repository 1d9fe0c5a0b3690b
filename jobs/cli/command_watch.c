/* litho watch JOB, and submit --wait: a live view until the job is settled; the exit code is the
 * job's. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "jobs/cli/follow.h"
#include "jobs/cli/views.h"

static void print_end(struct cli *c, const struct msg_job *m)
{
    const struct job_summary *s = &m->summary;
    struct buf line = {0};

    amount_count(s->done, &line);
    buf_puts(&line, " of ");
    amount_images(s->tasks, &line);
    fprintf(c->out.file, "%s is %s: %s in %s\n", s->name, s->state, buf_text(&line), s->folder);
    if (s->sheet[0] != '\0')
        fprintf(c->out.file, "  sheet   %s\n", s->sheet);
    fflush(c->out.file);
    view_reason(&c->err, m);
    view_failures(&c->err, m);
    buf_done(&line);
}

int watch_job(struct cli *c, struct client *client, const char *job)
{
    struct follow f = {.cli = c, .client = client, .job = job, .lines = true, .patient = true};
    struct msg final = {0};
    int rc, code = EXIT_FAILED;
    struct err e;

    TRY(follow_job(&f, &final, &e));
    code = view_exit_code(&final.job.summary);
    if (cli_has(c, OPTION_JSON))
        cli_json(c, view_job_json(&final.job));
    else
        print_end(c, &final.job);
out:
    msg_done(&final);
    return rc == 0 ? code : cli_fail(c, &e);
}

int command_watch(struct cli *c)
{
    struct client *client = NULL;
    struct err e;
    int code;

    if (connect_open(c, &client, &e) != 0)
        return cli_fail(c, &e);
    code = watch_job(c, client, c->options.arguments[0]);
    client_close(client);
    return code;
}
