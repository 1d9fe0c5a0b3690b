#include "engine/sgm_names.h"

#include <string.h>

struct pair {
    const char *ours, *original;
};

static const struct pair ends[] = {
    {"conv_in", "input_blocks.0.0"},
    {"conv_out", "out.2"},
    {"time_embedding.linear_1", "time_embed.0"},
    {"time_embedding.linear_2", "time_embed.2"},
    {"add_embedding.linear_1", "label_emb.0.0"},
    {"add_embedding.linear_2", "label_emb.0.2"},
    {NULL, NULL},
};

static const struct pair resnet[] = {
    {"conv1", "in_layers.2"},
    {"time_emb_proj", "emb_layers.1"},
    {"conv2", "out_layers.3"},
    {"conv_shortcut", "skip_connection"},
    {NULL, NULL},
};

static const char *original_of(const struct pair *pairs, const char *ours)
{
    for (; pairs->ours != NULL; pairs++)
        if (strcmp(pairs->ours, ours) == 0)
            return pairs->original;
    return NULL;
}

static bool write_name(char *ret_name, size_t size, const char *blocks, int number, int place,
                       const char *rest)
{
    int n;

    if (rest == NULL)
        return false;
    n = snprintf(ret_name, size, "%s.%d.%d.%s", blocks, number, place, rest);
    return n > 0 && (size_t)n < size;
}

/* Number of the first resnet of down block i: conv_in, then resnets and samplers of those above. */
static int first_input(const struct unet_config *c, int i)
{
    int number = 1;

    for (int l = 0; l < i; l++)
        number += c->layers[l] + 1;
    return number;
}

/* Up block i has one resnet more than the down block of its level; samplers have no number. */
static int first_output(const struct unet_config *c, int i)
{
    int number = 0;

    for (int l = 0; l < i; l++)
        number += c->layers[c->levels - 1 - l] + 1;
    return number;
}

static bool down_name(const struct unet_config *c, const char *name, char *ret_name, size_t size)
{
    int i, j, at = 0;

    if (sscanf(name, "down_blocks.%d.resnets.%d.%n", &i, &j, &at) == 2 && at > 0)
        return write_name(ret_name, size, "input_blocks", first_input(c, i) + j, 0,
                          original_of(resnet, name + at));
    if (sscanf(name, "down_blocks.%d.attentions.%d.%n", &i, &j, &at) == 2 && at > 0)
        return write_name(ret_name, size, "input_blocks", first_input(c, i) + j, 1, name + at);
    if (sscanf(name, "down_blocks.%d.downsamplers.0.conv%n", &i, &at) == 1 && at > 0)
        return write_name(ret_name, size, "input_blocks", first_input(c, i) + c->layers[i], 0,
                          "op");
    return false;
}

/* The upsampler stands behind the last resnet of its block, and behind its attention. */
static bool up_name(const struct unet_config *c, const char *name, char *ret_name, size_t size)
{
    int i, j, at = 0;

    if (sscanf(name, "up_blocks.%d.resnets.%d.%n", &i, &j, &at) == 2 && at > 0)
        return write_name(ret_name, size, "output_blocks", first_output(c, i) + j, 0,
                          original_of(resnet, name + at));
    if (sscanf(name, "up_blocks.%d.attentions.%d.%n", &i, &j, &at) == 2 && at > 0)
        return write_name(ret_name, size, "output_blocks", first_output(c, i) + j, 1, name + at);
    if (sscanf(name, "up_blocks.%d.upsamplers.0.conv%n", &i, &at) == 1 && at > 0)
        return write_name(ret_name, size, "output_blocks", first_output(c, i + 1) - 1,
                          c->up_attention[i] ? 2 : 1, "conv");
    return false;
}

static bool mid_name(const char *name, char *ret_name, size_t size)
{
    const char *rest = NULL;
    int j, at = 0, number = 1;

    if (sscanf(name, "mid_block.resnets.%d.%n", &j, &at) == 1 && at > 0) {
        number = 2 * j;
        rest = original_of(resnet, name + at);
    } else if (sscanf(name, "mid_block.attentions.%d.%n", &j, &at) == 1 && at > 0) {
        rest = name + at;
    }
    if (rest == NULL)
        return false;
    return snprintf(ret_name, size, "middle_block.%d.%s", number, rest) < (int)size;
}

bool sgm_unet_name(const struct unet_config *c, const char *name, char *ret_name, size_t size)
{
    const char *end = original_of(ends, name);

    if (end != NULL)
        return snprintf(ret_name, size, "%s", end) < (int)size;
    return down_name(c, name, ret_name, size) || up_name(c, name, ret_name, size) ||
           mid_name(name, ret_name, size);
}
