/*
 * The decoder shared by the members of a gang, by rows: what is small (the latent's convolution and
 * the middle, 4 % of the work) every member computes for itself; from there on each holds a range
 * of rows. Before a convolution neighbours exchange the rows at their borders; group norms add up
 * their sums over all members. Nothing is cut but where the result is the same.
 */
#include "engine/networks/vae_parts.h"

#include "engine/gang/gang.h"

#include <string.h>

#define PICTURE_CHANNELS 3

/*
 * Maps of [h, w, channels] in the middle of buffers that have room for a row above and one below.
 * Three in turn: what is, what is normed, what is between two convolutions.
 */
struct rows {
    const struct vae *vae;
    struct gang *gang;
    struct act *at, *other, *third; /* where buffers begin */
    int64_t whole_h, h, w;          /* rows of the map, of which h are here */
};

/* Where a map's own rows begin in its buffer. */
static struct act *own(const struct rows *r, struct act *buffer, int64_t channels)
{
    return act_at(r->vae->ops, buffer, r->w * channels);
}

static bool has_above(const struct rows *r)
{
    return r->gang->rank > 0;
}

static bool has_below(const struct rows *r)
{
    return r->gang->rank < r->gang->size - 1;
}

/* Every member's sums, added in rank order. */
static int add_sums(void *user, double *sums, int64_t n, struct err *e)
{
    struct rows *r = user;
    struct gang *g = r->gang;
    struct ops *o = r->vae->ops;
    size_t mark = arena_mark(o->host), part = (size_t)n * sizeof *sums;
    int64_t counts[GANG_SIZE_MAX];
    float *all;
    int rc = 0;

    TRY(host_scratch(o, g->size * 2 * n, &all, e));
    for (int i = 0; i < g->size; i++)
        counts[i] = 2 * n; /* a double travels as two floats */
    memcpy(all + g->rank * 2 * n, sums, part);
    TRY(g->all_gather(g, all, counts, e));
    memcpy(sums, all, part);
    for (int i = 1; i < g->size; i++)
        for (int64_t k = 0; k < n; k++) {
            double value;

            memcpy(&value, all + i * 2 * n + 2 * k, sizeof value);
            sums[k] += value;
        }
out:
    arena_release(o->host, mark);
    return rc;
}

/* to and from: buffers of maps of `channels`. */
static int norm_rows(struct rows *r, struct act *to, struct act *from, const struct norm *norm,
                     int64_t channels, struct err *e)
{
    const struct vae_config *c = &r->vae->config;
    const struct norm_whole whole = {r->whole_h * r->w, add_sums, r};
    struct ops *o = r->vae->ops;
    size_t mark = arena_mark(o->host);
    float *room;
    int rc = 0;

    if (o->planning) /* what add_sums() takes */
        TRY(host_scratch(o, r->gang->size * 4 * channels, &room, e));
    TRY(o->group_norm_part(o, own(r, to, channels), own(r, from, channels), norm, 1, r->h * r->w,
                           channels, c->groups, VAE_EPS, c->act, &whole, e));
out:
    arena_release(o->host, mark);
    return rc;
}

/* One neighbour's row for one's own, both of n numbers, through the host's memory. */
struct border {
    int peer;
    struct act *own, *theirs;
};

/* Of a device: rows travel as float32, which holds what f16 and bf16 do. */
static int meet_by_host(const struct rows *r, const struct border *borders, int n, int64_t row,
                        struct err *e)
{
    struct ops *o = r->vae->ops;
    size_t mark = arena_mark(o->host), bytes = (size_t)row * sizeof(float);
    struct gang_transfer t[2];
    float *rows;
    int rc = 0;

