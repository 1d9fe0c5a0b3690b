/*
 * One safetensors file, mapped read-only: every offset, dtype and shape checked against the file at
 * open. Tensors are views into the mapping and live as long as it. Read-only after open: any
 * thread.
 *
 * The format: huggingface/safetensors README: u64 little-endian header length, JSON header, data.
 *
 *     TRY(weights_open(path, &w, e));
 *     TRY(weights_get(w, "conv_in.weight", 4, (int64_t[]){320, 4, 3, 3}, &t, e));
 */
#ifndef ENGINE_WEIGHTS_H
#define ENGINE_WEIGHTS_H

#include "engine/tensor.h"
#include "proto/err.h"

#include <stdbool.h>

struct weights;

/*
 * ERR_MISSING if there is no such file, ERR_IO, ERR_OOM, ERR_INPUT naming file and tensor for bytes
 * that break the format: header above 100 MB or past the end, bad JSON, a tensor whose range does
 * not fit its dtype and shape, data with holes, overlaps or bytes of no tensor. Caller closes.
 * A mapping: a file that is shortened while open raises SIGBUS, so replace models by rename.
 */
int weights_open(const char *path, struct weights **ret_w, struct err *e);
void weights_close(struct weights *w);

/* Borrowed from w. */
const char *weights_path(const struct weights *w);

/*
 * Any float tensor of that name and exactly that shape [rank]. ERR_INPUT names file, tensor and
 * both shapes, or the dtype.
 */
int weights_get(const struct weights *w, const char *name, int rank, const int64_t *shape,
                struct tensor *ret_t, struct err *e);

/*
 * The tensor of that name, whatever shape. False if there is none, or if struct tensor cannot hold
 * it (an unknown dtype, rank above TENSOR_RANK_MAX: refused only when asked for).
 */
bool weights_find(const struct weights *w, const char *name, struct tensor *ret_t);

/* Names in file order of data, for listings and tests. */
size_t weights_count(const struct weights *w);
const char *weights_name(const struct weights *w, size_t i);

#endif
