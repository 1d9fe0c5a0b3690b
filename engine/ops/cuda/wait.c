#include "engine/ops/cuda/cuda.h"
#ifdef LITHO_NCCL
#include "engine/gang/nccl.h"
#endif

int cuda_await(struct cuda *c, cudaEvent_t event, struct err *e)
{
#ifdef LITHO_NCCL
    if (c->gang != NULL)
        return nccl_await(c->gang, event, e);
#endif
    return cuda_check(cudaEventSynchronize(event), "cudaEventSynchronize", e);
}

int cuda_await_all(struct cuda *c, struct err *e)
{
    int rc = 0;

    if (c->gang == NULL)
        return cuda_check(cudaStreamSynchronize(c->stream), "cudaStreamSynchronize", e);
    TRY(cuda_check(cudaEventRecord(c->settled, c->stream), "cudaEventRecord", e));
    TRY(cuda_await(c, c->settled, e));
out:
    return rc;
}
