#include "engine/checkpoint/checkpoint_layout.h"

#include "engine/checkpoint/family.h"
#include "engine/checkpoint/ldm_config.h"
#include "engine/networks/layer.h"

#include <libgen.h>
#include <sys/stat.h>

/* One file being opened, and what is known of it beside its tensors. */
struct single {
    struct checkpoint *c;
    const struct checkpoint_options *o;
    struct family_layout layout;
    const char *config; /* folder whose JSON files decide, or NULL */
    json_t *family;     /* what is published; owned, NULL with config */
    const char *name;   /* of the family */
};

static int no_memory(const struct checkpoint *c, struct err *e)
{
    return err_set(e, ERR_OOM, "model '%s': no memory", c->path);
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* What the configuration and what the tensors say must be the same. */
static int check_xl(const struct single *s, const char *config, struct err *e)
{
    if (s->c->kind.xl == (s->layout.text_prefix[1] != NULL))
        return 0;
    return err_set(e, ERR_INPUT, "model '%s' is %s by its tensors: config '%s' does not fit it",
                   s->c->path, s->layout.family, config);
}

/* A family, the file's own or the one that is named. */
static int use_family(struct single *s, const char *name, struct err *e)
{
    struct checkpoint_kind *kind = &s->c->kind;
    const json_t *rules;
    struct tensor in;
    int rc = 0;

    s->name = name;
    TRY(family_open(name, &s->family, e));
    rules = json_object_get(s->family, "rules");
    kind->xl = json_object_get(s->family, "text_encoder_2") != NULL;
    kind->force_zeros = json_is_true(json_object_get(rules, "force_zeros_for_empty_prompt"));
    if (weights_find(s->c->file, "model.diffusion_model.input_blocks.0.0.weight", &in))
        kind->inpaint = in.rank == 4 && in.shape[1] == 9;
    TRY(check_xl(s, name, e));
out:
    return rc;
}

/* The configuration that the caller names, or the one that the file's family has. */
static int choose_config(struct single *s, struct err *e)
{
    const char *config = s->o->config;
    char names[256];
    int rc = 0;

    if (config == NULL)
        return use_family(s, s->layout.family, e);
    if (strchr(config, '/') == NULL && family_is_known(config))
        return use_family(s, config, e);
    if (strchr(config, '/') == NULL || !is_folder(config))
        return err_set(e, ERR_MISSING, "config '%s' is neither a folder here nor a family (%s)",
                       config, family_names(names, sizeof names));
    s->config = config;
    TRY(checkpoint_read_index(s->c, config, "config:", e));
    TRY(check_xl(s, config, e));
out:
    return rc;
}

/* FOLDER/PART/config.json of a configuration that is given. */
static int read_part_config(struct single *s, enum checkpoint_part part, json_t **ret_config,
                            char **ret_where, struct err *e)
{
    const char *name = checkpoint_part_name(part);
    int rc = 0;

    *ret_where = checkpoint_text("%s/%s/config.json", s->config, name);
    if (*ret_where == NULL)
        return no_memory(s->c, e);
    TRY(json_read_file(*ret_where, ret_config, e));
    TRY(checkpoint_add_part_file(s->c, "config:", s->config, name, "config.json", true, false, e));
out:
    return rc;
}

/* Made of the family's published block and the file's shapes. */
static int make_part_config(struct single *s, enum checkpoint_part part, json_t **ret_config,
                            char **ret_where, struct err *e)
{
    const char *name = checkpoint_part_name(part);
    const json_t *published = json_object_get(s->family, name);
    const json_t *rules = json_object_get(s->family, "rules");
    const struct weights *w = s->c->file;
    const json_t *text_2 = s->c->parts[CHECKPOINT_TEXT_2].config;
    int64_t pooled = json_integer_value(json_object_get(text_2, "projection_dim"));

    *ret_where =
        checkpoint_text("%s, configured as %s is published: %s", s->c->path, s->name, name);
    if (*ret_where == NULL)
        return no_memory(s->c, e);
    switch (part) {
    case CHECKPOINT_UNET:
        return ldm_unet_config(w, s->layout.unet_prefix, published, rules, pooled, ret_config, e);
    case CHECKPOINT_VAE:
        return ldm_vae_config(w, s->layout.vae_prefix, true, published, ret_config, e);
    default:
        return ldm_clip_config(w, &s->c->text_names[part == CHECKPOINT_TEXT_2], name, published,
                               rules, ret_config, e);
    }
}

static int name_unet(struct single *s, const struct part *p, struct err *e)
{
    struct ldm_unet_names *names = &s->c->unet_names;
    struct unet_config u;
    int rc = 0;

    TRY(unet_config_read(p->where, p->config, &u, e));
    *names = (struct ldm_unet_names){.prefix = s->layout.unet_prefix, .levels = u.levels};
    memcpy(names->layers, u.layers, sizeof names->layers);
    memcpy(names->up_attention, u.up_attention, sizeof names->up_attention);
out:
    return rc;
}

/* What the part's tensors are called in the file. */
static int name_part(struct single *s, enum checkpoint_part part, struct weights_naming *ret_naming,
                     struct err *e)
{
    const struct part *p = &s->c->parts[part];
    int second = part == CHECKPOINT_TEXT_2, rc = 0;

    switch (part) {
    case CHECKPOINT_UNET:
        TRY(name_unet(s, p, e));
        *ret_naming = (struct weights_naming){.place = ldm_unet_place, .user = &s->c->unet_names};
        break;
    case CHECKPOINT_VAE:
        s->c->vae_names = (struct ldm_vae_names){
            .prefix = s->layout.vae_prefix,
            .levels = (int)json_array_size(json_object_get(p->config, "block_out_channels"))};
        *ret_naming = (struct weights_naming){.place = ldm_vae_place, .user = &s->c->vae_names};
        break;
    default:
        *ret_naming = (struct weights_naming){
            .place = ldm_clip_place,
            .user = &s->c->text_names[second],
            .transposed = s->layout.text_open[second] && second ? ldm_clip_transposed : NULL};
    }
out:
    return rc;
}

static int open_part(struct single *s, enum checkpoint_part part, struct err *e)
{
    struct part *p = &s->c->parts[part];
    struct weights_naming naming;
    int rc = 0;

    if (s->config != NULL)
        TRY(read_part_config(s, part, &p->config, &p->where, e));
    else
        TRY(make_part_config(s, part, &p->config, &p->where, e));
    TRY(name_part(s, part, &naming, e));
    TRY(weights_view(s->c->file, &naming, &p->weights, e));
    p->source = (struct part_source){p->where, p->config, p->weights};
out:
    return rc;
}

static int open_parts(struct single *s, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < (s->c->kind.xl ? 2 : 1); i++)
        s->c->text_names[i] = (struct ldm_clip_names){.prefix = s->layout.text_prefix[i],
                                                      .open = s->layout.text_open[i],
                                                      .projection = i == 1};
    TRY(open_part(s, CHECKPOINT_TEXT, e));
    if (s->c->kind.xl)
        TRY(open_part(s, CHECKPOINT_TEXT_2, e));
    TRY(open_part(s, CHECKPOINT_UNET, e));
    if (s->o->vae == NULL)
        TRY(open_part(s, CHECKPOINT_VAE, e));
out:
    return rc;
}

