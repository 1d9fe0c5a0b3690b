/*
 * Pictures as PNG files: 8-bit RGB pixels with text chunks. Behind it: libpng.
 *
 * The bytes are a function of pixels, texts and the libpng and zlib in use alone (fixed filter rule
 * and compression level, no time chunk). Text that fits Latin-1 becomes tEXt, other text iTXt
 * (UTF-8, uncompressed), as PIL writes it.
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
 * pixels: [height, width, 3], 8 bits; sides 1..PNG_SIDE_MAX. Texts stand before the pixels, in the
 * order given, each of at most half PNG_TEXT_MAX bytes. Appends the file to ret_file, which on
 * error is as before. For a drawing tool's 4-channel pictures drop alpha first. ERR_ARG: a bound
 * does not hold, a text is no UTF-8.
 */
int png_encode(const uint8_t *pixels, int width, int height, const struct png_text *texts,
               size_t n_texts, struct buf *ret_file, struct err *e);

/*
 * Any valid PNG becomes 8-bit RGB (alpha dropped). ret_pixels: [height, width, 3], caller frees
 * with free(3). ERR_INPUT: broken or cut, a side over PNG_SIDE_MAX, or more than 2^27 pixels.
 */
int png_decode(const void *file, size_t size, uint8_t **ret_pixels, int *ret_width, int *ret_height,
               struct err *e);

/*
 * The same with its alpha: [height, width, 4], opaque where the file has none. 16-bit samples give
 * their high byte, as Pillow takes them of colour pictures (png_decode rounds). Appends the eXIf
 * chunk, if there is one, to ret_exif.
 */
int png_decode_rgba(const void *file, size_t size, uint8_t **ret_pixels, int *ret_width,
                    int *ret_height, struct buf *ret_exif, struct err *e);

/*
 * Whether the bytes are one whole file as png_encode writes it: 8-bit RGB, not interlaced, of this
 * size, every chunk within the file and with its right CRC-32, pixels among them, nothing behind
 * the end. Nothing is decompressed and no memory taken. width, height: pixels; 0: any. ERR_INPUT
 * says what is wrong.
 */
int png_check(const void *file, size_t size, int64_t width, int64_t height, struct err *e);

/*
 * Appends the UTF-8 value of the first text chunk (tEXt, zTXt, iTXt) of that key that stands before
 * the pixels. ERR_MISSING if there is none; ERR_INPUT if the file is no PNG. Reads no pixels.
 */
int png_text_get(const void *file, size_t size, const char *key, struct buf *ret_text,
                 struct err *e);

#endif
