/*
 * Pictures as PNG files: 8-bit RGB pixels with text chunks. Behind it: libpng.
 *
 * The bytes are a function of pixels and texts alone (fixed filter and compression level, no time
 * chunk). Text that fits Latin-1 becomes tEXt, other text iTXt (UTF-8, uncompressed), as PIL writes
 * it.
 */
#ifndef PROTO_PNG_H
#define PROTO_PNG_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

#define PNG_SIDE_MAX 16384      /* pixels */
#define PNG_TEXT_MAX (4u << 20) /* bytes of one text chunk read */

struct png_text {
    const char *key;  /* 1..79 Latin-1 bytes */
    const char *text; /* UTF-8 */
};

/*
 * pixels: [height, width, 3], 8 bits. Appends the file to ret_file. For a drawing tool's 4-channel
 * pictures drop alpha first.
 */
int png_encode(const uint8_t *pixels, int width, int height, const struct png_text *texts,
               size_t n_texts, struct buf *ret_file, struct err *e);

/* Any valid PNG becomes 8-bit RGB (alpha dropped). ret_pixels: [height, width, 3], caller frees. */
int png_decode(const void *file, size_t size, uint8_t **ret_pixels, int *ret_width, int *ret_height,
               struct err *e);

/*
 * Appends the UTF-8 value of the first text chunk (tEXt, zTXt, iTXt) of that key. ERR_MISSING if
 * there is none; ERR_INPUT if the file is no PNG. Reads no pixels.
 */
int png_text_get(const void *file, size_t size, const char *key, struct buf *ret_text,
                 struct err *e);

#endif
