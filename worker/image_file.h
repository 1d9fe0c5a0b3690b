/*
 * Pictures that a job brings: PNG, JPEG and WebP files as the engine takes them. What a file is
 * shows in its first bytes, whatever its name says.
 *
 * Every byte is hostile: a file that is cut, damaged, animated, or larger than the limits below is
 * refused with a sentence that names it. Any thread.
 *
 * As Pillow reads them: EXIF orientation is applied (ImageOps.exif_transpose); palettes, grey,
 * CMYK and deep samples become 8-bit RGB (convert("RGB"); 16-bit samples give their high byte, also
 * grey ones, which Pillow clips to white); colour profiles and gamma are not applied.
 *
 *     TRY(image_file_decode("fox.webp", bytes, size, IMAGE_RGB, &p, e));
 *     ...
 *     image_file_done(&p);
 */
#ifndef WORKER_IMAGE_FILE_H
#define WORKER_IMAGE_FILE_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

#define IMAGE_FILE_MAX  (256u << 20) /* bytes of a file */
#define IMAGE_SIDE_MAX  16384        /* pixels */
#define IMAGE_BYTES_MAX (128u << 20) /* of the pixels as RGB */

enum image_kind {
    IMAGE_RGB, /* [height, width, 3]; what is transparent lies on white, as AUTOMATIC1111 does it */
    IMAGE_MASK, /* [height, width]; a file with transparent parts is white where its alpha is over
                   128 and black elsewhere (AUTOMATIC1111's create_binary_mask), any other is grey
                   as convert("L") */
};

struct image_file {
    int width, height; /* pixels */
    uint8_t *pixels;   /* owned */
};

/*
 * data: a whole file, borrowed. name stands in errors. ERR_INPUT: no picture of the three kinds,
 * broken or too large.
 */
int image_file_decode(const char *name, const void *data, size_t size, enum image_kind kind,
                      struct image_file *ret_image, struct err *e);

void image_file_done(struct image_file *image);

#endif
