/* Errors of NVIDIA's libraries as ours. */
#include "engine/ops/cuda/cuda.h"

int cuda_check(cudaError_t code, const char *call, struct err *e)
{
    if (code == cudaSuccess)
        return 0;
    cudaGetLastError();
    return err_set(e, code == cudaErrorMemoryAllocation ? ERR_OOM : ERR_INTERNAL, "%s: %s (%s, %d)",
                   call, cudaGetErrorString(code), cudaGetErrorName(code), (int)code);
}

int blas_check(cublasStatus_t code, const char *call, struct err *e)
{
    if (code == CUBLAS_STATUS_SUCCESS)
        return 0;
    cudaGetLastError();
    return err_set(e, code == CUBLAS_STATUS_ALLOC_FAILED ? ERR_OOM : ERR_INTERNAL, "%s: %s (%d)",
                   call, cublasLtGetStatusName(code), (int)code);
}

int dnn_check(cudnnStatus_t code, const char *call, struct err *e)
{
    bool oom = code == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
               code == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;

    if (code == CUDNN_STATUS_SUCCESS)
        return 0;
    cudaGetLastError();
    return err_set(e, oom ? ERR_OOM : ERR_INTERNAL, "%s: %s (%d)", call, cudnnGetErrorString(code),
                   (int)code);
}
