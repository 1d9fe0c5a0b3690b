/* Answers that need the store or the output folder: `records`, `fetch`, `history` and `check`. */
#ifndef COORDINATOR_ANSWERS_H
#define COORDINATOR_ANSWERS_H

#include "coordinator/output.h"
#include "coordinator/store.h"

/* out: an OUT_ANSWER. Appends the encoded answer, which may be an error message. */
int answer_frame(struct coord *c, struct store *s, struct output *o, const struct out *out,
                 struct buf *ret_frame, struct err *e);

#endif
