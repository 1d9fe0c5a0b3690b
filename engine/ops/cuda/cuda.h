/*
 * Inside of the cuda backend: ops.h's members by file. All that computes goes into one stream,
 * weights on their way to the device into a second one that the first waits for; put and ops
 * return when it is queued, get when the numbers are here. An error that a kernel meets later is
 * reported by the next call that waits.
 *
 * A sample's bytes do not depend on its batch mates: own kernels add in orders that one sample's
 * shape fixes, engines of cuDNN and algorithms of cuBLASLt are chosen by shapes of a layer and one
 * sample, and they take many samples or rows in one call only where a trial on this device has
 * shown that this changes no byte (trial.h).
 */
#ifndef ENGINE_OPS_CUDA_CUDA_H
#define ENGINE_OPS_CUDA_CUDA_H

#include "engine/ops/cuda/kernels.h"
#include "engine/ops/ops.h"

#include <cublasLt.h>
#include <cudnn.h>

#define CUDA_STAGES 2

struct recordings;
struct product;
struct plans;
struct blocks;

/* Pinned host memory, and as much of the device's, by which numbers travel; two in turn. */
#define CUDA_STAGE ((size_t)4 << 20) /* bytes */
struct stage {
    void *host, *device;
    cudaEvent_t done;  /* of the last copy that used it */
    cudaEvent_t ready; /* for that copy, if it is in another stream */
    /* Bytes of a picture in `host` once that is done, for the one who asked; NULL: none. */
    uint8_t *to;
    const uint8_t *picture; /* what it is a piece of */
    size_t n_bytes;
    bool *finite, *any;
};

struct cuda {
    struct ops ops; /* first, so that a struct ops of this backend is a struct cuda */
    enum kernel_number number;
    int device;
    cudaStream_t stream; /* of all that computes */
    cudaStream_t copies; /* of copies that it need not wait for, or only at their end */
    cublasLtHandle_t blas;
    cudnnHandle_t dnn;
    void *blas_workspace; /* of CUDA_BLAS_WORKSPACE bytes */
    struct stage stages[CUDA_STAGES];
    int next_stage;
    cudaEvent_t settled; /* of cuda_await_all() */
    struct recordings *recordings;
    struct gang *gang; /* whose sums are in the stream: waits look at its members; NULL: none */
    struct product *products; /* one per shape of linear layers (product.h); owned */
    struct plans *plans;      /* of convolutions (plans.h); owned */
    struct blocks *blocks;    /* of steps, on their way */
    char device_class[256];
};

#define CUDA_BLAS_WORKSPACE ((size_t)32 << 20) /* what NVIDIA advises for sm_90 */

static inline struct cuda *cuda_of(struct ops *o)
{
    return (struct cuda *)o;
}

/*
 * 0, or an error with the call's name and code: ERR_OOM where memory ran out, ERR_DEVICE where no
 * later call of the process can work, else ERR_INTERNAL.
 * The runtime's note of the error is cleared, so that it is told once.
 */
int cuda_check(cudaError_t code, const char *call, struct err *e);
int blas_check(cublasStatus_t code, const char *call, struct err *e);
int dnn_check(cudnnStatus_t code, const char *call, struct err *e);

/* wait.c: the host waits for the device, and looks after its gang meanwhile. ERR_LOST and the like
 * of it. */
int cuda_await(struct cuda *c, cudaEvent_t event, struct err *e);
/* Everything that is queued. */
int cuda_await_all(struct cuda *c, struct err *e);

/* memory.c */
int cuda_memory_new(struct ops *o, size_t n_bytes, void **ret_memory, struct err *e);
void cuda_memory_free(struct ops *o, void *memory);
int cuda_put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e);
int cuda_get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e);
/* n floats to the device, as they are; and bytes of it to the host, which waits for them. */
int cuda_send_floats(struct cuda *c, void *y, const float *x, int64_t n, struct err *e);
int cuda_fetch(struct cuda *c, void *y, const void *x, size_t n_bytes, struct err *e);
int stages_init(struct cuda *c, struct err *e);
void stages_done(struct cuda *c);
/* The next stage, once its last copy is done, and a picture's bytes in it are delivered. */
int stage_take(struct cuda *c, struct stage **ret_s, struct err *e);

/*
 * upload.c: a layer's numbers in new device memory, piece by piece: while the device copies one and
 * rounds it, the host reads the next from the file. `stream` waits for them, the host does not.
 * ERR_OOM; ERR_ARG: not of a float type, or a row of more than CUDA_STAGE bytes.
 */

/* All of t as it lies, of the backend's type, or as float. */
int cuda_upload(struct cuda *c, const struct tensor *t, bool as_float, void **ret_memory,
                struct err *e);
/* t[out, in, kh, kw] as [out_wide, kh, kw, in_wide], zeros in what t has not. */
int cuda_upload_taps(struct cuda *c, const struct tensor *t, int64_t out_wide, int64_t in_wide,
                     void **ret_memory, struct err *e);

/* bytes.c: step.h's bytes and settle. */
int cuda_bytes(struct ops *o, uint8_t *ret_bytes, const struct act *x, int64_t n, bool *ret_finite,
               bool *ret_any, struct err *e);
int cuda_settle(struct ops *o, const uint8_t *bytes, struct err *e);
void stage_deliver(struct stage *s);

/* step.c */
extern const struct step_ops cuda_step_ops;
int blocks_new(struct blocks **ret_b, struct err *e);
void blocks_free(struct blocks *b);

/* linear.c */
int cuda_linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                    struct linear **ret_l, struct err *e);
void cuda_linear_free(struct ops *o, struct linear *l);
int cuda_linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                int64_t m, enum activation act, const struct act *residual, struct err *e);

/* conv.c */
int cuda_conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                  struct conv **ret_c, struct err *e);
void cuda_conv_free(struct ops *o, struct conv *c);
int cuda_conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c, int64_t n,
                int64_t h, int64_t w, int stride, const int pad[4], const struct act *per_sample,
                const struct act *residual, struct err *e);

/* record.c: ops.h's record and record_end. */
int recordings_new(cudaStream_t stream, struct recordings **ret_r, struct err *e);
void recordings_free(struct recordings *r);
/* What was recorded before names memory or gangs that may be gone; also ends a capture. */
void recordings_forget(struct recordings *r);
int cuda_record(struct ops *o, const void *key, size_t key_bytes, bool *ret_done, struct err *e);
int cuda_record_end(struct ops *o, bool failed, struct err *e);

/* norm.c: scale and shift on the device. */
int cuda_norm_new(struct ops *o, const struct tensor *gamma, const struct tensor *beta,
                  struct norm **ret_n, struct err *e);
void cuda_norm_free(struct ops *o, struct norm *n);
int cuda_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                    int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                    struct err *e);
int cuda_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                         int64_t n, int64_t p, int64_t c, int groups, float eps,
                         enum activation act, const struct norm_whole *whole, struct err *e);
int cuda_layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                    int64_t m, int64_t c, float eps, struct err *e);

#endif
