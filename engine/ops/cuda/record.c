/*
 * Sequences of ops as CUDA graphs. A key is met three times before a graph replaces the calls: the
 * first run loads what the libraries load lazily, the second is captured.
 */
#include "engine/ops/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#define KEPT    8
#define KEY_MAX 2048 /* bytes */

struct recording {
    unsigned char key[KEY_MAX];
    size_t key_bytes;
    uint64_t used;         /* when, by calls */
    cudaGraphExec_t graph; /* NULL: seen once, not captured */
};

struct recordings {
    struct recording items[KEPT];
    int n;
    uint64_t calls;
    struct recording *first;     /* whose calls are made for the first time; NULL: none */
    struct recording *capturing; /* NULL: no capture is under way */
    cudaStream_t stream;         /* that of the backend */
    cudaEvent_t launched[2];     /* behind the last two launches, in turn */
    unsigned n_launched;
};

int recordings_new(cudaStream_t stream, struct recordings **ret_r, struct err *e)
{
    struct recordings *r = calloc(1, sizeof *r);
    int rc = 0;

    if (r == NULL)
        return err_set(e, ERR_OOM, "no memory for recordings");
    r->stream = stream;
    for (int i = 0; i < 2; i++)
        TRY(cuda_check(cudaEventCreateWithFlags(&r->launched[i], cudaEventDisableTiming),
                       "cudaEventCreateWithFlags", e));
    *ret_r = r;
    r = NULL;
out:
    recordings_free(r);
    return rc;
}

static void drop(struct recording *r)
{
    if (r->graph != NULL)
        cudaGraphExecDestroy(r->graph);
    r->graph = NULL;
    r->key_bytes = 0;
}

void recordings_forget(struct recordings *r)
{
    cudaGraph_t graph = NULL;

    if (r == NULL)
        return;
    if (r->capturing != NULL) {
        cudaStreamEndCapture(r->stream, &graph);
        cudaGetLastError(); /* its error: nobody wants the graph */
        if (graph != NULL)
            cudaGraphDestroy(graph);
        r->capturing = NULL;
    }
    for (int i = 0; i < r->n; i++)
        drop(&r->items[i]);
    r->n = 0;
    r->first = NULL;
}

void recordings_free(struct recordings *r)
{
    if (r == NULL)
        return;
    recordings_forget(r);
    for (int i = 0; i < 2; i++)
        if (r->launched[i] != NULL)
            cudaEventDestroy(r->launched[i]);
    free(r);
}

static struct recording *find(struct recordings *r, const void *key, size_t key_bytes)
{
    for (int i = 0; i < r->n; i++)
        if (r->items[i].key_bytes == key_bytes && memcmp(r->items[i].key, key, key_bytes) == 0)
            return &r->items[i];
    return NULL;
}

/* A new one, in the place of the one unused for longest. */
static void note(struct recordings *r, const void *key, size_t key_bytes)
{
    struct recording *at = &r->items[0];

    if (r->n < KEPT) {
        at = &r->items[r->n++];
    } else {
        for (int i = 1; i < r->n; i++)
            if (r->items[i].used < at->used)
                at = &r->items[i];
        drop(at);
    }
    *at = (struct recording){.key_bytes = key_bytes, .used = r->calls};
    memcpy(at->key, key, key_bytes);
    r->first = at;
}

/* Not more than two graphs in flight: a launch into a full queue blocks, and looks after no gang.
 */
static int launch(struct cuda *c, cudaGraphExec_t graph, struct err *e)
{
    struct recordings *all = c->recordings;
    cudaEvent_t behind = all->launched[all->n_launched++ % 2];
    int rc = 0;

    if (c->gang != NULL)
        TRY(cuda_await(c, behind, e));
    TRY(cuda_check(cudaGraphLaunch(graph, c->stream), "cudaGraphLaunch", e));
    TRY(cuda_check(cudaEventRecord(behind, c->stream), "cudaEventRecord", e));
out:
    return rc;
}

int cuda_record(struct ops *o, const void *key, size_t key_bytes, bool *ret_done, struct err *e)
{
    struct cuda *c = cuda_of(o);
    struct recordings *all = c->recordings;
    struct recording *r;
    int rc = 0;

    *ret_done = false;
    if (o->planning || key_bytes > KEY_MAX)
        return 0;
    all->calls++;
    r = find(all, key, key_bytes);
    if (r == NULL) {
        note(all, key, key_bytes);
        return 0;
    }
    r->used = all->calls;
    if (r->graph != NULL) {
        TRY(launch(c, r->graph, e));
        *ret_done = true;
        return 0;
    }
    TRY(cuda_check(cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal),
                   "cudaStreamBeginCapture", e));
    all->capturing = r;
out:
    return rc;
}

int cuda_record_end(struct ops *o, bool failed, struct err *e)
{
    struct cuda *c = cuda_of(o);
    struct recording *r = c->recordings->capturing;
    cudaGraph_t graph = NULL;
    int rc = 0;

    if (c->recordings->first != NULL && failed)
        drop(c->recordings->first); /* not all is loaded: a capture would meet the rest */
    c->recordings->first = NULL;
    if (r == NULL)
        return 0;
    c->recordings->capturing = NULL;
    rc = cuda_check(cudaStreamEndCapture(c->stream, &graph), "cudaStreamEndCapture",
                    failed ? NULL : e);
    if (failed || rc != 0)
        goto out;
    TRY(cuda_check(cudaGraphInstantiate(&r->graph, graph, 0), "cudaGraphInstantiate", e));
    cudaGraphDestroy(graph); /* before a wait, which may end a gang whose calls it holds */
    graph = NULL;
    TRY(launch(c, r->graph, e));
out:
    if (graph != NULL)
        cudaGraphDestroy(graph);
    return failed ? 0 : rc;
}
