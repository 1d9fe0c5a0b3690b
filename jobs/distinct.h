/*
 * Whether a path template gives every combination its own file name, decided from the values of
 * each axis alone, never from a list of paths. The rule (jobs/SPEC.md, "Output"):
 *
 * A variable is *readable* in the path if, whatever stands for the others, its text can be told
 * from the whole name. Reading goes from the left end and from the right end of each folder or file
 * name. A variable is passed if no two of its values v and vw (the second longer) continue alike:
 * with the plain text s that follows, w s must not begin with s. Equal lengths, a separator that
 * occurs in no value, and sets in which no value begins with another all satisfy this. What is
 * between the first variable not passed from the left and the first not passed from the right is
 * not readable, unless it is one and the same variable.
 *
 * Names are distinct if {index} is readable, or each factor with several values has a readable
 * variable whose values all differ. Comparison ignores case.
 */
#ifndef JOBS_DISTINCT_H
#define JOBS_DISTINCT_H

#include "jobs/path.h"

/*
 * ERR_INPUT says which variables to add or to separate. Also refuses a path that can be
 * "<folder>/sheet.png", the name of a job's contact sheet.
 */
int distinct_check(const struct path *path, struct err *e);

#endif
