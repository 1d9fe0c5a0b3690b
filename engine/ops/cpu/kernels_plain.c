/* For machines that have neither AVX2 nor AVX-512: the same bytes, slowly. */
#define KERNELS      kernels_plain
#define KERNELS_NAME "plain"
#include "engine/ops/cpu/loops.h"
