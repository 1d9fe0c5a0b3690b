/* Errors of NVIDIA's libraries as ours. */
#include "engine/ops/cuda/cuda.h"

/*
 * After these every later call of the process fails, says the runtime's documentation: only another
 * process has the device again.
 */
static bool is_lost(cudaError_t code)
{
    switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
#if CUDART_VERSION >= 13000
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
#endif
        return true;
    default:
        return false;
    }
}

int cuda_check(cudaError_t code, const char *call, struct err *e)
{
    int class = is_lost(code)                       ? ERR_DEVICE
                : code == cudaErrorMemoryAllocation ? ERR_OOM
                                                    : ERR_INTERNAL;

    if (code == cudaSuccess)
        return 0;
    cudaGetLastError();
    return err_set(e, class, "%s: %s (%s, %d)%s", call, cudaGetErrorString(code),
                   cudaGetErrorName(code), (int)code,
                   class == ERR_DEVICE ? ": this process has lost the device" : "");
}

/* A library's words; what the runtime says of the device comes first if that is lost. */
static int library_error(bool oom, const char *call, const char *text, int code, struct err *e)
{
    cudaError_t under = cudaGetLastError();

    if (is_lost(under))
        return cuda_check(under, call, e);
    return err_set(e, oom ? ERR_OOM : ERR_INTERNAL, "%s: %s (%d)", call, text, code);
}

int blas_check(cublasStatus_t code, const char *call, struct err *e)
{
    if (code == CUBLAS_STATUS_SUCCESS)
        return 0;
    return library_error(code == CUBLAS_STATUS_ALLOC_FAILED, call, cublasLtGetStatusName(code),
                         (int)code, e);
}

int dnn_check(cudnnStatus_t code, const char *call, struct err *e)
{
    bool oom = code == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
               code == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;

    if (code == CUDNN_STATUS_SUCCESS)
        return 0;
    return library_error(oom, call, cudnnGetErrorString(code), (int)code, e);
}
