#include "coordinator/thumb.h"

#include "proto/buf.h"
#include "proto/png.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 28) /* bytes of a picture's file */

/* How much of source position `at` lies in [from, to). */
static double cover(double from, double to, int at)
{
    return fmin(to, at + 1.0) - fmax(from, at);
}

/* Adds a row of the source, averaged across, to sums: [small_width, 3]. */
static void add_row(const uint8_t *row, int width, int small_width, double weight, double *sums)
{
    double step = (double)width / small_width;

    for (int x = 0; x < small_width; x++) {
        double from = x * step, to = (x + 1) * step;

        for (int s = (int)from; s < width && s < to; s++) {
            double part = cover(from, to, s) * weight;

            for (int c = 0; c < 3; c++)
                sums[3 * x + c] += part * row[3 * s + c];
        }
    }
}

int thumb_scale(const uint8_t *pixels, int width, int height, int small_width, int small_height,
                uint8_t *ret_small, struct err *e)
{
    double step = (double)height / small_height, area = step * width / small_width;
    size_t n = (size_t)small_width * 3;
    double *sums = malloc(n * sizeof *sums);

    if (!sums)
        return err_set(e, ERR_OOM, "out of memory for a small picture");
    for (int y = 0; y < small_height; y++) {
        double from = y * step, to = (y + 1) * step;

        memset(sums, 0, n * sizeof *sums);
        for (int s = (int)from; s < height && s < to; s++)
            add_row(pixels + (size_t)s * width * 3, width, small_width, cover(from, to, s), sums);
        for (size_t i = 0; i < n; i++)
            ret_small[(size_t)y * n + i] = (uint8_t)fmin(255, fmax(0, sums[i] / area + 0.5));
    }
    free(sums);
    return 0;
}

static int scaled(int side, double scale)
{
    int n = (int)lround(side * scale);

    return n < 1 ? 1 : n > side ? side : n;
}

int thumb_read(const char *path, double scale, uint8_t **ret_pixels, int *ret_width,
               int *ret_height, struct err *e)
{
    struct buf file = {0};
    uint8_t *pixels = NULL, *small = NULL;
    int width, height, rc;

    TRY(buf_read_file(&file, path, FILE_MAX, e));
    TRY(png_decode(file.data, file.size, &pixels, &width, &height, e));
    buf_done(&file);
    *ret_width = scaled(width, scale);
    *ret_height = scaled(height, scale);
    small = malloc((size_t)*ret_width * (size_t)*ret_height * 3);
    if (!small)
        TRY(err_set(e, ERR_OOM, "out of memory for a small picture"));
    TRY(thumb_scale(pixels, width, height, *ret_width, *ret_height, small, e));
    *ret_pixels = small;
    small = NULL;
out:
    free(small);
    free(pixels);
    buf_done(&file);
    return rc;
}