    TRY(host_scratch(o, 4 * row, &rows, e));
    for (int i = 0; i < n; i++) {
        float *own_row = rows + 2 * i * row, *their_row = own_row + row;

        TRY(o->get(o, own_row, borders[i].own, row, e));
        t[i] = (struct gang_transfer){borders[i].peer, own_row, bytes, their_row, bytes};
    }
    TRY(o->planning ? 0 : r->gang->exchange(r->gang, t, n, e));
    for (int i = 0; i < n; i++)
        TRY(o->put(o, borders[i].theirs, t[i].receive, row, e));
out:
    arena_release(o->host, mark);
    return rc;
}

/* The rows above and below a map's own come to stand beside them. */
static int meet_borders(const struct rows *r, struct act *buffer, int64_t channels, struct err *e)
{
    struct ops *o = r->vae->ops;
    int64_t row = r->w * channels;
    size_t bytes = (size_t)row * o->act_bytes;
    struct border b[2];
    struct gang_transfer t[2];
    int n = 0;

    if (has_above(r))
        b[n++] = (struct border){r->gang->rank - 1, act_at(o, buffer, row), buffer};
    if (has_below(r))
        b[n++] = (struct border){r->gang->rank + 1, act_at(o, buffer, r->h * row),
                                 act_at(o, buffer, (r->h + 1) * row)};
    if (o->device)
        return meet_by_host(r, b, n, row, e);
    for (int i = 0; i < n; i++)
        t[i] = (struct gang_transfer){b[i].peer, b[i].own, bytes, b[i].theirs, bytes};
    return o->planning ? 0 : r->gang->exchange(r->gang, t, n, e);
}

/* A 3x3 convolution from one buffer to another; residual: own rows, NULL: none. */
static int conv_rows(const struct rows *r, struct act *to, struct act *from,
                     const struct conv_layer *layer, const struct act *residual, struct err *e)
{
    const int pad[4] = {!has_above(r), !has_below(r), 1, 1};
    struct act *first = has_above(r) ? from : own(r, from, layer->in);
    int64_t h = r->h + has_above(r) + has_below(r);
    int rc = 0;

    TRY(meet_borders(r, from, layer->in, e));
    TRY(conv_layer_forward(r->vae->ops, own(r, to, layer->out), first, layer, 1, h, r->w, 1, pad,
                           NULL, residual, e));
out:
    return rc;
}

/* r->at becomes the resnet's result. */
static int resnet_rows(struct rows *r, const struct resnet *net, struct err *e)
{
    static const int none[4] = {0};
    int64_t in = net->config.in, out = net->config.out;
    struct ops *o = r->vae->ops;
    struct act *input = r->at;
    int rc = 0;

    TRY(norm_rows(r, r->other, r->at, net->norm1, in, e));
    TRY(conv_rows(r, r->third, r->other, net->conv1, NULL, e));
    TRY(norm_rows(r, r->third, r->third, net->norm2, out, e));
    if (net->shortcut != NULL) {
        TRY(conv_layer_forward(o, own(r, r->other, out), own(r, r->at, in), net->shortcut, 1, r->h,
                               r->w, 1, none, NULL, NULL, e));
        r->at = r->other;
        r->other = input;
    }
    TRY(conv_rows(r, r->at, r->third, net->conv2, own(r, r->at, out), e));
out:
    return rc;
}

static int up_rows(struct rows *r, const struct vae_level *l, struct err *e)
{
    struct ops *o = r->vae->ops;
    struct rows larger = *r;
    int rc = 0;

    larger.h *= 2;
    larger.w *= 2;
    larger.whole_h *= 2;
    TRY(o->upsample(o, own(&larger, r->other, l->out), own(r, r->at, l->out), 1, r->h, r->w, l->out,
                    larger.h, larger.w, e));
    *r = larger;
    TRY(conv_rows(r, r->at, r->other, l->sampler, NULL, e));
out:
    return rc;
}

