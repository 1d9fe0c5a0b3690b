/*
 * Numbers of a kernel, C++: activations are stored as T, __half or __nv_bfloat16, and computed with
 * in float. For .cu files, after launch.h.
 */
#ifndef ENGINE_OPS_CUDA_NUMBER_H
#define ENGINE_OPS_CUDA_NUMBER_H

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.h"

template <class T> __device__ inline float to_float(T x);
template <> __device__ inline float to_float<float>(float x)
{
    return x;
}
template <> __device__ inline float to_float<__half>(__half x)
{
    return __half2float(x);
}
template <> __device__ inline float to_float<__nv_bfloat16>(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

/* Rounded to nearest, ties to even. */
template <class T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x)
{
    return x;
}
template <> __device__ inline __half from_float<__half>(float x)
{
    return __float2half_rn(x);
}
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}

/* As ops.h defines them; gelu with erf. */
__device__ inline float activated(float x, int act)
{
    switch (act) {
    case KERNEL_SILU:
        return x / (1.0f + expf(-x));
    case KERNEL_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case KERNEL_QUICK_GELU:
        return x / (1.0f + expf(-1.702f * x));
    default:
        return x;
    }
}

/* V numbers in a row, moved as one word: 16 bytes for V = 8. */
template <class T, int V> struct alignas(sizeof(T) * V) pack {
    T at[V];
};

template <class T, int V> __device__ inline pack<T, V> load_pack(const T *x)
{
    return *reinterpret_cast<const pack<T, V> *>(x);
}

template <class T, int V> __device__ inline void store_pack(T *y, const pack<T, V> &values)
{
    *reinterpret_cast<pack<T, V> *>(y) = values;
}

/* Whether rows of c numbers of two bytes at these addresses can be moved 16 bytes at a time. */
inline bool wide(int64_t c, const void *a, const void *b = nullptr, const void *d = nullptr)
{
    uintptr_t bits = reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) |
                     reinterpret_cast<uintptr_t>(d);

    return c % 8 == 0 && bits % 16 == 0;
}

inline unsigned blocks_for(int64_t items, int64_t per_block)
{
    return static_cast<unsigned>((items + per_block - 1) / per_block);
}

#endif
