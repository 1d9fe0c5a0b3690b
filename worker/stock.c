#include "worker/stock.h"

#include "proto/clock.h"
#include "worker/fetch.h"
#include "worker/order.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 250
#define TELL_MS 1000 /* how far an order is */

enum command_what {
    COMMAND_GATHER,
    COMMAND_RELEASE,
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
    struct known known;
    struct order *orders; /* in order of arrival; owned */
    struct fetch fetch;
    bool fetching_listing;
    struct buf text;                 /* of the listing that comes */
    char failed_once[HASH_HEX_SIZE]; /* its bytes were wrong, it is fetched once more */
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t wake;
        struct command *todo, **todo_end;
        struct happening *done, **done_end;
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

static void happen(struct stock *s, const struct stock_event *event)
{
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

/* The order ends with a failure. */
static void fail(struct stock *s, struct order *o, const struct err *why)
{
    struct stock_event event = {.what = STOCK_FAILED, .ref = o->ref, .why = *why};
    struct order **at = &s->orders;

    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    order_free(o, s->cache);
    happen(s, &event);
}

/* All orders that wait for the file end with a failure that names it. */
static void fail_waiting(struct stock *s, const char *sha256, const struct err *why)
{
    struct order *next;
    struct err named;

    for (struct order *o = s->orders; o; o = next) {
        next = o->next;
        if (o->ready || !order_waits_for(o, sha256))
            continue;
        err_set(&named, why->code, "'%s': %s", order_label(o, sha256), why->text);
        fail(s, o, &named);
    }
}

static void give(struct stock *s, struct order *o)
{
    struct stock_event event = {.what = STOCK_READY, .ref = o->ref};
    struct err why = {0};

    if (order_give(o, s->view, &event.given, &why) != 0) {
        fail(s, o, &why);
        return;
    }
    o->ready = true;
    happen(s, &event);
}

static void tell(struct stock *s, struct order *o, int64_t now_ms)
{
    struct stock_event event = {.what = STOCK_FETCHING, .ref = o->ref};

    if (now_ms - o->told_ms < TELL_MS)
        return;
    o->told_ms = now_ms;
    event.fetched = order_fetched(o, &event.total);
    if (s->fetch.sha256[0] && !s->fetching_listing && order_waits_for(o, s->fetch.sha256))
        event.fetched += s->fetch.next;
    happen(s, &event);
}

/* --- one file at a time --- */

static void stop_fetching(struct stock *s)
{
    fetch_end(&s->fetch);
    cache_suspend(s->cache);
    s->text.size = 0;
}

/* Room in the cache that orders behind this one hold and do not use yet. */
static bool reclaim(struct stock *s, const struct order *front)
{
    bool any = false;

    for (struct order *o = s->orders; o; o = o->next) {
        uint64_t total;

        if (o == front || o->ready || order_fetched(o, &total) == 0)
            continue;
        order_unlocate(o, s->cache);
        any = true;
    }
    return any;
}

static bool any_ready(const struct stock *s)
{
    for (const struct order *o = s->orders; o; o = o->next)
        if (o->ready)
            return true;
    return false;
}

/* false: not now, later. Failures end the order. */
static bool begin(struct stock *s, struct order *o, const struct missing *m)
{
    uint32_t part = s->options.part_bytes ? s->options.part_bytes : MSG_CHUNK_MAX;
    struct err why = {0};
    uint64_t have = 0;
    int rc;

    s->fetching_listing = m->listing;
    if (m->listing) {
        fetch_begin(&s->fetch, m->sha256, 0, 0, LISTING_TEXT_MAX, part);
        return true;
    }
    rc = cache_begin(s->cache, m->sha256, m->total, &have, &why);
    if (rc == ERR_MISSING && reclaim(s, o))
        rc = cache_begin(s->cache, m->sha256, m->total, &have, &why);
    if (rc == ERR_CONFLICT || (rc == ERR_MISSING && any_ready(s)))
        return false; /* another worker fetches it; or what renders will make room */
    if (rc != 0) {
        fail(s, o, &why);
        return true;
    }
    if (m->total == 0) { /* nothing to ask for */
        if (cache_commit(s->cache, &why) != 0)
            fail(s, o, &why);
        return false;
    }
    fetch_begin(&s->fetch, m->sha256, have, m->total, m->total, part);
    return true;
}

/* The bytes are not those of the hash: once more, then it is given up. */
static void wrong_bytes(struct stock *s, const char *sha256, const struct err *why)
{
    struct err e;

    if (strcmp(s->failed_once, sha256) != 0) {
        memcpy(s->failed_once, sha256, HASH_HEX_SIZE);
        return; /* it is missing still */
    }
    s->failed_once[0] = 0;
    err_set(&e, ERR_MISSING, "it did not come as it should: %s", why->text);
    fail_waiting(s, sha256, &e);
}

static void finish(struct stock *s)
{
    char sha256[HASH_HEX_SIZE];
    struct err why = {0};
    int rc;

    memcpy(sha256, s->fetch.sha256, sizeof sha256);
    rc = s->fetching_listing ? known_add_listing(&s->known, sha256, &s->text, &why)
                             : cache_commit(s->cache, &why);
    stop_fetching(s);
    if (rc == ERR_OUTPUT)
        wrong_bytes(s, sha256, &why);
    else if (rc != 0)
        fail_waiting(s, sha256, &why);
    else
        s->failed_once[0] = 0;
}

/* What came in order goes to its place. */
static void drain(struct stock *s)
{
    struct err why = {0};
    void *data;
    size_t size;
    int rc = 0;

    while (rc == 0 && fetch_take(&s->fetch, &data, &size)) {
        if (s->fetching_listing)
            buf_append(&s->text, data, size);
        else
            rc = cache_append(s->cache, data, size, &why);
        free(data);
    }
    if (rc != 0) {
        fail_waiting(s, s->fetch.sha256, &why);
        stop_fetching(s);
    }
}

static void want(struct stock *s, int64_t now_ms)
{
    struct stock_event event = {.what = STOCK_WANT};

    while (fetch_want(&s->fetch, now_ms, &event.want))
        happen(s, &event);
}

static bool anyone_waits(const struct stock *s)
{
    for (const struct order *o = s->orders; o; o = o->next)
        if (!o->ready && order_waits_for(o, s->fetch.sha256))
            return true;
    return false;
}

/* All orders as far as they go without waiting; the first that lacks something has it fetched. */
static void advance(struct stock *s, int64_t now_ms)
{
    struct order *next;
    bool busy;

    if (s->fetch.sha256[0] && !anyone_waits(s))
        stop_fetching(s);
    if (fetch_over(&s->fetch))
        finish(s);
    busy = s->fetch.sha256[0] != 0;
    for (struct order *o = s->orders; o; o = next) {
        struct missing m;
        struct err why = {0};

        next = o->next;
        if (o->ready)
            continue;
        if (order_locate(o, &s->known, s->cache, &m, &why) != 0) {
            fail(s, o, &why);
            continue;
        }
        if (!m.sha256[0]) {
            give(s, o);
            continue;
        }
        if (!busy)
            busy = begin(s, o, &m);
        /* `begin` may have ended the order */
        for (const struct order *x = s->orders; x; x = x->next)
            if (x == o)
                tell(s, o, now_ms);
    }
    want(s, now_ms);
}

/* --- the thread --- */

static void on_chunk(struct stock *s, const struct msg_chunk *chunk)
{
    char sha256[HASH_HEX_SIZE];
    struct err why = {0}, e;

    if (fetch_chunk(&s->fetch, chunk, &why) != 0) {
        memcpy(sha256, s->fetch.sha256, sizeof sha256);
        err_set(&e, why.code == ERR_OOM ? ERR_OOM : ERR_MISSING, "it did not come as it should: %s",
                why.text);
        fail_waiting(s, sha256, &e);
        stop_fetching(s);
        return;
    }
    drain(s);
}

static void on_gone(struct stock *s, const struct command *c)
{
    if (strcmp(s->fetch.sha256, c->sha256) == 0)
        stop_fetching(s);
    fail_waiting(s, c->sha256, &c->why);
}

static void add_order(struct stock *s, struct order *o)
{
    struct order **at = &s->orders;

    while (*at)
        at = &(*at)->next;
    *at = o;
}

static void release(struct stock *s, const struct attempt_ref *ref)
{
    for (struct order **at = &s->orders; *at; at = &(*at)->next) {
        struct order *o = *at;

        if (o->ref.index != ref->index || o->ref.attempt != ref->attempt ||
            strcmp(o->ref.job, ref->job) != 0)
            continue;
        *at = o->next;
        order_free(o, s->cache);
        return;
    }
}

static void carry_out(struct stock *s, struct command *c)
{
    switch (c->what) {
    case COMMAND_GATHER:
        add_order(s, c->order);
        c->order = NULL;
        break;
    case COMMAND_RELEASE:
        release(s, &c->ref);
        break;
    case COMMAND_CHUNK:
        on_chunk(s, &c->chunk);
        break;
    case COMMAND_GONE:
        on_gone(s, c);
        break;
    case COMMAND_CONNECTED:
        fetch_again(&s->fetch);
        break;
    }
}

static bool any_waits(const struct stock *s)
{
    for (const struct order *o = s->orders; o; o = o->next)
        if (!o->ready)
            return true;
    return false;
}

/* The next command; NULL: time passed, or the end. */
static struct command *next_command(struct stock *s, bool *ret_stop)
{
    struct command *c;
    struct timespec until;

    pthread_mutex_lock(&s->shared.mutex);
    s->shared.counts = cache_counts(s->cache);
    while (!s->shared.stop && !s->shared.todo) {
        if (!any_waits(s)) {
            pthread_cond_wait(&s->shared.wake, &s->shared.mutex);
            continue;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (pthread_cond_timedwait(&s->shared.wake, &s->shared.mutex, &until) == ETIMEDOUT)
            break;
    }
    c = s->shared.stop ? NULL : s->shared.todo;
    if (c) {
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
        advance(s, clock_monotonic_ms());
    }
    return NULL;
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
    pthread_cond_init(&s->shared.wake, NULL);
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0)
        TRY(err_errno(e, "eventfd"));
    TRY(cache_open(o->dir, o->budget_bytes, &s->cache, e));
    TRY(view_open(o->dir, &s->view, e));
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
    while (s->orders) {
        struct order *next = s->orders->next;

        order_free(s->orders, s->cache);
        s->orders = next;
    }
    fetch_end(&s->fetch);
    buf_done(&s->text);
    known_done(&s->known);
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
    happen(s, &event);
    return 0;
}

void stock_release(struct stock *s, const struct attempt_ref *ref)
{
    const struct command c = {.what = COMMAND_RELEASE, .ref = *ref};

    command(s, &c, NULL);
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
