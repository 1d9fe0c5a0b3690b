/*
 * What a test outside of the emulator does to it and sees of it. A module that holds the emulator
 * (liblitho-cuda-sim.so) gives it as its symbol `gpusim_control`; C.
 *
 *     const struct gpusim_control *g = dlsym(module, "gpusim_control");
 *     g->plan(GPUSIM_FAIL_ANY, 17);
 *     ...
 *     if (g->failed() == NULL) it took fewer than 17 calls
 *
 * One run can meet every failure, in copies of the process that go on with one each:
 *
 *     g->fork_each(GPUSIM_FAIL_ANY, 1, 1, UINT64_MAX);
 *     rc = ...
 *     if (g->is_copy()) _exit(rc as it should be after g->failed() ? 0 : 1);
 *     if (g->counts().wrong > 0) a copy ended otherwise than with 0
 *
 * Whole programs have GPUSIM_LOSE=path: the first call that finds a file there removes it, and the
 * device is dead for the process.
 */
#ifndef GPUSIM_CONTROL_H
#define GPUSIM_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum gpusim_fault {
    GPUSIM_FAIL_NONE,
    GPUSIM_FAIL_ANY,    /* the call alone fails, whichever it is */
    GPUSIM_FAIL_MEMORY, /* of calls that take memory: out of memory */
    GPUSIM_FAIL_DEVICE, /* an illegal address: every call fails from then on */
    GPUSIM_FAIL_LATER   /* of NCCL's: taken, and ncclCommGetAsyncError() tells that it failed */
};

/* Of host calls since the last plan(). */
struct gpusim_counts {
    uint64_t calls, memory_calls;      /* that may fail */
    uint64_t later_calls;              /* that may fail after they were taken */
    uint64_t copies_beside_copies;     /* copies queued while an earlier one was under way */
    uint64_t launches_beside_copies;   /* kernels queued while a copy in another stream was */
    uint64_t pageable_copies;          /* to or from memory that is not pinned: they wait */
    uint64_t failed_at;                /* which call of `calls` was made to fail; 0: none */
    uint64_t copies, wrong;            /* of fork_each(): processes; those that ended badly */
    size_t device_bytes, pinned_bytes; /* now allocated */
};

struct gpusim_control {
    /*
     * The nth (1..) call from now on that the kind of fault is for fails. Device and counts are as
     * after a start of the process, but for memory and streams, which stay.
     */
    void (*plan)(enum gpusim_fault fault, uint64_t nth);
    const char *(*failed)(void); /* the call that failed so; NULL: none did */
    struct gpusim_counts (*counts)(void);
    void (*seed)(uint64_t seed); /* of orders from now on */
    /*
     * At each `every`th call that the fault is for, of numbers first to last from now on (1..) and
     * until the next plan(), a copy of the process is made in which it fails; this one waits for
     * the copy's end, and goes on without. For processes of one thread that share nothing with
     * others.
     */
    void (*fork_each)(enum gpusim_fault fault, uint64_t every, uint64_t first, uint64_t last);
    int (*is_copy)(void); /* 1: this process is such a copy */
};

extern const struct gpusim_control gpusim_control; /* of programs that hold the emulator */

#ifdef __cplusplus
}
#endif

#endif
