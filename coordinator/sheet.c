#include "coordinator/sheet.h"

#include "coordinator/caption.h"
#include "coordinator/thumb.h"
#include "proto/png.h"

#include <math.h>
#include <pango/pangocairo.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN      44   /* pixels around everything, at header scale 1 */
#define WIDTH_MIN   760  /* pixels, so that a small grid's header has room */
#define CELL_MIN    12   /* pixels of a cell's longer side on a crowded sheet */
#define CELL_LABEL  72   /* pixels: a narrower cell has no room for a label */
#define WRAP_ASPECT 1.4  /* width : height of a sheet of one axis */
#define ROW_LABEL   1.6  /* of a row label, in cell widths, at most */
#define CORNER      0.03 /* of a cell's width */
#define FONT        "DejaVu Sans"

struct ink {
    double red, green, blue;
};

static const struct ink paper = {0.984, 0.980, 0.969}, dark = {0.13, 0.14, 0.17},
                        muted = {0.42, 0.44, 0.48}, faint = {0.925, 0.918, 0.902},
                        faint_ink = {0.60, 0.59, 0.57}, alarming = {0.973, 0.906, 0.886},
                        alarming_ink = {0.70, 0.30, 0.24};

/* A text's look. */
struct face {
    double size; /* pixels */
    bool bold;
    struct ink ink;
    int width; /* pixels, where lines break; 0: as long as it is */
    int lines; /* before it ends in an ellipsis */
    PangoAlignment align;
};

struct sheet {
    const struct job *job;
    const char *out_dir;
    sheet_state_of *state_of;
    void *user;
    struct job_sheet cells;
    bool wrapped;                      /* one axis, several rows: labels below cells */
    int axis;                          /* wrapped: that axis */
    uint32_t columns, rows;            /* of the grid drawn */
    int picture_width, picture_height; /* the largest on the sheet, before scaling */
    double scale;                      /* of pictures */
    int cell_width, cell_height, gap;
    double label_size; /* pixels of the labels' letters */
    double unit;       /* scale of header and margin */
    int row_label, grid_x, grid_y, below, width, height;
    struct caption caption;
    /* Its own fonts, gone with the sheet: pango's default ones stay for as long as the thread. */
    PangoFontMap *fonts;
    PangoContext *context;
    cairo_t *cr;
};

/* --- text --- */

static PangoLayout *set_text(const struct sheet *s, const char *text, const struct face *face)
{
    PangoLayout *layout = pango_layout_new(s->context);
    PangoFontDescription *font = pango_font_description_from_string(FONT);

    pango_font_description_set_absolute_size(font, face->size * PANGO_SCALE);
    if (face->bold)
        pango_font_description_set_weight(font, PANGO_WEIGHT_BOLD);
    pango_layout_set_font_description(layout, font);
    pango_font_description_free(font);
    pango_layout_set_text(layout, text, -1);
    pango_layout_set_alignment(layout, face->align);
    if (face->width > 0) {
        pango_layout_set_width(layout, face->width * PANGO_SCALE);
        pango_layout_set_height(layout, -face->lines);
        pango_layout_set_wrap(layout, PANGO_WRAP_WORD_CHAR);
        pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
    }
    return layout;
}

static void measure(const struct sheet *s, const char *text, const struct face *face,
                    int *ret_width, int *ret_height)
{
    PangoLayout *layout = set_text(s, text, face);

    pango_layout_get_pixel_size(layout, ret_width, ret_height);
    g_object_unref(layout);
}

static void set_ink(cairo_t *cr, struct ink ink)
{
    cairo_set_source_rgb(cr, ink.red, ink.green, ink.blue);
}

/* Draws a text with its top left corner at x, y; returns its height. */
static int draw_text(const struct sheet *s, const char *text, const struct face *face, double x,
                     double y)
{
    PangoLayout *layout = set_text(s, text, face);
    int width, height;

    set_ink(s->cr, face->ink);
    cairo_move_to(s->cr, x, y);
    pango_cairo_show_layout(s->cr, layout);
    pango_layout_get_pixel_size(layout, &width, &height);
    g_object_unref(layout);
    return height;
}

/* Draws a text whose right edge is at `right`, whichever way its script runs; y: its middle. */
static void draw_right(const struct sheet *s, const char *text, const struct face *face,
                       double right, double middle)
{
    PangoLayout *layout = set_text(s, text, face);
    PangoRectangle box;

    pango_layout_get_pixel_extents(layout, NULL, &box);
    set_ink(s->cr, face->ink);
    cairo_move_to(s->cr, right - box.x - box.width, middle - box.height / 2.0);
    pango_cairo_show_layout(s->cr, layout);
    g_object_unref(layout);
}