/* ---- what is no network */

/* A folder's tokenizer where it has one; else CLIP's own. */
static int choose_tokenizer(struct single *s, int i, struct err *e)
{
    char path[PATH_MAX];
    int rc = 0;

    s->c->pads[i] = s->layout.text_open[i] ? "!" : "<|endoftext|>";
    if (s->config == NULL)
        return 0;
    TRY(part_path(path, s->config, i == 0 ? "tokenizer" : "tokenizer_2", e));
    if (is_folder(path))
        TRY(checkpoint_use_tokenizer(s->c, i, s->config, "config:", e));
out:
    return rc;
}

/* The family's, or what the file's marks make of it. */
static int choose_schedule(struct single *s, struct err *e)
{
    json_t *schedule;

    if (s->config != NULL)
        return checkpoint_use_schedule(s->c, s->config, "config:", e);
    schedule = json_deep_copy(json_object_get(s->family, "scheduler"));
    if (s->layout.v_prediction)
        json_object_set_new(schedule, "prediction_type", json_string("v_prediction"));
    if (s->layout.zero_snr)
        json_object_set_new(schedule, "rescale_betas_zero_snr", json_true());
    s->c->schedule_root = schedule;
    s->c->schedule =
        checkpoint_text("%s, configured as %s is published: scheduler", s->c->path, s->name);
    return s->c->schedule != NULL && schedule != NULL ? 0 : no_memory(s->c, e);
}

/* What another VAE in one file is like, but for its shapes. */
static int choose_vae_base(struct single *s, struct err *e)
{
    char *where = NULL;
    int rc = 0;

    if (s->config != NULL)
        rc = read_part_config(s, CHECKPOINT_VAE, &s->c->vae_base, &where, e);
    else
        s->c->vae_base = json_incref(json_object_get(s->family, "vae"));
    free(where);
    return rc;
}

static int add_itself(struct checkpoint *c, struct err *e)
{
    char folder[PATH_MAX], name[PATH_MAX];

    snprintf(folder, sizeof folder, "%s", c->path);
    snprintf(name, sizeof name, "%s", c->path);
    return checkpoint_add_file(c, "", dirname(folder), basename(name), true, e);
}

int checkpoint_open_file(struct checkpoint *c, const struct checkpoint_options *o, struct err *e)
{
    struct single s = {.c = c, .o = o};
    int rc = 0;

    TRY(weights_open(c->path, &c->file, e));
    TRY(add_itself(c, e));
    TRY(family_recognize(c->file, &s.layout, e));
    TRY(choose_config(&s, e));
    TRY(open_parts(&s, e));
    TRY(choose_schedule(&s, e));
    for (int i = 0; i < (c->kind.xl ? 2 : 1); i++)
        TRY(choose_tokenizer(&s, i, e));
    if (o->vae != NULL && !is_folder(o->vae))
        TRY(choose_vae_base(&s, e));
out:
    json_decref(s.family);
    return rc;
}
