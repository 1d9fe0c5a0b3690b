#include "proto/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <zlib.h>

#define COMPRESSION_LEVEL 6
#define CHUNKS_MAX        256               /* ancillary chunks kept of one file */
#define PIXELS_MAX        ((size_t)1 << 27) /* of one picture read */
#define KEY_MAX           79                /* PNG specification, 11.3.4.2 */
#define SIGNATURE_SIZE    8
#define CHUNK_FRAME       12 /* bytes of a chunk beside its data: length, type, CRC */

/* Everything that lives across libpng's longjmp. */
struct codec {
    png_structp png;
    png_infop info;
    char reason[160];          /* libpng's words for the failure */
    const unsigned char *data; /* reading: the file, borrowed */
    size_t size, used;
    struct buf *out;   /* writing */
    struct buf latin1; /* writing: converted texts, NUL after each */
    png_textp texts;   /* writing: [n_texts] */
    uint8_t *pixels;   /* reading: [height, width, channels] */
    int width, height, channels;
};

static void on_error(png_structp png, png_const_charp message)
{
    struct codec *c = png_get_error_ptr(png);

    snprintf(c->reason, sizeof c->reason, "%s", message);
    png_longjmp(png, 1);
}

/* Warnings concern chunks that we do not use; what matters is an error. */
static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void codec_done(struct codec *c)
{
    if (c->out)
        png_destroy_write_struct(&c->png, &c->info);
    else
        png_destroy_read_struct(&c->png, &c->info, NULL);
    buf_done(&c->latin1);
    free(c->texts);
    free(c->pixels);
}

/*
 * One code point of UTF-8 at text[*at], moving *at past it; -1 if malformed (overlong, surrogate,
 * past U+10FFFF, cut). text ends with NUL.
 */
static int32_t utf8_next(const unsigned char *text, size_t *at)
{
    static const int32_t least[4] = {0, 0x80, 0x800, 0x10000};
    unsigned char lead = text[*at];
    int more = lead < 0x80 ? 0 : lead < 0xC0 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    int32_t code = more == 0 ? lead : lead & (0x3F >> more);

    if (more < 0 || lead >= 0xF8)
        return -1;
    for (int i = 1; i <= more; i++) {
        if ((text[*at + (size_t)i] & 0xC0) != 0x80)
            return -1;
        code = code << 6 | (text[*at + (size_t)i] & 0x3F);
    }
    if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return -1;
    *at += (size_t)more + 1;
    return code;
}

/* Highest code point of the text, or -1 if it is no UTF-8. */
static int32_t utf8_highest(const char *text)
{
    int32_t highest = 0;

    for (size_t at = 0; text[at];) {
        int32_t code = utf8_next((const unsigned char *)text, &at);
        if (code < 0)
            return -1;
        highest = code > highest ? code : highest;
    }
    return highest;
}

static void latin1_to_utf8(const char *text, struct buf *ret_text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80) {
            buf_putc(ret_text, (char)c);
        } else {
            buf_putc(ret_text, (char)(0xC0 | c >> 6));
            buf_putc(ret_text, (char)(0x80 | (c & 0x3F)));
        }
    }
}

static void utf8_to_latin1(const char *text, struct buf *ret_text)
{
    for (size_t at = 0; text[at];)
        buf_putc(ret_text, (char)utf8_next((const unsigned char *)text, &at));
}

/* ---- writing */

static void write_bytes(png_structp png, png_bytep data, size_t size)
{
    struct codec *c = png_get_io_ptr(png);

    buf_append(c->out, data, size);
}

static void write_flush(png_structp png)
{
    (void)png;
}

static int check_texts(const struct png_text *texts, size_t n_texts, struct err *e)
{
    for (size_t i = 0; i < n_texts; i++) {
        size_t length = strlen(texts[i].key);
        if (length < 1 || length > KEY_MAX)
            return err_set(e, ERR_ARG, "a PNG text key has 1 to %d bytes, not %zu", KEY_MAX,
                           length);
        if (utf8_highest(texts[i].text) < 0)
            return err_set(e, ERR_ARG, "PNG text '%s' is not UTF-8", texts[i].key);
        if (strlen(texts[i].text) > PNG_TEXT_MAX / 2)
            return err_set(e, ERR_ARG, "PNG text '%s' is longer than %u bytes", texts[i].key,
                           PNG_TEXT_MAX / 2);
    }
    return 0;
}

