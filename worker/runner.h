/*
 * The one compute thread of a worker: tasks go in, pictures come out. It finds the model, keeps it
 * resident, renders, and writes the PNG. The caller's thread never waits for it but in
 * runner_close.
 *
 *     TRY(runner_open(&o, &runner, e));
 *     TRY(runner_start(runner, tasks, given, n, NULL, e));
 *     poll(runner_fd(runner));
 *     while (runner_take(runner, &report))
 *         ...
 */
#ifndef WORKER_RUNNER_H
#define WORKER_RUNNER_H

#include "engine/gang/gang.h"
#include "jobs/library.h"
#include "worker/given.h"
#include "worker/picture.h"
#include "worker/view.h"

#include <stdbool.h>
#include <stdint.h>

struct runner;

struct runner_options {
    const struct library *library; /* borrowed for the runner's life */
    struct view *view;             /* where given LoRAs and embeddings appear; NULL: none are given;
                                      borrowed likewise */
    struct hash_memo *hashes;      /* of files that were read; NULL: none; borrowed likewise */
    enum backend backend;
    int device;               /* of BACKEND_CUDA */
    const char *gang_address; /* for members on other hosts; NULL: none; borrowed likewise */
    int threads;              /* of a render; 1.. */
    uint64_t memory_bytes;    /* budget for weights and one render, 0: no limit */
};

/* Starts the thread. It inherits the caller's signal mask. */
int runner_open(const struct runner_options *o, struct runner **ret_runner, struct err *e);

/* Cancels what runs, waits for it (a step, or a model's loading), ends the thread. */
void runner_close(struct runner *r);

/* A part in a gang that renders a task. */
struct runner_gang {
    int guidance, tensor, rank;
    const char *meeting;      /* copied */
    struct gang_offer *offer; /* rank 0's; ownership passes, also on failure. Others: NULL */
};

#define RUNNER_BATCH_MAX 64 /* tasks of one start */

/*
 * tasks: n, 1 to RUNNER_BATCH_MAX, of canonical JSON, copied; rendered together. given: [n], the
 * files of each, NULL: the library's; borrowed until its outcome is taken; the array may be NULL.
 * A batch that fails, being too large for the memory or because one of its tasks is wrong, is
 * rendered in halves, at the end one by one: each task ends as it would alone. gang: NULL: none;
 * else n is 1. ERR_CONFLICT while others run; other errors are reported.
 */
int runner_start(struct runner *r, const char *const *tasks, const struct given *const *given,
                 size_t n, const struct runner_gang *gang, struct err *e);

/* What runs ends soon with ERR_CANCELLED; its reports are still due. */
void runner_cancel(struct runner *r);

/* Readable while there is something to take. Borrowed. */
int runner_fd(const struct runner *r);

enum report_kind {
    REPORT_PROGRESS,
    REPORT_FINISHED,
    REPORT_HELPED, /* another member of the gang has the picture */
    REPORT_FAILED
};

struct report {
    enum report_kind kind;
    uint32_t step, steps; /* the latest: steps in between may be left out; 0: the model is ready */
    bool more; /* an outcome, and the batch has others to come, in the order of its tasks */
    struct picture picture;      /* ownership passes to the taker */
    struct engine_trials trials; /* of a finished picture's engine, so far */
    struct err error;
};

/* From the caller's thread. false: nothing new. */
bool runner_take(struct runner *r, struct report *ret_report);

#endif
