/* JPEG files, by libjpeg. Truncation and damage of the coded data are errors here. */
#include "worker/image_codec.h"

#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>
#include <stdbool.h>

#define SCANS_MAX 200 /* of a progressive file: each costs a pass over the whole picture */

/* Everything that lives across libjpeg's longjmp. */
struct jpeg {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    char reason[JMSG_LENGTH_MAX];
    const char *name;
    struct image_raw *raw; /* borrowed */
    struct err *e;
    int rc; /* of a check of ours; 0: libjpeg's reason counts */
};

static void leave(struct jpeg *j, const char *reason)
{
    snprintf(j->reason, sizeof j->reason, "%s", reason);
    longjmp(j->jump, 1);
}

static void on_error(j_common_ptr d)
{
    struct jpeg *j = d->client_data;
    char text[JMSG_LENGTH_MAX];

    d->err->format_message(d, text);
    leave(j, text);
}

/* Warnings of damaged data are errors; the others concern how the file was written. */
static void on_message(j_common_ptr d, int level)
{
    int code = d->err->msg_code;

    if (level < 0 && (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
                      code == JWRN_MUST_RESYNC || code == JWRN_ARITH_BAD_CODE))
        on_error(d);
}

static void on_progress(j_common_ptr d)
{
    if (((j_decompress_ptr)d)->input_scan_number > SCANS_MAX)
        leave(d->client_data, "it has too many scans");
}

static void source_ignore(j_decompress_ptr d)
{
    (void)d;
}

static boolean source_fill(j_decompress_ptr d)
{
    leave(d->client_data, "the file ends too early");
    return FALSE;
}

static void source_skip(j_decompress_ptr d, long n)
{
    if (n <= 0)
        return;
    if ((size_t)n > d->src->bytes_in_buffer)
        leave(d->client_data, "the file ends too early");
    d->src->next_input_byte += n;
    d->src->bytes_in_buffer -= (size_t)n;
}

static void jpeg_init(struct jpeg *j, const void *data, size_t size)
{
    j->d.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->d.client_data = j;
    j->source = (struct jpeg_source_mgr){.next_input_byte = data,
                                         .bytes_in_buffer = size,
                                         .init_source = source_ignore,
                                         .fill_input_buffer = source_fill,
                                         .skip_input_data = source_skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = source_ignore};
    j->progress.progress_monitor = on_progress;
}

/* The first EXIF block. */
static void keep_exif(struct jpeg *j)
{
    for (jpeg_saved_marker_ptr m = j->d.marker_list; m != NULL; m = m->next)
        if (m->data_length > 6 && memcmp(m->data, "Exif\0\0", 6) == 0) {
            buf_append(&j->raw->exif, m->data + 6, m->data_length - 6);
            return;
        }
}

/* CMYK as Pillow takes it from JPEG files: inverted, as Adobe writes it. */
static void rgb_from_cmyk(uint8_t *rgb, const uint8_t *cmyk)
{
    unsigned black = cmyk[3];

    for (int c = 0; c < 3; c++) {
        unsigned ink = (255u - cmyk[c]) * black + 128;

        ink = (ink + (ink >> 8)) >> 8;
        rgb[c] = (uint8_t)(black - ink);
    }
}

/* One row of the file's own channels, at the end of its row of RGB, becomes RGB. */
static void spread_row(const struct jpeg *j, uint8_t *row, const uint8_t *from)
{
    int n = j->d.output_components;

    for (JDIMENSION x = 0; x < j->d.output_width && n != 3; x++) {
        if (n == 4)
            rgb_from_cmyk(row + 3 * (size_t)x, from + 4 * (size_t)x);
        else
            memset(row + 3 * (size_t)x, from[x], 3);
    }
}

/* Room for the pixels, and one row of the file's channels behind them. */
static void make_room(struct jpeg *j, size_t row)
{
    struct image_raw *raw = j->raw;

    j->rc = image_check_size(j->name, j->d.image_width, j->d.image_height, j->e);
    if (j->rc != 0)
        longjmp(j->jump, 1);
    raw->width = (int)j->d.image_width;
    raw->height = (int)j->d.image_height;
    raw->channels = 3;
    raw->pixels = malloc((size_t)raw->width * (size_t)raw->height * 3 + row);
    if (raw->pixels != NULL)
        return;
    j->rc = err_set(j->e, ERR_OOM, "picture '%s': no memory for %d x %d pixels", j->name,
                    raw->width, raw->height);
    longjmp(j->jump, 1);
}

/* Returns -1 after a longjmp. */
static int decode(struct jpeg *j)
{
    struct jpeg_decompress_struct *d = &j->d;
    uint8_t *row, *spare;

    if (setjmp(j->jump))
        return -1;
    jpeg_create_decompress(d);
    d->src = &j->source;
    d->progress = &j->progress;
    jpeg_save_markers(d, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(d, TRUE);
    make_room(j, (size_t)d->image_width * 4);
    keep_exif(j);
    if (d->num_components == 4)
        d->out_color_space = JCS_CMYK;
    jpeg_start_decompress(d);
    if (d->output_components != 1 && d->output_components != 3 && d->output_components != 4)
        leave(j, "its number of colours is none of 1, 3 and 4");
    spare = j->raw->pixels + (size_t)d->output_width * d->output_height * 3;
    while (d->output_scanline < d->output_height) {
        row = j->raw->pixels + (size_t)d->output_scanline * d->output_width * 3;
        if (d->output_components == 3) {
            jpeg_read_scanlines(d, &row, 1);
            continue;
        }
        jpeg_read_scanlines(d, &spare, 1);
        spread_row(j, row, spare);
    }
    jpeg_finish_decompress(d);
    return 0;
}

int image_jpeg_decode(const char *name, const void *data, size_t size, struct image_raw *raw,
                      struct err *e)
{
    struct jpeg j = {.name = name, .raw = raw, .e = e};
    int rc;

    jpeg_init(&j, data, size);
    rc = decode(&j);
    jpeg_destroy_decompress(&j.d);
    if (rc != 0)
        return j.rc != 0
                   ? j.rc
                   : err_set(e, ERR_INPUT, "picture '%s': broken JPEG file: %s", name, j.reason);
    return buf_check(&raw->exif, e);
}