/* Fills c->texts: Latin-1 copies go to c->latin1, other texts are borrowed. */
static int prepare_texts(struct codec *c, const struct png_text *texts, size_t n_texts,
                         struct err *e)
{
    size_t at = 0;
    int rc = 0;

    c->texts = calloc(n_texts ? n_texts : 1, sizeof *c->texts);
    if (!c->texts)
        return err_set(e, ERR_OOM, "no memory for %zu PNG texts", n_texts);
    for (size_t i = 0; i < n_texts; i++) {
        if (utf8_highest(texts[i].text) < 256) {
            utf8_to_latin1(texts[i].text, &c->latin1);
            buf_putc(&c->latin1, '\0');
        }
    }
    TRY(buf_check(&c->latin1, e));
    for (size_t i = 0; i < n_texts; i++) {
        png_textp t = &c->texts[i];
        t->key = (png_charp)(uintptr_t)texts[i].key; /* libpng copies it, and changes nothing */
        if (utf8_highest(texts[i].text) < 256) {
            t->compression = PNG_TEXT_COMPRESSION_NONE;
            t->text = c->latin1.data + at;
            t->text_length = strlen(t->text);
            at += t->text_length + 1;
        } else {
            t->compression = PNG_ITXT_COMPRESSION_NONE;
            t->text = (png_charp)(uintptr_t)texts[i].text;
            t->itxt_length = strlen(t->text);
        }
    }
out:
    return rc;
}

