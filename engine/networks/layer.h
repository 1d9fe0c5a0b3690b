/*
 * What all networks are made of: loading of weights by name, layers that something can be added to
 * (adapter.h), norms, extents and scratch.
 *
 * A loader reads one weights file into a backend. Its first failure is kept in rc and e, later
 * calls do nothing and give NULL, so that loading a network is straight-line code with one test at
 * the end. Everything loaded belongs to the network that asked for it.
 *
 *     struct loader ld = {.ops = o, .weights = w, .e = e};
 *     r->conv1 = loader_conv(&ld, c_in, c_out, 3, "%s.conv1", name);
 *     loader_norm(&ld, &r->norm1, c_in, "%s.norm1", name);
 *     return ld.rc;
 */
#ifndef ENGINE_NETWORKS_LAYER_H
#define ENGINE_NETWORKS_LAYER_H

#include "engine/networks/shard.h"
#include "engine/ops/workspace.h"
#include "engine/weights/part.h"

#include <limits.h>

/* Batch, height and width of a feature map [n, h, w, channels]. */
struct extent {
    int64_t n, h, w;
};
int64_t extent_pixels(const struct extent *s); /* h * w */
int64_t extent_rows(const struct extent *s);   /* n * h * w */

struct linear_layer;
struct conv_layer;

/*
 * A network's layers by their modules' names, so that what is to be added to one finds it. Zeroed
 * memory is an empty list. The layers are the network's.
 */
struct layer_list {
    struct named_layer {
        char *name;                  /* owned; diffusers' path, without the loader's prefix */
        struct linear_layer *linear; /* one of the two is NULL */
        struct conv_layer *conv;
    } * items; /* owned; in the order of loading */
    size_t n, capacity;
};
void layer_list_done(struct layer_list *l);

struct loader {
    struct ops *ops;
    const struct weights *weights;
    const char *prefix;        /* put before every name; NULL: none */
    struct layer_list *layers; /* gets every layer that is loaded; NULL: nobody asks */
    uint64_t bytes;            /* that what was loaded so far takes, as the backend holds it */
    uint64_t budget_bytes;     /* ERR_OOM when bytes pass it; 0: no limit */
    struct err *e;
    int rc;
};

/* Whether the file has a tensor of that name. */
bool loader_has(const struct loader *ld, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * The part of a layer that is held here: a range of its inputs, and the same range of outputs in
 * each of `folds` equal parts of them. See shard.h.
 */
struct cut {
    int64_t in, out; /* of the whole layer */
    struct range inputs, outputs;
    int folds; /* 1; of a GEGLU's projection 2 */
};

struct cut cut_none(int64_t in, int64_t out);
struct cut cut_inputs(int64_t in, int64_t out, struct range inputs);
struct cut cut_outputs(int64_t in, int64_t out, int folds, struct range outputs);

/*
 * A linear layer or convolution of a network: the backend's weights, and what is added to them.
 * Networks call layers, never the backend's linear and conv2d, so that it is added in one place.
 */
struct linear_layer {
    struct linear *base;     /* NULL: nothing of it is held here */
    struct adapter *adapter; /* owned; NULL: nothing is added */
    int64_t in, out;         /* of the whole layer */
    struct cut cut;
};

struct conv_layer {
    struct conv *base;
    struct adapter *adapter;
    int64_t in, out;
    int kernel;
    struct cut cut;
};

/* As ops.h has linear and conv2d: activation and residual come after what is added. */
int linear_layer_forward(struct ops *o, struct act *y, const struct act *x,
                         const struct linear_layer *l, int64_t m, enum activation act,
                         const struct act *residual, struct err *e);
int conv_layer_forward(struct ops *o, struct act *y, const struct act *x,
                       const struct conv_layer *c, int64_t n, int64_t h, int64_t w, int stride,
                       const int pad[4], const struct act *per_sample, const struct act *residual,
                       struct err *e);

/* Outputs that are held here. */
int64_t linear_layer_out(const struct linear_layer *l);

/*
 * This member's part of y = layer(x), of a layer that is cut by its inputs; the sum over all
 * members (shard_add) is the layer's.
 */
int linear_layer_partial(struct ops *o, struct act *y, const struct act *x,
                         const struct linear_layer *l, int64_t m, struct err *e);
int conv_layer_partial(struct ops *o, struct act *y, const struct act *x,
                       const struct conv_layer *c, const struct extent *s, const int pad[4],
                       struct err *e);

/* NULL is legal. */
void linear_layer_free(struct ops *o, struct linear_layer *l);
void conv_layer_free(struct ops *o, struct conv_layer *c);

/*
 * NAME.weight [out, in], or the 1x1 convolution [out, in, 1, 1] that is the same numbers, and
 * NAME.bias [out] if bias is true.
 */
struct linear_layer *loader_linear(struct loader *ld, int64_t in, int64_t out, bool bias,
                                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same, of which only a part is read and held; a bias of a layer cut by its inputs is rank 0's.
 */
struct linear_layer *loader_linear_part(struct loader *ld, const struct cut *cut, bool bias,
                                        const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* NAME.weight [out, in, kernel, kernel] and NAME.bias [out]. */
struct conv_layer *loader_conv(struct loader *ld, int64_t in, int64_t out, int kernel,
                               const char *format, ...) __attribute__((format(printf, 5, 6)));

struct conv_layer *loader_conv_part(struct loader *ld, const struct cut *cut, int kernel,
                                    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Tensor NAME [rows, columns] as float32; caller frees with free(3). */
float *loader_table(struct loader *ld, int64_t rows, int64_t columns, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same as its file has it, in half the memory for f16; caller frees its data with free(3). */
void loader_rows(struct loader *ld, int64_t rows, int64_t columns, struct tensor *ret_t,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/*
 * Scale and shift of a group norm or layer norm: NAME.weight and NAME.bias, [channels]. The
 * backend's; freed with norm_free.
 */
struct norm *loader_norm(struct loader *ld, int64_t channels, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a range of the channels; NULL if it is empty. */
struct norm *loader_norm_part(struct loader *ld, int64_t channels, struct range own,
                              const char *format, ...) __attribute__((format(printf, 4, 5)));

/*
 * n_items zeroed items of item_size bytes, for a network's own tables; NULL after a failure. Caller
 * frees with free(3).
 */
void *loader_items(struct loader *ld, size_t n_items, size_t item_size);

/*
 * Layouts of one picture or latent between torch's [channels, h * w] and ours [h * w, channels].
 */
void nhwc_from_nchw(float *out, const float *in, int64_t channels, int64_t pixels);
void nchw_from_nhwc(float *out, const float *in, int64_t channels, int64_t pixels);

#endif
