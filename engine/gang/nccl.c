#include "engine/gang/nccl.h"

#include <nccl.h>
#include <sched.h>
#include <stdlib.h>

struct nccl {
    struct gang gang;
    struct gang *host;
    ncclComm_t comm;
    cudaStream_t stream;
};

static struct nccl *nccl_of(struct gang *g)
{
    return (struct nccl *)g;
}

/* After any failure the communicator is aborted: others, and the device, wait for it no longer. */
static void give_up(struct nccl *n)
{
    if (n->comm != NULL)
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
            rc = n->host->check(n->host, e);
        if (state == ncclInProgress)
            sched_yield();
    }
    return rc;
}

static int await_stream(struct nccl *n, struct err *e)
{
    cudaError_t state;
    int rc = 0;

    while (rc == 0 && (state = cudaStreamQuery(n->stream)) != cudaSuccess) {
        if (state != cudaErrorNotReady)
            return err_set(e, ERR_INTERNAL, "cudaStreamQuery: %s", cudaGetErrorString(state));
        rc = await_comm(n, "ncclAllReduce", e);
        sched_yield();
    }
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
    TRY(check(ncclAllReduce(x, x, (size_t)n, type_of(number), ncclSum, c->comm, c->stream),
              "ncclAllReduce", e));
    TRY(await_comm(c, "ncclAllReduce", e));
    TRY(await_stream(c, e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

static int exchange(struct gang *g, const struct gang_transfer *transfers, int n, struct err *e)
{
    struct nccl *c = nccl_of(g);
    int rc = 0;

    if (c->comm == NULL)
        return err_set(e, ERR_LOST, "the gang is broken");
    TRY(check(ncclGroupStart(), "ncclGroupStart", e));
    for (int i = 0; i < n; i++) {
        const struct gang_transfer *t = &transfers[i];

        if (t->send_bytes > 0)
            TRY(check(ncclSend(t->send, t->send_bytes, ncclUint8, t->peer, c->comm, c->stream),
                      "ncclSend", e));
        if (t->receive_bytes > 0)
            TRY(check(
                ncclRecv(t->receive, t->receive_bytes, ncclUint8, t->peer, c->comm, c->stream),
                "ncclRecv", e));
    }
    TRY(check(ncclGroupEnd(), "ncclGroupEnd", e));
    TRY(await_comm(c, "ncclGroupEnd", e));
    TRY(await_stream(c, e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

static int all_gather(struct gang *g, float *all, const int64_t counts[], struct err *e)
{
    struct gang *host = nccl_of(g)->host;

    return host->all_gather(host, all, counts, e);
}

static int broadcast(struct gang *g, void *bytes, size_t size, int root, struct err *e)
{
    struct gang *host = nccl_of(g)->host;

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
    TRY(c->host->check(c->host, e));
out:
    if (rc != 0)
        give_up(c);
    return rc;
}

static void nccl_free(struct gang *g)
{
    struct nccl *c = nccl_of(g);

    if (g == NULL)
        return;
    if (c->comm != NULL) { /* what was queued is done: every sum was waited for */
        ncclCommFinalize(c->comm);
        if (await_comm(c, "ncclCommFinalize", NULL) == 0) {
            ncclCommDestroy(c->comm);
            c->comm = NULL;
        }
    }
    give_up(c);
    free(c);
}

int nccl_open(struct gang *host, int device, cudaStream_t stream, struct gang **ret_gang,
              struct err *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
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
    c->host = host;
    c->stream = stream;
    config.blocking = 0;
    if (cudaSetDevice(device) != cudaSuccess)
        TRY(err_set(e, ERR_INTERNAL, "cudaSetDevice: device %d", device));
    if (host->rank == 0)
        TRY(check(ncclGetUniqueId(&id), "ncclGetUniqueId", e));
    TRY(host->broadcast(host, &id, sizeof id, 0, e));
    TRY(check(ncclCommInitRankConfig(&c->comm, host->size, id, host->rank, &config),
              "ncclCommInitRankConfig", e));
    TRY(await_comm(c, "ncclCommInitRankConfig", e));
    *ret_gang = &c->gang;
    c = NULL;
out:
    if (c != NULL)
        give_up(c);
    free(c);
    return rc;
}
