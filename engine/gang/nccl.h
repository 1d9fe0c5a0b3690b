/*
 * NCCL beside a gang of sockets, for members that compute on NVIDIA GPUs. Meeting, latents and news
 * of who is gone stay with the gang of sockets, over which NCCL's id travels too; sums of
 * activations go from device to device. A part of the CUDA module alone.
 *
 * NCCL does not notice that a peer's process died: every wait here looks at the gang of sockets as
 * well, and aborts the communicator when a member is gone or the render was told to stop.
 *
 *     TRY(nccl_open(host, device, stream, &g, e));      // collective over host
 *     TRY(g->all_reduce(g, x, n, GANG_F16, e));         // x: device memory
 *     g->free(g);                                       // before host
 */
#ifndef ENGINE_GANG_NCCL_H
#define ENGINE_GANG_NCCL_H

#include "engine/gang/gang.h"

#include <cuda_runtime.h>

/*
 * host: borrowed for the gang's life; its members are this gang's. Sums are queued in `stream` and
 * waited for. ERR_LOST, ERR_CANCELLED as gang.h says; ERR_INTERNAL with NCCL's call and words.
 */
int nccl_open(struct gang *host, int device, cudaStream_t stream, struct gang **ret_gang,
              struct err *e);

#endif
