/*
 * A coordinator on real files: store, output folder and batches in a folder of its own, and whoever
 * holds it for a network. Killed and started again, it has what was durable.
 */
#ifndef TESTS_COORDINATOR_PLACE_H
#define TESTS_COORDINATOR_PLACE_H

#include "coordinator/batch.h"
#include "coordinator/index.h"
#include "proto/version.h"
#include "tests/coordinator/fixture.h"

struct place {
    char *dir;
    struct buf state, out; /* folders in it */
    struct coord coord;
    struct store *store;
    struct output *output;
    struct batch batch;
    int64_t now_ms;
    /* The batch's, with its user; set before place_start(). log: NULL if nobody reads it. */
    void *user;
    int (*send)(void *user, const struct peer *peer, const struct buf *frame, struct err *e);
    void (*log)(void *user, enum log_level level, const char *event, const char *text);
};

static inline void place_ignores(void *user, enum log_level level, const char *event,
                                 const char *text)
{
    (void)user;
    (void)level;
    (void)event;
    (void)text;
}

static inline int place_draws(void *user, uint64_t job, struct err *e)
{
    (void)user;
    (void)job;
    (void)e;
    return 0;
}

static inline int place_restores(void *user, struct restored *r, struct err *e)
{
    struct place *p = user;

    return reactor_restore(&p->coord, r, p->now_ms, e);
}

static inline void place_start(struct place *p)
{
    MUST(store_open(buf_text(&p->state), &p->store, e));
    MUST(output_open(buf_text(&p->out), &p->output, e));
    MUST(coord_init(&p->coord, &(struct coord_limits){0}, output_dir(p->output), e));
    MUST(store_restore(p->store, place_restores, p, e));
    p->batch = (struct batch){.coord = &p->coord,
                              .store = p->store,
                              .output = p->output,
                              .user = p->user,
                              .send = p->send,
                              .log = p->log ? p->log : place_ignores,
                              .draw = place_draws};
}

/* As kill -9 leaves it: what is not committed is gone. */
static inline void place_kill(struct place *p)
{
    batch_done(&p->batch);
    coord_done(&p->coord);
    output_close(p->output);
    store_close(p->store);
}

/* dir: taken over. */
static inline void place_open(struct place *p, char *dir)
{
    p->dir = dir;
    buf_printf(&p->state, "%s/state", dir);
    buf_printf(&p->out, "%s/out", dir);
    place_start(p);
}

static inline void place_close(struct place *p)
{
    place_kill(p);
    buf_done(&p->state);
    buf_done(&p->out);
    remove_tree(p->dir);
    free(p->dir);
}

static inline void place_on(struct place *p, const struct event *event)
{
    MUST(reactor_on(&p->coord, event, p->now_ms, &p->batch.outbox, e));
}

static inline void place_hears(struct place *p, const char *peer, const struct msg *m)
{
    place_on(p, &(struct event){.type = EVENT_MESSAGE, .peer = peer_named(peer), .msg = m});
}

static inline void place_hears_client(struct place *p, const char *client)
{
    struct msg hello = {.type = MSG_HELLO,
                        .hello = {.protocol = PROTOCOL_VERSION,
                                  .protocol_min = PROTOCOL_VERSION_MIN,
                                  .role = "client",
                                  .software = "test"}};

    place_hears(p, client, &hello);
}

static inline void place_hears_submit(struct place *p, const char *client, const struct job *job,
                                      bool force)
{
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 1, .force = force}};

    m.submit.bundle = job_bundle(job, &m.submit.bundle_size);
    place_hears(p, client, &m);
}

static inline void place_run(struct place *p)
{
    MUST(batch_run(&p->batch, p->now_ms, e));
}

/* Rows of one transaction, as a coordinator before this one left them. */
static inline void place_apply(struct place *p, const struct store_row *rows, size_t n)
{
    MUST(store_begin(p->store, e));
    for (size_t i = 0; i < n; i++)
        MUST(store_apply(p->store, &rows[i], e));
    MUST(store_commit(p->store, e));
}

/* An empty file in the output folder. */
static inline void place_file(struct place *p, const char *name)
{
    struct buf path = {0};
    FILE *f;

    buf_printf(&path, "%s/%s", buf_text(&p->out), name);
    f = fopen(buf_text(&path), "wb");
    if (!f)
        fail_msg("no file %s", buf_text(&path));
    fclose(f);
    buf_done(&path);
}

#endif
