/* Pillow's resampling (libImaging/Resample.c) and AUTOMATIC1111's ways to come to a size. */
#include "engine/pipeline/pixels.h"

#include <math.h>
#include <string.h>

#define WEIGHT_BITS 22 /* of fixed point: 32 - 8 for the pixel - 2 for sums beyond it */

/* The weights of one output row or column: of `n` inputs from `first`. */
struct reach {
    int first, n;
};

/* One direction of a resize. */
struct kernel {
    int size, width;     /* outputs; weights kept for each */
    struct reach *reach; /* [size] */
    int32_t *weights;    /* [size, width], fixed point */
};

static double bicubic(double x)
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double sinc(double x)
{
    return x == 0 ? 1 : sin(x * M_PI) / (x * M_PI);
}

static double lanczos(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

/* Inputs that output i sees, and their weights in ret_w: sum 1. */
static struct reach reach_of(int i, int size, double from, double scale, double support,
                             double (*filter)(double), double *ret_w)
{
    double center = from + (i + 0.5) * scale, sum = 0, stretch = scale > 1 ? scale : 1;
    int first = (int)(center - support + 0.5), last = (int)(center + support + 0.5);

    first = first < 0 ? 0 : first;
    last = last > size ? size : last;
    for (int k = 0; k < last - first; k++) {
        ret_w[k] = filter((k + first - center + 0.5) * (1 / stretch));
        sum += ret_w[k];
    }
    for (int k = 0; k < last - first && sum != 0; k++)
        ret_w[k] /= sum;
    return (struct reach){first, last - first};
}

static int32_t fixed(double weight)
{
    return (int32_t)(weight * (1 << WEIGHT_BITS) + (weight < 0 ? -0.5 : 0.5));
}

/* from..to of `in` inputs become `out` outputs. In the arena. */
static int kernel_new(struct arena *a, int in, int from, int to, int out, enum resample resample,
                      struct kernel *ret_k, struct err *e)
{
    double scale = (double)(to - from) / out, stretch = scale > 1 ? scale : 1;
    double support = (resample == RESAMPLE_LANCZOS ? 3 : 2) * stretch, *w;
    struct kernel k = {.size = out, .width = (int)ceil(support) * 2 + 1};

    k.reach = arena_bytes(a, (size_t)out * sizeof *k.reach);
    k.weights = arena_bytes(a, (size_t)out * (size_t)k.width * sizeof *k.weights);
    w = arena_bytes(a, (size_t)k.width * sizeof *w);
    if (k.reach == NULL || k.weights == NULL || w == NULL)
        return arena_check(a, e);
    for (int i = 0; i < out && !pixels_planning(a); i++) {
        k.reach[i] = reach_of(i, in, from, scale, support,
                              resample == RESAMPLE_LANCZOS ? lanczos : bicubic, w);
        for (int j = 0; j < k.reach[i].n; j++)
            k.weights[(size_t)i * (size_t)k.width + (size_t)j] = fixed(w[j]);
    }
    *ret_k = k;
    return 0;
}

/* Sum of n inputs, `step` bytes apart, to 8 bits. */
static uint8_t weighted(const uint8_t *in, size_t step, const int32_t *weights, int n)
{
    int64_t sum = 1 << (WEIGHT_BITS - 1);

    for (int i = 0; i < n; i++)
        sum += (int64_t)in[(size_t)i * step] * weights[i];
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* out[y, x] from row first + y of `in`; out has the kernel's width. */
static void along_rows(struct pixels *out, const struct pixels *in, int first,
                       const struct kernel *k)
{
    size_t channels = (size_t)in->channels, in_row = (size_t)in->width * channels;

    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++) {
            const struct reach *r = &k->reach[x];
            const uint8_t *from =
                in->data + (size_t)(first + y) * in_row + (size_t)r->first * channels;
            uint8_t *to = out->data + ((size_t)y * (size_t)out->width + (size_t)x) * channels;

            for (size_t c = 0; c < channels; c++)
                to[c] =
                    weighted(from + c, channels, k->weights + (size_t)x * (size_t)k->width, r->n);
        }
}

/* The same for columns; row 0 of `in` is row `first` of what the kernel counts. */
static void along_columns(struct pixels *out, const struct pixels *in, int first,
                          const struct kernel *k)
{
    size_t row = (size_t)in->width * (size_t)in->channels;

    for (int y = 0; y < out->height; y++) {
        const struct reach *r = &k->reach[y];
        const uint8_t *from = in->data + (size_t)(r->first - first) * row;

        for (size_t x = 0; x < row; x++)
            out->data[(size_t)y * row + x] =
                weighted(from + x, row, k->weights + (size_t)y * (size_t)k->width, r->n);
    }
}

/* Rows of `in` that a kernel over rows sees. While planning: all of the box and its surroundings.
 */
static void rows_seen(const struct arena *a, const struct kernel *k, int height, int *ret_first,
                      int *ret_n)
{
    const struct reach *last;

    *ret_first = 0;
    *ret_n = height;
    if (pixels_planning(a))
        return;
    last = &k->reach[k->size - 1];
    *ret_first = k->reach[0].first;
    *ret_n = last->first + last->n - *ret_first;
}

/* Pillow from 13 on: columns come first where the height shrinks much more than the width. */
static bool columns_first(const struct pixels *out, const struct pixels *in)
{
    return in->height > out->height && in->height - out->height > 2 * (in->width - out->width);
}

/* Both directions; between the two, pixels are rounded to 8 bits. */
static int resize_twice(struct arena *a, struct pixels *out, const struct pixels *in,
                        const struct kernel *across, const struct kernel *down, struct err *e)
{
    bool turned = columns_first(out, in);
    struct pixels between;
    int first = 0, n = out->height, rc = 0;

    if (!turned)
        rows_seen(a, down, in->height, &first, &n);
    TRY(pixels_new(a, turned ? in->width : out->width, n, in->channels, &between, e));
    if (pixels_planning(a))
        goto out;
    if (turned) {
        along_columns(&between, in, 0, down);
        along_rows(out, &between, 0, across);
    } else {
        along_rows(&between, in, first, across);
        along_columns(out, &between, first, down);
    }
out:
    return rc;
}

static int resize_box(struct arena *a, struct pixels *out, const struct pixels *in,
                      const struct box *b, enum resample resample, struct err *e)
{
    bool rows = out->width != in->width || b->left != 0 || b->right != in->width;
    bool columns = out->height != in->height || b->top != 0 || b->bottom != in->height;
    struct kernel across, down;
    int rc = 0;

    if (rows)
        TRY(kernel_new(a, in->width, b->left, b->right, out->width, resample, &across, e));
    if (columns)
        TRY(kernel_new(a, in->height, b->top, b->bottom, out->height, resample, &down, e));
    if (rows && columns)
        TRY(resize_twice(a, out, in, &across, &down, e));
    else if (pixels_planning(a))
        goto out;
    else if (rows)
        along_rows(out, in, 0, &across);
    else if (columns)
        along_columns(out, in, 0, &down);
    else
        pixels_copy(out, in);
out:
    return rc;
}

int pixels_resize(struct arena *a, struct pixels *out, const struct pixels *in,
                  const struct box *box, enum resample resample, struct err *e)
{
    struct box all = {0, 0, in->width, in->height};
    size_t mark = arena_mark(a);
    int rc = resize_box(a, out, in, box != NULL ? box : &all, resample, e);

    arena_release(a, mark);
    return rc;
}

/* Size at which `in` covers out (cover), or fits into it. */
static void scaled_size(const struct pixels *out, const struct pixels *in, bool cover,
                        int *ret_width, int *ret_height)
{
    double ratio = (double)out->width / out->height, own = (double)in->width / in->height;
    int64_t w = (int64_t)in->width * out->height / in->height;
    int64_t h = (int64_t)in->height * out->width / in->width;

    *ret_width = (cover ? ratio > own : ratio < own) ? out->width : (int)w;
    *ret_height = (cover ? ratio <= own : ratio >= own) ? out->height : (int)h;
}

/* Draws one edge of `in` out over the rows or columns that `in` left free: w x h at (x, y). */
static int draw_edge(struct arena *a, struct pixels *out, const struct pixels *in,
                     const struct box *edge, int w, int h, int x, int y, struct err *e)
{
    size_t mark = arena_mark(a);
    struct pixels strip;
    int rc = 0;

    TRY(pixels_new(a, w, h, in->channels, &strip, e));
    TRY(pixels_resize(a, &strip, in, edge, RESAMPLE_BICUBIC, e));
    if (!pixels_planning(a))
        pixels_paste(out, &strip, x, y);
out:
    arena_release(a, mark);
    return rc;
}

static int draw_edges(struct arena *a, struct pixels *out, const struct pixels *in, struct err *e)
{
    int rows = out->height / 2 - in->height / 2, columns = out->width / 2 - in->width / 2;
    int w = in->width, h = in->height, rc = 0;

    if (rows > 0) {
        TRY(draw_edge(a, out, in, &(struct box){0, 0, w, 0}, out->width, rows, 0, 0, e));
        TRY(draw_edge(a, out, in, &(struct box){0, h, w, h}, out->width, rows, 0, rows + h, e));
    }
    if (columns > 0) {
        TRY(draw_edge(a, out, in, &(struct box){0, 0, 0, h}, columns, out->height, 0, 0, e));
        TRY(draw_edge(a, out, in, &(struct box){w, 0, w, h}, columns, out->height, columns + w, 0,
                      e));
    }
out:
    return rc;
}

int pixels_fit(struct arena *a, struct pixels *out, const struct pixels *in, enum resize_mode mode,
               struct err *e)
{
    size_t mark = arena_mark(a);
    struct pixels scaled;
    int width, height, rc = 0;

    if (mode == RESIZE_STRETCH)
        return pixels_resize(a, out, in, NULL, RESAMPLE_LANCZOS, e);
    scaled_size(out, in, mode == RESIZE_CROP, &width, &height);
    if (width < 1 || height < 1)
        TRY(err_set(e, ERR_INPUT, "a picture of %d x %d is too narrow to come to %d x %d",
                    in->width, in->height, out->width, out->height));
    TRY(pixels_new(a, width, height, in->channels, &scaled, e));
    TRY(pixels_resize(a, &scaled, in, NULL, RESAMPLE_LANCZOS, e));
    if (!pixels_planning(a)) {
        memset(out->data, 0, (size_t)out->width * (size_t)out->height * (size_t)out->channels);
        pixels_paste(out, &scaled, out->width / 2 - width / 2, out->height / 2 - height / 2);
    }
    if (mode == RESIZE_FILL)
        TRY(draw_edges(a, out, &scaled, e));
out:
    arena_release(a, mark);
    return rc;
}
