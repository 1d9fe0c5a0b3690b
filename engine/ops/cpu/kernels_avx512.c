/* AVX-512 F, BW, DQ, VL: compiled with those flags (CMakeLists.txt), called behind kernels_best. */
#if defined(__x86_64__)
#define SIMD_AVX512
#define KERNELS      kernels_avx512
#define KERNELS_NAME "avx512"
#include "engine/ops/cpu/loops.h"
#endif
