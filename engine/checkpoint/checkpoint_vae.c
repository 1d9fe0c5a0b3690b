#include "engine/checkpoint/checkpoint_layout.h"

#include "engine/checkpoint/ldm_config.h"
#include "engine/networks/layer.h"

#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

/* FOLDER itself, or its vae/ if it is a whole pipeline. */
static int open_folder(struct checkpoint *c, const char *folder, struct err *e)
{
    struct part *p = &c->parts[CHECKPOINT_VAE];
    const char *file = "diffusion_pytorch_model.safetensors", *name = ".";
    char path[PATH_MAX];
    int rc = 0;

    TRY(part_path(path, folder, "model_index.json", e));
    if (access(path, F_OK) == 0)
        name = "vae";
    TRY(part_path(path, folder, name, e));
    TRY(part_open(p, strcmp(name, ".") == 0 ? folder : path, file, e));
    TRY(checkpoint_add_part_file(c, "vae:", folder, name, "config.json", true, false, e));
    TRY(checkpoint_add_weights(c, "vae:", folder, name, p->weights, false, e));
out:
    return rc;
}

/* Under which prefix the file has a VAE, and in whose names. */
static int find_vae(const struct weights *w, const char **ret_prefix, bool *ret_original,
                    struct err *e)
{
    static const char *const prefixes[] = {"", "first_stage_model.", "vae."};
    char name[WEIGHTS_NAME_SIZE];
    struct tensor t;

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        for (int original = 0; original < 2; original++) {
            snprintf(name, sizeof name, "%sdecoder.%s.conv1.weight", prefixes[i],
                     original ? "mid.block_1" : "mid_block.resnets.0");
            if (weights_find(w, name, &t)) {
                *ret_prefix = prefixes[i];
                *ret_original = original != 0;
                return 0;
            }
        }
    return err_set(e, ERR_INPUT,
                   "%s: holds no VAE: there is neither 'decoder.mid.block_1.conv1.weight' (also "
                   "under 'first_stage_model.') nor 'decoder.mid_block.resnets.0.conv1.weight'",
                   weights_path(w));
}

/* diffusers' names behind a prefix. */
static bool place_plain(const void *names, const char *name, struct weights_place *ret_place)
{
    const struct ldm_vae_names *v = names;
    int n = snprintf(ret_place->name, sizeof ret_place->name, "%s%s", v->prefix, name);

    ret_place->part = 0;
    ret_place->parts = 1;
    return n < (int)sizeof ret_place->name;
}

/* What shapes cannot tell is as the model's own VAE has it. */
static int open_file(struct checkpoint *c, const char *file, struct err *e)
{
    struct part *p = &c->parts[CHECKPOINT_VAE];
    struct weights_naming naming = {.user = &c->vae_names};
    char folder[PATH_MAX], name[PATH_MAX];
    bool original = false;
    int rc = 0;

    TRY(weights_open(file, &c->vae_file, e));
    TRY(find_vae(c->vae_file, &c->vae_names.prefix, &original, e));
    if (c->vae_base == NULL)
        TRY(err_set(e, ERR_MISSING,
                    "%s/vae/config.json: No such file or directory, and a VAE in one file has no "
                    "configuration of its own",
                    c->path));
    TRY(ldm_vae_config(c->vae_file, c->vae_names.prefix, original, c->vae_base, &p->config, e));
    c->vae_names.levels = (int)json_array_size(json_object_get(p->config, "block_out_channels"));
    naming.place = original ? ldm_vae_place : place_plain;
    p->where = checkpoint_text("%s, configured as the model's own VAE", file);
    if (p->where == NULL)
        TRY(err_set(e, ERR_OOM, "model '%s': no memory", c->path));
    TRY(weights_view(c->vae_file, &naming, &p->weights, e));
    p->source = (struct part_source){p->where, p->config, p->weights};
    snprintf(folder, sizeof folder, "%s", file);
    snprintf(name, sizeof name, "%s", file);
    TRY(checkpoint_add_file(c, "vae:", dirname(folder), basename(name), false, e));
out:
    return rc;
}

int checkpoint_open_vae(struct checkpoint *c, const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return err_errno(e, path);
    return S_ISDIR(st.st_mode) ? open_folder(c, path, e) : open_file(c, path, e);
}
