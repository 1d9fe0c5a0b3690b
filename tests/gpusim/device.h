/* The device functions of the CUDA language that kernels use, as C++. Included by gpusim.h only. */
#ifndef GPUSIM_DEVICE_H
#define GPUSIM_DEVICE_H

/* ---- warps ---- */

inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    gpusim::ask(mask, 0);
}

inline int __any_sync(unsigned mask, int predicate)
{
    return gpusim::ask(mask, predicate).ballot != 0;
}

inline int __all_sync(unsigned mask, int predicate)
{
    gpusim::vote v = gpusim::ask(mask, predicate);
    return v.ballot == v.came;
}

inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    return gpusim::ask(mask, predicate).ballot;
}

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    unsigned first = gpusim::lane_id() & ~(unsigned)(width - 1);
    return gpusim::exchange(mask, value, first | ((unsigned)source & (unsigned)(width - 1)));
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    unsigned lane = gpusim::lane_id(), at = lane & (unsigned)(width - 1);
    return gpusim::exchange(mask, value, at >= delta ? lane - delta : lane);
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    unsigned lane = gpusim::lane_id(), at = lane & (unsigned)(width - 1);
    return gpusim::exchange(mask, value, at + delta < (unsigned)width ? lane + delta : lane);
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32)
{
    unsigned lane = gpusim::lane_id(), source = lane ^ (unsigned)lanes;
    unsigned end = (lane & ~(unsigned)(width - 1)) + (unsigned)width;
    return gpusim::exchange(mask, value, source < end ? source : lane);
}

/* ---- copies that the thread need not wait for (cuda_pipeline_primitives.h) ---- */

namespace gpusim
{
inline void copy_now(const async_copy &c)
{
    std::memcpy(c.to, c.from, c.size - c.zeros);
    std::memset(static_cast<char *>(c.to) + c.size - c.zeros, 0, c.zeros);
}
} // namespace gpusim

/* Done at once or as late as allowed: who reads too early or writes too late is wrong by one. */
inline void __pipeline_memcpy_async(void *to, const void *from, size_t size, size_t zeros = 0)
{
    gpusim::async_copies &all = gpusim::copies_of_thread();
    gpusim::async_copy c{to, from, size, zeros, all.commits};
    if (size != 4 && size != 8 && size != 16)
        gpusim::trap("an asynchronous copy of neither 4 nor 8 nor 16 bytes");
    if ((uintptr_t)to % size != 0 || (uintptr_t)from % size != 0 || zeros > size)
        gpusim::trap("an asynchronous copy that is not aligned to its size");
    if (gpusim::draw())
        gpusim::copy_now(c);
    else
        all.open.push_back(c);
}

inline void __pipeline_commit()
{
    gpusim::copies_of_thread().commits++;
}

inline void __pipeline_wait_prior(size_t later)
{
    gpusim::async_copies &all = gpusim::copies_of_thread();
    size_t kept = 0;
    for (const gpusim::async_copy &c : all.open) {
        if (c.batch + later < all.commits)
            gpusim::copy_now(c);
        else
            all.open[kept++] = c;
    }
    all.open.resize(kept);
}

/* ---- memory ---- */

inline void __threadfence()
{
}
inline void __threadfence_block()
{
}

template <class T> T __ldg(const T *address)
{
    return *address;
}

template <class T> T atomicAdd(T *address, std::common_type_t<T> value)
{
    return gpusim::atomic(address, [=](T old) { return (T)(old + value); });
}
template <class T> T atomicMax(T *address, std::common_type_t<T> value)
{
    return gpusim::atomic(address, [=](T old) { return old < value ? value : old; });
}
template <class T> T atomicMin(T *address, std::common_type_t<T> value)
{
    return gpusim::atomic(address, [=](T old) { return value < old ? value : old; });
}
template <class T> T atomicOr(T *address, std::common_type_t<T> value)
{
    return gpusim::atomic(address, [=](T old) { return (T)(old | value); });
}
template <class T> T atomicExch(T *address, std::common_type_t<T> value)
{
    return gpusim::atomic(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T *address, std::common_type_t<T> compare, std::common_type_t<T> value)
{
    return gpusim::atomic(address, [=](T old) { return old == compare ? value : old; });
}

[[noreturn]] inline void __trap()
{
    gpusim::trap("__trap()");
}

/* ---- numbers: as exact as the C library is, where a device would be coarser ---- */

#define __expf(x)    std::exp((float)(x))
#define __exp2f(x)   std::exp2((float)(x))
#define __logf(x)    std::log((float)(x))
#define __log2f(x)   std::log2((float)(x))
#define __sinf(x)    std::sin((float)(x))
#define __cosf(x)    std::cos((float)(x))
#define __powf(x, y) std::pow((float)(x), (float)(y))

inline float rsqrtf(float x)
{
    return 1.0f / std::sqrt(x);
}
inline float __frsqrt_rn(float x)
{
    return (float)(1.0 / std::sqrt((double)x));
}
inline float __fdividef(float x, float y)
{
    return x / y;
}
inline float __fadd_rn(float x, float y)
{
    return x + y;
}
inline float __fsub_rn(float x, float y)
{
    return x - y;
}
inline float __fmul_rn(float x, float y)
{
    return x * y;
}
inline float __fdiv_rn(float x, float y)
{
    return x / y;
}
inline float __fsqrt_rn(float x)
{
    return std::sqrt(x);
}
inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
inline float __fmaf_rn(float x, float y, float z)
{
    return std::fma(x, y, z);
}
inline float __saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}
inline int __float2int_rn(float x)
{
    return (int)std::nearbyint(x);
}
inline int __float2int_rd(float x)
{
    return (int)std::floor(x);
}
inline int __float2int_rz(float x)
{
    return (int)x;
}
inline float __int2float_rn(int x)
{
    return (float)x;
}
inline float __uint2float_rn(unsigned x)
{
    return (float)x;
}

template <class T, class F> T gpusim_bits(F x)
{
    static_assert(sizeof(T) == sizeof(F), "same size");
    T y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}
inline int __float_as_int(float x)
{
    return gpusim_bits<int>(x);
}
inline unsigned __float_as_uint(float x)
{
    return gpusim_bits<unsigned>(x);
}
inline float __int_as_float(int x)
{
    return gpusim_bits<float>(x);
}
inline float __uint_as_float(unsigned x)
{
    return gpusim_bits<float>(x);
}

inline unsigned __umulhi(unsigned x, unsigned y)
{
    return (unsigned)((uint64_t)x * y >> 32);
}
inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

#endif
