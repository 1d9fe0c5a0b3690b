/*
 * NCCL beside a gang of sockets, for members that compute on NVIDIA GPUs. Meeting, latents and news
 * of who is gone stay with the gang of sockets, over which NCCL's id travels too; sums of
 * activations go from device to device. A part of the CUDA module alone.
 *
 * Sums and exchanges are queued, and may be captured into a CUDA graph as they are; all members
 * must capture the same ones. NCCL does not notice that a peer's process died: every wait here
 * looks at the gang of sockets as well, and aborts the communicator when a member is gone or the
 * render was told to stop. So that no launch blocks before such a wait is reached, the stream never
 * holds more than a few sums (a launch into a full queue waits for the device, and looks nowhere).
 *
 * NCCL's communicators wait, when they end, for the end of all graphs that hold their calls
 * (localPersistentRefs in NCCL's init.cc): the owner is told before, to let go of them.
 *
 *     TRY(nccl_open(&place, &g, e));                    // collective over place.host
 *     TRY(g->all_reduce(g, x, n, GANG_F16, e));         // x: device memory
 *     ... cudaEventRecord(event, stream) ...
 *     TRY(nccl_await(g, event, e));                     // instead of cudaEventSynchronize()
 *     g->free(g);                                       // before host
 */
#ifndef ENGINE_GANG_NCCL_H
#define ENGINE_GANG_NCCL_H

#include "engine/gang/gang.h"

#include <cuda_runtime.h>

struct nccl_place {
    struct gang *host; /* borrowed for the gang's life; its members are this gang's */
    int device;
    cudaStream_t stream; /* all work goes there */
    /* CUDA's code as ours, with the call's name: out of memory and a lost device are classes. */
    int (*error)(cudaError_t code, const char *call, struct err *e);
    void (*let_go)(
        void *owner); /* destroy the graphs that hold this gang's calls, and end a
                         capture: called once, before the communicator ends. NULL: none */
    void *owner;
};

/*
 * ERR_LOST, ERR_CANCELLED as gang.h says; else NCCL's call and words: ERR_OOM where those tell of
 * memory, ERR_DEVICE where the device is lost beneath it, ERR_INTERNAL. So do the gang's
 * operations.
 */
int nccl_open(const struct nccl_place *place, struct gang **ret_gang, struct err *e);

/* Waits for an event of the gang's stream, or until a member is gone: then the gang is broken. */
int nccl_await(struct gang *g, cudaEvent_t event, struct err *e);

#endif
