#include "worker/stock.h"

#include "proto/clock.h"
#include "worker/gather.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS    250
#define CHUNKS_MAX 64 /* that wait for the thread; one that is dropped is wanted again */

enum command_what {
    COMMAND_GATHER,
    COMMAND_RELEASE,
    COMMAND_KEEP, /* chunk: all of a file */
    COMMAND_CHUNK,
    COMMAND_GONE,
    COMMAND_CONNECTED
};

/* From the connection's thread. */
struct command {
    struct command *next;
    enum command_what what;
    struct attempt_ref ref;
    struct order *order; /* owned */
    struct msg_chunk chunk;
    struct err why; /* of gone */
    char sha256[HASH_HEX_SIZE];
};

struct happening {
    struct happening *next;
    struct stock_event event;
};

struct stock {
    struct stock_options options;
    int fd;
    pthread_t thread;
    bool started;
    struct view *view;
    /* the thread's own */
    struct cache *cache;
    struct gather *gather;
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t wake;
        struct command *todo, **todo_end;
        struct happening *done, **done_end;
        size_t n_chunks; /* in todo, and what the coordinator says of files that are gone */
        struct cache_counts counts;
        bool stop;
    } shared;
};

static void command_free(struct command *c)
{
    order_free(c->order, NULL);
    free((void *)(uintptr_t)c->chunk.data);
    free(c);
}

/* --- to the connection's thread --- */

static void happened(void *user, const struct stock_event *event)
{
    struct stock *s = user;
    struct happening *h = malloc(sizeof *h);
    uint64_t one = 1;

    if (!h) {
        given_free(event->given);
        return; /* wants are repeated; a lease that is never ready ends by its stall */
    }
    *h = (struct happening){.event = *event};
    pthread_mutex_lock(&s->shared.mutex);
    *s->shared.done_end = h;
    s->shared.done_end = &h->next;
    pthread_mutex_unlock(&s->shared.mutex);
    if (write(s->fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is readable already */
}

/* --- the thread --- */

static void carry_out(struct stock *s, struct command *c)
{
    switch (c->what) {
    case COMMAND_GATHER:
        gather_add(s->gather, c->order);
        c->order = NULL;
        break;
    case COMMAND_RELEASE:
        gather_release(s->gather, &c->ref);
        break;
    case COMMAND_KEEP:
        gather_keep(s->gather, &c->chunk);
        break;
    case COMMAND_CHUNK:
        gather_chunk(s->gather, &c->chunk);
        break;
    case COMMAND_GONE:
        gather_gone(s->gather, c->sha256, &c->why);
        break;
    case COMMAND_CONNECTED:
        gather_again(s->gather);
        break;
    }
}

/* The coordinator alone decides how many of these come. */
static bool is_answer(const struct command *c)
{
    return c->what == COMMAND_CHUNK || c->what == COMMAND_GONE;
}

/* The next command; NULL: time passed, or the end. */
static struct command *next_command(struct stock *s, bool *ret_stop)
{
    struct command *c;
    struct timespec until;

    pthread_mutex_lock(&s->shared.mutex);
    s->shared.counts = cache_counts(s->cache);
    while (!s->shared.stop && !s->shared.todo) {
        if (!gather_waits(s->gather)) {
            pthread_cond_wait(&s->shared.wake, &s->shared.mutex);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (pthread_cond_timedwait(&s->shared.wake, &s->shared.mutex, &until) == ETIMEDOUT)
            break;
    }
    c = s->shared.stop ? NULL : s->shared.todo;
    if (c) {
        s->shared.n_chunks -= is_answer(c);
        s->shared.todo = c->next;
        if (!c->next)
            s->shared.todo_end = &s->shared.todo;
    }
    *ret_stop = s->shared.stop;
    pthread_mutex_unlock(&s->shared.mutex);
    return c;
}

static void *serve(void *user)
{
    struct stock *s = user;
    struct command *c;
    bool stop;

    for (;;) {
        c = next_command(s, &stop);
        if (stop)
            break;
        if (c) {
            carry_out(s, c);
            command_free(c);
        }
        gather_advance(s->gather, clock_monotonic_ms());
    }
    return NULL;
}

/* The wall clock may be set back by hours, for which nothing would be wanted again. */
static int wake_init(pthread_cond_t *wake, struct err *e)
{
    pthread_condattr_t attributes;

    if (pthread_condattr_init(&attributes) != 0 ||
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(wake, &attributes) != 0)
        return err_set(e, ERR_IO, "cannot start the thread that gathers files");
    pthread_condattr_destroy(&attributes);
    return 0;
}

int stock_open(const struct stock_options *o, struct stock **ret_stock, struct err *e)
{
    struct stock *s = calloc(1, sizeof *s);
    int rc = 0;

    if (!s)
        return err_set(e, ERR_OOM, "no memory for a stock of files");
    s->options = *o;
    s->shared.todo_end = &s->shared.todo;
    s->shared.done_end = &s->shared.done;
    pthread_mutex_init(&s->shared.mutex, NULL);
    TRY(wake_init(&s->shared.wake, e));
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0)
        TRY(err_errno(e, "eventfd"));
    TRY(cache_open(o->dir, o->budget_bytes, o->hashes, &s->cache, e));
    if (o->dir_chosen)
        TRY(cache_check(s->cache, e));
    TRY(view_open(o->dir, &s->view, e));
    TRY(gather_new(&(struct gather_options){.hashes = o->hashes,
                                            .cache = s->cache,
                                            .view = s->view,
                                            .part_bytes = o->part_bytes,
                                            .happened = happened,
                                            .user = s},
                   &s->gather, e));
    errno = pthread_create(&s->thread, NULL, serve, s);
    if (errno != 0)
        TRY(err_errno(e, "the thread that gathers files"));
    s->started = true;
    *ret_stock = s;
    s = NULL;
out:
    stock_close(s);
    return rc;
}

void stock_close(struct stock *s)
{
    struct stock_event event;

    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->shared.mutex);
        s->shared.stop = true;
        pthread_cond_signal(&s->shared.wake);
        pthread_mutex_unlock(&s->shared.mutex);
        pthread_join(s->thread, NULL);
    }
    while (s->shared.todo) {
        struct command *next = s->shared.todo->next;

        command_free(s->shared.todo);
        s->shared.todo = next;
    }
    while (stock_next(s, &event))
        given_free(event.given);
    gather_free(s->gather);
    cache_close(s->cache);
    view_close(s->view);
    if (s->fd >= 0)
        close(s->fd);
    pthread_cond_destroy(&s->shared.wake);
    pthread_mutex_destroy(&s->shared.mutex);
    free(s);
}

