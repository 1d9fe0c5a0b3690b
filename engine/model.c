#include "engine/model.h"

#include <sys/stat.h>

/* The safety checker is not part of this engine; the names that belong to it decide no pixel. */
static const char *const unused_parts[] = {"safety_checker", "feature_extractor", "image_encoder",
                                           "requires_safety_checker", NULL};

static const struct model_part parts[] = {
    {"model_index.json", false},
    {"scheduler/scheduler_config.json", false},
    {"text_encoder/config.json", false},
    {"text_encoder/model.safetensors", false},
    {"tokenizer/merges.txt", false},
    {"tokenizer/special_tokens_map.json", true},
    {"tokenizer/tokenizer_config.json", true},
    {"tokenizer/vocab.json", true},
    {"unet/config.json", false},
    {"unet/diffusion_pytorch_model.safetensors", false},
    {"vae/config.json", false},
    {"vae/diffusion_pytorch_model.safetensors", false},
    {NULL, false},
};

const struct model_part *model_parts(void)
{
    return parts;
}

/* "unet": ["diffusers", "UNet2DConditionModel"] */
static void check_part(struct config *c, const char *key, const char *class_name)
{
    const char *given = config_list_string(c, key, 2, 1);

    if (given != NULL && strcmp(given, class_name) != 0)
        config_refuse(c, key, "this engine reads %s", class_name);
}

static int check_index(const char *folder, struct err *e)
{
    struct config c = {0};
    char path[PATH_MAX];
    json_t *root = NULL;
    struct stat st;
    int rc = 0;

    if (stat(folder, &st) != 0)
        return err_errno(e, folder);
    TRY(layer_path(path, folder, "model_index.json", e));
    TRY(json_read_file(path, &root, e));
    TRY(config_init(&c, path, root, "StableDiffusionPipeline", e));
    check_part(&c, "text_encoder", "CLIPTextModel");
    check_part(&c, "unet", "UNet2DConditionModel");
    check_part(&c, "vae", "AutoencoderKL");
    config_list_string(&c, "scheduler", 2,
                       1); /* its class only says which sampler was the default */
    config_list_string(&c, "tokenizer", 2,
                       1); /* CLIPTokenizer or CLIPTokenizerFast, the same ids */
    TRY(config_finish(&c, unused_parts));
out:
    config_done(&c);
    json_decref(root);
    return rc;
}

static int open_part(struct part *ret_p, const char *folder, const char *name, const char *file,
                     struct err *e)
{
    char path[PATH_MAX];
    int rc = layer_path(path, folder, name, e);

    return rc != 0 ? rc : part_open(ret_p, path, file, e);
}

static int open_networks(struct model *m, const char *folder, uint64_t budget_bytes, struct err *e)
{
    static const char file[] = "diffusion_pytorch_model.safetensors";
    struct part text = {0}, unet = {0}, vae = {0};
    int rc = 0;

    TRY(open_part(&text, folder, "text_encoder", "model.safetensors", e));
    TRY(clip_open(&text.source, m->ops, budget_bytes, &m->weight_bytes, &m->clip, e));
    TRY(open_part(&unet, folder, "unet", file, e));
    TRY(unet_open(&unet.source, m->ops, budget_bytes, &m->weight_bytes, &m->unet, e));
    TRY(open_part(&vae, folder, "vae", file, e));
    TRY(vae_open(&vae.source, m->ops, budget_bytes, &m->weight_bytes, &m->vae, e));
out:
    part_close(&text);
    part_close(&unet);
    part_close(&vae);
    return rc;
}

static int open_parts(struct model *m, const char *folder, uint64_t budget_bytes, struct err *e)
{
    char path[PATH_MAX];
    int rc = 0;

    TRY(layer_path(path, folder, "scheduler/scheduler_config.json", e));
    TRY(schedule_config_open(path, &m->schedule, e));
    TRY(layer_path(path, folder, "tokenizer", e));
    TRY(tokenizer_open(path, &m->tokenizer, e));
    TRY(open_networks(m, folder, budget_bytes, e));
out:
    return rc;
}

/* Each part is right for itself; here is what they must agree on. */
static int check_fit(const struct model *m, const char *folder, struct err *e)
{
    const struct clip_config *clip = clip_config(m->clip);
    const struct unet_config *unet = unet_config(m->unet);
    const struct vae_config *vae = vae_config(m->vae);

    if (clip->width != unet->text_width)
        return err_set(e, ERR_INPUT,
                       "model '%s': the text encoder is %d wide, the U-Net's cross_attention_dim "
                       "is %d",
                       folder, clip->width, unet->text_width);
    if (unet->in_channels != vae->latent_channels || unet->out_channels != vae->latent_channels)
        return err_set(e, ERR_INPUT,
                       "model '%s': the U-Net takes %d channels and gives %d, the VAE has %d: only "
                       "text to picture is implemented",
                       folder, unet->in_channels, unet->out_channels, vae->latent_channels);
    if (tokenizer_vocab_size(m->tokenizer) > clip->vocab)
        return err_set(e, ERR_INPUT, "model '%s': the tokenizer has %d tokens, the text encoder %d",
                       folder, tokenizer_vocab_size(m->tokenizer), clip->vocab);
    if (tokenizer_max_length(m->tokenizer) > clip->positions)
        return err_set(
            e, ERR_INPUT,
            "model '%s': the tokenizer's length is %d, the text encoder has %d positions", folder,
            tokenizer_max_length(m->tokenizer), clip->positions);
    return 0;
}

int model_open(const char *folder, struct ops *o, uint64_t budget_bytes, struct model **ret_model,
               struct err *e)
{
    struct model *m = calloc(1, sizeof *m);
    int rc = 0;

    if (m == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", folder);
    m->ops = o;
    TRY(check_index(folder, e));
    TRY(open_parts(m, folder, budget_bytes, e));
    TRY(check_fit(m, folder, e));
    *ret_model = m;
    m = NULL;
out:
    model_close(m);
    return rc;
}

void model_close(struct model *m)
{
    if (m == NULL)
        return;
    tokenizer_free(m->tokenizer);
    clip_close(m->clip);
    unet_close(m->unet);
    vae_close(m->vae);
    schedule_config_free(m->schedule);
    free(m);
}
