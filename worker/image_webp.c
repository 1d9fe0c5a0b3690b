/* WebP files, by libwebp: one still picture, lossy or not, with or without alpha. */
#include "worker/image_codec.h"

#include <webp/decode.h>

#include <stdbool.h>

#define CHUNK_HEADER 8  /* bytes: name and size (RIFF container of WebP) */
#define FILE_HEADER  12 /* bytes: RIFF, size, WEBP */

/* The content of the first chunk of that name. */
static bool find_chunk(const uint8_t *data, size_t size, const char name[4], const uint8_t **ret_at,
                       size_t *ret_size)
{
    size_t at = FILE_HEADER;

    while (size >= CHUNK_HEADER && at <= size - CHUNK_HEADER) {
        const uint8_t *b = data + at;
        size_t n = (size_t)b[4] | (size_t)b[5] << 8 | (size_t)b[6] << 16 | (size_t)b[7] << 24;

        if (n > size - at - CHUNK_HEADER)
            return false;
        if (memcmp(b, name, 4) == 0) {
            *ret_at = b + CHUNK_HEADER;
            *ret_size = n;
            return true;
        }
        at += CHUNK_HEADER + n + (n & 1);
    }
    return false;
}

static int broken(const char *name, VP8StatusCode status, struct err *e)
{
    const char *why = status == VP8_STATUS_NOT_ENOUGH_DATA ? "the file ends too early"
                      : status == VP8_STATUS_UNSUPPORTED_FEATURE
                          ? "it has a feature that libwebp does not read"
                          : "its data make no sense";

    if (status == VP8_STATUS_OUT_OF_MEMORY)
        return err_set(e, ERR_OOM, "picture '%s': no memory to decode it", name);
    return err_set(e, ERR_INPUT, "picture '%s': broken WebP file: %s", name, why);
}

static int decode(const char *name, const void *data, size_t size, WebPDecoderConfig *c,
                  struct image_raw *raw, struct err *e)
{
    size_t stride = (size_t)raw->width * (size_t)raw->channels;
    VP8StatusCode status;

    c->output.colorspace = raw->channels == 4 ? MODE_RGBA : MODE_RGB;
    c->output.is_external_memory = 1;
    c->output.u.RGBA.rgba = raw->pixels;
    c->output.u.RGBA.stride = (int)stride;
    c->output.u.RGBA.size = stride * (size_t)raw->height;
    status = WebPDecode(data, size, c);
    WebPFreeDecBuffer(&c->output);
    return status == VP8_STATUS_OK ? 0 : broken(name, status, e);
}

int image_webp_decode(const char *name, const void *data, size_t size, struct image_raw *raw,
                      struct err *e)
{
    WebPDecoderConfig c;
    VP8StatusCode status;
    const uint8_t *exif;
    size_t exif_size;
    int rc = 0;

    if (!WebPInitDecoderConfig(&c))
        return err_set(e, ERR_INTERNAL, "libwebp is of another version than its headers");
    status = WebPGetFeatures(data, size, &c.input);
    if (status != VP8_STATUS_OK)
        return broken(name, status, e);
    if (c.input.has_animation)
        return err_set(e, ERR_INPUT, "picture '%s' is an animation; a still picture is needed",
                       name);
    TRY(image_check_size(name, (uint64_t)c.input.width, (uint64_t)c.input.height, e));
    raw->width = c.input.width;
    raw->height = c.input.height;
    raw->channels = c.input.has_alpha ? 4 : 3;
    raw->pixels = malloc((size_t)raw->width * (size_t)raw->height * (size_t)raw->channels);
    if (raw->pixels == NULL)
        TRY(err_set(e, ERR_OOM, "picture '%s': no memory for %d x %d pixels", name, raw->width,
                    raw->height));
    TRY(decode(name, data, size, &c, raw, e));
    if (find_chunk(data, size, "EXIF", &exif, &exif_size)) {
        /* Some writers put JPEG's six bytes before the TIFF header. */
        bool jpeg = exif_size >= 6 && memcmp(exif, "Exif\0\0", 6) == 0;

        buf_append(&raw->exif, exif + (jpeg ? 6 : 0), exif_size - (jpeg ? 6 : 0));
        TRY(buf_check(&raw->exif, e));
    }
out:
    return rc;
}
