#include "engine/pipeline/render.h"

#include "engine/pipeline/hires.h"

#include <stdlib.h>

void render_size(const struct render *r, int *ret_width, int *ret_height)
{
    struct hires_size second;

    *ret_width = r->width + r->outpaint_left + r->outpaint_right;
    *ret_height = r->height + r->outpaint_top + r->outpaint_bottom;
    if (hires_size(r, &second)) {
        *ret_width = second.width;
        *ret_height = second.height;
    }
    if (r->init.pixels != NULL && r->inpaint.full_res) {
        *ret_width = r->init.width;
        *ret_height = r->init.height;
    }
}

void image_done(struct image *image)
{
    free(image->pixels);
    *image = (struct image){0};
}
