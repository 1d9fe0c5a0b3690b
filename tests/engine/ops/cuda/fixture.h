/*
 * The CUDA backend for its tests: on the emulated device it must be there; on a machine without a
 * card the tests are skipped, and say so.
 */
#ifndef TESTS_ENGINE_OPS_CUDA_FIXTURE_H
#define TESTS_ENGINE_OPS_CUDA_FIXTURE_H

#include "engine/ops/cuda.h"
#include "tests/engine/op_case.h"

#include <stdio.h>

#define CUDA_PRECISIONS 3
static const enum precision cuda_precisions[CUDA_PRECISIONS] = {PRECISION_F16, PRECISION_BF16,
                                                                PRECISION_F32};

/* x to the nearest number that the device stores; ties to even. */
static inline float cuda_rounded(float x, enum precision precision)
{
    uint32_t bits;

    if (precision == PRECISION_F32)
        return x;
    if (precision == PRECISION_F16)
        return (float)(_Float16)x;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline struct ops *cuda_with(enum precision precision)
{
    struct ops *o = NULL;
    struct err e;

    if (ops_cuda_new(0, precision, &o, &e) != 0)
        fail_msg("%s", e.text);
    return o;
}

/* Whether the tests run on the emulated device. */
static inline bool cuda_is_emulated(void)
{
    const char *module = getenv("LITHO_CUDA_MODULE");

    return module != NULL && strstr(module, "-sim") != NULL;
}

/* 0, or 77 if there is no card. */
static inline int cuda_missing(void)
{
    struct cuda_device d;
    struct err e;

    if (cuda_is_emulated() || ops_cuda_probe(0, PRECISION_AUTO, &d, &e) == 0)
        return 0;
    printf("SKIPPED: %s\n", e.text);
    return 77;
}

#endif
