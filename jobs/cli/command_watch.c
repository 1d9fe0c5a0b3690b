/* litho watch JOB: a live view until the job is settled; the exit code is the job's. */
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
    view_failures(&c->err, m);
    buf_done(&line);
}

int command_watch(struct cli *c)
{
    struct follow f = {.cli = c, .job = c->options.arguments[0], .lines = true, .patient = true};
    struct msg final = {0};
    int rc = 0, code = EXIT_FAILED;
    struct err e;

    TRY(connect_open(c, &f.client, &e));
    TRY(follow_job(&f, &final, &e));
    code = view_exit_code(&final.job.summary);
    if (cli_has(c, OPTION_JSON))
        cli_json(c, view_job_json(&final.job));
    else
        print_end(c, &final.job);
out:
    msg_done(&final);
    client_close(f.client);
    return rc == 0 ? code : cli_fail(c, &e);
}
