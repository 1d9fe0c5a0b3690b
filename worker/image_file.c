#include "worker/image_file.h"

#include "proto/png.h"
#include "worker/image_codec.h"

#include <stdbool.h>

#define ORIENTATION 0x0112 /* EXIF 2.3, 4.6.4: the tag */
#define ENTRY_SIZE  12     /* bytes of an entry of a TIFF directory */

int image_check_size(const char *name, uint64_t width, uint64_t height, struct err *e)
{
    if (width < 1 || height < 1 || width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX)
        return err_set(e, ERR_INPUT, "picture '%s' has %llu x %llu pixels; a side has 1 to %d",
                       name, (unsigned long long)width, (unsigned long long)height, IMAGE_SIDE_MAX);
    if (width * height * 3 > IMAGE_BYTES_MAX)
        return err_set(
            e, ERR_INPUT,
            "picture '%s' has %llu x %llu pixels; decoded it would take more than %u MiB", name,
            (unsigned long long)width, (unsigned long long)height, IMAGE_BYTES_MAX >> 20);
    return 0;
}

/* ---- orientation */

struct tiff {
    const uint8_t *data;
    size_t size;
    bool big_endian;
};

/* n bytes at `at` as a number; 0 if they are not all there. */
static uint32_t tiff_number(const struct tiff *t, size_t at, size_t n)
{
    uint32_t value = 0;

    if (at > t->size || n > t->size - at)
        return 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint32_t)t->data[at + i] << 8 * (t->big_endian ? n - 1 - i : i);
    return value;
}

/* 1..8 as EXIF numbers them; 1, as stored, if the block says nothing that makes sense. */
static int orientation_of(const struct buf *exif)
{
    struct tiff t = {(const uint8_t *)exif->data, exif->size, false};
    size_t directory, entry;
    uint32_t n, value;

    if (t.size < 8 || (memcmp(t.data, "II*\0", 4) != 0 && memcmp(t.data, "MM\0*", 4) != 0))
        return 1;
    t.big_endian = t.data[0] == 'M';
    directory = tiff_number(&t, 4, 4);
    n = tiff_number(&t, directory, 2);
    for (uint32_t i = 0; i < n; i++) {
        entry = directory + 2 + (size_t)i * ENTRY_SIZE;
        if (tiff_number(&t, entry, 2) != ORIENTATION)
            continue;
        /* type 3 is a short, 4 a long; a short stands at the field's beginning */
        value = tiff_number(&t, entry + 8, tiff_number(&t, entry + 2, 2) == 3 ? 2 : 4);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* Where pixel (x, y) of the upright picture stands in the stored one, of w x h. */
static size_t stored_at(int orientation, size_t x, size_t y, size_t w, size_t h)
{
    switch (orientation) {
    case 2: /* mirrored */
        return y * w + (w - 1 - x);
    case 3: /* turned by 180 degrees */
        return (h - 1 - y) * w + (w - 1 - x);
    case 4: /* upside down */
        return (h - 1 - y) * w + x;
    case 5: /* rows are columns */
        return x * w + y;
    case 6: /* to be turned clockwise */
        return (h - 1 - x) * w + y;
    case 7: /* rows are columns, both from the end */
        return (h - 1 - x) * w + (w - 1 - y);
    case 8: /* to be turned anticlockwise */
        return x * w + (w - 1 - y);
    default:
        return y * w + x;
    }
}

/* ---- colours */

/* A colour on white, as Pillow's paste through the picture's own alpha. */
static uint8_t on_white(unsigned value, unsigned alpha)
{
    unsigned x = 255 * (255 - alpha) + value * alpha + 128;

    return (uint8_t)((x + (x >> 8)) >> 8);
}

static bool transparent(const struct image_raw *raw)
{
    size_t n = (size_t)raw->width * (size_t)raw->height;

    for (size_t i = 0; raw->channels == 4 && i < n; i++)
        if (raw->pixels[4 * i + 3] != 255)
            return true;
    return false;
}

/* ITU-R 601-2 in 16 bits of fixed point, as Pillow's convert("L"). */
static uint8_t luma(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000) >> 16);
}

static void write_pixel(uint8_t *out, const uint8_t *in, const struct image_raw *raw,
                        enum image_kind kind, bool alpha)
{
    if (kind == IMAGE_MASK) {
        *out = !alpha ? luma(in) : in[3] > 128 ? 255 : 0;
        return;
    }
    for (int c = 0; c < 3; c++)
        out[c] = raw->channels == 4 ? on_white(in[c], in[3]) : in[c];
}

/* The stored picture, upright and in the wanted kind. */
static int finish(const char *name, const struct image_raw *raw, enum image_kind kind,
                  struct image_file *ret_image, struct err *e)
{
    int orientation = orientation_of(&raw->exif);
    bool alpha = transparent(raw), turned = orientation >= 5;
    struct image_file f = {turned ? raw->height : raw->width, turned ? raw->width : raw->height,
                           NULL};
    size_t w = (size_t)f.width, h = (size_t)f.height, size = kind == IMAGE_RGB ? 3 : 1;

    f.pixels = malloc(w * h * size);
    if (f.pixels == NULL)
        return err_set(e, ERR_OOM, "picture '%s': no memory for %zu x %zu pixels", name, w, h);
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t at = stored_at(orientation, x, y, (size_t)raw->width, (size_t)raw->height);

            write_pixel(f.pixels + (y * w + x) * size, raw->pixels + at * (size_t)raw->channels,
                        raw, kind, alpha);
        }
    *ret_image = f;
    return 0;
}

/* ---- kinds of files */

static int decode_png(const char *name, const void *data, size_t size, struct image_raw *raw,
                      struct err *e)
{
    const uint8_t *b = data;
    struct err why;
    int rc;

    /* Sides first: the header's place is fixed (PNG specification, 5.6 and 11.2.2). */
    if (size >= 24) {
        struct tiff t = {b, size, true};

        rc = image_check_size(name, tiff_number(&t, 16, 4), tiff_number(&t, 20, 4), e);
        if (rc != 0)
            return rc;
    }
    raw->channels = 4;
    rc = png_decode_rgba(data, size, &raw->pixels, &raw->width, &raw->height, &raw->exif, &why);
    return rc == 0 ? 0 : err_set(e, rc, "picture '%s': %s", name, why.text);
}

int image_file_decode(const char *name, const void *data, size_t size, enum image_kind kind,
                      struct image_file *ret_image, struct err *e)
{
    const uint8_t *b = data;
    struct image_raw raw = {0};
    int rc = 0;

    if (size >= 8 && memcmp(b, "\x89PNG\r\n\x1a\n", 8) == 0)
        TRY(decode_png(name, data, size, &raw, e));
    else if (size >= 3 && memcmp(b, "\xff\xd8\xff", 3) == 0)
        TRY(image_jpeg_decode(name, data, size, &raw, e));
    else if (size >= 12 && memcmp(b, "RIFF", 4) == 0 && memcmp(b + 8, "WEBP", 4) == 0)
        TRY(image_webp_decode(name, data, size, &raw, e));
    else
        TRY(err_set(e, ERR_INPUT, "picture '%s' is no PNG, JPEG or WebP file", name));
    TRY(finish(name, &raw, kind, ret_image, e));
out:
    free(raw.pixels);
    buf_done(&raw.exif);
    return rc;
}

void image_file_done(struct image_file *image)
{
    free(image->pixels);
    *image = (struct image_file){0};
}
