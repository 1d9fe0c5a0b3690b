#include "engine/gang/nccl.h"

#include <nccl.h>
#include <sched.h>
#include <stdlib.h>

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

static int check(ncclResult_t code, const char *call, struct err *e)
{
    if (code == ncclSuccess || code == ncclInProgress)
        return 0;
    return err_set(e, code == ncclRemoteError ? ERR_LOST : ERR_INTERNAL, "%s: %s (%d)", call,
                   ncclGetErrorString(code), (int)code);
}

/* Until NCCL has done what it was asked for, or a member is gone. */
static int await_comm(struct nccl *n, const char *call, struct err *e)
{
    ncclResult_t state = ncclInProgress;
    int rc = 0;

    while (rc == 0 && state == ncclInProgress) {
        rc = check(ncclCommGetAsyncError(n->comm, &state), "ncclCommGetAsyncError", e);
        if (rc == 0)
            rc = check(state, call, e);
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
            return err_set(e, ERR_INTERNAL, "cudaEventQuery: %s (%d)", cudaGetErrorString(state),
                           (int)state);
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
    if (cudaStreamIsCapturing(n->place.stream, &capture) != cudaSuccess)
        TRY(err_set(e, ERR_INTERNAL, "cudaStreamIsCapturing failed"));
    if (capture != cudaStreamCaptureStatusNone || ++n->queued < QUEUED_MAX)
        return 0;
    n->queued = 0;
    if (cudaEventRecord(n->paced, n->place.stream) != cudaSuccess)
        TRY(err_set(e, ERR_INTERNAL, "cudaEventRecord failed"));
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
    TRY(check(ncclAllReduce(x, x, (size_t)n, type_of(number), ncclSum, c->comm, c->place.stream),
              "ncclAllReduce", e));
    TRY(settle(c, "ncclAllReduce", e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

static int exchange(struct gang *g, const struct gang_transfer *transfers, int n, struct err *e)
{
    struct nccl *c = nccl_of(g);
    cudaStream_t stream = c->place.stream;
    int rc = 0;

    if (c->comm == NULL)
        return err_set(e, ERR_LOST, "the gang is broken");
    TRY(check(ncclGroupStart(), "ncclGroupStart", e));
    for (int i = 0; i < n; i++) {
        const struct gang_transfer *t = &transfers[i];

        if (t->send_bytes > 0)
            TRY(check(ncclSend(t->send, t->send_bytes, ncclUint8, t->peer, c->comm, stream),
                      "ncclSend", e));
        if (t->receive_bytes > 0)
            TRY(check(ncclRecv(t->receive, t->receive_bytes, ncclUint8, t->peer, c->comm, stream),
                      "ncclRecv", e));
    }
    TRY(check(ncclGroupEnd(), "ncclGroupEnd", e));
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
    TRY(check(ncclCommGetAsyncError(c->comm, &state), "ncclCommGetAsyncError", e));
    TRY(check(state, "ncclCommGetAsyncError", e));
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
    if (cudaSetDevice(place->device) != cudaSuccess)
        TRY(err_set(e, ERR_INTERNAL, "cudaSetDevice: device %d", place->device));
    if (cudaEventCreateWithFlags(&c->paced, cudaEventDisableTiming) != cudaSuccess)
        TRY(err_set(e, ERR_INTERNAL, "cudaEventCreateWithFlags failed"));
    if (host->rank == 0)
        TRY(check(ncclGetUniqueId(&id), "ncclGetUniqueId", e));
    TRY(host->broadcast(host, &id, sizeof id, 0, e));
    TRY(check(ncclCommInitRankConfig(&c->comm, host->size, id, host->rank, &config),
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
