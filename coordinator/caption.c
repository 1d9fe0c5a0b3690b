#include "coordinator/caption.h"

#include "jobs/utf8.h"
#include "proto/json.h"
#include "proto/terms.h"

#include <inttypes.h>
#include <string.h>

#define LABEL_MAX  160 /* bytes; more does not fit a cell */
#define PROMPT_MAX 600 /* bytes shown of a prompt */

#define DOT " \xc2\xb7 "

/* Control characters become spaces; text that goes on gets an ellipsis. */
static void put_clean(struct buf *b, const char *text, size_t max_size)
{
    size_t size = strlen(text), n = utf8_cut(text, size, max_size);

    for (size_t i = 0; i < n; i++)
        buf_putc(b, (unsigned char)text[i] < 32 || text[i] == 127 ? ' ' : text[i]);
    if (n < size)
        buf_puts(b, "\xe2\x80\xa6");
}

static const char *last_part(const char *path)
{
    const char *slash = path[0] == '/' ? strrchr(path, '/') : NULL;

    return slash && slash[1] ? slash + 1 : path;
}

void caption_label(const struct job *job, size_t axis, uint64_t at, struct buf *ret_text)
{
    struct buf value = {0};

    job_axis_value(job, axis, at, &value);
    ret_text->failed = ret_text->failed || value.failed;
    put_clean(ret_text, last_part(buf_text(&value)), LABEL_MAX);
    buf_done(&value);
}

static void next(struct buf *b)
{
    if (b->size)
        buf_puts(b, DOT);
}

static const char *text_of(const json_t *fixed, const char *key)
{
    return json_string_value(json_object_get(fixed, key));
}

/* "20 steps" and its like, for numbers that no axis sets. */
static void put_number(struct buf *b, const json_t *fixed, const char *key, const char *before,
                       const char *after)
{
    const json_t *value = json_object_get(fixed, key);

    if (!value)
        return;
    next(b);
    buf_puts(b, before);
    buf_number(b, json_number_value(value));
    buf_puts(b, after);
}

static void put_sampler(struct buf *b, const json_t *fixed)
{
    const char *sampler = text_of(fixed, "sampler"), *scheduler = text_of(fixed, "scheduler");
    int s = sampler ? sampler_from_name(sampler) : -1;
    int k = scheduler ? scheduler_from_name(scheduler) : -1;

    if (s >= 0) {
        next(b);
        buf_puts(b, sampler_label((enum sampler_id)s));
    }
    if (k >= 0 && k != SCHEDULER_AUTOMATIC) {
        if (s >= 0)
            buf_putc(b, ' ');
        else
            next(b);
        buf_puts(b, scheduler_label((enum scheduler_id)k));
    }
}

static void put_settings(struct caption *c, const json_t *fixed)
{
    const char *model = text_of(fixed, "model"), *prompt = text_of(fixed, "prompt");
    const char *negative = text_of(fixed, "negative_prompt");
    const json_t *width = json_object_get(fixed, "width"),
                 *height = json_object_get(fixed, "height");
    struct buf *b = &c->settings;

    if (model)
        put_clean(b, last_part(model), LABEL_MAX);
    put_sampler(b, fixed);
    put_number(b, fixed, "steps", "", " steps");
    put_number(b, fixed, "cfg_scale", "CFG ", "");
    if (width && height) {
        next(b);
        buf_printf(b, "%" JSON_INTEGER_FORMAT "\xc3\x97%" JSON_INTEGER_FORMAT,
                   json_integer_value(width), json_integer_value(height));
    }
    put_number(b, fixed, "seed", "seed ", "");
    if (prompt)
        put_clean(&c->prompt, prompt, PROMPT_MAX);
    if (negative && *negative) {
        buf_puts(&c->prompt, c->prompt.size ? "   not: " : "not: ");
        put_clean(&c->prompt, negative, PROMPT_MAX);
    }
}

/* The axis of the sheet that another one is zipped with; -1: none. */
static int moves_with(const struct job *job, const struct job_sheet *sheet, size_t axis)
{
    if (sheet->x_axis >= 0 && job_axes_zipped(job, axis, (size_t)sheet->x_axis))
        return sheet->x_axis;
    if (sheet->y_axis >= 0 && job_axes_zipped(job, axis, (size_t)sheet->y_axis))
        return sheet->y_axis;
    return -1;
}

static void put_left_out(struct buf *b, const struct job *job, const struct job_sheet *sheet,
                         size_t axis)
{
    int with = job_axis_length(job, axis) > 1 ? moves_with(job, sheet, axis) : -1;

    next(b);
    if (with >= 0) {
        buf_printf(b, "%s changes with %s", job_axis_name(job, axis),
                   job_axis_name(job, (size_t)with));
        return;
    }
    buf_printf(b, "%s ", job_axis_name(job, axis));
    caption_label(job, axis, 0, b);
    if (job_axis_length(job, axis) > 1)
        buf_printf(b, " (first of %" PRIu64 ")", job_axis_length(job, axis));
}

/* What the sheet leaves out: other axes, and rows and columns beyond the limit of cells. */
static void put_rest(struct caption *c, const struct job *job, const struct job_sheet *sheet)
{
    struct buf *b = &c->rest;

    for (size_t a = 0; a < job_axis_count(job); a++) {
        uint32_t shown = (int)a == sheet->x_axis ? sheet->columns : sheet->rows;

        if (((int)a != sheet->x_axis && (int)a != sheet->y_axis) || job_axis_length(job, a) == 1) {
            put_left_out(b, job, sheet, a);
        } else if (shown < job_axis_length(job, a)) {
            next(b);
            buf_printf(b, "first %u of %" PRIu64 " %s", shown, job_axis_length(job, a),
                       job_axis_name(job, a));
        }
    }
}

int caption_read(const struct job *job, const struct job_sheet *sheet, struct caption *ret_caption,
                 struct err *e)
{
    struct caption c = {0};
    json_t *root = NULL;
    const char *bundle;
    size_t size;
    int rc;

    bundle = job_bundle(job, &size);
    TRY(json_read("bundle", bundle, size, &root, e));
    buf_puts(&c.title, job_name(job));
    put_settings(&c, json_object_get(root, "fixed"));
    put_rest(&c, job, sheet);
    TRY(buf_check(&c.title, e));
    TRY(buf_check(&c.settings, e));
    TRY(buf_check(&c.prompt, e));
    TRY(buf_check(&c.rest, e));
    *ret_caption = c;
    c = (struct caption){0};
out:
    caption_done(&c);
    json_decref(root);
    return rc;
}

void caption_done(struct caption *c)
{
    buf_done(&c->title);
    buf_done(&c->settings);
    buf_done(&c->prompt);
    buf_done(&c->rest);
}
