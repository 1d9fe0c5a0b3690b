/*
 * Matrix products by cuBLASLt, y[m, out] = x[m, in] w[out, in]^T + bias + residual, whose rows do
 * not depend on m. One algorithm is kept for all layers of a shape: the first of those that
 * cuBLASLt puts first for the rows that such a layer typically has, without split sums, whose rows
 * are the same in calls of 1 to 256 rows (trial.h). A number of rows that is planned is tried too;
 * where its rows differ after all, it is computed in pieces that do not. Float32 numbers are
 * multiplied as they are, not as TF32 or bfloat16.
 *
 *     TRY(product_get(c, in, out, bias != NULL, &p, e));    at load
 *     TRY(product_plan(c, p, m, e));                        while planning
 *     TRY(product_run(c, p, &(struct product_call){...}, e));
 */
#ifndef ENGINE_OPS_CUDA_PRODUCT_H
#define ENGINE_OPS_CUDA_PRODUCT_H

#include "engine/ops/cuda/cuda.h"

struct product;

/* The backend's product of that shape, made the first time; lives as long as the backend.
 * ERR_INTERNAL: cuBLASLt has no such algorithm. */
int product_get(struct cuda *c, int64_t in, int64_t out, bool bias, struct product **ret_p,
                struct err *e);
void products_free(struct product *first);

/* Finds out how m rows can be computed. Memory that is not there leaves them in pieces. */
int product_plan(struct cuda *c, struct product *p, int64_t m, struct err *e);

/* Device memory, rows dense; bias [out] if the product has one; residual (NULL: none) may be y. */
struct product_call {
    void *y;
    const void *x, *w, *bias, *residual;
    int64_t m;
};
int product_run(struct cuda *c, struct product *p, const struct product_call *call, struct err *e);

#endif
