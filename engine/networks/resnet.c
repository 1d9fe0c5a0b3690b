#include "engine/networks/resnet.h"

void resnet_load(struct resnet *r, struct loader *ld, const struct resnet_config *config,
                 const char *name)
{
    *r = (struct resnet){.config = *config};
    r->norm1 = loader_norm(ld, config->in, "%s.norm1", name);
    r->conv1 = loader_conv(ld, config->in, config->out, 3, "%s.conv1", name);
    if (config->time > 0)
        r->time = loader_linear(ld, config->time, config->out, true, "%s.time_emb_proj", name);
    r->norm2 = loader_norm(ld, config->out, "%s.norm2", name);
    r->conv2 = loader_conv(ld, config->out, config->out, 3, "%s.conv2", name);
    if (config->in != config->out)
        r->shortcut = loader_conv(ld, config->in, config->out, 1, "%s.conv_shortcut", name);
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

int resnet_forward(const struct resnet *r, struct ops *o, struct act *y, int64_t y_room,
                   const struct act *x, const struct extent *s, const struct act *temb,
                   struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1}, none[4] = {0};
    const struct resnet_config *c = &r->config;
    size_t mark = arena_mark(o->arena);
    struct act *normed = y, *hidden, *time = NULL;
    int rc = 0;

    TRY(scratch(o, extent_rows(s) * c->out, &hidden, e));
    if (y_room < extent_rows(s) * c->in)
        TRY(scratch(o, extent_rows(s) * c->in, &normed, e));
    if (r->time != NULL) {
        TRY(scratch(o, s->n * c->out, &time, e));
        TRY(linear_layer_forward(o, time, temb, r->time, s->n, ACT_NONE, NULL, e));
    }
    TRY(o->group_norm(o, normed, x, r->norm1, s->n, extent_pixels(s), c->in, c->groups, c->eps,
                      c->act, e));
    TRY(conv_layer_forward(o, hidden, normed, r->conv1, s->n, s->h, s->w, 1, pad, time, NULL, e));
    TRY(o->group_norm(o, hidden, hidden, r->norm2, s->n, extent_pixels(s), c->out, c->groups,
                      c->eps, c->act, e));
    if (r->shortcut != NULL) { /* into y, where the normed input is no longer needed */
        TRY(conv_layer_forward(o, y, x, r->shortcut, s->n, s->h, s->w, 1, none, NULL, NULL, e));
        x = y;
    }
    TRY(conv_layer_forward(o, y, hidden, r->conv2, s->n, s->h, s->w, 1, pad, NULL, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
