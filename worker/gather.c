#include "worker/gather.h"

#include "worker/fetch.h"
#include "worker/stock.h"

#include <stdlib.h>
#include <string.h>

#define TELL_MS 1000 /* how far an order is */

struct gather {
    struct gather_options options;
    struct known known;
    struct order *orders; /* in order of arrival; owned */
    struct fetch fetch;
    bool fetching_listing;
    struct buf text;                 /* of the listing that comes */
    char failed_once[HASH_HEX_SIZE]; /* its bytes were wrong, it is fetched once more */
};

int gather_new(const struct gather_options *o, struct gather **ret_gather, struct err *e)
{
    struct gather *g = calloc(1, sizeof *g);

    if (!g)
        return err_set(e, ERR_OOM, "no memory for a stock of files");
    g->options = *o;
    g->known.hashes = o->hashes;
    *ret_gather = g;
    return 0;
}

void gather_free(struct gather *g)
{
    if (!g)
        return;
    while (g->orders) {
        struct order *next = g->orders->next;

        order_free(g->orders, g->options.cache);
        g->orders = next;
    }
    fetch_end(&g->fetch);
    buf_done(&g->text);
    known_done(&g->known);
    free(g);
}

/* The order ends with a failure. */
static void fail(struct gather *g, struct order *o, const struct err *why)
{
    struct stock_event event = {.what = STOCK_FAILED, .ref = o->ref, .why = *why};
    struct order **at = &g->orders;

    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    order_free(o, g->options.cache);
    g->options.happened(g->options.user, &event);
}

/* All orders that wait for the file end with a failure that names it. */
static void fail_waiting(struct gather *g, const char *sha256, const struct err *why)
{
    struct order *next;
    struct err named;

    for (struct order *o = g->orders; o; o = next) {
        next = o->next;
        if (o->ready || !order_waits_for(o, sha256))
            continue;
        err_set(&named, why->code, "'%s': %s", order_label(o, sha256), why->text);
        fail(g, o, &named);
    }
}

static void give(struct gather *g, struct order *o)
{
    struct stock_event event = {.what = STOCK_READY, .ref = o->ref};
    struct err why = {0};

    if (order_give(o, g->options.view, &event.given, &why) != 0) {
        fail(g, o, &why);
        return;
    }
    o->ready = true;
    g->options.happened(g->options.user, &event);
}

static void tell(struct gather *g, struct order *o, int64_t now_ms)
{
    struct stock_event event = {.what = STOCK_FETCHING, .ref = o->ref};

    if (now_ms - o->told_ms < TELL_MS)
        return;
    o->told_ms = now_ms;
    event.fetched = order_fetched(o, &event.total);
    if (g->fetch.sha256[0] && !g->fetching_listing && order_waits_for(o, g->fetch.sha256))
        event.fetched += g->fetch.next;
    g->options.happened(g->options.user, &event);
}

/* --- one file at a time --- */

static void stop_fetching(struct gather *g)
{
    fetch_end(&g->fetch);
    cache_suspend(g->options.cache);
    g->text.size = 0;
}

/* Room in the cache that orders behind this one hold and do not use yet. */
static bool reclaim(struct gather *g, const struct order *front)
{
    bool any = false;

    for (struct order *o = g->orders; o; o = o->next) {
        uint64_t total;

        if (o == front || o->ready || order_fetched(o, &total) == 0)
            continue;
        order_unlocate(o, g->options.cache);
        any = true;
    }
    return any;
}

static bool any_ready(const struct gather *g)
{
    for (const struct order *o = g->orders; o; o = o->next)
        if (o->ready)
            return true;
    return false;
}

/* false: not now, later. Failures end the order. */
static bool begin(struct gather *g, struct order *o, const struct missing *m)
{
    uint32_t part = g->options.part_bytes ? g->options.part_bytes : MSG_CHUNK_MAX;
    struct err why = {0};
    uint64_t have = 0;
    int rc;

    g->fetching_listing = m->listing;
    if (m->listing) {
        fetch_begin(&g->fetch, m->sha256, 0, 0, LISTING_TEXT_MAX, part);
        return true;
    }
    rc = cache_begin(g->options.cache, m->sha256, m->total, &have, &why);
    if (rc == ERR_MISSING && reclaim(g, o))
        rc = cache_begin(g->options.cache, m->sha256, m->total, &have, &why);
    if (rc == ERR_CONFLICT || (rc == ERR_MISSING && any_ready(g)))
        return false; /* another worker fetches it; or what renders will make room */
    if (rc != 0) {
        fail(g, o, &why);
        return true;
    }
    if (m->total == 0) { /* nothing to ask for */
        if (cache_commit(g->options.cache, &why) != 0)
            fail(g, o, &why);
        return false;
    }
    fetch_begin(&g->fetch, m->sha256, have, m->total, m->total, part);
    return true;
}

