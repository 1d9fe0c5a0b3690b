/*
 * diffusers' ResnetBlock2D, of U-Net and VAE alike: two normalised 3x3 convolutions around the time
 * embedding, plus the input.
 *
 *     y = shortcut(x) + conv2(act(norm2(conv1(act(norm1(x))) + time(temb))))
 *
 * A network's file; one thread at a time, like the backend.
 */
#ifndef ENGINE_NETWORKS_RESNET_H
#define ENGINE_NETWORKS_RESNET_H

#include "engine/networks/layer.h"

struct resnet_config {
    int64_t in, out; /* channels, multiples of groups */
    int64_t time;    /* width of the time embedding; 0: the network has none */
    int groups;
    bool cut; /* into the parts of a gang, see shard.h */
    float eps;
    enum activation act;
};

struct resnet {
    struct resnet_config config;
    struct norm *norm1, *norm2;
    struct conv_layer *conv1, *conv2;
    struct conv_layer *shortcut; /* NULL if in == out; empty where another member adds the input */
    struct linear_layer *time;   /* NULL if there is no time embedding */
    struct range own;            /* channels between the convolutions that this member computes */
};

/* Loads NAME.norm1, NAME.conv1, ...; a failure is kept in ld. */
void resnet_load(struct resnet *r, struct loader *ld, const struct resnet_config *config,
                 const char *name);
void resnet_done(struct resnet *r, struct ops *o);

/*
 * y[n, h, w, out] from x[n, h, w, in]; temb[n, time], activated already, NULL without. y is not x.
 * y_room: numbers that y's memory holds, at least the result's; with room for the input, less
 * scratch is taken.
 */
int resnet_forward(const struct resnet *r, struct ops *o, struct act *y, int64_t y_room,
                   const struct act *x, const struct extent *s, const struct act *temb,
                   struct err *e);

#endif
