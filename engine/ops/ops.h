/*
 * The operations that the networks are written in, as one table per backend. Networks call nothing
 * else that costs time.
 *
 * Activations are NHWC, dense, in the backend's own memory and number format, so they are opaque:
 * only ops read and write them, and the host copies numbers to and fro with put and get. Sums,
 * statistics of norms and softmax are float32 or wider in every backend, whatever is stored.
 * Every op returns 0 or an ERR_* with one sentence.
 * Results of one sample do not depend on the other samples in the batch, nor on the number of
 * threads: byte for byte (ARCHITECTURE.md, decision 9); tests/engine/ops holds each backend to it.
 *
 * Planning: while `o->planning` is set, ops compute nothing and touch no activation, but create
 * what they need for these shapes (primitives) and reserve scratch in the arena given to them, so
 * that a later run with the same shapes allocates nothing.
 *
 * Thread rules: a backend belongs to one thread, which calls all ops; it may use threads inside.
 */
#ifndef ENGINE_OPS_OPS_H
#define ENGINE_OPS_OPS_H

#include "engine/ops/arena.h"
#include "engine/ops/step.h"
#include "engine/ops/tensor.h"
#include "proto/err.h"
#include "proto/terms.h"

#include <stdbool.h>
#include <stdint.h>

/* Weights as the backend wants them: packed once at load, released by the backend. */
struct linear; /* [out, in] and optional bias [out] */
struct conv;   /* [out, in, kh, kw] and optional bias [out] */
struct norm;   /* scale and shift [channels] of a group norm or layer norm */

struct act; /* activations; never defined: a pointer to one is an address in the backend's memory */

/* A feature map of which some rows are here and the others with other members of a gang. */
struct norm_whole {
    int64_t p; /* pixels of the whole map */
    /* sums[n] become the sums over all members. */
    int (*add)(void *user, double *sums, int64_t n, struct err *e);
    void *user;
};

enum activation { ACT_NONE, ACT_SILU, ACT_GELU, ACT_QUICK_GELU };
/* silu(x) = x*sigmoid(x); gelu: exact, with erf; quick_gelu(x) = x*sigmoid(1.702 x) (CLIP). */

struct gang;

/* Which part of the layers that can be cut a backend holds; engine/networks/shard.h. */
struct shard {
    int rank, size;    /* size 0 or 1: all of them */
    struct gang *gang; /* of those who hold the other parts; borrowed, set for a render */
};

/* What trials on this very device found, of calls of a library for many samples or rows at once. */
struct ops_trials {
    int64_t whole;   /* shapes whose bytes are the same in one call as alone: computed in one */
    int64_t apart;   /* shapes whose bytes were not: sample by sample, or in pieces */
    int64_t refused; /* algorithms passed over for it */
};

struct ops {
    const char *name;         /* "ref", "cpu", "cuda" */
    const char *device_class; /* "ref", "cpu", "cpu-amx": what the bytes depend on */
    enum precision precision; /* of products: PRECISION_F32, PRECISION_BF16 or PRECISION_F16 */
    bool planning;
    bool device;              /* activations lie in another memory than the host's */
    int64_t piece_rows;       /* of what may be computed in pieces: rows worth a call; 0: 512 */
    size_t act_bytes;         /* of one number of an activation */
    uint64_t weight_bytes;    /* that all layers now alive take, with padding */
    struct ops_trials trials; /* "cuda" alone makes some */

    /* Memory of the render, set by the caller before the first op (workspace.h). */
    struct arena *arena; /* the backend's memory: activations and the ops' own scratch */
    struct arena *host;  /* the host's: float32 of those who call ops */

    struct shard shard; /* set by the owner before weights are loaded */

    void (*free)(struct ops *o);

    /* Memory for an arena, 64-byte aligned, not zeroed. ERR_OOM. NULL may be freed. */
    int (*memory_new)(struct ops *o, size_t n_bytes, void **ret_memory, struct err *e);
    void (*memory_free)(struct ops *o, void *memory);

    const struct step_ops *step; /* what a step of the sampler is beside the networks */

    /* Copies n numbers from the host, rounding them, or to the host; done when they return. */
    int (*put)(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e);
    int (*get)(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e);

    /*
     * Optional, NULL where a backend gains nothing by it: calls that come again and again with the
     * same arguments, run as one. A key of key_bytes names the calls and all their arguments, among
     * them every address. record() sets *ret_done if it has run them; otherwise the caller calls
     * them, none of them put or get, and then record_end(). New or freed memory or weights of the
     * backend end what was recorded. record_end(failed) after an error of one of the calls.
     */
    int (*record)(struct ops *o, const void *key, size_t key_bytes, bool *ret_done, struct err *e);
    int (*record_end)(struct ops *o, bool failed, struct err *e);

    /*
     * Optional, NULL: sums of a gang go through the host. A gang of g's members whose all_reduce
     * works on this device's memory; collective over g, which is borrowed for its life.
     */
    int (*gang_open)(struct ops *o, struct gang *g, struct gang **ret_gang, struct err *e);

    /* Copies (and converts) w and bias (NULL: none); the tensors may go away afterwards. */
    int (*linear_new)(struct ops *o, const struct tensor *w, const struct tensor *bias,
                      struct linear **ret_l, struct err *e);
    void (*linear_free)(struct ops *o, struct linear *l);
    int (*conv_new)(struct ops *o, const struct tensor *w, const struct tensor *bias,
                    struct conv **ret_c, struct err *e);
    void (*conv_free)(struct ops *o, struct conv *c);
    int (*norm_new)(struct ops *o, const struct tensor *gamma, const struct tensor *beta,
                    struct norm **ret_n, struct err *e);
    void (*norm_free)(struct ops *o, struct norm *n);

