/*
 * What a .cu file includes before all else: CUDA C++ as nvcc has it, or the same language on the
 * emulated device (tests/gpusim), where a kernel is a C++ function. Between the two stand only
 * these macros; kernels use them and otherwise plain CUDA C++, without inline PTX.
 *
 *     template <class T> __global__ void scale(T *y, float by, int64_t n) { ... }
 *
 *     LAUNCH((scale<T>), dim3(blocks), dim3(256), 0, stream, y, 2.0f, n);
 *     return cudaGetLastError();
 *
 *   LAUNCH          kernel (in parentheses if its name holds a comma), grid, block, bytes of
 * dynamic shared memory, stream, arguments DYNAMIC_SHARED  declares `type *name`, the block's
 * dynamic shared memory, 128-byte aligned
 *
 *   ROLLED          before a loop that is not to be unrolled, since that would take more registers
 * than there are
 *
 * Static shared memory is `__shared__ type name[constant];` inside the kernel.
 */
#ifndef ENGINE_OPS_CUDA_LAUNCH_H
#define ENGINE_OPS_CUDA_LAUNCH_H

#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>
#include <mma.h>

#define ROLLED _Pragma("unroll 1")

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                     \
    kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)

#define DYNAMIC_SHARED(type, name)                                                                 \
    extern __shared__ __align__(128) unsigned char dynamic_shared[];                               \
    type *name = reinterpret_cast<type *>(dynamic_shared)

#else
#include "tests/gpusim/gpusim.h"

#define ROLLED

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                     \
    ::gpusim::launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(::gpusim::dynamic_shared())
#endif

#endif
