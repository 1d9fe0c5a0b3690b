/* Pictures laid over each other, in Pillow's 8-bit arithmetic. RGBa is RGB times alpha. */
#include "engine/pipeline/pixels.h"

#include <string.h>

/* a * b / 255 and x / 255 rounded, as Pillow's MULDIV255 and DIV255. */
static unsigned div255(unsigned x)
{
    x += 128;
    return (x + (x >> 8)) >> 8;
}

static size_t pixel_count(const struct pixels *p)
{
    return (size_t)p->width * (size_t)p->height;
}

/* RGBa of what the mask leaves of an RGB picture: pasted onto nothing through the mask's inverse.
 */
static void what_is_left(uint8_t ret_rgba[4], const uint8_t *rgb, uint8_t mask)
{
    unsigned keep = 255u - mask;

    for (int c = 0; c < 3; c++)
        ret_rgba[c] = (uint8_t)div255(rgb[c] * keep);
    ret_rgba[3] = (uint8_t)div255(255 * keep);
}

/* RGBa to RGBA. */
static void straighten(uint8_t rgba[4])
{
    unsigned alpha = rgba[3];

    for (int c = 0; c < 3 && alpha != 0 && alpha != 255; c++) {
        unsigned v = 255u * rgba[c] / alpha;

        rgba[c] = (uint8_t)(v > 255 ? 255 : v);
    }
}

/* RGBA over RGBA, as Pillow's alpha_composite: 7 bits of fixed point. */
static void lay_over(uint8_t below[4], const uint8_t above[4])
{
    unsigned alpha = above[3] * 255u + below[3] * (255u - above[3]), mine, theirs;

    if (above[3] == 0)
        return;
    mine = above[3] * 255u * 255u * 128u / alpha;
    theirs = 255u * 128u - mine;
    for (int c = 0; c < 3; c++) {
        unsigned v = above[c] * mine + below[c] * theirs + (128u << 7);

        below[c] = (uint8_t)(((v + (v >> 8)) >> 8) >> 7);
    }
    below[3] = (uint8_t)div255(alpha);
}

void pixels_overlay(struct pixels *picture, const struct pixels *original,
                    const struct pixels *mask)
{
    for (size_t i = 0; i < pixel_count(picture); i++) {
        uint8_t *rgb = picture->data + 3 * i, above[4];
        uint8_t below[4] = {rgb[0], rgb[1], rgb[2], 255};

        what_is_left(above, original->data + 3 * i, mask->data[i]);
        straighten(above);
        lay_over(below, above);
        memcpy(rgb, below, 3);
    }
}

/* The blurred RGBa picture over `mod`, `times` times. */
static void lay_blur(struct pixels *mod, const struct pixels *blurred, int times)
{
    for (size_t i = 0; i < pixel_count(mod); i++) {
        uint8_t above[4];

        memcpy(above, blurred->data + 4 * i, 4);
        straighten(above);
        for (int k = 0; k < times; k++)
            lay_over(mod->data + 4 * i, above);
    }
}

int pixels_fill_masked(struct arena *a, struct pixels *picture, const struct pixels *mask,
                       struct err *e)
{
    static const int blurs[][2] = {{256, 1}, {64, 1}, {16, 2}, {4, 4}, {2, 2}, {0, 1}};
    size_t mark = arena_mark(a), n = pixel_count(picture);
    struct pixels mod, kept, blurred;
    int rc = 0;

    TRY(pixels_new(a, picture->width, picture->height, 4, &mod, e));
    TRY(pixels_new(a, picture->width, picture->height, 4, &kept, e));
    TRY(pixels_new(a, picture->width, picture->height, 4, &blurred, e));
    if (!pixels_planning(a)) {
        memset(mod.data, 0, 4 * n);
        for (size_t i = 0; i < n; i++)
            what_is_left(kept.data + 4 * i, picture->data + 3 * i, mask->data[i]);
    }
    for (size_t i = 0; i < sizeof blurs / sizeof *blurs; i++) {
        if (!pixels_planning(a))
            pixels_copy(&blurred, &kept);
        TRY(pixels_gaussian(a, &blurred, blurs[i][0], e));
        if (!pixels_planning(a))
            lay_blur(&mod, &blurred, blurs[i][1]);
    }
    for (size_t i = 0; i < n && !pixels_planning(a); i++)
        memcpy(picture->data + 3 * i, mod.data + 4 * i, 3);
out:
    arena_release(a, mark);
    return rc;
}
