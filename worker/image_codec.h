/*
 * JPEG and WebP to pixels, behind image_file.h. Each wraps one library.
 */
#ifndef WORKER_IMAGE_CODEC_H
#define WORKER_IMAGE_CODEC_H

#include "proto/buf.h"

#include <stdint.h>

/* A picture as a file has it, before its orientation is applied. */
struct image_raw {
    int width, height, channels; /* channels: 3 RGB, 4 RGBA */
    uint8_t *pixels;             /* [height, width, channels]; owned, free(3) */
    struct buf exif;             /* the EXIF block from its TIFF header on; empty: none */
};

/* ERR_INPUT for a side or size over image_file.h's limits. name stands in errors. */
int image_check_size(const char *name, uint64_t width, uint64_t height, struct err *e);

/* On failure the picture may be half filled; the caller releases it all the same. */
int image_jpeg_decode(const char *name, const void *data, size_t size, struct image_raw *raw,
                      struct err *e);
int image_webp_decode(const char *name, const void *data, size_t size, struct image_raw *raw,
                      struct err *e);

#endif
