#include "engine/networks/resnet.h"

void resnet_load(struct resnet *r, struct loader *ld, const struct resnet_config *config,
                 const char *name)
{
    int64_t out = config->out;
    struct range own =
        config->cut ? shard_range(ld->ops, out, out / config->groups) : (struct range){0, out};
    struct cut first = cut_outputs(config->in, out, 1, own), second = cut_inputs(out, out, own);
    struct cut time = cut_outputs(config->time, out, 1, own);

    *r = (struct resnet){.config = *config, .own = own};
    r->norm1 = loader_norm(ld, config->in, "%s.norm1", name);
    r->conv1 = loader_conv_part(ld, &first, 3, "%s.conv1", name);
    if (config->time > 0)
        r->time = loader_linear_part(ld, &time, true, "%s.time_emb_proj", name);
    r->norm2 = loader_norm_part(ld, out, own, "%s.norm2", name);
    r->conv2 = loader_conv_part(ld, &second, 3, "%s.conv2", name);
    if (config->in != out)
        r->shortcut = loader_conv(ld, config->in, out, 1, "%s.conv_shortcut", name);
}

void resnet_done(struct resnet *r, struct ops *o)
{
    o->norm_free(o, r->norm1);
    o->norm_free(o, r->norm2);
    conv_layer_free(o, r->conv1);
    conv_layer_free(o, r->conv2);
    conv_layer_free(o, r->shortcut);
    linear_layer_free(o, r->time);
    *r = (struct resnet){0};
}

/* hidden becomes act(norm2(conv1(act(norm1(x))) + time(temb))) of the own channels. */
static int first_half(const struct resnet *r, struct ops *o, struct act *hidden, struct act *normed,
                      const struct act *x, const struct extent *s, const struct act *temb,
                      struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1};
    const struct resnet_config *c = &r->config;
    size_t mark = arena_mark(o->arena);
    int groups = (int)(r->own.n / (c->out / c->groups));
    struct act *time = NULL;
    int rc = 0;

    if (r->time != NULL) {
        TRY(scratch(o, s->n * r->own.n, &time, e));
        TRY(linear_layer_forward(o, time, temb, r->time, s->n, ACT_NONE, NULL, e));
    }
    TRY(o->group_norm(o, normed, x, r->norm1, s->n, extent_pixels(s), c->in, c->groups, c->eps,
                      c->act, e));
    TRY(conv_layer_forward(o, hidden, normed, r->conv1, s->n, s->h, s->w, 1, pad, time, NULL, e));
    TRY(o->group_norm(o, hidden, hidden, r->norm2, s->n, extent_pixels(s), r->own.n, groups, c->eps,
                      c->act, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int resnet_forward(const struct resnet *r, struct ops *o, struct act *y, int64_t y_room,
                   const struct act *x, const struct extent *s, const struct act *temb,
                   struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1}, none[4] = {0};
    const struct resnet_config *c = &r->config;
    size_t mark = arena_mark(o->arena);
    struct act *normed = y, *hidden = NULL, *part;
    int rc = 0;

    if (r->own.n > 0) {
        TRY(scratch(o, extent_rows(s) * r->own.n, &hidden, e));
        if (y_room < extent_rows(s) * c->in)
            TRY(scratch(o, extent_rows(s) * c->in, &normed, e));
        TRY(first_half(r, o, hidden, normed, x, s, temb, e));
    }
    if (r->shortcut != NULL) { /* into y, where the normed input is no longer needed */
        TRY(conv_layer_forward(o, y, x, r->shortcut, s->n, s->h, s->w, 1, none, NULL, NULL, e));
        x = y;
    }
    if (c->cut && shard_is_cut(o)) {
        TRY(scratch(o, extent_rows(s) * c->out, &part, e));
        TRY(conv_layer_partial(o, part, hidden, r->conv2, s, pad, e));
        TRY(shard_add(o, y, x, part, extent_rows(s) * c->out, e));
    } else {
        TRY(conv_layer_forward(o, y, hidden, r->conv2, s->n, s->h, s->w, 1, pad, NULL, x, e));
    }
out:
    arena_release(o->arena, mark);
    return rc;
}
