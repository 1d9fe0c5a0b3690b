/*
 * Results that wait for their acknowledgement, on disk: a folder of one process, made with the
 * first of them and removed with the last. Names are those of attempts. Used by the worker's loop
 * alone.
 *
 *     struct spill spill = {.parent = "/tmp"};
 *     TRY(spill_put(&spill, &ref, png, size, e));
 *     TRY(spill_get(&spill, &ref, size, &bytes, e));
 *     spill_drop(&spill, &ref);
 *     spill_done(&spill);
 */
#ifndef WORKER_SPILL_H
#define WORKER_SPILL_H

#include "proto/buf.h"
#include "proto/err.h"
#include "proto/msg.h"

struct spill {
    const char *parent; /* folder to make ours in; NULL: TMPDIR, else /tmp; borrowed */
    char *folder;       /* NULL: not made yet; owned */
    size_t n;           /* files in it */
};

/* ERR_IO and its like: nothing is kept. */
int spill_put(struct spill *s, const struct attempt_ref *ref, const void *data, size_t size,
              struct err *e);
/* Replaces the content of ret_bytes. ERR_IO: the file is not as it was written. */
int spill_get(const struct spill *s, const struct attempt_ref *ref, size_t size,
              struct buf *ret_bytes, struct err *e);
void spill_drop(struct spill *s, const struct attempt_ref *ref);

/* The folder goes if it is empty; its files stay for an admin otherwise. */
void spill_done(struct spill *s);

#endif
