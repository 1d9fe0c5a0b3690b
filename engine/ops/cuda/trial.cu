/* Numbers made up on the device, and their comparison there (trial.h says what for). */
#include "engine/ops/cuda/number.h"

#define THREADS 256

/* Bits that look drawn, by Steele et al. 2014 (splitmix64). */
static __device__ inline uint64_t mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

template <class T> union number_bits {
    T number;
    word<T> bits;
    __device__ number_bits() : bits(0)
    {
    }
};

template <class T>
__global__ void pattern(T *y, int64_t rows, int64_t width, uint64_t seed, int turned)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    int64_t part = width / 2, row = i / width, column = i % width;
    bool second = part > 0 && column >= part && column < 2 * part;

    if (row >= rows)
        return;
    uint64_t drawn = mixed(seed << 40 ^ static_cast<uint64_t>(second ? i - part : i));
    number_bits<T> n;

    n.number = from_float<T>(static_cast<float>(drawn >> 40) * 0x1p-21f - 4.0f);
    if (second && turned) {
        n.bits ^= static_cast<word<T>>(1u << (8 * sizeof(T) - 1));
        if (mixed(drawn) % 16 == 0)
            n.bits ^= 1u;
    }
    y[i] = n.number;
}

template <class T, int V> __global__ void differ(uint32_t *flag, const T *a, const T *b, int64_t n)
{
    int64_t i = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * V;

    if (i >= n)
        return;
    pack<T, V> p = load_pack<T, V>(a + i), q = load_pack<T, V>(b + i);

    for (int k = 0; k < V; k++)
        if (p.at[k] != q.at[k])
            *flag = 1; /* whoever comes, the same */
}

template <class T>
static void pattern_with(packs<T, 1>, cudaStream_t s, void *y, int64_t rows, int64_t width,
                         uint32_t seed, int turned)
{
    LAUNCH(pattern<T>, dim3(blocks_for(rows * width, THREADS)), dim3(THREADS), 0, s,
           static_cast<T *>(y), rows, width, static_cast<uint64_t>(seed), turned);
}

cudaError_t kernels_pattern(cudaStream_t s, enum kernel_number type, void *y, int64_t rows,
                            int64_t width, uint32_t seed, int turned)
{
    return with_number(type, [=](auto of) { pattern_with(of, s, y, rows, width, seed, turned); });
}

template <class T, int V>
static void differ_with(packs<T, V>, cudaStream_t s, uint32_t *flag, const void *a, const void *b,
                        int64_t n)
{
    LAUNCH((differ<T, V>), dim3(blocks_for(n, THREADS * V)), dim3(THREADS), 0, s, flag,
           static_cast<const T *>(a), static_cast<const T *>(b), n);
}

cudaError_t kernels_differ(cudaStream_t s, enum kernel_number type, uint32_t *flag, const void *a,
                           const void *b, int64_t n)
{
    return with_packs(type, {n}, {a, b},
                      [=](auto of) { differ_with(words(of), s, flag, a, b, n); });
}
