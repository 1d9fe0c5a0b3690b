#include "engine/networks/unet_parts.h"

#include "engine/gang/gang.h"
#include "engine/ops/step_math.h"

#include <assert.h>

/* The sinusoids of t, `width` of them, on the host. */
static void host_sinusoids(const struct unet_config *c, int64_t width, float t, float *ret_row)
{
    const struct sinusoids s = {width, c->cos_first, c->freq_shift};

    for (int64_t i = 0; i < width; i++)
        ret_row[i] = sinusoid_at(t, i, &s);
}

int unet_added(const struct unet *u, struct act *ret_added, const float *pooled,
               const float time_ids[UNET_TIME_IDS], struct err *e)
{
    const struct unet_config *c = &u->config;
    int64_t width = c->added_time_width;
    struct ops *o = u->ops;
    int64_t n = c->pooled_width + UNET_TIME_IDS * width;
    size_t mark = arena_mark(o->arena), host_mark = arena_mark(o->host);
    struct act *row, *hidden;
    float *numbers;
    int rc = 0;

    TRY(scratch(o, n, &row, e));
    TRY(scratch(o, c->time_width, &hidden, e));
    TRY(host_scratch(o, n, &numbers, e));
    if (!o->planning) {
        memcpy(numbers, pooled, (size_t)c->pooled_width * sizeof *numbers);
        for (int i = 0; i < UNET_TIME_IDS; i++)
            host_sinusoids(c, width, time_ids[i], numbers + c->pooled_width + i * width);
    }
    TRY(o->put(o, row, numbers, n, e));
    TRY(linear_layer_forward(o, hidden, row, u->added1, 1, ACT_SILU, NULL, e));
    TRY(linear_layer_forward(o, ret_added, hidden, u->added2, 1, ACT_NONE, NULL, e));
out:
    arena_release(o->host, host_mark);
    arena_release(o->arena, mark);
    return rc;
}

/*
 * ret_temb[n, time_width]: the time embedding, plus what each sample's text adds, with the
 * activation that every resnet begins with.
 */
static int embed_time(const struct unet *u, struct act *ret_temb, const struct step_place *place,
                      int64_t n, const struct unet_text *texts, struct err *e)
{
    const struct unet_config *c = &u->config;
    const struct sinusoids sinusoids = {c->channels[0], c->cos_first, c->freq_shift};
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    struct act *row, *hidden, *time;
    int rc = 0;

    TRY(scratch(o, c->channels[0], &row, e));
    TRY(scratch(o, c->time_width, &hidden, e));
    TRY(scratch(o, c->time_width, &time, e));
    TRY(o->step->time(o, place, row, &sinusoids, e));
    TRY(linear_layer_forward(o, hidden, row, u->time1, 1, c->act, NULL, e));
    TRY(linear_layer_forward(o, time, hidden, u->time2, 1, ACT_NONE, NULL, e));
    for (int64_t i = 0; i < n; i++) {
        struct act *temb = act_at(o, ret_temb, i * c->time_width);
        const struct act *sum = time;

        assert((c->pooled_width > 0) == (texts[i].added != NULL));
        if (c->pooled_width > 0) {
            TRY(o->add(o, temb, time, texts[i].added, c->time_width, e));
            sum = temb;
        }
        TRY(o->activate(o, temb, sum, c->time_width, c->act, e));
    }
out:
    arena_release(o->arena, mark);
    return rc;
}

/* The state of one forward pass. */
struct pass {
    struct extent extent; /* of the current level */
    const struct act *temb;
    const struct unet_text *texts; /* [n] */
    struct act *hidden;            /* the map of the way up, large enough for every level */
    int64_t room;                  /* numbers in hidden */
};

static int skip_push(struct unet *u, const struct extent *s, int64_t channels,
                     struct act **ret_values, struct err *e)
{
    int rc = scratch(u->ops, extent_rows(s) * channels, ret_values, e);

    if (rc != 0)
        return rc;
    u->skips[u->n_skips++] = (struct skip){*ret_values, *s, channels};
    return 0;
}

/* Half the size, rounded up. Without padding the zeros are below and right only. */
static int down_sample(struct unet *u, struct pass *p, const struct block *b, const struct act *x,
                       struct err *e)
{
    int pad = u->config.downsample_padding;
    const int pads[4] = {pad, 1, pad, 1};
    struct extent in = p->extent;
    struct act *y;
    int rc = 0;

    if (in.h + pad < 2 || in.w + pad < 2)
        return err_set(e, ERR_INPUT, "a map of %lld x %lld is too small to halve without padding",
                       (long long)in.w, (long long)in.h);
    p->extent.h = (in.h + pad + 1 - 3) / 2 + 1;
    p->extent.w = (in.w + pad + 1 - 3) / 2 + 1;
    TRY(skip_push(u, &p->extent, b->channels, &y, e));
    TRY(conv_layer_forward(u->ops, y, x, b->sampler, in.n, in.h, in.w, 2, pads, NULL, NULL, e));
out:
    return rc;
}

static int down_block(struct unet *u, struct pass *p, const struct block *b, struct err *e)
{
    struct ops *o = u->ops;
    int rc = 0;

    for (int i = 0; i < b->layers; i++) {
        const struct act *x = u->skips[u->n_skips - 1].values;
        struct act *y;

        TRY(skip_push(u, &p->extent, b->channels, &y, e));
        TRY(resnet_forward(&b->resnets[i], o, y, extent_rows(&p->extent) * b->channels, x,
                           &p->extent, p->temb, e));
        if (b->transformers != NULL)
            TRY(transformer_forward(&b->transformers[i], o, y, &p->extent, p->texts, e));
    }
    if (b->sampler != NULL)
        TRY(down_sample(u, p, b, u->skips[u->n_skips - 1].values, e));
out:
    return rc;
}

