/* The U-Net's inside, for the files unet*.c alone. */
#ifndef ENGINE_NETWORKS_UNET_PARTS_H
#define ENGINE_NETWORKS_UNET_PARTS_H

#include "engine/networks/resnet.h"
#include "engine/networks/unet.h"

/* One level on the way down or up, and the middle (two resnets around one transformer). */
struct block {
    int layers;
    int64_t channels;                 /* of its output */
    struct resnet *resnets;           /* [layers], owned */
    struct transformer *transformers; /* [layers], middle [layers - 1]; NULL: no attention; owned */
    struct conv_layer *sampler;       /* to the next level; NULL at the last block */
};

/* A feature map of the way down, kept for the way up. */
struct skip {
    struct act *values;
    struct extent extent;
    int64_t channels;
};

struct unet {
    struct unet_config config;
    struct ops *ops; /* borrowed */
    struct conv_layer *conv_in, *conv_out;
    struct linear_layer *time1, *time2;
    struct linear_layer *added1, *added2; /* of pooled text and sizes; NULL without */
    struct block down[CONFIG_LEVELS_MAX], mid, up[CONFIG_LEVELS_MAX];
    struct norm *norm_out;
    int64_t kv_width;   /* numbers per text token, all transformers together */
    struct skip *skips; /* [skips_max], owned; a stack that is empty between passes */
    int n_skips, skips_max;
    struct layer_list list; /* all layers, by name */
};

#endif