/* --- which cell shows what --- */

/* The index of grid cell (column, row), or the span. */
static uint64_t index_at(const struct sheet *s, uint32_t column, uint32_t row)
{
    uint32_t k = row * s->columns + column;

    if (!s->wrapped)
        return job_sheet_index(s->job, &s->cells, column, row);
    if (k >= s->cells.columns * s->cells.rows)
        return job_span(s->job);
    if (s->axis >= 0 && s->axis == s->cells.y_axis)
        return job_sheet_index(s->job, &s->cells, 0, k);
    return job_sheet_index(s->job, &s->cells, k, 0);
}

/* A sheet of one axis is wrapped into a grid, so that no sheet is a ribbon. */
static void choose_grid(struct sheet *s)
{
    uint32_t n = s->cells.columns * s->cells.rows;

    s->columns = s->cells.columns;
    s->rows = s->cells.rows;
    if (s->columns > 1 && s->rows > 1)
        return;
    s->wrapped = true;
    s->axis = s->cells.rows > 1 ? s->cells.y_axis : s->cells.x_axis;
    if (s->axis < 0)
        s->axis = s->cells.y_axis;
    s->columns = (uint32_t)ceil(sqrt(n * WRAP_ASPECT));
    if (s->columns > n)
        s->columns = n;
    s->rows = (n + s->columns - 1) / s->columns;
}

static int find_picture_size(struct sheet *s, struct err *e)
{
    for (uint32_t row = 0; row < s->rows; row++)
        for (uint32_t column = 0; column < s->columns; column++) {
            uint64_t index = index_at(s, column, row);
            int64_t width, height;
            struct task task;
            int rc;

            if (index == job_span(s->job))
                continue;
            rc = job_task(s->job, index, &task, e);
            if (rc)
                return rc;
            task_size(&task, &width, &height);
            if (width > s->picture_width)
                s->picture_width = (int)width;
            if (height > s->picture_height)
                s->picture_height = (int)height;
            task_done(&task);
        }
    if (s->picture_width == 0) /* every cell is excluded */
        s->picture_width = s->picture_height = SHEET_THUMB_MAX;
    return 0;
}

/* --- layout --- */

static struct face label_face(const struct sheet *s, PangoAlignment align, int width, int lines)
{
    return (struct face){
        .size = s->label_size, .ink = dark, .width = width, .lines = lines, .align = align};
}

static struct face row_face(const struct sheet *s)
{
    int width = (int)(s->cell_width * ROW_LABEL);

    return label_face(s, PANGO_ALIGN_RIGHT, width < 160 ? 160 : width, 3);
}

static struct face column_face(const struct sheet *s)
{
    return label_face(s, PANGO_ALIGN_CENTER, s->cell_width, 2);
}

/* The axis' name in front of its labels. */
static struct face name_face(const struct sheet *s)
{
    return (struct face){.size = s->label_size * 0.85,
                         .bold = true,
                         .ink = muted,
                         .width = 4000,
                         .lines = 1,
                         .align = PANGO_ALIGN_LEFT};
}

static int widest_row_label(const struct sheet *s)
{
    struct face face = row_face(s), name = name_face(s);
    int widest = 0, width, height;

    if (s->wrapped)
        return 0;
    measure(s, job_axis_name(s->job, (size_t)s->cells.y_axis), &name, &width, &height);
    widest = width < face.width ? width : face.width;
    for (uint32_t row = 0; row < s->rows; row++) {
        struct buf text = {0};

        caption_label(s->job, (size_t)s->cells.y_axis, row, &text);
        measure(s, buf_text(&text), &face, &width, &height);
        widest = width > widest ? width : widest;
        buf_done(&text);
    }
    return widest + 1; /* rounding must not add an ellipsis */
}

/* Space for column labels above the grid, or for each cell's label below it. */
static int tallest_label(const struct sheet *s)
{
    struct face face = column_face(s);
    uint32_t n = s->wrapped ? s->cells.columns * s->cells.rows : s->columns;
    int axis = s->wrapped ? s->axis : s->cells.x_axis, tallest = 0;

    if (axis < 0 || s->cell_width < CELL_LABEL / 3)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        struct buf text = {0};
        int width, height;

        caption_label(s->job, (size_t)axis, i, &text);
        measure(s, buf_text(&text), &face, &width, &height);
        tallest = height > tallest ? height : tallest;
        buf_done(&text);
    }
    return tallest;
}