static int mid_block(struct unet *u, struct pass *p, struct err *e)
{
    struct ops *o = u->ops;
    int64_t size = extent_rows(&p->extent) * u->mid.channels;
    size_t mark = arena_mark(o->arena);
    struct act *x;
    int rc = 0;

    TRY(scratch(o, size, &x, e));
    TRY(resnet_forward(&u->mid.resnets[0], o, x, size, u->skips[u->n_skips - 1].values, &p->extent,
                       p->temb, e));
    TRY(transformer_forward(&u->mid.transformers[0], o, x, &p->extent, p->texts, e));
    TRY(resnet_forward(&u->mid.resnets[1], o, p->hidden, p->room, x, &p->extent, p->temb, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* To the size of the next skip, which is not always twice this one. */
static int up_sample(struct unet *u, struct pass *p, const struct block *b, struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1};
    const struct extent in = p->extent;
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    struct act *large;
    int rc = 0;

    p->extent = u->skips[u->n_skips - 1].extent;
    TRY(scratch(o, extent_rows(&p->extent) * b->channels, &large, e));
    TRY(o->upsample(o, large, p->hidden, in.n, in.h, in.w, b->channels, p->extent.h, p->extent.w,
                    e));
    TRY(conv_layer_forward(o, p->hidden, large, b->sampler, in.n, p->extent.h, p->extent.w, 1, pad,
                           NULL, NULL, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int up_layer(struct unet *u, struct pass *p, const struct block *b, int i, struct err *e)
{
    const struct resnet *r = &b->resnets[i];
    const struct skip *skip = &u->skips[--u->n_skips];
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    struct act *joined;
    int rc = 0;

    TRY(scratch(o, extent_rows(&p->extent) * r->config.in, &joined, e));
    TRY(o->concat(o, joined, p->hidden, skip->values, extent_rows(&p->extent),
                  r->config.in - skip->channels, skip->channels, e));
    TRY(resnet_forward(r, o, p->hidden, p->room, joined, &p->extent, p->temb, e));
    arena_release(o->arena, mark); /* the joined map is needed no longer */
    if (b->transformers != NULL)
        TRY(transformer_forward(&b->transformers[i], o, p->hidden, &p->extent, p->texts, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int up_block(struct unet *u, struct pass *p, const struct block *b, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < b->layers; i++)
        TRY(up_layer(u, p, b, i, e));
    if (b->sampler != NULL)
        TRY(up_sample(u, p, b, e));
out:
    return rc;
}

/* Numbers of the largest map on the way up: each level's, with the channels of the one below too.
 */
static int64_t hidden_size(const struct unet *u, const struct extent *s)
{
    const struct unet_config *c = &u->config;
    struct extent at = *s;
    int64_t largest = 0;

    for (int i = 0; i < c->levels; i++) {
        int64_t channels = c->channels[i];

        if (i + 1 < c->levels && c->channels[i + 1] > channels)
            channels = c->channels[i + 1];
        if (extent_rows(&at) * channels > largest)
            largest = extent_rows(&at) * channels;
        at.h = (at.h + 1) / 2;
        at.w = (at.w + 1) / 2;
    }
    return largest;
}

/* From the latent to the prediction, both in the backend's memory. */
static int run_blocks(struct unet *u, struct pass *p, struct act *y, const struct act *x,
                      struct err *e)
{
    const struct unet_config *c = &u->config;
    const int in = c->conv_in_kernel / 2, out_ = c->conv_out_kernel / 2;
    const int pad_in[4] = {in, in, in, in}, pad_out[4] = {out_, out_, out_, out_};
    const struct extent s = p->extent;
    struct ops *o = u->ops;
    struct act *first;
    int rc = 0;

    u->n_skips = 0;
    TRY(skip_push(u, &s, c->channels[0], &first, e));
    TRY(conv_layer_forward(o, first, x, u->conv_in, s.n, s.h, s.w, 1, pad_in, NULL, NULL, e));
    for (int i = 0; i < c->levels; i++)
        TRY(down_block(u, p, &u->down[i], e));
    TRY(mid_block(u, p, e));
    for (int i = 0; i < c->levels; i++)
        TRY(up_block(u, p, &u->up[i], e));
    TRY(o->group_norm(o, p->hidden, p->hidden, u->norm_out, s.n, extent_pixels(&s), c->channels[0],
                      c->groups, c->eps, c->act, e));
    TRY(conv_layer_forward(o, y, p->hidden, u->conv_out, s.n, s.h, s.w, 1, pad_out, NULL, NULL, e));
out:
    return rc;
}

/* Sums of a gang that go through the host cannot be recorded; those of a device's gang can. */
bool unet_recordable(const struct unet *u)
{
    const struct shard *s = &u->ops->shard;

    return s->size <= 1 || (s->gang != NULL && s->gang->device);
}

int unet_run(struct unet *u, struct act *y, const struct act *x, const struct extent *s,
             const struct step_place *place, const struct unet_text *texts, struct err *e)
{
    struct pass p = {.extent = *s, .texts = texts, .room = hidden_size(u, s)};
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    struct act *temb;
    int rc = 0;

    TRY(scratch(o, s->n * u->config.time_width, &temb, e));
    TRY(scratch(o, p.room, &p.hidden, e));
    TRY(embed_time(u, temb, place, s->n, texts, e));
    p.temb = temb;
    TRY(run_blocks(u, &p, y, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
