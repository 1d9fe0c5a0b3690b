/* Workers and clients by their addresses: coord.h. */
#include "coordinator/coord.h"

bool peer_equal(const struct peer *a, const struct peer *b)
{
    return a->size == b->size && memcmp(a->id, b->id, a->size) == 0;
}

static size_t slot_of(const struct peer *peer)
{
    uint64_t x = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < peer->size; i++)
        x = (x ^ peer->id[i]) * UINT64_C(0x100000001b3);
    return (size_t)((x ^ x >> 32) % COORD_FOUND_SLOTS);
}

struct worker *coord_worker(const struct coord *c, const struct peer *peer)
{
    struct worker **found = &c->found[slot_of(peer)];

    if (*found && !(*found)->lost && peer_equal(&(*found)->peer, peer))
        return *found;
    for (size_t i = 0; i < c->n_workers; i++)
        if (!c->workers[i]->lost && peer_equal(&c->workers[i]->peer, peer))
            return *found = c->workers[i];
    return NULL;
}

/* Sessions ascend in the list: a new one is the highest, and is appended. */
struct worker *coord_session(const struct coord *c, uint64_t session)
{
    size_t low = 0, high = c->n_workers;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->workers[middle]->session < session)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->n_workers && c->workers[low]->session == session && !c->workers[low]->lost
               ? c->workers[low]
               : NULL;
}

bool worker_is_barred(const struct worker *w, const struct needs *n)
{
    return block_holds(&w->blocks, n->model_key, n->pixels) || lacks_lot(w, n);
}

static void worker_free(struct worker *w)
{
    free(w->name);
    free(w->device);
    free(w->device_class);
    free(w->software);
    free(w->host);
    free(w->meeting);
    free(w->met);
    free(w->tasks);
    blocks_done(&w->blocks);
    abilities_done(&w->abilities);
    free(w);
}

static int worker_insert(struct coord *c, struct worker *w, struct err *e)
{
    if (c->n_workers == c->workers_room) {
        size_t room = c->workers_room ? c->workers_room * 2 : 16;
        struct worker **workers = realloc(c->workers, room * sizeof *workers);

        if (!workers)
            return err_set(e, ERR_OOM, "no memory for another worker");
        c->workers = workers;
        c->workers_room = room;
    }
    c->workers[c->n_workers++] = w;
    return 0;
}

int coord_worker_add(struct coord *c, const struct peer *peer, const struct msg_hello *hello,
                     struct worker **ret_worker, struct err *e)
{
    struct worker *w = calloc(1, sizeof *w);
    int rc = 0;

    if (!w)
        return err_set(e, ERR_OOM, "no memory for another worker");
    w->peer = *peer;
    w->session = c->next_session++;
    w->name = strdup(hello->name);
    w->device = strdup(hello->device);
    w->device_class = strdup(hello->device_class);
    w->software = strdup(hello->software);
    w->host = strdup(hello->host ? hello->host : "");
    w->reachable = hello->gang_address && hello->gang_address[0];
    w->memory_bytes = hello->memory_bytes;
    w->threads = hello->threads;
    w->batch = hello->batch > 1 ? hello->batch : 1;
    if (!w->name || !w->device || !w->device_class || !w->software || !w->host) {
        rc = err_set(e, ERR_OOM, "no memory for another worker");
        goto out;
    }
    TRY(abilities_of(hello, &w->abilities, e));
    TRY(worker_insert(c, w, e));
    *ret_worker = w;
    w = NULL;
out:
    if (w)
        worker_free(w);
    return rc;
}

void coord_worker_remove(struct coord *c, struct worker *w)
{
    for (size_t i = 0; i < c->n_workers; i++) {
        if (c->workers[i] != w)
            continue;
        memmove(c->workers + i, c->workers + i + 1, (c->n_workers - i - 1) * sizeof *c->workers);
        c->n_workers--;
        break;
    }
    memset(c->found, 0, COORD_FOUND_SLOTS * sizeof *c->found);
    worker_free(w);
}

struct client *coord_client(struct coord *c, const struct peer *peer)
{
    for (size_t i = 0; i < c->n_clients; i++)
        if (peer_equal(&c->clients[i].peer, peer))
            return &c->clients[i];
    return NULL;
}

struct client *coord_client_add(struct coord *c, const struct peer *peer, int64_t now_ms)
{
    struct client *place = coord_client(c, peer);

    if (!place && c->n_clients < COORD_CLIENTS_MAX)
        place = &c->clients[c->n_clients++];
    if (!place) {
        place = &c->clients[0];
        for (size_t i = 1; i < c->n_clients; i++)
            if (c->clients[i].heard_ms < place->heard_ms)
                place = &c->clients[i];
    }
    *place = (struct client){.peer = *peer, .heard_ms = now_ms};
    return place;
}

void coord_client_remove(struct coord *c, struct client *client)
{
    *client = c->clients[--c->n_clients];
}

static struct speed *speed_find(const struct speeds *s, uint64_t key)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i].key == key)
            return (struct speed *)&s->at[i];
    return NULL;
}

void speed_learn(struct speeds *s, uint64_t key, double ms)
{
    struct speed *known = speed_find(s, key);

    if (known) {
        known->step_ms += 0.2 * (ms - known->step_ms);
        return;
    }
    if (s->n == COORD_SPEEDS_MAX)
        memmove(s->at, s->at + 1, --s->n * sizeof *s->at);
    s->at[s->n++] = (struct speed){.key = key, .step_ms = ms};
}

double speed_ms(const struct speeds *s, uint64_t key)
{
    const struct speed *known = speed_find(s, key);

    return known ? known->step_ms : 0;
}

uint64_t peer_hash(const struct peer *peer)
{
    uint64_t x = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < peer->size; i++)
        x = (x ^ peer->id[i]) * UINT64_C(0x100000001b3);
    return x;
}
