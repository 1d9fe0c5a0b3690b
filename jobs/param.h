/*
 * The parameters of a task by name: what manifests, bundles and axes call them, and their values
 * as text. `size` stands for width and height together, "128x128".
 *
 *     int p = param_from_name("steps");
 *     if (p >= 0)
 *         rc = param_set(&task, p, "20", e);      // ERR_INPUT says what a value must be
 */
#ifndef JOBS_PARAM_H
#define JOBS_PARAM_H

#include "jobs/task.h"

#include <stdbool.h>

#define PARAM_TABLE(X)                                                                             \
    X(PARAM_MODEL, "model")                                                                        \
    X(PARAM_PROMPT, "prompt")                                                                      \
    X(PARAM_NEGATIVE_PROMPT, "negative_prompt")                                                    \
    X(PARAM_STEPS, "steps")                                                                        \
    X(PARAM_SAMPLER, "sampler")                                                                    \
    X(PARAM_SCHEDULER, "scheduler")                                                                \
    X(PARAM_CFG_SCALE, "cfg_scale")                                                                \
    X(PARAM_WIDTH, "width")                                                                        \
    X(PARAM_HEIGHT, "height")                                                                      \
    X(PARAM_SEED, "seed")                                                                          \
    X(PARAM_PRECISION, "precision")                                                                \
    X(PARAM_SIZE, "size")

#define X(id, name) id,
enum param { PARAM_TABLE(X) PARAM_COUNT };
#undef X

/* The id of an exact name, or -1. */
int param_from_name(const char *name);

/* Static. */
const char *param_name(enum param p);

/* True for parameters whose values are numbers: steps, cfg_scale, width, height, seed. */
bool param_is_number(enum param p);

/*
 * Sets one parameter from text, every bound of jobs/task.h checked; what it replaces is freed. t
 * may be zeroed memory otherwise. ERR_INPUT names the parameter, the text and what it must be; t is
 * then as before.
 */
int param_set(struct task *t, enum param p, const char *text, struct err *e);

/* Appends a parameter's value as text. */
void param_text(const struct task *t, enum param p, struct buf *ret_text);

#endif
