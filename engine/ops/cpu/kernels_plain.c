/* For machines that have neither AVX2 nor AVX-512: the same bytes, slowly. */
#define KERNELS      kernels_plain
#define KERNELS_NAME "plain"
#include "engine/ops/cpu/loops.h"

const struct kernels *kernels_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kernels_avx2;
#endif
    return &kernels_plain;
}