/* The three buffers, for the largest map. */
static int take_buffers(struct rows *r, const struct vae_half *h, struct err *e)
{
    int64_t room = 0, rows = r->h, w = r->w;
    struct act **buffers[] = {&r->at, &r->other, &r->third};
    int rc = 0;

    for (int i = 0; i < r->vae->config.levels; i++, rows *= 2, w *= 2) {
        const struct vae_level *l = &h->levels[i];
        int64_t channels = l->in > l->out ? l->in : l->out;
        bool grows = l->sampler != NULL;
        int64_t n = (grows ? 2 * rows + 2 : rows + 2) * (grows ? 2 * w : w) * channels;

        room = n > room ? n : room;
    }
    for (int i = 0; i < 3; i++)
        TRY(scratch(r->vae->ops, room, buffers[i], e));
out:
    return rc;
}

/* Rank 0 hears the others' pixels, y[whole_h, w, 3]; in `pixels` each has its own. */
static int gather_pixels(const struct rows *r, float *y, float *pixels, struct err *e)
{
    struct gang *g = r->gang;
    int64_t row = r->w * PICTURE_CHANNELS, factor = vae_factor(r->vae);
    size_t bytes = (size_t)(r->h * row) * sizeof *pixels;
    struct gang_transfer t[GANG_SIZE_MAX];

    if (g->rank > 0) {
        t[0] = (struct gang_transfer){.peer = 0, .send = pixels, .send_bytes = bytes};
        return g->exchange(g, t, 1, e);
    }
    memcpy(y, pixels, bytes);
    for (int i = 1; i < g->size; i++) {
        struct range part = vae_rows_of(r->whole_h / factor, i, g->size);

        t[i - 1] =
            (struct gang_transfer){.peer = i,
                                   .receive = y + part.begin * factor * row,
                                   .receive_bytes = (size_t)(part.n * factor * row) * sizeof *y};
    }
    return g->exchange(g, t, g->size - 1, e);
}

struct range vae_rows_of(int64_t h, int rank, int size)
{
    int64_t each = h / size, more = h % size;

    return (struct range){.begin = rank * each + (rank < more ? rank : more),
                          .n = each + (rank < more)};
}

bool vae_shares_rows(const struct vae *v, const struct extent *s, const struct gang *g)
{
    return g != NULL && v->ops->group_norm_part != NULL && s->h >= g->size;
}

int vae_decode_rows(const struct vae *v, float *y, const float *z, const struct extent *s,
                    struct gang *g, struct err *e)
{
    const struct vae_config *c = &v->config;
    const struct vae_half *h = &v->decoder;
    int64_t channels = c->channels[c->levels - 1], n;
    struct range part = vae_rows_of(s->h, g->rank, g->size);
    struct rows r = {.vae = v, .gang = g, .whole_h = s->h, .h = part.n, .w = s->w};
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena), host_mark = arena_mark(o->host);
    struct act *middle;
    float *pixels;
    int rc = 0;

    TRY(take_buffers(&r, h, e));
    TRY(scratch(o, extent_rows(s) * channels, &middle, e));
    TRY(vae_decode_middle(v, middle, z, s, e));
    TRY(o->upsample(o, own(&r, r.at, channels), act_at(o, middle, part.begin * s->w * channels), 1,
                    r.h, r.w, channels, r.h, r.w, e)); /* a copy */
    for (int i = 0; i < c->levels; i++) {
        for (int k = 0; k < h->levels[i].n_resnets; k++)
            TRY(resnet_rows(&r, &h->levels[i].resnets[k], e));
        if (h->levels[i].sampler != NULL)
            TRY(up_rows(&r, &h->levels[i], e));
    }
    TRY(norm_rows(&r, r.at, r.at, h->norm_out, c->channels[0], e));
    TRY(conv_rows(&r, r.other, r.at, h->conv_out, NULL, e));
    n = r.h * r.w * PICTURE_CHANNELS;
    TRY(host_scratch(o, n, &pixels, e));
    TRY(o->get(o, pixels, own(&r, r.other, PICTURE_CHANNELS), n, e));
    if (!o->planning)
        TRY(gather_pixels(&r, y, pixels, e));
out:
    arena_release(o->host, host_mark);
    arena_release(o->arena, mark);
    return rc;
}
