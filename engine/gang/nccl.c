#include "engine/gang/nccl.h"

#include <nccl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define QUEUED_MAX                                                                                 \
    16 /* sums or exchanges; with what is between, far from a queue of 1024 launches */

struct nccl {
    struct gang gang;
    struct nccl_place place;
    ncclComm_t comm; /* NULL: broken */
    cudaEvent_t paced;
    int queued; /* calls since the last wait */
};

static struct nccl *nccl_of(struct gang *g)
{
    return (struct nccl *)g;
}

/* After any failure the communicator is aborted: others, and the device, wait for it no longer. */
static void give_up(struct nccl *n)
{
    if (n->comm == NULL)
        return;
    if (n->place.let_go != NULL)
        n->place.let_go(n->place.owner);
    ncclCommAbort(n->comm);
    n->comm = NULL;
}

/* NCCL has no code for memory that runs out; it says so. */
static bool is_about_memory(ncclResult_t code, const char *words)
{
    return code == ncclUnhandledCudaError && (strstr(words, "out of memory") != NULL ||
                                              strstr(words, "Failed to CUDA malloc") != NULL);
}

/* What the runtime says of the device comes first, since NCCL's code does not tell. */
static int check(const struct nccl *n, ncclResult_t code, const char *call, struct err *e)
{
    const char *words;
    cudaError_t under;

    if (code == ncclSuccess || code == ncclInProgress)
        return 0;
    under = cudaGetLastError();
    if (code == ncclUnhandledCudaError && under != cudaSuccess)
        return n->place.error(under, call, e);
    words = ncclGetLastError(n->comm);
    return err_set(e,
                   code == ncclRemoteError        ? ERR_LOST
                   : is_about_memory(code, words) ? ERR_OOM
                                                  : ERR_INTERNAL,
                   "%s: %s (%d)%s%.200s", call, ncclGetErrorString(code), (int)code,
                   words[0] != 0 ? ": " : "", words);
}

/* Until NCCL has done what it was asked for, or a member is gone. */
static int await_comm(struct nccl *n, const char *call, struct err *e)
{
    ncclResult_t state = ncclInProgress;
    int rc = 0;

    while (rc == 0 && state == ncclInProgress) {
        rc = check(n, ncclCommGetAsyncError(n->comm, &state), "ncclCommGetAsyncError", e);
        if (rc == 0)
            rc = check(n, state, call, e);
        if (rc == 0)
            rc = n->place.host->check(n->place.host, e);
        if (state == ncclInProgress)
            sched_yield();
    }
    return rc;
}

static int await_event(struct nccl *n, cudaEvent_t event, struct err *e)
{
    cudaError_t state;
    int rc = 0;

    while (rc == 0 && (state = cudaEventQuery(event)) != cudaSuccess) {
        if (state != cudaErrorNotReady)
            return n->place.error(state, "cudaEventQuery", e);
        rc = await_comm(n, "NCCL", e);
        sched_yield();
    }
    return rc;
}

/* A call was queued: NCCL's host side is done with it, and the stream does not fill up. */
static int settle(struct nccl *n, const char *call, struct err *e)
{
    enum cudaStreamCaptureStatus capture;
    int rc = 0;

    TRY(await_comm(n, call, e));
    TRY(n->place.error(cudaStreamIsCapturing(n->place.stream, &capture), "cudaStreamIsCapturing",
                       e));
    if (capture != cudaStreamCaptureStatusNone || ++n->queued < QUEUED_MAX)
        return 0;
    n->queued = 0;
    TRY(n->place.error(cudaEventRecord(n->paced, n->place.stream), "cudaEventRecord", e));
    TRY(await_event(n, n->paced, e));
out:
    return rc;
}

static ncclDataType_t type_of(enum gang_number number)
{
    return number == GANG_F32 ? ncclFloat32 : number == GANG_F16 ? ncclFloat16 : ncclBfloat16;
}