    /* y[M, out] = act(x[M, in] W^T + b) + residual[M, out] (NULL: none; may be y itself). */
    int (*linear)(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                  int64_t m, enum activation act, const struct act *residual, struct err *e);

    /*
     * y[N, Ho, Wo, out] = conv(x[N, H, W, in]) + b + per_sample[N, out] (NULL: none)
     *                     + residual[N, Ho, Wo, out] (NULL: none; may be y itself).
     * Ho = (H + top + bottom - kh) / stride + 1, likewise Wo. pad = {top, bottom, left, right},
     * zeros.
     */
    int (*conv2d)(struct ops *o, struct act *y, const struct act *x, const struct conv *c,
                  int64_t n, int64_t h, int64_t w, int stride, const int pad[4],
                  const struct act *per_sample, const struct act *residual, struct err *e);

    /*
     * y[N, P, C] = act(group_norm(x[N, P, C])), P = H*W, C % groups == 0. Statistics per sample and
     * group over P and C/groups, biased variance, at least as exact as float64 sums of float32
     * rows. y may be x.
     */
    int (*group_norm)(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                      int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                      struct err *e);

    /*
     * Optional, NULL where the backend's maps are not split: group_norm of the part [N, P, C] of a
     * map, with the statistics of the whole.
     */
    int (*group_norm_part)(struct ops *o, struct act *y, const struct act *x,
                           const struct norm *norm, int64_t n, int64_t p, int64_t c, int groups,
                           float eps, enum activation act, const struct norm_whole *whole,
                           struct err *e);

    /* y[M, C], over the last dimension. y may be x. */
    int (*layer_norm)(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                      int64_t m, int64_t c, float eps, struct err *e);

    /*
     * y[N, Tq, heads*D] = softmax(q k^T * scale + mask) v per head; q [N, Tq, heads*D],
     * k, v [N, Tk, heads*D]; head h is columns h*D..h*D+D-1. causal: key j is seen by query i if j
     * <= i.
     */
    int (*attention)(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                     const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                     int head_dim, float scale, bool causal, struct err *e);

    /* y[M, C] = x[M, 0..C-1] * gelu(x[M, C..2C-1]), exact gelu. */
    int (*geglu)(struct ops *o, struct act *y, const struct act *x, int64_t m, int64_t c,
                 struct err *e);

    /*
     * NULL, or both in one: y[M, C] = x' * gelu(x''), where x[M, in] W^T + b is x' | x'', so out is
     * 2 C. What is between is not rounded, so bytes are not those of the two.
     */
    int (*linear_geglu)(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                        int64_t m, struct err *e);

    /* y[n] = act(x[n]). y may be x. */
    int (*activate)(struct ops *o, struct act *y, const struct act *x, int64_t n,
                    enum activation act, struct err *e);

    /* y[n] = a[n] + b[n]. y may be a or b. */
    int (*add)(struct ops *o, struct act *y, const struct act *a, const struct act *b, int64_t n,
               struct err *e);

    /* y[M, Ca + Cb] = a[M, Ca] | b[M, Cb]. */
    int (*concat)(struct ops *o, struct act *y, const struct act *a, const struct act *b, int64_t m,
                  int64_t ca, int64_t cb, struct err *e);

    /* Optional, NULL: put does it. y[n] = 0. */
    int (*zero)(struct ops *o, struct act *y, int64_t n, struct err *e);

    /* Nearest: y[N, Ho, Wo, C], source row floor(i * H / Ho), as torch's interpolate. */
    int (*upsample)(struct ops *o, struct act *y, const struct act *x, int64_t n, int64_t h,
                    int64_t w, int64_t c, int64_t ho, int64_t wo, struct err *e);
};

/* n numbers behind x; NULL stays NULL. */
static inline struct act *act_at(const struct ops *o, const struct act *x, int64_t n)
{
    return x == NULL ? NULL : (struct act *)((uintptr_t)x + (size_t)n * o->act_bytes);
}

/* Plain C, one thread: the oracle that the other backends are compared with. */
int ops_ref_new(struct ops **ret_o, struct err *e);

/*
 * Own kernels, the fastest of the machine's that LITHO_CPU allows (level.h). threads: 1..1024.
 * Bytes do not depend on threads.
 *
 * PRECISION_F32: AVX-512, AVX2 or plain C; all add in the same order and fuse the same products,
 * so bytes do not depend on which of the three it is: class "cpu".
 * PRECISION_BF16: activations and weights are stored as bf16; sums, statistics and softmax are
 * float32, and what an op computes is rounded once, where it is stored (ARCHITECTURE.md). Classes
 * "cpu-amx" and "cpu-avx512-bf16". A machine that has neither computes in f32, and the backend's
 * precision and class say so. PRECISION_AUTO: bf16 where it is faster. ERR_ARG: a LITHO_CPU that
 * names no level.
 */
int ops_cpu_new(int threads, enum precision precision, struct ops **ret_o, struct err *e);

/* The device class and precision that ops_cpu_new() would have on this machine. Static. */
const char *ops_cpu_class(enum precision precision);
enum precision ops_cpu_precision(enum precision precision);

#endif