/* Draws the header, or only measures it; returns the y below it. */
static int header(const struct sheet *s, bool draw)
{
    const struct {
        const struct buf *text;
        struct face face;
        double space; /* below, pixels at scale 1 */
    } lines[] = {
        {&s->caption.title, {.size = 30, .bold = true, .ink = dark, .lines = 1}, 8},
        {&s->caption.settings, {.size = 15, .ink = dark, .lines = 2}, 6},
        {&s->caption.prompt, {.size = 15, .ink = muted, .lines = 2}, 6},
        {&s->caption.rest, {.size = 13, .ink = muted, .lines = 2}, 6},
    };
    double y = MARGIN * s->unit;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct face face = lines[i].face;
        int width, height;

        if (lines[i].text->size == 0)
            continue;
        face.size *= s->unit;
        face.width = s->width - (int)(2 * MARGIN * s->unit);
        if (draw)
            height = draw_text(s, buf_text(lines[i].text), &face, MARGIN * s->unit, y);
        else
            measure(s, buf_text(lines[i].text), &face, &width, &height);
        y += height + lines[i].space * s->unit;
    }
    return (int)(y + 18 * s->unit);
}

/* Everything that follows from the size of a cell. */
static void lay_out(struct sheet *s, double scale)
{
    int margin, labels;

    s->scale = scale;
    s->cell_width = (int)ceil(s->picture_width * scale);
    s->cell_height = (int)ceil(s->picture_height * scale);
    if (s->columns * s->rows <= JOB_SHEET_CELLS / 4 && s->cell_width < CELL_LABEL)
        s->cell_width = CELL_LABEL; /* room for labels while there are few columns */
    s->gap = 4 + s->cell_width / 32;
    s->label_size = fmin(24, fmax(11, s->cell_width / 10.0));
    s->row_label = widest_row_label(s);
    labels = tallest_label(s);
    s->below = s->wrapped && labels ? labels + s->gap : 0;
    s->width = (int)s->columns * (s->cell_width + s->gap) - s->gap +
               (s->row_label ? s->row_label + 2 * s->gap : 0);
    s->unit = fmin(2.5, fmax(1, s->width / 1500.0));
    margin = (int)(MARGIN * s->unit);
    s->grid_x = margin + (s->row_label ? s->row_label + 2 * s->gap : 0);
    s->width += 2 * margin;
    if (s->width < WIDTH_MIN)
        s->width = WIDTH_MIN;
    s->grid_y = header(s, false) + (int)(s->label_size * 1.6) +
                (s->wrapped || !labels ? 0 : labels + s->gap);
    s->height = s->grid_y + (int)s->rows * (s->cell_height + s->below + s->gap) - s->gap + margin;
}

/* Pictures at most at their own size, cells smaller until the sheet fits. */
static void fit(struct sheet *s)
{
    int longest = s->picture_width > s->picture_height ? s->picture_width : s->picture_height;
    double scale = longest > SHEET_THUMB_MAX ? (double)SHEET_THUMB_MAX / longest : 1;

    lay_out(s, scale);
    while ((s->width > SHEET_SIDE_MAX || s->height > SHEET_SIDE_MAX) &&
           scale * longest > CELL_MIN) {
        scale *= 0.95;
        lay_out(s, scale);
    }
}

/* --- drawing --- */

static void round_corners(cairo_t *cr, double x, double y, double width, double height, double r)
{
    cairo_new_sub_path(cr);
    cairo_arc(cr, x + width - r, y + r, r, -M_PI / 2, 0);
    cairo_arc(cr, x + width - r, y + height - r, r, 0, M_PI / 2);
    cairo_arc(cr, x + r, y + height - r, r, M_PI / 2, M_PI);
    cairo_arc(cr, x + r, y + r, r, M_PI, M_PI * 3 / 2);
    cairo_close_path(cr);
}

/* A cell without a picture says why. */
static void draw_word(const struct sheet *s, const char *word, struct ink fill, struct ink ink,
                      double x, double y)
{
    struct face face = {.size = s->label_size,
                        .ink = ink,
                        .width = s->cell_width,
                        .lines = 1,
                        .align = PANGO_ALIGN_CENTER};
    int width, height;

    round_corners(s->cr, x, y, s->cell_width, s->cell_height, s->cell_width * CORNER);
    set_ink(s->cr, fill);
    cairo_fill(s->cr);
    measure(s, word, &face, &width, &height);
    if (s->cell_width >= CELL_LABEL)
        draw_text(s, word, &face, x, y + (s->cell_height - height) / 2.0);
}

