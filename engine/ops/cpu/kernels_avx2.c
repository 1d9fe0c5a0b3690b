/* AVX2 and FMA: compiled with those flags (CMakeLists.txt), called behind kernels_best. */
#if defined(__x86_64__)
#define SIMD_AVX2
#define KERNELS      kernels_avx2
#define KERNELS_NAME "avx2"
#include "engine/ops/cpu/loops.h"
#endif
