/*
 * What a failed call of NVIDIA's libraries must leave behind: an error that names it, and nothing
 * allocated. On the emulated device alone, which can be asked to fail.
 */
#ifndef TESTS_ENGINE_OPS_CUDA_FAULTS_H
#define TESTS_ENGINE_OPS_CUDA_FAULTS_H

#include "tests/engine/ops/cuda/fixture.h"
#include "tests/gpusim/control.h"

#include <dlfcn.h>

static const struct gpusim_control *sim;

static inline bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The call that failed is named, with its code; kernels, and what they set, by their launchers. A
 * dead device is told by whoever meets it. */
static inline bool is_told(const struct err *e)
{
    const char *call = sim->failed();

    if (strstr(e->text, "cudaErrorIllegalAddress, 700") != NULL)
        return true;
    /* A copy to memory that is not pinned waits, too. */
    if (begins(call, "cudaStreamSynchronize"))
        call = "cuda";
    bool launch = (!begins(call, "cu") && !begins(call, "nccl")) ||
                  begins(call, "cudaFuncSetAttribute") ||
                  (begins(call, "cudaMemset") && strstr(e->text, "kernels_") != NULL);
    const char *at = strstr(e->text, launch ? "kernels_" : call);

    return at != NULL && strchr(at, '(') != NULL;
}

static inline bool nothing_is_left(void)
{
    struct gpusim_counts c = sim->counts();

    return c.device_bytes == 0 && c.pinned_bytes == 0;
}

/* 0, or what main() ends with. */
static inline int find_control(void)
{
    void *module;

    if (!cuda_is_emulated()) {
        printf("SKIPPED: only the emulated device fails when asked to\n");
        return 77;
    }
    module = dlopen(getenv("LITHO_CUDA_MODULE"), RTLD_NOW);
    sim = module != NULL ? dlsym(module, "gpusim_control") : NULL;
    return sim != NULL ? 0 : 1;
}

#endif