static int draw_pixels(const struct sheet *s, const uint8_t *pixels, int width, int height,
                       double x, double y, struct err *e)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    unsigned char *data = cairo_image_surface_get_data(surface);
    int stride = cairo_image_surface_get_stride(surface);

    if (cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) {
        cairo_surface_destroy(surface);
        return err_set(e, ERR_OOM, "out of memory for a picture on the sheet");
    }
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {
            const uint8_t *p = pixels + ((size_t)row * width + column) * 3;
            uint32_t value = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

            memcpy(data + (size_t)row * stride + (size_t)column * 4, &value, 4);
        }
    cairo_surface_mark_dirty(surface);
    x = floor(x + (s->cell_width - width) / 2.0); /* whole pixels stay sharp */
    y = floor(y + (s->cell_height - height) / 2.0);
    cairo_save(s->cr);
    round_corners(s->cr, x, y, width, height, s->cell_width * CORNER);
    cairo_clip(s->cr);
    cairo_set_source_surface(s->cr, surface, x, y);
    cairo_paint(s->cr);
    cairo_restore(s->cr);
    cairo_surface_destroy(surface);
    return 0;
}

static int draw_picture(const struct sheet *s, uint64_t index, double x, double y, struct err *e)
{
    struct buf path = {0};
    uint8_t *pixels = NULL;
    int width, height, rc;

    buf_printf(&path, "%s/", s->out_dir);
    TRY(job_path(s->job, index, &path, e));
    rc = thumb_read(buf_text(&path), s->scale, &pixels, &width, &height, e);
    if (rc != 0 && rc != ERR_OOM) { /* moved, or damaged since */
        draw_word(s, "missing", faint, faint_ink, x, y);
        rc = 0;
        goto out;
    }
    TRY(rc);
    /* A file that was put there by hand may be larger than its task says. */
    if (width > s->cell_width || height > s->cell_height)
        draw_word(s, "other size", faint, faint_ink, x, y);
    else
        TRY(draw_pixels(s, pixels, width, height, x, y, e));
out:
    free(pixels);
    buf_done(&path);
    return rc;
}

static int draw_cell(const struct sheet *s, uint32_t column, uint32_t row, struct err *e)
{
    double x = s->grid_x + (double)column * (s->cell_width + s->gap);
    double y = s->grid_y + (double)row * (s->cell_height + s->below + s->gap);
    uint64_t index = index_at(s, column, row);
    enum sheet_state state;

    if (index == job_span(s->job))
        return 0;
    state = s->state_of ? s->state_of(s->user, index) : SHEET_DONE;
    if (state == SHEET_DONE)
        return draw_picture(s, index, x, y, e);
    if (state == SHEET_FAILED)
        draw_word(s, "failed", alarming, alarming_ink, x, y);
    else
        draw_word(s, "missing", faint, faint_ink, x, y);
    return 0;
}

static void draw_axis_names(const struct sheet *s)
{
    int x_axis = s->wrapped ? s->axis : s->cells.x_axis;
    struct face face = name_face(s);
    int width, height;

    if (x_axis >= 0)
        draw_text(s, job_axis_name(s->job, (size_t)x_axis), &face, s->grid_x, header(s, false));
    if (s->wrapped || s->cells.y_axis < 0)
        return;
    face.width = s->row_label;
    measure(s, job_axis_name(s->job, (size_t)s->cells.y_axis), &face, &width, &height);
    draw_right(s, job_axis_name(s->job, (size_t)s->cells.y_axis), &face, s->grid_x - 2 * s->gap,
               s->grid_y - s->gap - height / 2.0);
}

static void draw_column_labels(const struct sheet *s)
{
    struct face face = column_face(s);

    for (uint32_t column = 0; column < s->columns; column++) {
        struct buf text = {0};
        int width, height;

        caption_label(s->job, (size_t)s->cells.x_axis, column, &text);
        measure(s, buf_text(&text), &face, &width, &height);
        draw_text(s, buf_text(&text), &face, s->grid_x + (double)column * (s->cell_width + s->gap),
                  s->grid_y - s->gap - height);
        buf_done(&text);
    }
}

