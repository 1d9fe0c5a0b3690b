/*
 * litho get JOB DIR: a job's pictures over the wire. Each is verified and written whole or not at
 * all, so that the same command goes on where the last one stopped.
 */
#include "coordinator/state_dir.h"
#include "jobs/cli/amounts.h"
#include "jobs/cli/connect.h"
#include "proto/file.h"

#include <string.h>

#define PAGE 500 /* records of one request */

struct get {
    struct cli *cli;
    struct client *client;
    const char *job, *folder;
    uint64_t brought, there, bad;
};

/* A path from the wire must stay inside DIR, and be one that manifests can name (jobs/path.h). */
static bool path_inside(const char *path)
{
    size_t size = strlen(path);
    const char *p = path;

    if (size < 5 || *p == '/' || strcmp(path + size - 4, ".png") != 0)
        return false;
    for (;;) {
        size_t n = strcspn(p, "/");

        if (n == 0 || p[0] == '.')
            return false;
        if (p[n] == '\0')
            return true;
        p += n + 1;
    }
}

static int parents_make(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    struct buf folder = {0};
    int rc;

    buf_append(&folder, path, (size_t)(slash - path));
    TRY(buf_check(&folder, e));
    TRY(folder_make(buf_text(&folder), e));
out:
    buf_done(&folder);
    return rc;
}

/* Not an end: the rest is brought all the same. */
static void complain(struct get *g, const struct record_row *r, const char *why)
{
    g->bad++;
    cli_note(g->cli, "task %llu, %s: %s", (unsigned long long)r->index, r->path, why);
}

static bool has_hash(const void *data, size_t size, const char *sha256)
{
    char hex[HASH_HEX_SIZE];

    return hash_bytes(data, size, hex, NULL) == 0 && strcmp(hex, sha256) == 0;
}

/* 1: it is there already, or may not be replaced. */
static int look(struct get *g, const struct record_row *r, const char *target, struct err *e)
{
    struct buf bytes = {0};
    int rc = buf_read_file(&bytes, target, MSG_PNG_MAX, e);
    bool equal = rc == 0 && has_hash(bytes.data, bytes.size, r->sha256);

    buf_done(&bytes);
    if (rc == ERR_MISSING)
        return 0;
    if (equal) {
        g->there++;
        return 1;
    }
    if (cli_has(g->cli, OPTION_REPLACE))
        return 0;
    complain(g, r, "another file is there; --force replaces it");
    return 1;
}

static int bring(struct get *g, const struct record_row *r, const char *target, struct err *e)
{
    struct msg request = {.type = MSG_FETCH, .fetch = {.job = g->job, .index = r->index}};
    struct msg answer = {0};
    struct err why;
    int rc;

    rc = client_ask(g->client, &request, MSG_PICTURE, &answer, &why);
    if (rc == ERR_MISSING) {
        complain(g, r, why.text);
        return 0;
    }
    if (rc != 0)
        return err_set(e, rc, "%s", why.text);
    if (!has_hash(answer.picture.png, answer.picture.png_size, r->sha256)) {
        complain(g, r, "the coordinator's file is not the one of the record (`litho fsck`)");
        goto out;
    }
    TRY(parents_make(target, e));
    TRY(file_replace(target, answer.picture.png, answer.picture.png_size, e));
    g->brought++;
out:
    msg_done(&answer);
    return rc;
}

static int get_one(struct get *g, const struct record_row *r, struct err *e)
{
    struct buf target = {0};
    int rc = 0;

    if (strcmp(r->state, "done") != 0)
        return 0;
    if (!path_inside(r->path)) {
        complain(g, r, "its path leaves the folder, or is no picture's");
        return 0;
    }
    buf_printf(&target, "%s/%s", g->folder, r->path);
    TRY(buf_check(&target, e));
    rc = look(g, r, buf_text(&target), e);
    if (rc == 0)
        rc = bring(g, r, buf_text(&target), e);
    rc = rc == 1 ? 0 : rc;
out:
    buf_done(&target);
    return rc;
}

static int get_pages(struct get *g, struct err *e)
{
    struct msg answer = {0};
    uint64_t next = 0;
    int rc;

    do {
        struct msg request = {.type = MSG_RECORDS,
                              .records = {.job = g->job, .from = next, .limit = PAGE}};

        TRY(client_ask(g->client, &request, MSG_PAGE, &answer, e));
        for (size_t i = 0; i < answer.page.n_records; i++)
            TRY(get_one(g, &answer.page.records[i], e));
        TRY(client_page(g->client, next, answer.page.next, &next, e));
        msg_done(&answer);
        answer = (struct msg){0};
    } while (next != 0);
out:
    msg_done(&answer);
    return rc;
}

static void summary(const struct get *g)
{
    struct buf images = {0};

    if (cli_has(g->cli, OPTION_JSON)) {
        cli_json(g->cli, json_pack("{s:I, s:I, s:I}", "brought", (json_int_t)g->brought, "there",
                                   (json_int_t)g->there, "bad", (json_int_t)g->bad));
    } else if (!cli_has(g->cli, OPTION_QUIET)) {
        amount_images(g->brought, &images);
        fprintf(g->cli->out.file, "%s brought to %s, %llu there already\n", buf_text(&images),
                g->folder, (unsigned long long)g->there);
    }
    buf_done(&images);
}

int command_get(struct cli *c)
{
    struct get g = {.cli = c, .job = c->options.arguments[0], .folder = c->options.arguments[1]};
    struct err e;
    int rc;

    TRY(connect_open(c, &g.client, &e));
    TRY(folder_make(g.folder, &e));
    TRY(get_pages(&g, &e));
    summary(&g);
out:
    client_close(g.client);
    return rc != 0 ? cli_fail(c, &e) : g.bad == 0 ? EXIT_DONE : EXIT_FAILED;
}