struct view *stock_view(struct stock *s)
{
    return s->view;
}

/* Takes the filled command's contents over, also on failure. */
static int command(struct stock *s, const struct command *filled, struct err *e)
{
    struct command *c = malloc(sizeof *c);

    if (!c) {
        order_free(filled->order, NULL);
        free((void *)(uintptr_t)filled->chunk.data);
        return err_set(e, ERR_OOM, "no memory for a lease's files");
    }
    *c = *filled;
    pthread_mutex_lock(&s->shared.mutex);
    if (is_answer(c) && s->shared.n_chunks == CHUNKS_MAX) {
        pthread_mutex_unlock(&s->shared.mutex);
        command_free(c);
        return 0;
    }
    s->shared.n_chunks += is_answer(c);
    *s->shared.todo_end = c;
    s->shared.todo_end = &c->next;
    pthread_cond_signal(&s->shared.wake);
    pthread_mutex_unlock(&s->shared.mutex);
    return 0;
}

int stock_gather(struct stock *s, const struct attempt_ref *ref, const char *task,
                 const struct lease_asset *assets, size_t n, struct err *e)
{
    struct command c = {.what = COMMAND_GATHER};
    struct stock_event event = {.what = STOCK_FAILED, .ref = *ref};
    int rc = order_new(ref, task, assets, n, s->options.own_files ? s->options.library : NULL,
                       &c.order, &event.why);

    if (rc == ERR_OOM)
        return err_set(e, rc, "%s", event.why.text);
    if (rc == 0)
        return command(s, &c, e);
    happened(s, &event);
    return 0;
}

void stock_release(struct stock *s, const struct attempt_ref *ref)
{
    const struct command c = {.what = COMMAND_RELEASE, .ref = *ref};

    command(s, &c, NULL);
}

int stock_keep(struct stock *s, const struct msg_result *picture, struct err *e)
{
    struct command c = {.what = COMMAND_KEEP};
    void *data = malloc(picture->png_size ? picture->png_size : 1);

    if (!data)
        return err_set(e, ERR_OOM, "no memory to keep a picture");
    memcpy(data, picture->png, picture->png_size);
    memcpy(c.chunk.sha256, picture->sha256, sizeof c.chunk.sha256);
    c.chunk.data = data;
    c.chunk.data_size = picture->png_size;
    return command(s, &c, e);
}

int stock_chunk(struct stock *s, const struct msg_chunk *chunk, struct err *e)
{
    struct command c = {.what = COMMAND_CHUNK, .chunk = *chunk};
    void *data = malloc(chunk->data_size ? chunk->data_size : 1);

    if (!data)
        return err_set(e, ERR_OOM, "no memory for a part of a file");
    memcpy(data, chunk->data, chunk->data_size);
    c.chunk.data = data;
    return command(s, &c, e);
}

int stock_gone(struct stock *s, const struct msg_gone *gone, struct err *e)
{
    struct command c = {.what = COMMAND_GONE};

    memcpy(c.sha256, gone->sha256, HASH_HEX_SIZE);
    err_set(&c.why, err_from_name(gone->code), "the coordinator cannot send a file (%.12s...): %s",
            gone->sha256, gone->text);
    return command(s, &c, e);
}

void stock_connected(struct stock *s)
{
    const struct command c = {.what = COMMAND_CONNECTED};

    command(s, &c, NULL);
}

int stock_fd(const struct stock *s)
{
    return s->fd;
}

bool stock_next(struct stock *s, struct stock_event *ret_event)
{
    struct happening *h;
    uint64_t count;

    pthread_mutex_lock(&s->shared.mutex);
    h = s->shared.done;
    if (h) {
        s->shared.done = h->next;
        if (!h->next)
            s->shared.done_end = &s->shared.done;
    } else if (read(s->fd, &count, sizeof count) < 0) {
        count = 0; /* nothing was waiting */
    }
    pthread_mutex_unlock(&s->shared.mutex);
    if (!h)
        return false;
    *ret_event = h->event;
    free(h);
    return true;
}

struct cache_counts stock_counts(struct stock *s)
{
    struct cache_counts counts;

    pthread_mutex_lock(&s->shared.mutex);
    counts = s->shared.counts;
    pthread_mutex_unlock(&s->shared.mutex);
    return counts;
}
