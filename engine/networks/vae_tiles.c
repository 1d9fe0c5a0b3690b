/*
 * The VAE in tiles, for pictures whose maps are too large: as diffusers' AutoencoderKL.tiled_decode
 * and tiled_encode. Tiles overlap by a quarter of their side and are blended linearly from the
 * tile above and the tile to the left, which are themselves blended already; of those only the
 * strips that will be needed are kept.
 */
#include "engine/networks/vae_parts.h"

#define OVERLAP 4 /* a tile's side holds that many overlaps; diffusers' tile_overlap_factor */

struct tiling {
    int (*code)(const struct vae *v, float *y, const float *x, const struct extent *s,
                struct err *e);
    int64_t in_side, side;         /* of a tile, in and out */
    int64_t in_channels, channels; /* in and out */
    struct extent in, out;         /* of one whole sample */
    float *tile_in, *tile;         /* [in_side, in_side, in_channels], [side, side, channels] */
    float *above; /* per column of tiles: [side / OVERLAP, side, channels], the lowest rows of the
                     tile there in the row above */
    float *left;  /* [side, side / OVERLAP, channels], the last columns of the tile before */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A rectangle of rows, from and into maps that are wider. Widths and pitches: numbers. */
static void copy_rows(float *to, int64_t to_pitch, const float *from, int64_t from_pitch,
                      int64_t rows, int64_t width)
{
    for (int64_t i = 0; i < rows; i++)
        memcpy(to + i * to_pitch, from + i * from_pitch, (size_t)width * sizeof *to);
}

/* b = a * (1 - at / of) + b * at / of */
static void blend(float *b, const float *a, int64_t n, int64_t at, int64_t of)
{
    float new = (float)((double)at / (double)of), old = (float)(1 - (double)at / (double)of);

    for (int64_t i = 0; i < n; i++)
        b[i] = a[i] * old + b[i] * new;
}

/* The tile's first rows with the lowest ones of the tile above it, of height above_h. */
static void blend_above(const struct tiling *t, const struct extent *s, const float *strip,
                        int64_t above_h)
{
    int64_t pitch = s->w * t->channels, kept = smaller(t->side / OVERLAP, above_h);
    int64_t n = smaller(kept, s->h);

    for (int64_t i = 0; i < n; i++)
        blend(t->tile + i * pitch, strip + (kept - n + i) * pitch, pitch, i, n);
}

/* The tile's first columns with the last ones of the tile to the left, of width left_w. */
static void blend_left(const struct tiling *t, const struct extent *s, int64_t left_w)
{
    int64_t pitch = s->w * t->channels, kept = smaller(t->side / OVERLAP, left_w);
    int64_t n = smaller(kept, s->w);

    for (int64_t y = 0; y < s->h; y++)
        for (int64_t i = 0; i < n; i++)
            blend(t->tile + y * pitch + i * t->channels,
                  t->left + (y * kept + kept - n + i) * t->channels, t->channels, i, n);
}

/* What the tiles below and to the right will need of this one. */
static void keep_strips(const struct tiling *t, const struct extent *s, float *strip)
{
    int64_t pitch = s->w * t->channels;
    int64_t rows = smaller(t->side / OVERLAP, s->h), columns = smaller(t->side / OVERLAP, s->w);

    copy_rows(strip, pitch, t->tile + (s->h - rows) * pitch, pitch, rows, pitch);
    copy_rows(t->left, columns * t->channels, t->tile + pitch - columns * t->channels, pitch, s->h,
              columns * t->channels);
}

static int64_t step(int64_t side)
{
    return side - side / OVERLAP;
}

/* Side of tile i along a whole side. */
static int64_t tile_side(int64_t side, int64_t whole, int64_t i)
{
    return smaller(side, whole - i * step(side));
}

/* Tile (i, j) of the sample x, into y. */
static int code_tile(const struct tiling *t, const struct vae *v, float *y, const float *x,
                     int64_t i, int64_t j, struct err *e)
{
    struct extent in = {1, tile_side(t->in_side, t->in.h, i), tile_side(t->in_side, t->in.w, j)};
    struct extent out = {1, tile_side(t->side, t->out.h, i), tile_side(t->side, t->out.w, j)};
    int64_t in_pitch = t->in.w * t->in_channels, pitch = t->out.w * t->channels;
    float *strip = t->above + j * (t->side / OVERLAP) * t->side * t->channels;
    int rc = 0;

    if (!v->ops->planning)
        copy_rows(t->tile_in, in.w * t->in_channels,
                  x + i * step(t->in_side) * in_pitch + j * step(t->in_side) * t->in_channels,
                  in_pitch, in.h, in.w * t->in_channels);
    TRY(t->code(v, t->tile, t->tile_in, &in, e));
    if (v->ops->planning)
        return 0;
    if (i > 0)
        blend_above(t, &out, strip, tile_side(t->side, t->out.h, i - 1));
    if (j > 0)
        blend_left(t, &out, tile_side(t->side, t->out.w, j - 1));
    keep_strips(t, &out, strip);
    copy_rows(y + i * step(t->side) * pitch + j * step(t->side) * t->channels, pitch, t->tile,
              out.w * t->channels, smaller(out.h, step(t->side)),
              smaller(out.w, step(t->side)) * t->channels);
out:
    return rc;
}

static int code_all(struct tiling *t, const struct vae *v, float *y, const float *x, int64_t n,
                    struct err *e)
{
    int64_t rows = (t->in.h + step(t->in_side) - 1) / step(t->in_side);
    int64_t columns = (t->in.w + step(t->in_side) - 1) / step(t->in_side);
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->host);
    int rc = 0;