/* Returns -1 after a longjmp of libpng. Nothing here may own memory. */
static int write_picture(struct codec *c, const uint8_t *pixels, int n_texts)
{
    if (setjmp(png_jmpbuf(c->png)))
        return -1;
    png_set_write_fn(c->png, c, write_bytes, write_flush);
    png_set_user_limits(c->png, PNG_SIDE_MAX, PNG_SIDE_MAX);
    png_set_IHDR(c->png, c->info, (png_uint_32)c->width, (png_uint_32)c->height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_set_filter(c->png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_set_compression_level(c->png, COMPRESSION_LEVEL);
    png_set_text(c->png, c->info, c->texts, n_texts);
    png_write_info(c->png, c->info);
    for (int y = 0; y < c->height; y++)
        png_write_row(c->png, pixels + (size_t)y * (size_t)c->width * 3);
    png_write_end(c->png, NULL);
    return 0;
}

int png_encode(const uint8_t *pixels, int width, int height, const struct png_text *texts,
               size_t n_texts, struct buf *ret_file, struct err *e)
{
    struct codec c = {.out = ret_file, .width = width, .height = height};
    size_t before = ret_file->size;
    int rc = 0;

    if (width < 1 || height < 1 || width > PNG_SIDE_MAX || height > PNG_SIDE_MAX)
        return err_set(e, ERR_ARG, "a PNG of %dx%d pixels: sides are 1 to %d", width, height,
                       PNG_SIDE_MAX);
    if (n_texts > CHUNKS_MAX)
        return err_set(e, ERR_ARG, "%zu PNG texts; at most %d", n_texts, CHUNKS_MAX);
    TRY(check_texts(texts, n_texts, e));
    TRY(prepare_texts(&c, texts, n_texts, e));
    c.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &c, on_error, on_warning);
    c.info = c.png ? png_create_info_struct(c.png) : NULL;
    if (!c.info)
        TRY(err_set(e, ERR_OOM, "no memory for a PNG encoder"));
    if (write_picture(&c, pixels, (int)n_texts) != 0)
        TRY(err_set(e, ERR_INTERNAL, "writing a PNG of %dx%d: %s", width, height, c.reason));
    TRY(buf_check(ret_file, e));
out:
    if (rc != 0 && ret_file->data) {
        ret_file->size = before;
        ret_file->data[before] = '\0';
    }
    codec_done(&c);
    return rc;
}

/* ---- reading */

static void read_bytes(png_structp png, png_bytep data, size_t size)
{
    struct codec *c = png_get_io_ptr(png);

    if (size > c->size - c->used)
        png_error(png, "the file ends too early");
    memcpy(data, c->data + c->used, size);
    c->used += size;
}

/*
 * libpng takes memory for what a chunk's length claims before it reads it: 104 bytes of a picture
 * with an EXIF block could cost 1.7 GB. Pixels are read piece by piece, and may be cut.
 */
static bool lengths_are_true(const unsigned char *file, size_t size)
{
    size_t at = SIGNATURE_SIZE;

    while (size - at >= CHUNK_FRAME) {
        size_t length = png_get_uint_32(file + at);

        if (length > size - at - CHUNK_FRAME)
            return memcmp(file + at + 4, "IDAT", 4) == 0;
        at += CHUNK_FRAME + length;
    }
    return true;
}

/* data: IHDR's 13 bytes. */
static int check_header(const unsigned char *data, int64_t width, int64_t height, struct err *e)
{
    static const unsigned char rgb8[5] = {8, PNG_COLOR_TYPE_RGB, 0, 0, 0};
    int64_t w = png_get_uint_32(data), h = png_get_uint_32(data + 4);

    if ((width && w != width) || (height && h != height))
        return err_set(e, ERR_INPUT, "the picture has %lld x %lld pixels instead of %lld x %lld",
                       (long long)w, (long long)h, (long long)width, (long long)height);
    if (w < 1 || h < 1 || w > PNG_SIDE_MAX || h > PNG_SIDE_MAX)
        return err_set(e, ERR_INPUT, "the picture has %lld x %lld pixels", (long long)w,
                       (long long)h);
    if (memcmp(data + 8, rgb8, sizeof rgb8) != 0)
        return err_set(e, ERR_INPUT, "the picture is not 8-bit RGB");
    return 0;
}

int png_check(const void *file, size_t size, int64_t width, int64_t height, struct err *e)
{
    const unsigned char *bytes = file;
    size_t at = SIGNATURE_SIZE, pixels = 0;
    bool first = true, ended = false;
    int rc;

    if (size < SIGNATURE_SIZE || png_sig_cmp(bytes, 0, SIGNATURE_SIZE) != 0)
        return err_set(e, ERR_INPUT, "not a PNG file");
    for (; !ended; first = false) {
        const unsigned char *chunk = bytes + at;
        size_t length = size - at < CHUNK_FRAME ? SIZE_MAX : png_get_uint_32(chunk);

        if (length == SIZE_MAX || length > size - at - CHUNK_FRAME)
            return err_set(e, ERR_INPUT, "broken PNG file: it ends too early");
        if (first != (memcmp(chunk + 4, "IHDR", 4) == 0) || (first && length != 13))
            return err_set(e, ERR_INPUT, "broken PNG file: its header is not where it belongs");
        if (crc32_z(0, chunk + 4, length + 4) != png_get_uint_32(chunk + 8 + length))
            return err_set(e, ERR_INPUT, "broken PNG file: the checksum at byte %zu is wrong", at);
        if (first && (rc = check_header(chunk + 8, width, height, e)) != 0)
            return rc;
        pixels += memcmp(chunk + 4, "IDAT", 4) == 0 ? length : 0;
        ended = memcmp(chunk + 4, "IEND", 4) == 0;
        at += CHUNK_FRAME + length;
    }
    if (pixels == 0 || at != size)
        return err_set(e, ERR_INPUT, "broken PNG file: %s",
                       pixels ? "more follows its end" : "it has no pixels");
    return 0;
}

/* A reader over file with every limit set. */
static int reader_init(struct codec *c, const void *file, size_t size, struct err *e)
{
    *c = (struct codec){.data = file, .size = size};
    if (size < SIGNATURE_SIZE || png_sig_cmp(c->data, 0, SIGNATURE_SIZE) != 0)
        return err_set(e, ERR_INPUT, "not a PNG file");
    if (!lengths_are_true(c->data, size))
        return err_set(e, ERR_INPUT, "broken PNG file: the file ends too early");
    c->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, c, on_error, on_warning);
    c->info = c->png ? png_create_info_struct(c->png) : NULL;
    if (!c->info)
        return err_set(e, ERR_OOM, "no memory for a PNG decoder");
    png_set_read_fn(c->png, c, read_bytes);
    png_set_user_limits(c->png, PNG_SIDE_MAX, PNG_SIDE_MAX);
    png_set_chunk_cache_max(c->png, CHUNKS_MAX);
    png_set_chunk_malloc_max(c->png, PNG_TEXT_MAX);
    return 0;
}

/* The header and all chunks before the pixels. Returns -1 after a longjmp. */
static int read_header(struct codec *c)
{
    if (setjmp(png_jmpbuf(c->png)))
        return -1;
    png_read_info(c->png, c->info);
    c->width = (int)png_get_image_width(c->png, c->info);
    c->height = (int)png_get_image_height(c->png, c->info);
    return 0;
}

