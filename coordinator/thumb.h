/* Small copies of pictures, by area averages: each pixel is the mean of what it covers. */
#ifndef COORDINATOR_THUMB_H
#define COORDINATOR_THUMB_H

#include "proto/err.h"

#include <stdint.h>

/*
 * pixels: [height, width, 3]. ret_small: [small_height, small_width, 3], 1 <= small <= large in
 * both directions, caller's storage.
 */
int thumb_scale(const uint8_t *pixels, int width, int height, int small_width, int small_height,
                uint8_t *ret_small, struct err *e);

/* Reads a PNG file and scales it by `scale` (<= 1). ret_pixels: caller frees. */
int thumb_read(const char *path, double scale, uint8_t **ret_pixels, int *ret_width,
               int *ret_height, struct err *e);

#endif