    TRY(host_scratch(o, t->in_side * t->in_side * t->in_channels, &t->tile_in, e));
    TRY(host_scratch(o, t->side * t->side * t->channels, &t->tile, e));
    TRY(host_scratch(o, t->side * (t->side / OVERLAP) * t->channels, &t->left, e));
    TRY(host_scratch(o, columns * (t->side / OVERLAP) * t->side * t->channels, &t->above, e));
    for (int64_t k = 0; k < n;
         k++, x += extent_rows(&t->in) * t->in_channels, y += extent_rows(&t->out) * t->channels)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                TRY(code_tile(t, v, y, x, i, j, e));
out:
    arena_release(o->host, mark);
    return rc;
}

static int check_tile(const struct vae *v, int tile_px, struct err *e)
{
    int unit = OVERLAP * vae_factor(v);

    if (tile_px < unit || tile_px % unit != 0)
        return err_set(e, ERR_INPUT, "VAE tiles of %d pixels: the side must be a multiple of %d",
                       tile_px, unit);
    return 0;
}

int vae_decode_tiled(const struct vae *v, float *y, const float *z, const struct extent *s,
                     int tile_px, struct err *e)
{
    const int factor = vae_factor(v);
    struct tiling t = {.code = vae_decode,
                       .in_side = tile_px / factor,
                       .side = tile_px,
                       .in_channels = v->config.latent_channels,
                       .channels = 3,
                       .in = {1, s->h, s->w},
                       .out = {1, s->h * factor, s->w * factor}};
    int rc = check_tile(v, tile_px, e);

    if (rc != 0)
        return rc;
    if (s->h <= t.in_side && s->w <= t.in_side)
        return vae_decode(v, y, z, s, e);
    return code_all(&t, v, y, z, s->n, e);
}

int vae_encode_tiled(const struct vae *v, float *y, const float *x, const struct extent *s,
                     int tile_px, struct err *e)
{
    const int factor = vae_factor(v);
    struct tiling t = {.code = vae_encode,
                       .in_side = tile_px,
                       .side = tile_px / factor,
                       .in_channels = 3,
                       .channels = 2 * v->config.latent_channels,
                       .in = {1, s->h, s->w},
                       .out = {1, s->h / factor, s->w / factor}};
    int rc = check_tile(v, tile_px, e);

    if (rc != 0)
        return rc;
    if (s->h <= tile_px && s->w <= tile_px)
        return vae_encode(v, y, x, s, e);
    return code_all(&t, v, y, x, s->n, e);
}
