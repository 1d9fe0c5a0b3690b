/* Two Gaussian blurs of 8-bit pictures: OpenCV's and Pillow's. */
#include "engine/pipeline/pixels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * OpenCV's weights of a Gaussian in 8 bits of fixed point, outermost first, the centre last: each
 * takes over the rounding error of the one before it, and the centre makes the sum 256.
 */
static int cv_weights(struct arena *a, double sigma, int half, int **ret_w, struct err *e)
{
    double sum = 1, error = 0;
    int *w = arena_bytes(a, (size_t)(half + 1) * sizeof *w), total = 0;

    if (w == NULL)
        return arena_check(a, e);
    *ret_w = w;
    if (pixels_planning(a))
        return 0;
    for (int i = 1; i <= half; i++)
        sum += 2 * exp(-0.5 * i * i / (sigma * sigma));
    for (int i = 0; i < half; i++) {
        double x = half - i, exact = exp(-0.5 * x * x / (sigma * sigma)) / sum * 256 + error;

        w[i] = (int)rint(exact);
        error = exact - w[i];
        total += w[i];
    }
    w[half] = 256 - 2 * total;
    return 0;
}

/* Index of a pixel beyond the edge, mirrored about the first and the last: 2 1 0 1 2 1 0. */
static int mirrored(int i, int n)
{
    if (n == 1)
        return 0;
    i = abs(i) % (2 * n - 2);
    return i < n ? i : 2 * n - 2 - i;
}

/* One line of n pixels, `step` bytes apart, in place. padded: [n + 2 * half]. */
static void cv_line(uint8_t *line, size_t step, int n, const int *w, int half, uint8_t *padded)
{
    for (int i = -half; i < n + half; i++)
        padded[i + half] = line[(size_t)mirrored(i, n) * step];
    for (int i = 0; i < n; i++) {
        const uint8_t *at = padded + i + half;
        int sum = 128 + w[half] * at[0];

        for (int k = 1; k <= half; k++)
            sum += w[half - k] * (at[-k] + at[k]);
        line[(size_t)i * step] = (uint8_t)(sum >> 8);
    }
}

int mask_blur(struct arena *a, struct pixels *mask, double sigma, struct err *e)
{
    int half = (int)(2.5 * sigma + 0.5), rc = 0, *w = NULL;
    int longest = mask->width > mask->height ? mask->width : mask->height;
    size_t mark = arena_mark(a), row = (size_t)mask->width;
    uint8_t *padded;

    if (half == 0)
        return 0;
    TRY(cv_weights(a, sigma, half, &w, e));
    padded = arena_bytes(a, (size_t)longest + 2 * (size_t)half);
    if (padded == NULL)
        TRY(arena_check(a, e));
    if (pixels_planning(a))
        goto out;
    for (int y = 0; y < mask->height; y++)
        cv_line(mask->data + (size_t)y * row, 1, mask->width, w, half, padded);
    for (int x = 0; x < mask->width; x++)
        cv_line(mask->data + x, row, mask->height, w, half, padded);
out:
    arena_release(a, mark);
    return rc;
}

/* A box of fractional radius: 2 * whole + 1 full weights and two smaller ones, 24 bits. */
struct pillow_box {
    int whole;
    uint32_t full, end;
};

/* Three boxes whose variance is that of the Gaussian (Gwosdek et al. 2011), in Pillow's float32. */
static struct pillow_box pillow_box(double radius)
{
    float r = (float)radius, sigma2 = r * r / 3, whole, part, all;
    struct pillow_box b;

    whole = (float)floor(((float)sqrt(12.0 * sigma2 + 1.0) - 1.0) / 2.0);
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * sigma2);
    part /= 6 * (sigma2 - (whole + 1) * (whole + 1));
    all = whole + part;
    b.whole = (int)all;
    b.full = (uint32_t)((float)(1 << 24) / (all * 2 + 1));
    b.end = ((1u << 24) - (uint32_t)(2 * b.whole + 1) * b.full) / 2;
    return b;
}

static size_t clamped(int64_t i, int n)
{
    return (size_t)(i < 0 ? 0 : i >= n ? n - 1 : i);
}

/* One box over one channel of a line. line, out: n pixels `step` bytes apart. */
static void box_line(uint8_t *out, const uint8_t *line, size_t step, int n,
                     const struct pillow_box *b)
{
    uint32_t sum = 0;

    for (int i = -b->whole; i <= b->whole; i++)
        sum += line[clamped(i, n) * step];
    for (int i = 0; i < n; i++) {
        uint32_t ends = (uint32_t)line[clamped(i - b->whole - 1, n) * step] +
                        line[clamped(i + b->whole + 1, n) * step];

        out[(size_t)i * step] = (uint8_t)((sum * b->full + ends * b->end + (1u << 23)) >> 24);
        sum += line[clamped(i + b->whole + 1, n) * step];
        sum -= line[clamped(i - b->whole, n) * step];
    }
}

/* Three boxes over one line in place; between: as large as the line. */
static void three_boxes(uint8_t *line, uint8_t *between, size_t step, int n,
                        const struct pillow_box *b)
{
    box_line(between, line, step, n, b);
    box_line(line, between, step, n, b);
    box_line(between, line, step, n, b);
    for (int i = 0; i < n; i++)
        line[(size_t)i * step] = between[(size_t)i * step];
}

int pixels_gaussian(struct arena *a, struct pixels *p, double radius, struct err *e)
{
    size_t mark = arena_mark(a), channels = (size_t)p->channels;
    size_t row = (size_t)p->width * channels;
    struct pillow_box b;
    uint8_t *between;

    if (radius == 0)
        return 0;
    between = arena_bytes(a, row * (size_t)p->height);
    if (between == NULL)
        return arena_check(a, e);
    b = pillow_box(radius);
    for (size_t y = 0; y < (size_t)p->height && !pixels_planning(a); y++)
        for (size_t c = 0; c < channels; c++)
            three_boxes(p->data + y * row + c, between, channels, p->width, &b);
    for (size_t x = 0; x < row && !pixels_planning(a); x++)
        three_boxes(p->data + x, between, row, p->height, &b);
    arena_release(a, mark);
    return 0;
}
