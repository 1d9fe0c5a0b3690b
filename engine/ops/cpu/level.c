#include "engine/ops/cpu/level.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* arch_prctl(2): leave to use the large register state of tiles, asked of Linux 5.16 and later. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18

static bool tiles_are_allowed(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#elif defined(__x86_64__)
static bool tiles_are_allowed(void)
{
    return false;
}
#endif

static const char *const names[LEVEL_COUNT] = {
    [LEVEL_PLAIN] = "plain",   [LEVEL_AVX2] = "avx2",
    [LEVEL_AVX512] = "avx512", [LEVEL_AVX512_BF16] = "avx512_bf16",
    [LEVEL_AMX] = "amx",
};

enum cpu_level level_of_machine(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return LEVEL_PLAIN;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return LEVEL_AVX2;
    if (!__builtin_cpu_supports("avx512bf16"))
        return LEVEL_AVX512;
    if (!__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16") ||
        !tiles_are_allowed())
        return LEVEL_AVX512_BF16;
    return LEVEL_AMX;
#else
    return LEVEL_PLAIN;
#endif
}

int level_get(enum cpu_level *ret_level, struct err *e)
{
    const char *limit = getenv("LITHO_CPU");
    enum cpu_level machine = level_of_machine();
    int i = 0;

    if (limit != NULL && *limit != '\0') {
        while (i < LEVEL_COUNT && strcmp(limit, names[i]) != 0)
            i++;
        if (i == LEVEL_COUNT)
            return err_set(e, ERR_ARG,
                           "LITHO_CPU is '%s': plain, avx2, avx512, avx512_bf16 and amx are known",
                           limit);
        machine = (enum cpu_level)i < machine ? (enum cpu_level)i : machine;
    }
    *ret_level = machine;
    return 0;
}

enum precision level_precision(enum cpu_level level, enum precision asked)
{
    bool fast = level == LEVEL_AMX;

#if defined(__x86_64__)
    __builtin_cpu_init();
    fast = fast || (level == LEVEL_AVX512_BF16 && __builtin_cpu_is("amd"));
#endif
    if (level < LEVEL_AVX512_BF16)
        return PRECISION_F32;
    if (asked == PRECISION_AUTO)
        return fast ? PRECISION_BF16 : PRECISION_F32;
    return asked;
}
