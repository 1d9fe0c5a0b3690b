/*
 * Tensors by name, mapped read-only from one safetensors file, from a set of shards, or through a
 * view that gives them other names. Every offset, dtype and shape is checked against the file at
 * open. Tensors are views into the mapping and live as long as it. Read-only after open: any
 * thread.
 *
 *     TRY(weights_open(path, &w, e));
 *     TRY(weights_get(w, "conv_in.weight", 4, (int64_t[]){320, 4, 3, 3}, &t, e));
 */
#ifndef ENGINE_WEIGHTS_WEIGHTS_H
#define ENGINE_WEIGHTS_WEIGHTS_H

#include "engine/ops/tensor.h"
#include "proto/err.h"

#include <stdbool.h>

struct weights;

/*
 * ERR_MISSING if there is no such file, ERR_IO, ERR_OOM, ERR_INPUT naming file and tensor for bytes
 * that break the format: header above 100 MB or past the end, bad JSON, a tensor whose range does
 * not fit its dtype and shape, data with holes, overlaps or bytes of no tensor; a pickle. Caller
 * closes. A mapping: a file that is shortened while open raises SIGBUS, so replace models by
 * rename.
 */
int weights_open(const char *path, struct weights **ret_w, struct err *e);
void weights_close(struct weights *w);

/*
 * Shards beside an index, as huggingface_hub writes them: path is a JSON file
 * {"weight_map": {TENSOR: FILE}}, FILEs are in its folder. Errors as weights_open; ERR_INPUT too
 * for a shard's name that leaves the folder, and a tensor that is not in the shard that the index
 * gives; at most 4096 shards.
 */
int weights_open_index(const char *path, struct weights **ret_w, struct err *e);

/* What a tensor of a view is in the weights below it. */
#define WEIGHTS_NAME_SIZE 256
struct weights_place {
    char name[WEIGHTS_NAME_SIZE];
    int part, parts; /* rows [part * n / parts, (part + 1) * n / parts) of the n; 0, 1: all */
};

struct weights_naming {
    /* Where the tensor of that name is; false: such a name has no place. Also for tensors that turn
     * out to be missing, so that errors name them as their file would. */
    bool (*place)(const void *user, const char *name, struct weights_place *ret_place);
    const void *user;              /* outlives the view */
    const char *const *transposed; /* names of matrices that lie the other way round in the weights
                                      below; ends with NULL; may be NULL */
};

/* base: no view itself, and outlives this one. Errors of weights_get then name the tensors of base.
 */
int weights_view(const struct weights *base, const struct weights_naming *naming,
                 struct weights **ret_w, struct err *e);

/* The file, or the index of shards, or that of the weights below a view. Borrowed from w. */
const char *weights_path(const struct weights *w);

/* Paths of the files that hold tensors; none of a view. Borrowed from w. */
size_t weights_files(const struct weights *w);
const char *weights_file_path(const struct weights *w, size_t i);

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

/*
 * A tensor of w, or a part of one, that is about to be read, and one that has been: its pages enter
 * this process at once, and leave it, since they would count as its memory. They come back from the
 * system's cache if they are read again.
 */
void weights_map(const struct weights *w, const struct tensor *t);
void weights_drop(const struct weights *w, const struct tensor *t);

/*
 * The text under a key of a file's own notes, "__metadata__"; NULL: there is none, or w is not of
 * one file alone. Borrowed.
 */
const char *weights_metadata(const struct weights *w, const char *key);

/* All of a file as it is mapped, and where its tensors' data begin. w: of one file. Borrowed. */
const unsigned char *weights_bytes(const struct weights *w, size_t *ret_size, size_t *ret_data);

/* Names in file order of data, for listings and tests; a view lists none. */
size_t weights_count(const struct weights *w);
const char *weights_name(const struct weights *w, size_t i);

#endif