/* Every kind of PNG becomes 8-bit RGB or RGBA in c->pixels. Returns -1 after a longjmp. */
static int read_pixels(struct codec *c)
{
    size_t stride = (size_t)c->width * (size_t)c->channels;
    int passes;

    if (setjmp(png_jmpbuf(c->png)))
        return -1;
    png_set_expand(c->png);
    png_set_gray_to_rgb(c->png);
    if (c->channels == 3) {
        png_set_scale_16(c->png);
        png_set_strip_alpha(c->png);
    } else {
        png_set_strip_16(c->png);
        png_set_add_alpha(c->png, 255, PNG_FILLER_AFTER);
    }
    passes = png_set_interlace_handling(c->png);
    png_read_update_info(c->png, c->info);
    if (png_get_rowbytes(c->png, c->info) != stride)
        png_error(c->png, "its pixels do not become 8 bits a channel");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < c->height; y++)
            png_read_row(c->png, c->pixels + (size_t)y * stride, NULL);
    png_read_end(c->png, c->info);
    return 0;
}

/* Returns -1 after a longjmp. */
static int find_exif(struct codec *c, png_uint_32 *ret_size, png_bytep *ret_exif)
{
    if (setjmp(png_jmpbuf(c->png)))
        return -1;
    png_get_eXIf_1(c->png, c->info, ret_size, ret_exif);
    return 0;
}

static int decode(const void *file, size_t size, int channels, uint8_t **ret_pixels, int *ret_width,
                  int *ret_height, struct buf *ret_exif, struct err *e)
{
    png_uint_32 exif_size = 0;
    png_bytep exif = NULL;
    struct codec c;
    int rc = 0;

    TRY(reader_init(&c, file, size, e));
    c.channels = channels;
    if (read_header(&c) != 0)
        TRY(err_set(e, ERR_INPUT, "broken PNG file: %s", c.reason));
    if ((size_t)c.width * (size_t)c.height > PIXELS_MAX)
        TRY(err_set(e, ERR_INPUT, "a PNG of %dx%d pixels is larger than this program reads",
                    c.width, c.height));
    c.pixels = calloc((size_t)c.width * (size_t)c.height, (size_t)channels);
    if (!c.pixels)
        TRY(err_set(e, ERR_OOM, "no memory for a picture of %dx%d pixels", c.width, c.height));
    if (read_pixels(&c) != 0)
        TRY(err_set(e, ERR_INPUT, "broken PNG file: %s", c.reason));
    if (ret_exif != NULL && find_exif(&c, &exif_size, &exif) == 0 && exif != NULL) {
        buf_append(ret_exif, exif, exif_size);
        TRY(buf_check(ret_exif, e));
    }
    *ret_pixels = c.pixels;
    *ret_width = c.width;
    *ret_height = c.height;
    c.pixels = NULL;
out:
    codec_done(&c);
    return rc;
}

int png_decode(const void *file, size_t size, uint8_t **ret_pixels, int *ret_width, int *ret_height,
               struct err *e)
{
    return decode(file, size, 3, ret_pixels, ret_width, ret_height, NULL, e);
}

int png_decode_rgba(const void *file, size_t size, uint8_t **ret_pixels, int *ret_width,
                    int *ret_height, struct buf *ret_exif, struct err *e)
{
    return decode(file, size, 4, ret_pixels, ret_width, ret_height, ret_exif, e);
}

int png_text_get(const void *file, size_t size, const char *key, struct buf *ret_text,
                 struct err *e)
{
    struct codec c;
    png_textp texts = NULL, found = NULL;
    int n = 0, rc = 0;

    TRY(reader_init(&c, file, size, e));
    if (read_header(&c) != 0)
        TRY(err_set(e, ERR_INPUT, "broken PNG file: %s", c.reason));
    png_get_text(c.png, c.info, &texts, &n);
    for (int i = 0; i < n && !found; i++)
        if (strcmp(texts[i].key, key) == 0)
            found = &texts[i];
    if (!found)
        TRY(err_set(e, ERR_MISSING, "the PNG file has no text '%s'", key));
    if (found->compression < PNG_ITXT_COMPRESSION_NONE)
        latin1_to_utf8(found->text, ret_text);
    else if (utf8_highest(found->text) < 0)
        TRY(err_set(e, ERR_INPUT, "the PNG file's text '%s' is not UTF-8", key));
    else
        buf_puts(ret_text, found->text);
    TRY(buf_check(ret_text, e));
out:
    codec_done(&c);
    return rc;
}