/* The bytes are not those of the hash: once more, then it is given up. */
static void wrong_bytes(struct gather *g, const char *sha256, const struct err *why)
{
    struct err e;

    if (strcmp(g->failed_once, sha256) != 0) {
        memcpy(g->failed_once, sha256, HASH_HEX_SIZE);
        return; /* it is missing still */
    }
    g->failed_once[0] = 0;
    err_set(&e, ERR_MISSING, "it did not come as it should: %s", why->text);
    fail_waiting(g, sha256, &e);
}

static void finish(struct gather *g)
{
    char sha256[HASH_HEX_SIZE];
    struct err why = {0};
    int rc;

    memcpy(sha256, g->fetch.sha256, sizeof sha256);
    rc = g->fetching_listing ? known_add_listing(&g->known, sha256, &g->text, &why)
                             : cache_commit(g->options.cache, &why);
    stop_fetching(g);
    if (rc == ERR_OUTPUT)
        wrong_bytes(g, sha256, &why);
    else if (rc != 0)
        fail_waiting(g, sha256, &why);
    else
        g->failed_once[0] = 0;
}

/* What came in order goes to its place. */
static void drain(struct gather *g)
{
    struct err why = {0};
    void *data;
    size_t size;
    int rc = 0;

    while (rc == 0 && fetch_take(&g->fetch, &data, &size)) {
        if (g->fetching_listing)
            buf_append(&g->text, data, size);
        else
            rc = cache_append(g->options.cache, data, size, &why);
        free(data);
    }
    if (rc != 0) {
        fail_waiting(g, g->fetch.sha256, &why);
        stop_fetching(g);
    }
}

static void want(struct gather *g, int64_t now_ms)
{
    struct stock_event event = {.what = STOCK_WANT};

    while (fetch_want(&g->fetch, now_ms, &event.want))
        g->options.happened(g->options.user, &event);
}

static bool anyone_waits(const struct gather *g)
{
    for (const struct order *o = g->orders; o; o = o->next)
        if (!o->ready && order_waits_for(o, g->fetch.sha256))
            return true;
    return false;
}

void gather_keep(struct gather *g, const struct msg_chunk *file)
{
    if (!g->fetch.sha256[0] || g->fetching_listing)
        cache_put(g->options.cache, file->sha256, file->data, file->data_size, NULL);
}

void gather_chunk(struct gather *g, const struct msg_chunk *chunk)
{
    char sha256[HASH_HEX_SIZE];
    struct err why = {0}, e;

    if (fetch_chunk(&g->fetch, chunk, &why) != 0) {
        memcpy(sha256, g->fetch.sha256, sizeof sha256);
        err_set(&e, why.code == ERR_OOM ? ERR_OOM : ERR_MISSING, "it did not come as it should: %s",
                why.text);
        fail_waiting(g, sha256, &e);
        stop_fetching(g);
        return;
    }
    drain(g);
}

void gather_gone(struct gather *g, const char *sha256, const struct err *why)
{
    if (strcmp(g->fetch.sha256, sha256) == 0)
        stop_fetching(g);
    fail_waiting(g, sha256, why);
}

void gather_again(struct gather *g)
{
    fetch_again(&g->fetch);
}

void gather_add(struct gather *g, struct order *o)
{
    struct order **at = &g->orders;

    while (*at)
        at = &(*at)->next;
    *at = o;
}

void gather_release(struct gather *g, const struct attempt_ref *ref)
{
    for (struct order **at = &g->orders; *at; at = &(*at)->next) {
        struct order *o = *at;

        if (!attempt_ref_equal(&o->ref, ref))
            continue;
        *at = o->next;
        order_free(o, g->options.cache);
        return;
    }
}

bool gather_waits(const struct gather *g)
{
    for (const struct order *o = g->orders; o; o = o->next)
        if (!o->ready)
            return true;
    return false;
}

void gather_advance(struct gather *g, int64_t now_ms)
{
    struct order *next;
    bool busy;

    if (g->fetch.sha256[0] && !anyone_waits(g))
        stop_fetching(g);
    if (fetch_over(&g->fetch))
        finish(g);
    busy = g->fetch.sha256[0] != 0;
    for (struct order *o = g->orders; o; o = next) {
        struct missing m;
        struct err why = {0};

        next = o->next;
        if (o->ready)
            continue;
        if (order_locate(o, &g->known, g->options.cache, &m, &why) != 0) {
            fail(g, o, &why);
            continue;
        }
        if (!m.sha256[0]) {
            give(g, o);
            continue;
        }
        if (!busy)
            busy = begin(g, o, &m);
        /* `begin` may have ended the order */
        for (const struct order *x = g->orders; x; x = x->next)
            if (x == o)
                tell(g, o, now_ms);
    }
    want(g, now_ms);
}