static void draw_row_labels(const struct sheet *s)
{
    struct face face = row_face(s);

    face.width = s->row_label;
    for (uint32_t row = 0; row < s->rows; row++) {
        struct buf text = {0};

        caption_label(s->job, (size_t)s->cells.y_axis, row, &text);
        draw_right(s, buf_text(&text), &face, s->grid_x - 2 * s->gap,
                   s->grid_y + (double)row * (s->cell_height + s->gap) + s->cell_height / 2.0);
        buf_done(&text);
    }
}

static void draw_cell_labels(const struct sheet *s)
{
    struct face face = column_face(s);

    for (uint32_t k = 0; s->below && k < s->cells.columns * s->cells.rows; k++) {
        struct buf text = {0};

        caption_label(s->job, (size_t)s->axis, k, &text);
        draw_text(s, buf_text(&text), &face,
                  s->grid_x + (double)(k % s->columns) * (s->cell_width + s->gap),
                  s->grid_y + (double)(k / s->columns) * (s->cell_height + s->below + s->gap) +
                      s->cell_height + s->gap / 2.0);
        buf_done(&text);
    }
}

static int draw_all(struct sheet *s, struct err *e)
{
    set_ink(s->cr, paper);
    cairo_paint(s->cr);
    header(s, true);
    draw_axis_names(s);
    if (s->wrapped) {
        draw_cell_labels(s);
    } else {
        draw_row_labels(s);
        if (s->cell_width >= CELL_LABEL / 3)
            draw_column_labels(s);
    }
    for (uint32_t row = 0; row < s->rows; row++)
        for (uint32_t column = 0; column < s->columns; column++) {
            int rc = draw_cell(s, column, row, e);

            if (rc)
                return rc;
        }
    if (cairo_status(s->cr) != CAIRO_STATUS_SUCCESS)
        return err_set(e, ERR_INTERNAL, "drawing the sheet: %s",
                       cairo_status_to_string(cairo_status(s->cr)));
    return 0;
}

/* cairo's pixels to RGB, in place: three bytes never overtake four. */
static int encode(cairo_surface_t *surface, struct buf *ret_png, struct err *e)
{
    int width = cairo_image_surface_get_width(surface);
    int height = cairo_image_surface_get_height(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface), n = 0;
    unsigned char *data;

    cairo_surface_flush(surface);
    data = cairo_image_surface_get_data(surface);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint32_t value;

            memcpy(&value, data + (size_t)y * stride + (size_t)x * 4, 4);
            data[n++] = (unsigned char)(value >> 16);
            data[n++] = (unsigned char)(value >> 8);
            data[n++] = (unsigned char)value;
        }
    return png_encode(data, width, height, NULL, 0, ret_png, e);
}

/* Gives the sheet a canvas of its size; before that it has a small one to measure texts on. */
static int new_canvas(struct sheet *s, int width, int height, cairo_surface_t **ret_surface,
                      struct err *e)
{
    if (s->cr)
        cairo_destroy(s->cr);
    if (*ret_surface)
        cairo_surface_destroy(*ret_surface);
    *ret_surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    s->cr = cairo_create(*ret_surface);
    if (cairo_status(s->cr) != CAIRO_STATUS_SUCCESS)
        return err_set(e, ERR_OOM, "no memory for a sheet of %dx%d pixels", width, height);
    pango_cairo_update_context(s->cr, s->context);
    return 0;
}

int sheet_draw(const struct job *job, const char *out_dir, sheet_state_of *state_of, void *user,
               struct buf *ret_png, struct err *e)
{
    struct sheet s = {.job = job, .out_dir = out_dir, .state_of = state_of, .user = user};
    cairo_surface_t *surface = NULL;
    int rc;

    if (!job_sheet(job, &s.cells))
        return err_set(e, ERR_ARG, "job '%s' has no contact sheet", job_name(job));
    choose_grid(&s);
    TRY(caption_read(job, &s.cells, &s.caption, e));
    TRY(find_picture_size(&s, e));
    s.fonts = pango_cairo_font_map_new();
    s.context = pango_font_map_create_context(s.fonts);
    TRY(new_canvas(&s, 1, 1, &surface, e));
    fit(&s);
    TRY(new_canvas(&s, s.width, s.height, &surface, e));
    TRY(draw_all(&s, e));
    TRY(encode(surface, ret_png, e));
out:
    if (s.context)
        g_object_unref(s.context);
    if (s.fonts)
        g_object_unref(s.fonts);
    if (s.cr)
        cairo_destroy(s.cr);
    if (surface)
        cairo_surface_destroy(surface);
    caption_done(&s.caption);
    return rc;
}
