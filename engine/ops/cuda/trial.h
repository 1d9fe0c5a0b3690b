/*
 * Trials on the very device: whether a library gives a sample the same bytes in a batch as alone,
 * which neither cuDNN nor cuBLASLt promises. The order in which a kernel adds does not depend on
 * the numbers, so numbers made up for the purpose show it: the second half of each sum takes back
 * the first, and what is left is mostly rounding, which another order does otherwise.
 *
 *     TRY(trial_begin(c, bytes, &t, e));
 *     x = trial_take(&t, x_bytes);
 *     TRY(trial_pattern(&t, x, rows, width, 1, false, e));
 *     ...                                            compute y one way, z the other
 *     TRY(trial_compare(&t, y, z, numbers, e));
 *     TRY(trial_result(&t, &equal, e));
 * out:
 *     trial_end(&t);
 *
 * Allocates and waits for the device: while layers are made or planned, never in a step or a
 * recording. Thread rules as ops.h.
 */
#ifndef ENGINE_OPS_CUDA_TRIAL_H
#define ENGINE_OPS_CUDA_TRIAL_H

#include "engine/ops/cuda/cuda.h"

struct trial {
    struct cuda *c;
    char *memory;   /* device; NULL: none */
    size_t used;    /* bytes */
    uint32_t *flag; /* device: whether anything differed */
};

#define TRIAL_ROOM(bytes) (((size_t)(bytes) + 255) / 256 * 256) /* that trial_take() uses */

/* `bytes`: the sum of TRIAL_ROOM of all that will be taken. ERR_OOM if the device has no room. */
int trial_begin(struct cuda *c, size_t bytes, struct trial *ret_t, struct err *e);
void trial_end(struct trial *t);
void *trial_take(struct trial *t, size_t bytes); /* 256-byte aligned device memory */

/*
 * y[rows, width] of the backend's type, in -4..4. Of a row the second half repeats the first;
 * `turned`: with the other sign, one in 16 off by the last bit. Activations take the one, weights
 * the other.
 */
int trial_pattern(struct trial *t, void *y, int64_t rows, int64_t width, uint32_t seed, bool turned,
                  struct err *e);
int trial_compare(struct trial *t, const void *a, const void *b, int64_t numbers, struct err *e);
/* Waits. */
int trial_result(struct trial *t, bool *ret_equal, struct err *e);

#endif
