/* Masks of chains, whose size is known before any frame is. */
#include "jobs/draft.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PNG_HEAD 24 /* bytes: the signature, and IHDR up to its two sides */

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The sides of a PNG file that is here. false: it is none, or cannot be read. */
static bool png_sides(const char *path, uint32_t *ret_width, uint32_t *ret_height)
{
    unsigned char head[PNG_HEAD];
    struct stat status;
    bool known;
    FILE *f;

    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode) || !(f = fopen(path, "rb")))
        return false;
    known = fread(head, 1, sizeof head, f) == sizeof head &&
            memcmp(head, "\x89PNG\r\n\x1a\n", 8) == 0 && memcmp(head + 12, "IHDR", 4) == 0;
    fclose(f);
    if (known) {
        *ret_width = big_endian(head + 16);
        *ret_height = big_endian(head + 20);
    }
    return known;
}

struct frame_size {
    int64_t width, height;
};

/* Told: the mask is of another size. A picture on its side is not, since EXIF may turn it. */
static bool refuse_mask(struct draft *dr, const json_t *mask, struct place at,
                        const struct frame_size *size)
{
    const char *path = json_string_value(mask);
    uint32_t w, h;

    if (!path || !*path || !png_sides(path, &w, &h) || (w == size->width && h == size->height) ||
        (w == size->height && h == size->width))
        return false;
    diagnose(dr->d, at,
             "the mask '%s' has %" PRIu32 " x %" PRIu32 " pixels, the frames that it marks %" PRId64
             " x %" PRId64,
             path, w, h, size->width, size->height);
    return true;
}

static bool sets(const struct draft *dr, enum param p)
{
    size_t axis, column;

    return draft_find(dr, param_name(p), &axis, &column) ||
           json_object_get(dr->fixed, param_name(p));
}

/* Later frames are as large as the one before them. false: they are not all of one known size. */
static bool size_of_frames(const struct draft *dr, struct frame_size *ret_size)
{
    static const enum param others[] = {PARAM_INPAINT_FULL_RES, PARAM_OUTPAINT_LEFT,
                                        PARAM_OUTPAINT_RIGHT, PARAM_OUTPAINT_TOP,
                                        PARAM_OUTPAINT_BOTTOM};
    size_t axis, column;

    if (!dr->frames || dr->axes[dr->frames - 1].length < 2 ||
        draft_find(dr, param_name(PARAM_SIZE), &axis, &column))
        return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (sets(dr, others[i]))
            return false;
    ret_size->width = json_integer_value(json_object_get(dr->fixed, param_name(PARAM_WIDTH)));
    ret_size->height = json_integer_value(json_object_get(dr->fixed, param_name(PARAM_HEIGHT)));
    return ret_size->width > 0 && ret_size->height > 0;
}

static bool goes_with_frames(const struct draft *dr, size_t axis)
{
    const struct zip *last = dr->combine.n ? &dr->combine.factors[dr->combine.n - 1] : NULL;

    for (size_t i = 0; last && i < last->n; i++)
        if (last->axes[i] == (int)axis)
            return true;
    return false;
}

void draft_check_masks(struct draft *dr)
{
    const struct node *given = dr->given[PARAM_MASK];
    struct frame_size size;
    size_t axis, column;

    if (!size_of_frames(dr, &size))
        return;
    if (draft_find(dr, param_name(PARAM_MASK), &axis, &column)) {
        const struct draft_axis *a = &dr->axes[axis];

        /* A first frame's own mask marks init_image. */
        for (size_t i = goes_with_frames(dr, axis); i < json_array_size(a->rows); i++)
            if (refuse_mask(dr, json_array_get(json_array_get(a->rows, i), column),
                            a->columns[column].at, &size))
                return;
    } else if (given) {
        refuse_mask(dr, json_object_get(dr->fixed, param_name(PARAM_MASK)), given->at, &size);
    }
}