static int all_reduce(struct gang *g, void *x, int64_t n, enum gang_number number, struct err *e)
{
    struct nccl *c = nccl_of(g);
    int rc = 0;

    if (c->comm == NULL)
        return err_set(e, ERR_LOST, "the gang is broken");
    TRY(check(c, ncclAllReduce(x, x, (size_t)n, type_of(number), ncclSum, c->comm, c->place.stream),
              "ncclAllReduce", e));
    TRY(settle(c, "ncclAllReduce", e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

static int queue_transfer(struct nccl *c, const struct gang_transfer *t, struct err *e)
{
    cudaStream_t stream = c->place.stream;
    int rc = 0;

    if (t->send_bytes > 0)
        TRY(check(c, ncclSend(t->send, t->send_bytes, ncclUint8, t->peer, c->comm, stream),
                  "ncclSend", e));
    if (t->receive_bytes > 0)
        TRY(check(c, ncclRecv(t->receive, t->receive_bytes, ncclUint8, t->peer, c->comm, stream),
                  "ncclRecv", e));
out:
    return rc;
}

static int exchange(struct gang *g, const struct gang_transfer *transfers, int n, struct err *e)
{
    struct nccl *c = nccl_of(g);
    ncclResult_t ended;
    int rc = 0;

    if (c->comm == NULL)
        return err_set(e, ERR_LOST, "the gang is broken");
    TRY(check(c, ncclGroupStart(), "ncclGroupStart", e));
    for (int i = 0; i < n && rc == 0; i++)
        rc = queue_transfer(c, &transfers[i], e);
    ended = ncclGroupEnd(); /* the thread's group is open until then, for other gangs too */
    TRY(rc);
    TRY(check(c, ended, "ncclGroupEnd", e));
    TRY(settle(c, "ncclGroupEnd", e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

static int all_gather(struct gang *g, float *all, const int64_t counts[], struct err *e)
{
    struct gang *host = nccl_of(g)->place.host;

    return host->all_gather(host, all, counts, e);
}

static int broadcast(struct gang *g, void *bytes, size_t size, int root, struct err *e)
{
    struct gang *host = nccl_of(g)->place.host;

    return host->broadcast(host, bytes, size, root, e);
}

static int split(struct gang *g, int colour, struct gang **ret_part, struct err *e)
{
    (void)g;
    (void)colour;
    (void)ret_part;
    return err_set(e, ERR_ARG, "a gang is split before NCCL joins it");
}

static int look(struct gang *g, struct err *e)
{
    struct nccl *c = nccl_of(g);
    ncclResult_t state;
    int rc = 0;

    if (c->comm == NULL)
        return err_set(e, ERR_LOST, "the gang is broken");
    TRY(check(c, ncclCommGetAsyncError(c->comm, &state), "ncclCommGetAsyncError", e));
    TRY(check(c, state, "ncclCommGetAsyncError", e));
    TRY(c->place.host->check(c->place.host, e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

int nccl_await(struct gang *g, cudaEvent_t event, struct err *e)
{
    struct nccl *c = nccl_of(g);
    int rc;

    if (c->comm == NULL)
        return err_set(e, ERR_LOST, "the gang is broken");
    rc = await_event(c, event, e);
    if (rc != 0)
        give_up(c);
    return rc;
}

/* In good order if nothing is queued any more; else the render failed, and others may have too. */
static void nccl_free(struct gang *g)
{
    struct nccl *c = nccl_of(g);

    if (g == NULL)
        return;
    if (c->comm != NULL && cudaStreamQuery(c->place.stream) == cudaSuccess) {
        if (c->place.let_go != NULL)
            c->place.let_go(c->place.owner);
        c->place.let_go = NULL;
        ncclCommFinalize(c->comm);
        if (await_comm(c, "ncclCommFinalize", NULL) == 0) {
            ncclCommDestroy(c->comm);
            c->comm = NULL;
        }
    }
    give_up(c);
    if (c->paced != NULL)
        cudaEventDestroy(c->paced);
    free(c);
}

int nccl_open(const struct nccl_place *place, struct gang **ret_gang, struct err *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct gang *host = place->host;
    struct nccl *c = calloc(1, sizeof *c);
    ncclUniqueId id = {{0}};
    int rc = 0;

    if (c == NULL)
        return err_set(e, ERR_OOM, "no memory for a gang");
    c->gang = (struct gang){.name = "nccl",
                            .rank = host->rank,
                            .size = host->size,
                            .device = true,
                            .all_reduce = all_reduce,
                            .all_gather = all_gather,
                            .broadcast = broadcast,
                            .exchange = exchange,
                            .split = split,
                            .check = look,
                            .free = nccl_free};
    c->place = *place;
    config.blocking = 0;
    TRY(place->error(cudaSetDevice(place->device), "cudaSetDevice", e));
    TRY(place->error(cudaEventCreateWithFlags(&c->paced, cudaEventDisableTiming),
                     "cudaEventCreateWithFlags", e));
    if (host->rank == 0)
        TRY(check(c, ncclGetUniqueId(&id), "ncclGetUniqueId", e));
    TRY(host->broadcast(host, &id, sizeof id, 0, e));
    TRY(check(c, ncclCommInitRankConfig(&c->comm, host->size, id, host->rank, &config),
              "ncclCommInitRankConfig", e));
    TRY(await_comm(c, "ncclCommInitRankConfig", e));
    *ret_gang = &c->gang;
    c = NULL;
out:
    if (c != NULL) {
        give_up(c);
        nccl_free(&c->gang);
    }
    return rc;
}
