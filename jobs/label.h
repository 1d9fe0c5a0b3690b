/*
 * Names as AUTOMATIC1111 shows them, for people who bring them along: "Euler a" for euler_a, "Crop
 * and resize" for crop. Letter case is ignored in labels, never in our own names.
 */
#ifndef JOBS_LABEL_H
#define JOBS_LABEL_H

#include "proto/terms.h"

#include <stdbool.h>

/* The id of a name, or of a label; -1 for neither. */
int label_term(enum term_kind kind, const char *text);

/*
 * A sampler, and the scheduler that its old labels name with it: "DPM++ 2M Karras". *ret_scheduler
 * is -1 where none is named. False if it is no sampler.
 */
bool label_sampler(const char *text, int *ret_sampler, int *ret_scheduler);

#endif
