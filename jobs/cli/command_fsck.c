/* litho fsck JOB: records, files and hashes compared, on the coordinator's machine. */
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"

#define PAGE 1000 /* records of one request; the coordinator ends a page earlier by bytes */

struct fsck {
    struct cli *cli;
    uint64_t files, bad;
};

static void show(struct fsck *f, const struct msg_checked *m)
{
    f->files += m->files;
    f->bad += m->n_bad;
    for (size_t i = 0; i < m->n_bad; i++) {
        if (cli_has(f->cli, OPTION_JSON))
            cli_json(f->cli, json_pack("{s:I, s:s, s:s}", "index", (json_int_t)m->bad[i].index,
                                       "path", m->bad[i].path, "text", m->bad[i].text));
        else
            fprintf(f->cli->out.file, "task %llu  %s: %s\n", (unsigned long long)m->bad[i].index,
                    m->bad[i].path, m->bad[i].text);
    }
}

static void summary(const struct fsck *f)
{
    struct buf files = {0};

    if (cli_has(f->cli, OPTION_JSON)) {
        cli_json(f->cli,
                 json_pack("{s:I, s:I}", "files", (json_int_t)f->files, "bad", (json_int_t)f->bad));
        return;
    }
    amount_count(f->files, &files);
    fprintf(f->cli->out.file, "%s file%s compared, %llu wrong\n", buf_text(&files),
            f->files == 1 ? "" : "s", (unsigned long long)f->bad);
    buf_done(&files);
}

int command_fsck(struct cli *c)
{
    struct fsck f = {.cli = c};
    struct client *client = NULL;
    uint64_t next = 0;
    struct err e;
    int rc;

    TRY(connect_open(c, &client, &e));
    do {
        struct msg request = {
            .type = MSG_CHECK,
            .check = {.job = c->options.arguments[0], .from = next, .limit = PAGE}};
        struct msg answer;

        TRY(client_ask(client, &request, MSG_CHECKED, &answer, &e));
        show(&f, &answer.checked);
        rc = client_page(client, next, answer.checked.next, &next, &e);
        msg_done(&answer);
        TRY(rc);
    } while (next != 0);
    summary(&f);
out:
    client_close(client);
    return rc != 0 ? cli_fail(c, &e) : f.bad == 0 ? EXIT_DONE : EXIT_FAILED;
}
