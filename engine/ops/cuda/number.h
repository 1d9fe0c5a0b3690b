/*
 * Numbers of a kernel, C++: activations are stored as T, __half, __nv_bfloat16 or float, and
 * computed with in float. For .cu files, after launch.h.
 *
 *     template <class T, int V> static void add_with(packs<T, V>, cudaStream_t s, ...);
 *
 *     return with_packs(type, {n}, {y, a, b}, [=](auto of) { add_with(of, s, y, a, b, n); });
 */
#ifndef ENGINE_OPS_CUDA_NUMBER_H
#define ENGINE_OPS_CUDA_NUMBER_H

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/cuda/launch.h"

#include <initializer_list>
#include <type_traits>

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

/* V numbers in a row, moved as one word: 16 bytes for V = packed<T>. */
template <class T, int V> struct alignas(sizeof(T) * V) pack {
    T at[V];
};

template <class T> constexpr int packed = 16 / static_cast<int>(sizeof(T));

template <class T, int V> __device__ inline pack<T, V> load_pack(const T *x)
{
    return *reinterpret_cast<const pack<T, V> *>(x);
}

template <class T, int V> __device__ inline void store_pack(T *y, const pack<T, V> &values)
{
    *reinterpret_cast<pack<T, V> *>(y) = values;
}

/* Whether rows of so many numbers at these addresses (NULL: any) can be moved 16 bytes at a time.
 */
template <class T>
bool wide(std::initializer_list<int64_t> widths, std::initializer_list<const void *> addresses)
{
    for (int64_t c : widths)
        if (c % packed<T> != 0)
            return false;
    for (const void *a : addresses)
        if (reinterpret_cast<uintptr_t>(a) % 16 != 0)
            return false;
    return true;
}

/* --- from a type's name to the type --- */

/* Says T and V to a function by an argument. */
template <class T, int V> struct packs {
    typedef T number;
};

/* Of numbers that are only moved: the same for all types of a size. */
template <class T> using word = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;

template <class T, int V> packs<word<T>, V> words(packs<T, V>)
{
    return {};
}

/* f(packs<T, 1>()) with what `type` names, then what the launch says. */
template <class F> cudaError_t with_number(enum kernel_number type, F f)
{
    switch (type) {
    case KERNEL_F16:
        f(packs<__half, 1>());
        return cudaGetLastError();
    case KERNEL_BF16:
        f(packs<__nv_bfloat16, 1>());
        return cudaGetLastError();
    case KERNEL_F32:
        f(packs<float, 1>());
        return cudaGetLastError();
    }
    return cudaErrorInvalidValue;
}

/* The same with packed<T> in the place of 1 if wide<T>(widths, addresses). */
template <class F>
cudaError_t with_packs(enum kernel_number type, std::initializer_list<int64_t> widths,
                       std::initializer_list<const void *> addresses, F f)
{
    return with_number(type, [&](auto one) {
        typedef typename decltype(one)::number T;

        if (wide<T>(widths, addresses))
            f(packs<T, packed<T>>());
        else
            f(one);
    });
}

inline unsigned blocks_for(int64_t items, int64_t per_block)
{
    return static_cast<unsigned>((items + per_block - 1) / per_block);
}

#endif
