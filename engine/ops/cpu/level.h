/*
 * What the processor can do, as levels: each has all that comes before it. Asked once, when a
 * backend is made.
 */
#ifndef ENGINE_OPS_CPU_LEVEL_H
#define ENGINE_OPS_CPU_LEVEL_H

#include "proto/err.h"
#include "proto/terms.h"

enum cpu_level {
    LEVEL_PLAIN,       /* any machine */
    LEVEL_AVX2,        /* and FMA */
    LEVEL_AVX512,      /* F, BW, DQ, VL */
    LEVEL_AVX512_BF16, /* dot products of bf16 pairs */
    LEVEL_AMX,         /* tiles of bf16, with the system's permission to use them */
    LEVEL_COUNT
};

/* What this machine has. Asks the system for the use of tiles, for all threads of the process. */
enum cpu_level level_of_machine(void);

/*
 * What this process may use: the machine's level, or the one that the environment variable
 * LITHO_CPU names (plain, avx2, avx512, avx512_bf16, amx) if that is lower. ERR_ARG if it names
 * none.
 */
int level_get(enum cpu_level *ret_level, struct err *e);

/*
 * What the products are computed in when `asked` is asked for at this level: PRECISION_F32 or
 * PRECISION_BF16. bf16 without instructions for it is f32. PRECISION_AUTO is bf16 where that is
 * faster: with tiles, and with AVX512_BF16 on AMD's processors, which do two bf16 products in the
 * time of one in f32; Intel's do half of one (tests/bench/RESULTS.md).
 */
enum precision level_precision(enum cpu_level level, enum precision asked);

#endif
