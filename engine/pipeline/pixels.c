#include "engine/pipeline/pixels.h"

#include <string.h>

int pixels_new(struct arena *a, int width, int height, int channels, struct pixels *ret_p,
               struct err *e)
{
    struct pixels p = {width, height, channels, NULL};

    p.data = arena_bytes(a, (size_t)width * (size_t)height * (size_t)channels);
    if (p.data == NULL)
        return arena_check(a, e);
    *ret_p = p;
    return 0;
}

bool pixels_planning(const struct arena *a)
{
    return a->base == NULL;
}

static size_t row_bytes(const struct pixels *p)
{
    return (size_t)p->width * (size_t)p->channels;
}

static uint8_t *pixel_at(const struct pixels *p, int x, int y)
{
    return p->data + (size_t)y * row_bytes(p) + (size_t)x * (size_t)p->channels;
}

void pixels_copy(struct pixels *out, const struct pixels *in)
{
    memcpy(out->data, in->data, row_bytes(in) * (size_t)in->height);
}

void pixels_crop(struct pixels *out, const struct pixels *in, int left, int top)
{
    for (int y = 0; y < out->height; y++)
        memcpy(pixel_at(out, 0, y), pixel_at(in, left, top + y), row_bytes(out));
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

void pixels_paste(struct pixels *p, const struct pixels *in, int left, int top)
{
    int x0 = clamp(left, 0, p->width), x1 = clamp(left + in->width, 0, p->width);
    int y0 = clamp(top, 0, p->height), y1 = clamp(top + in->height, 0, p->height);

    for (int y = y0; y < y1 && x0 < x1; y++)
        memcpy(pixel_at(p, x0, y), pixel_at(in, x0 - left, y - top),
               (size_t)(x1 - x0) * (size_t)p->channels);
}

void pixels_invert(struct pixels *p)
{
    size_t n = row_bytes(p) * (size_t)p->height;

    for (size_t i = 0; i < n; i++)
        p->data[i] = (uint8_t)(255 - p->data[i]);
}

void pixels_extend(struct pixels *p, const struct box *inside)
{
    size_t size = (size_t)p->channels;

    for (int y = inside->top; y < inside->bottom; y++) {
        for (int x = 0; x < inside->left; x++)
            memcpy(pixel_at(p, x, y), pixel_at(p, inside->left, y), size);
        for (int x = inside->right; x < p->width; x++)
            memcpy(pixel_at(p, x, y), pixel_at(p, inside->right - 1, y), size);
    }
    for (int y = 0; y < inside->top; y++)
        memcpy(pixel_at(p, 0, y), pixel_at(p, 0, inside->top), row_bytes(p));
    for (int y = inside->bottom; y < p->height; y++)
        memcpy(pixel_at(p, 0, y), pixel_at(p, 0, inside->bottom - 1), row_bytes(p));
}

bool mask_box(const struct pixels *mask, int padding, struct box *ret_box)
{
    struct box b = {mask->width, mask->height, 0, 0};

    for (int y = 0; y < mask->height; y++)
        for (int x = 0; x < mask->width; x++) {
            if (*pixel_at(mask, x, y) == 0)
                continue;
            b.left = x < b.left ? x : b.left;
            b.right = x + 1 > b.right ? x + 1 : b.right;
            b.top = y < b.top ? y : b.top;
            b.bottom = y + 1;
        }
    if (b.right == 0)
        return false;
    ret_box->left = clamp(b.left - padding, 0, mask->width);
    ret_box->top = clamp(b.top - padding, 0, mask->height);
    ret_box->right = clamp(b.right + padding, 0, mask->width);
    ret_box->bottom = clamp(b.bottom + padding, 0, mask->height);
    return true;
}

/* Widens low..high by `more`, half on each side, and moves it into 0..size. */
static void widen(int *low, int *high, int more, int size)
{
    *low -= more / 2;
    *high += more - more / 2;
    if (*high >= size) {
        *low -= *high - size;
        *high = size;
    }
    if (*low < 0) {
        *high -= *low;
        *low = 0;
    }
    if (*high > size)
        *high = size;
}

void box_expand(struct box *box, int render_width, int render_height, int width, int height)
{
    int w = box->right - box->left, h = box->bottom - box->top;
    double ratio = (double)w / h, wanted = (double)render_width / render_height;

    if (ratio > wanted)
        widen(&box->top, &box->bottom, (int)(w / wanted - h), height);
    else
        widen(&box->left, &box->right, (int)(h * wanted - w), width);
}
