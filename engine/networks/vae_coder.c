/*
 * Encoder and decoder at work. Feature maps go to and fro between two buffers, each as large as the
 * largest map; a resnet finds its normed input's place in the one that it will write.
 */
#include "engine/networks/vae_parts.h"

#include <math.h>

#define PICTURE_CHANNELS 3

static const int around[4] = {1, 1, 1, 1}, none[4] = {0};

/* A feature map, and the buffer that the next one goes to. */
struct maps {
    struct act *at, *other;
    int64_t room; /* numbers in each */
    struct extent extent;
};

static void swap(struct maps *m)
{
    struct act *at = m->at;

    m->at = m->other;
    m->other = at;
}

/* x += out(attention(norm(x))), one head as wide as the map. */
static int attend(const struct vae *v, const struct vae_mid *m, struct act *x,
                  const struct extent *s, struct err *e)
{
    int64_t channels = v->config.channels[v->config.levels - 1], rows = extent_rows(s);
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *normed, *q, *k, *w;
    int rc = 0;

    TRY(scratch(o, rows * channels, &normed, e));
    TRY(scratch(o, rows * channels, &q, e));
    TRY(scratch(o, rows * channels, &k, e));
    TRY(scratch(o, rows * channels, &w, e));
    TRY(o->group_norm(o, normed, x, m->norm, s->n, extent_pixels(s), channels, v->config.groups,
                      VAE_EPS, ACT_NONE, e));
    TRY(linear_layer_forward(o, q, normed, m->q, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, k, normed, m->k, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, w, normed, m->v, rows, ACT_NONE, NULL, e));
    TRY(o->attention(o, normed, q, k, w, s->n, extent_pixels(s), extent_pixels(s), 1, (int)channels,
                     1.0f / sqrtf((float)channels), false, e));
    TRY(linear_layer_forward(o, x, normed, m->out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int apply_resnet(const struct vae *v, const struct resnet *r, struct maps *m, struct err *e)
{
    int rc = resnet_forward(r, v->ops, m->other, m->room, m->at, &m->extent, NULL, e);

    swap(m);
    return rc;
}

static int apply_conv(const struct vae *v, const struct conv_layer *c, struct maps *m, int stride,
                      const int pad[4], struct err *e)
{
    const struct extent *s = &m->extent;
    int rc = conv_layer_forward(v->ops, m->other, m->at, c, s->n, s->h, s->w, stride, pad, NULL,
                                NULL, e);

    swap(m);
    return rc;
}

static int mid_block(const struct vae *v, const struct vae_mid *mid, struct maps *m, struct err *e)
{
    int rc = 0;

    TRY(apply_resnet(v, &mid->resnets[0], m, e));
    if (v->config.mid_attention)
        TRY(attend(v, mid, m->at, &m->extent, e));
    TRY(apply_resnet(v, &mid->resnets[1], m, e));
out:
    return rc;
}

/* Doubles the extent. */
static int up_sample(const struct vae *v, const struct vae_level *l, struct maps *m, struct err *e)
{
    struct extent *s = &m->extent;
    struct ops *o = v->ops;
    int rc = 0;

    TRY(o->upsample(o, m->other, m->at, s->n, s->h, s->w, l->out, 2 * s->h, 2 * s->w, e));
    swap(m);
    s->h *= 2;
    s->w *= 2;
    TRY(apply_conv(v, l->sampler, m, 1, around, e));
out:
    return rc;
}

/* Halves the extent, which is even; zeros stand below and right only. */
static int down_sample(const struct vae *v, const struct vae_level *l, struct maps *m,
                       struct err *e)
{
    static const int after[4] = {0, 1, 0, 1};
    int rc = apply_conv(v, l->sampler, m, 2, after, e);

    m->extent.h /= 2;
    m->extent.w /= 2;
    return rc;
}

static int level(const struct vae *v, const struct vae_level *l, struct maps *m,
                 int (*sample)(const struct vae *v, const struct vae_level *l, struct maps *m,
                               struct err *e),
                 struct err *e)
{
    int rc = 0;

    for (int i = 0; i < l->n_resnets; i++)
        TRY(apply_resnet(v, &l->resnets[i], m, e));
    if (l->sampler != NULL)
        TRY(sample(v, l, m, e));
out:
    return rc;
}

/* act(norm(x)) in place, then the last 3x3 convolution into y. */
static int finish(const struct vae *v, const struct vae_half *h, struct act *y,
                  const struct maps *m, int64_t channels, struct err *e)
{
    const struct extent *s = &m->extent;
    struct ops *o = v->ops;
    int rc = 0;

    TRY(o->group_norm(o, m->at, m->at, h->norm_out, s->n, extent_pixels(s), channels,
                      v->config.groups, VAE_EPS, v->config.act, e));
    TRY(conv_layer_forward(o, y, m->at, h->conv_out, s->n, s->h, s->w, 1, around, NULL, NULL, e));
out:
    return rc;
}

/* Both buffers, for maps of these levels; rows: of the first level; factor: to the next. */
static int take_maps(const struct vae *v, const struct vae_half *h, struct maps *m,
                     const struct extent *s, bool up, struct err *e)
{
    int64_t rows = extent_rows(s);
    int rc = 0;

    *m = (struct maps){.extent = *s};
    for (int i = 0; i < v->config.levels; i++) {
        const struct vae_level *l = &h->levels[i];
        int64_t channels = l->in > l->out ? l->in : l->out;

        if (channels < PICTURE_CHANNELS) /* which goes there at last */
            channels = PICTURE_CHANNELS;

        m->room = rows * channels > m->room ? rows * channels : m->room;
        rows = up ? rows * 4 : rows / 4;
    }
    TRY(scratch(v->ops, m->room, &m->at, e));
    TRY(scratch(v->ops, m->room, &m->other, e));
out:
    return rc;
}

/* m->at: the first map of the decoder, behind the middle. */
static int begin_decoding(const struct vae *v, struct maps *m, const struct act *latent,
                          struct err *e)
{
    const struct extent *s = &m->extent;
    const struct vae_half *h = &v->decoder;
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *quant;
    int rc = 0;

    if (h->quant != NULL) {
        TRY(scratch(o, extent_rows(s) * v->config.latent_channels, &quant, e));
        TRY(conv_layer_forward(o, quant, latent, h->quant, s->n, s->h, s->w, 1, none, NULL, NULL,
                               e));
        latent = quant;
    }
    TRY(conv_layer_forward(o, m->at, latent, h->conv_in, s->n, s->h, s->w, 1, around, NULL, NULL,
                           e));
    TRY(mid_block(v, &h->mid, m, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* Room for the latent in the backend's memory. */
static int take_latent(const struct vae *v, const struct extent *s, struct act **ret_latent,
                       struct err *e)
{
    return scratch(v->ops, extent_rows(s) * v->config.latent_channels, ret_latent, e);
}

static int put_latent(const struct vae *v, struct act *latent, const float *z,
                      const struct extent *s, struct err *e)
{
    return v->ops->put(v->ops, latent, z, extent_rows(s) * v->config.latent_channels, e);
}

int vae_decode_middle(const struct vae *v, struct act *y, const float *z, const struct extent *s,
                      struct err *e)
{
    int64_t channels = v->config.channels[v->config.levels - 1];
    struct maps m = {.room = extent_rows(s) * channels, .extent = *s};
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *latent;
    int rc = 0;

    TRY(scratch(o, m.room, &m.at, e));
    TRY(scratch(o, m.room, &m.other, e));
    TRY(take_latent(v, s, &latent, e));
    TRY(put_latent(v, latent, z, s, e));
    TRY(begin_decoding(v, &m, latent, e));
    TRY(o->upsample(o, y, m.at, s->n, s->h, s->w, channels, s->h, s->w, e)); /* a copy */
out:
    arena_release(o->arena, mark);
    return rc;
}

/* m->other: the picture. m: the maps, of the latent's extent. */
static int decode(const struct vae *v, struct maps *m, const struct act *latent, struct err *e)
{
    const struct vae_config *c = &v->config;
    const struct vae_half *h = &v->decoder;
    int rc = 0;

    TRY(begin_decoding(v, m, latent, e));
    for (int i = 0; i < c->levels; i++)
        TRY(level(v, &h->levels[i], m, up_sample, e));
    TRY(finish(v, h, m->other, m, c->channels[0], e));
out:
    return rc;
}

int vae_decode(const struct vae *v, float *y, const float *z, const struct extent *s, struct err *e)
{
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *latent;
    struct maps m;
    int rc = 0;

    TRY(take_maps(v, &v->decoder, &m, s, true, e));
    TRY(take_latent(v, s, &latent, e));
    TRY(put_latent(v, latent, z, s, e));
    TRY(decode(v, &m, latent, e));
    TRY(o->get(o, y, m.other, extent_rows(&m.extent) * PICTURE_CHANNELS, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int vae_decode_pixels(const struct vae *v, uint8_t *ret_pixels, const struct latent *x,
                      const struct extent *s, bool *ret_finite, bool *ret_any, struct err *e)
{
    const struct vae_config *c = &v->config;
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *latent;
    struct maps m;
    int rc = 0;

    TRY(take_maps(v, &v->decoder, &m, s, true, e));
    TRY(take_latent(v, s, &latent, e));
    TRY(o->step->for_vae(o, latent, x, extent_rows(s) * c->latent_channels,
                         (float)c->scaling_factor, (float)c->shift_factor, e));
    TRY(decode(v, &m, latent, e));
    TRY(o->step->bytes(o, ret_pixels, m.other, extent_rows(&m.extent) * PICTURE_CHANNELS,
                       ret_finite, ret_any, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* The last steps of encoding: m->at becomes moments in y. */
static int get_moments(const struct vae *v, const struct vae_half *h, float *y, struct maps *m,
                       struct err *e)
{
    const struct extent *s = &m->extent;
    int64_t n = extent_rows(s) * 2 * v->config.latent_channels;
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *moments, *quant;
    int rc = 0;

    TRY(scratch(o, n, &moments, e));
    TRY(finish(v, h, moments, m, v->config.channels[v->config.levels - 1], e));
    if (h->quant != NULL) {
        TRY(scratch(o, n, &quant, e));
        TRY(conv_layer_forward(o, quant, moments, h->quant, s->n, s->h, s->w, 1, none, NULL, NULL,
                               e));
        moments = quant;
    }
    TRY(o->get(o, y, moments, n, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int vae_encode(const struct vae *v, float *y, const float *x, const struct extent *s, struct err *e)
{
    const struct vae_config *c = &v->config;
    const struct vae_half *h = &v->encoder;
    const int factor = vae_factor(v);
    int64_t n_in = extent_rows(s) * PICTURE_CHANNELS;
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    struct act *picture;
    struct maps m;
    int rc = 0;

    if (s->h < factor || s->w < factor || s->h % factor != 0 || s->w % factor != 0)
        return err_set(e, ERR_INPUT, "a picture of %lld x %lld: the VAE needs multiples of %d",
                       (long long)s->w, (long long)s->h, factor);
    TRY(take_maps(v, h, &m, s, false, e));
    TRY(scratch(o, n_in, &picture, e));
    TRY(o->put(o, picture, x, n_in, e));
    TRY(conv_layer_forward(o, m.at, picture, h->conv_in, s->n, s->h, s->w, 1, around, NULL, NULL,
                           e));
    for (int i = 0; i < c->levels; i++)
        TRY(level(v, &h->levels[i], &m, down_sample, e));
    TRY(mid_block(v, &h->mid, &m, e));
    TRY(get_moments(v, h, y, &m, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
