#include "engine/checkpoint/checkpoint_layout.h"

#include "engine/networks/layer.h"
#include "engine/weights/config.h"

#include <sys/stat.h>
#include <unistd.h>

/* Parts that decide no pixel here: the safety checker and what belongs to it, image prompts. */
static const char *const unused[] = {"safety_checker",  "feature_extractor",
                                     "image_encoder",   "requires_safety_checker",
                                     "add_watermarker", NULL};

static const struct pipeline {
    const char *name;
    bool xl, inpaint;
} pipelines[] = {
    {"StableDiffusionPipeline", false, false},
    {"StableDiffusionImg2ImgPipeline", false, false},
    {"StableDiffusionInpaintPipeline", false, true},
    {"StableDiffusionXLPipeline", true, false},
    {"StableDiffusionXLImg2ImgPipeline", true, false},
    {"StableDiffusionXLInpaintPipeline", true, true},
};

/* A part's folder, the class that model_index.json must give it, and its weights. */
static const struct part_folder {
    const char *name, *class_name, *file;
} folders[CHECKPOINT_PARTS] = {
    [CHECKPOINT_TEXT] = {"text_encoder", "CLIPTextModel", "model.safetensors"},
    [CHECKPOINT_TEXT_2] = {"text_encoder_2", "CLIPTextModelWithProjection", "model.safetensors"},
    [CHECKPOINT_UNET] = {"unet", "UNet2DConditionModel", "diffusion_pytorch_model.safetensors"},
    [CHECKPOINT_VAE] = {"vae", "AutoencoderKL", "diffusion_pytorch_model.safetensors"},
};

const char *checkpoint_part_name(enum checkpoint_part part)
{
    return folders[part].name;
}

static bool has_part(const struct checkpoint *c, int part)
{
    return part != CHECKPOINT_TEXT_2 || c->kind.xl;
}

/* ---- model_index.json */

static void read_class(struct checkpoint *c, struct config *index)
{
    const char *name = config_string(index, "_class_name", "");

    for (size_t i = 0; i < sizeof pipelines / sizeof *pipelines; i++)
        if (strcmp(pipelines[i].name, name) == 0) {
            c->kind.xl = pipelines[i].xl;
            c->kind.inpaint = pipelines[i].inpaint;
            return;
        }
    config_refuse(index, "_class_name",
                  "this engine reads StableDiffusionPipeline and StableDiffusionXLPipeline, and "
                  "their Img2Img and Inpaint kinds");
}

/* "unet": ["diffusers", "UNet2DConditionModel"] */
static void check_part(struct config *index, const char *key, const char *class_name)
{
    const char *given = config_list_string(index, key, 2, 1);

    if (given != NULL && strcmp(given, class_name) != 0)
        config_refuse(index, key, "this engine reads %s", class_name);
}

static int read_index(struct checkpoint *c, const char *path, const json_t *root, struct err *e)
{
    struct config index = {0};
    int rc = 0;

    TRY(config_init(&index, path, root, NULL, e));
    read_class(c, &index);
    for (int i = 0; i < CHECKPOINT_PARTS; i++)
        if (has_part(c, i))
            check_part(&index, folders[i].name, folders[i].class_name);
    /* A scheduler's class only says which sampler was the default; CLIPTokenizer and
     * CLIPTokenizerFast give the same ids. */
    config_list_string(&index, "scheduler", 2, 1);
    config_list_string(&index, "tokenizer", 2, 1);
    if (c->kind.xl) {
        config_list_string(&index, "tokenizer_2", 2, 1);
        c->kind.force_zeros = config_bool(&index, "force_zeros_for_empty_prompt", true);
        if (config_bool(&index, "requires_aesthetics_score", false))
            config_refuse(&index, "requires_aesthetics_score",
                          "this engine does not implement SDXL's refiner");
    }
    TRY(config_finish(&index, unused));
out:
    config_done(&index);
    return rc;
}

int checkpoint_read_index(struct checkpoint *c, const char *folder, const char *as, struct err *e)
{
    char path[PATH_MAX];
    json_t *root = NULL;
    int rc = 0;

    TRY(part_path(path, folder, "model_index.json", e));
    TRY(json_read_file(path, &root, e));
    TRY(read_index(c, path, root, e));
    TRY(checkpoint_add_file(c, as, folder, "model_index.json", false, e));
out:
    json_decref(root);
    return rc;
}

/* ---- files */

