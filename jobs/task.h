/*
 * A task: everything that decides one picture's pixels, and nothing else. Its canonical JSON (RFC
 * 8785) is what a lease carries, what a picture's `litho` chunk records and what replay reads:
 * jobs/SPEC.md, "The task". It names no job, index, path or worker.
 */
#ifndef JOBS_TASK_H
#define JOBS_TASK_H

#include "proto/buf.h"
#include "proto/err.h"
#include "proto/json.h"
#include "proto/terms.h"

#include <stdint.h>

#define TASK_STEPS_MAX  1000
#define TASK_SIDE_MIN   8    /* pixels, and sides are multiples of 8 */
#define TASK_SIDE_MAX   8192 /* pixels */
#define TASK_CFG_MAX    1000.0
#define TASK_SEED_MAX   ((INT64_C(1) << 53) - 1) /* exact in JSON */
#define TASK_PROMPT_MAX 32768                    /* bytes */
#define TASK_MODEL_MAX  1024                     /* bytes */

struct task {
    char *model;           /* name in the model library, or an absolute path; owned */
    char *prompt;          /* UTF-8; owned */
    char *negative_prompt; /* UTF-8; owned */
    enum sampler_id sampler;
    enum scheduler_id scheduler;
    enum precision precision;
    int steps;         /* 1..TASK_STEPS_MAX */
    int width, height; /* pixels, multiples of 8 */
    double cfg_scale;  /* 0..TASK_CFG_MAX; 1 and below: no guidance */
    int64_t seed;      /* 0..TASK_SEED_MAX */
};

/*
 * Every bound above, and that ddim does not use karras (which has no such time steps). ERR_INPUT
 * names the field and the bound.
 */
int task_check(const struct task *t, struct err *e);

/* Appends the canonical JSON. */
void task_to_json(const struct task *t, struct buf *ret_text);

/* Reads it back; unknown keys are ERR_INPUT, since they could change the picture. ret_t:
 * task_done(). */
int task_from_json(const char *text, size_t size, struct task *ret_t, struct err *e);
int task_from_value(const json_t *value, struct task *ret_t, struct err *e);

/* A deep copy. ret_t: task_done(). ERR_OOM. */
int task_copy(const struct task *t, struct task *ret_t, struct err *e);

void task_done(struct task *t);

#endif
