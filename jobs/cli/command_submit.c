/* litho submit job.yaml: hands the resolved manifest to a running coordinator. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "jobs/cli/follow.h"
#include "jobs/cli/order.h"

static void report(struct cli *c, const struct order *d, const struct msg_submitted *m)
{
    struct buf images = {0};

    if (cli_has(c, OPTION_JSON)) {
        cli_json(c, json_pack("{s:s, s:s, s:I, s:b}", "job", m->job, "name", job_name(d->job),
                              "tasks", (json_int_t)m->tasks, "known", m->known));
        return;
    }
    amount_images(m->tasks, &images);
    fprintf(c->out.file, "%s%s%s  %s%s\n", style(&c->out, STYLE_BOLD), job_name(d->job),
            style(&c->out, STYLE_OFF), buf_text(&images),
            m->known ? ", a job that the coordinator has already" : "");
    fprintf(c->out.file, "  job     %s\n  watch   litho watch %.8s\n", m->job, m->job);
    buf_done(&images);
}

int command_submit(struct cli *c)
{
    struct msg request = {.type = MSG_SUBMIT}, answer = {0};
    struct client *client = NULL;
    struct order d = {0};
    int64_t priority;
    struct err e;
    int rc, code = EXIT_DONE;

    if (options_number(&c->options, OPTION_PRIORITY, 1, 100, 0, &priority, &e) != 0)
        return cli_fail(c, &e);
    if ((rc = order_read(c, NULL, &d, &e)) != 0) {
        code = order_fail(c, &d, &e);
        order_done(&d);
        return code;
    }
    TRY(connect_open(c, &client, &e));
    request.submit.bundle = d.bundle.data;
    request.submit.bundle_size = d.bundle.size;
    request.submit.token = c->options.value[OPTION_TOKEN];
    request.submit.priority = (uint32_t)priority;
    request.submit.force = cli_has(c, OPTION_FORCE);
    TRY(client_ask(client, &request, MSG_SUBMITTED, &answer, &e));
    if (!cli_has(c, OPTION_QUIET))
        report(c, &d, &answer.submitted);
    if (cli_has(c, OPTION_WAIT))
        code = watch_job(c, client, answer.submitted.job);
out:
    msg_done(&answer);
    client_close(client);
    order_done(&d);
    return rc == 0 ? code : cli_fail(c, &e);
}
