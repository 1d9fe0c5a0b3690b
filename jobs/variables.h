/*
 * Variables in prompts: ${name} stands for a column's value at an index, or for a parameter that no
 * column sets; $${ is a plain ${; any other $ is itself. What is put in is not read again. See
 * jobs/SPEC.md, "The task".
 */
#ifndef JOBS_VARIABLES_H
#define JOBS_VARIABLES_H

#include "jobs/axis.h"

/*
 * Every ${name} is closed and known, and no combination makes more than TASK_PROMPT_MAX bytes.
 * ERR_INPUT names the variable and what could be meant.
 *   where     named in errors: "prompt"
 *   fixed     the parameters that no column sets
 *   ret_size  bytes of the longest text that it can become
 */
int variables_check(const char *where, const char *text, const struct axes *axes,
                    const struct task *fixed, size_t *ret_size, struct err *e);

/* Appends the prompt of an index. The text has passed variables_check. */
void variables_expand(const char *text, const struct axes *axes, const struct task *fixed,
                      uint64_t index, struct buf *ret_text);

#endif