int checkpoint_add_part_file(struct checkpoint *c, const char *as, const char *folder,
                             const char *name, const char *file, bool needed, bool denoiser,
                             struct err *e)
{
    char relative[PATH_MAX], path[PATH_MAX];
    int rc = 0;

    TRY(part_path(relative, name, file, e));
    TRY(part_path(path, folder, relative, e));
    if (needed || access(path, F_OK) == 0)
        TRY(checkpoint_add_file(c, as, folder, relative, denoiser, e));
out:
    return rc;
}

int checkpoint_add_weights(struct checkpoint *c, const char *as, const char *folder,
                           const char *name, const struct weights *w, bool denoiser, struct err *e)
{
    const char *index = weights_path(w), *file;
    int rc = 0;

    for (size_t i = 0; i < weights_files(w); i++) {
        file = weights_file_path(w, i);
        TRY(checkpoint_add_part_file(c, as, folder, name, strrchr(file, '/') + 1, true, denoiser,
                                     e));
        if (index != NULL && strcmp(file, index) == 0)
            index = NULL;
    }
    if (index != NULL)
        TRY(checkpoint_add_part_file(c, as, folder, name, strrchr(index, '/') + 1, true, false, e));
out:
    return rc;
}

/* ---- parts */

static int open_part(struct checkpoint *c, int part, struct err *e)
{
    const struct part_folder *f = &folders[part];
    char path[PATH_MAX];
    int rc = 0;

    TRY(part_path(path, c->path, f->name, e));
    TRY(part_open(&c->parts[part], path, f->file, e));
    TRY(checkpoint_add_part_file(c, "", c->path, f->name, "config.json", true, false, e));
    TRY(checkpoint_add_weights(c, "", c->path, f->name, c->parts[part].weights,
                               part == CHECKPOINT_UNET, e));
out:
    return rc;
}

int checkpoint_use_tokenizer(struct checkpoint *c, int i, const char *folder, const char *as,
                             struct err *e)
{
    static const char *const files[] = {"added_tokens.json",       "merges.txt",
                                        "special_tokens_map.json", "tokenizer.json",
                                        "tokenizer_config.json",   "vocab.json"};
    const char *name = i == 0 ? "tokenizer" : "tokenizer_2";
    int rc = 0;

    c->tokenizers[i] = checkpoint_text("%s/%s", folder, name);
    if (c->tokenizers[i] == NULL)
        TRY(err_set(e, ERR_OOM, "model '%s': no memory", c->path));
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        TRY(checkpoint_add_part_file(c, as, folder, name, files[k], false, false, e));
out:
    return rc;
}

int checkpoint_use_schedule(struct checkpoint *c, const char *folder, const char *as, struct err *e)
{
    static const char name[] = "scheduler/scheduler_config.json";

    c->schedule = checkpoint_text("%s/%s", folder, name);
    if (c->schedule == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", c->path);
    return checkpoint_add_file(c, as, folder, name, false, e);
}

/* What another VAE in one file is like, but for its shapes; a model without its own tells nothing.
 */
static int read_vae_base(struct checkpoint *c, const char *vae, struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    int rc = 0;

    if (stat(vae, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    TRY(part_path(path, c->path, "vae/config.json", e));
    if (access(path, F_OK) != 0)
        return 0;
    TRY(json_read_file(path, &c->vae_base, e));
    TRY(checkpoint_add_file(c, "", c->path, "vae/config.json", false, e));
out:
    return rc;
}

int checkpoint_open_folder(struct checkpoint *c, const struct checkpoint_options *o, struct err *e)
{
    int rc = 0;

    if (o->config != NULL)
        TRY(err_set(e, ERR_INPUT,
                    "model '%s' is a folder, whose own configuration decides: config is for "
                    "checkpoints in one file",
                    c->path));
    TRY(checkpoint_read_index(c, c->path, "", e));
    TRY(checkpoint_use_schedule(c, c->path, "", e));
    for (int i = 0; i < (c->kind.xl ? 2 : 1); i++)
        TRY(checkpoint_use_tokenizer(c, i, c->path, "", e));
    for (int i = 0; i < CHECKPOINT_PARTS; i++)
        if (has_part(c, i) && (i != CHECKPOINT_VAE || o->vae == NULL))
            TRY(open_part(c, i, e));
    if (o->vae != NULL)
        TRY(read_vae_base(c, o->vae, e));
out:
    return rc;
}
