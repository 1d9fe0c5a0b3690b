/*
 * A dense row-major view of numbers. A tensor never owns its bytes: weights belong to struct
 * weights, activations to struct arena, packed weights to the backend.
 *
 * Feature maps are NHWC: [N, H, W, C], which as tokens [N, H*W, C] are the same bytes.
 */
#ifndef ENGINE_OPS_TENSOR_H
#define ENGINE_OPS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TENSOR_RANK_MAX 5

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I64, DTYPE_I32, DTYPE_U8 };

struct tensor {
    const void *data; /* a file's tensors may be unaligned: read them with tensor_to_f32 */
    enum dtype dtype;
    int rank;
    int64_t shape[TENSOR_RANK_MAX];
};

/* Bytes of one number. */
size_t dtype_size(enum dtype dtype);

/* As safetensors spells it: "BF16". */
const char *dtype_name(enum dtype dtype);

bool dtype_is_float(enum dtype dtype);

/* Numbers in the tensor; 1 for rank 0. */
int64_t tensor_count(const struct tensor *t);

/* "[320, 4, 3, 3]"; writes at most size bytes with NUL, returns text. */
const char *tensor_shape_text(const struct tensor *t, char *text, size_t size);

/* Any float dtype (dtype_is_float) to float32, exactly: tensor_count(t) numbers. */
void tensor_to_f32(const struct tensor *t, float *ret_values);

#endif
