#include "engine/checkpoint/family.h"

#include "engine/data/data.h"

#include <math.h>
#include <string.h>

#define UNET     "model.diffusion_model."
#define V_SPREAD 0.09 /* of a norm's shift; SD 2's v-predicting U-Nets lie above */

/* ---- published families */

static const char *family_text(const char *name)
{
    for (const struct data_family *f = data_families; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return f->json;
    return NULL;
}

bool family_is_known(const char *name)
{
    return family_text(name) != NULL;
}

const char *family_names(char *text, size_t size)
{
    size_t at = 0;

    for (const struct data_family *f = data_families; f->name != NULL && at < size; f++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", at > 0 ? ", " : "", f->name);
    return text;
}

static int family_read(const char *name, json_t **ret_family, struct err *e)
{
    const char *text = family_text(name);
    char names[256];

    if (text == NULL)
        return err_set(e, ERR_INPUT, "there is no family '%s'; there are %s", name,
                       family_names(names, sizeof names));
    return json_read(name, text, strlen(text), ret_family, e);
}

int family_open(const char *name, json_t **ret_family, struct err *e)
{
    json_t *family = NULL, *base = NULL;
    const char *like;
    int rc = 0;

    TRY(family_read(name, &family, e));
    like = json_string_value(json_object_get(family, "like"));
    if (like != NULL) {
        TRY(family_read(like, &base, e));
        json_object_update_missing(family, base);
    }
    *ret_family = family;
    family = NULL;
out:
    json_decref(family);
    json_decref(base);
    return rc;
}

/* ---- what a file is */

static bool has(const struct weights *w, const char *name)
{
    struct tensor t;

    return weights_find(w, name, &t);
}

static bool has_beginning(const struct weights *w, const char *beginning)
{
    for (size_t i = 0; i < weights_count(w); i++)
        if (strncmp(weights_name(w, i), beginning, strlen(beginning)) == 0)
            return true;
    return false;
}

static bool has_within(const struct weights *w, const char *part)
{
    for (size_t i = 0; i < weights_count(w); i++)
        if (strstr(weights_name(w, i), part) != NULL)
            return true;
    return false;
}

/* Tensors that only other kinds of files have; the first that fits names the kind. */
static const struct other {
    const char *part; /* of a tensor's name */
    const char *kind;
} others[] = {
    {"joint_blocks.0.", "a Stable Diffusion 3 model, which this engine does not render"},
    {"double_stream_modulation_img.", "a Flux 2 model, which this engine does not render"},
    {"double_blocks.0.img_attn.", "a Flux model, which this engine does not render"},
    {"clip_txt_mapper.", "a Stable Cascade model, which this engine does not render"},
    {"edm_mean", "Playground 2.5, whose noise process this engine does not implement"},
    {"edm_vpred.", "a model of the EDM noise process, which this engine does not implement"},
    {"control_model.", "a ControlNet, no model of its own"},
    {"controlnet_cond_embedding.", "a ControlNet, no model of its own"},
    {"lora_down.weight", "a LoRA, no model: name it in the prompt, <lora:NAME:1>"},
    {"lora_A.weight", "a LoRA, no model: name it in the prompt, <lora:NAME:1>"},
    {"lora.down.weight", "a LoRA, no model: name it in the prompt, <lora:NAME:1>"},
    {"hada_w1_a", "a LoHa, no model"},
    {"emb_params", "a textual inversion, no model: name it in the prompt"},
    {"depth_model.", "a depth to image model, which this engine does not render"},
    {"embedder.model.", "an unCLIP model, which this engine does not render"},
    {"cond_stage_model.roberta.", "AltDiffusion, whose text encoder this engine does not have"},
    {"time_embed.cond_proj.", "a model that takes guidance as a number, which is not implemented"},
    {"cc_projection.", "a Zero123 model, which this engine does not render"},
    {".time_stack.", "a video model, which this engine does not render"},
    {".motion_modules.", "a video model, which this engine does not render"},
};

/* Files without a U-Net in original names, by how tensors' names begin. */
static const struct other unnamed[] = {
    {"down_blocks.0.resnets.", "a U-Net in diffusers' names: give the folder that holds it"},
    {"text_model.encoder.layers.", "a text encoder: give the folder that holds it"},
    {"encoder.down_blocks.", "a VAE: name it beside a model (vae)"},
    {"encoder.down.0.", "a VAE: name it beside a model (vae)"},
};

static int refuse(const struct weights *w, const char *kind, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: this is %s", weights_path(w), kind);
}

static int check_kind(const struct weights *w, struct err *e)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (has_within(w, others[i].part))
            return refuse(w, others[i].kind, e);
    if (has(w, UNET "input_blocks.0.0.weight"))
        return 0;
    for (size_t i = 0; i < sizeof unnamed / sizeof *unnamed; i++)
        if (has_beginning(w, unnamed[i].part))
            return refuse(w, unnamed[i].kind, e);
    return err_set(e, ERR_INPUT,
                   "%s: no Stable Diffusion checkpoint: tensor '" UNET
                   "input_blocks.0.0.weight' is missing",
                   weights_path(w));
}

/* ---- families */

/* Where a text encoder may be, and a tensor that it has there. */
static const struct text_place {
    const char *prefix, *sign;
    bool open;
} text_places[] = {
    {"cond_stage_model.transformer.", "text_model.final_layer_norm.weight", false},
    {"cond_stage_model.transformer.", "final_layer_norm.weight", false},
    {"cond_stage_model.model.", "ln_final.weight", true},
    /* as generative-models write SD 1 and 2 */
    {"conditioner.embedders.0.transformer.", "text_model.final_layer_norm.weight", false},
    {"conditioner.embedders.0.model.", "ln_final.weight", true},
};

/* The first that the file has; of a damaged one, the first that it has anything of. */
static void find_text(const struct weights *w, struct family_layout *l)
{
    const struct text_place *found = NULL;
    char name[WEIGHTS_NAME_SIZE];

    for (size_t i = 0; i < sizeof text_places / sizeof *text_places && found == NULL; i++) {
        snprintf(name, sizeof name, "%s%s", text_places[i].prefix, text_places[i].sign);
        if (has(w, name))
            found = &text_places[i];
    }
    for (size_t i = 0; i < sizeof text_places / sizeof *text_places && found == NULL; i++)
        if (has_beginning(w, text_places[i].prefix))
            found = &text_places[i];
    if (found == NULL)
        return;
    l->text_prefix[0] = found->prefix;
    l->text_open[0] = found->open;
}

/* The standard deviation of the last transformer's first shift, of n numbers. */
static bool predicts_v(const struct weights *w, struct err *e, int *ret_rc)
{
    double sum = 0, squares = 0, mean;
    char name[WEIGHTS_NAME_SIZE];
    struct tensor t = {0}, last = {0};
    float *values;
    int64_t n;

    for (int i = 0; i < 1024; i++) {
        snprintf(name, sizeof name, UNET "output_blocks.%d.1.transformer_blocks.0.norm1.bias", i);
        if (weights_find(w, name, &t))
            last = t;
    }
    if (last.data == NULL || !dtype_is_float(last.dtype) || tensor_count(&last) == 0)
        return false;
    n = tensor_count(&last);
    values = malloc((size_t)n * sizeof *values);
    if (values == NULL) {
        *ret_rc = err_set(e, ERR_OOM, "no memory for %lld numbers", (long long)n);
        return false;
    }
    tensor_to_f32(&last, values);
    for (int64_t i = 0; i < n; i++)
        sum += (double)values[i];
    mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    free(values);
    return sqrt(squares / (double)n) > V_SPREAD;
}

static int recognize_xl(const struct weights *w, struct family_layout *l, struct err *e)
{
    bool second = has_beginning(w, "conditioner.embedders.1.");

    if (!second && has_beginning(w, "conditioner.embedders.0.model."))
        return refuse(w, "SDXL's refiner, which this engine does not render", e);
    if (!second && has(w, "cond_stage_model.model.ln_final.weight"))
        return refuse(w, "a model with class embeddings, which this engine does not render", e);
    l->family = "sdxl";
    l->text_prefix[0] = "conditioner.embedders.0.transformer.";
    l->text_open[0] = false;
    l->text_prefix[1] = "conditioner.embedders.1.model.";
    l->text_open[1] = true;
    return 0;
}

static int recognize_sd(const struct weights *w, struct family_layout *l, struct err *e)
{
    struct tensor in;
    int rc = 0;

    find_text(w, l);
    if (!l->text_open[0]) {
        l->family = "sd1";
        return 0;
    }
    l->family = "sd2";
    if (l->v_prediction || (weights_find(w, UNET "input_blocks.0.0.weight", &in) && in.rank == 4 &&
                            in.shape[1] == 4 && predicts_v(w, e, &rc)))
        l->family = "sd2-v";
    return rc;
}

int family_recognize(const struct weights *w, struct family_layout *ret_layout, struct err *e)
{
    struct family_layout l = {.unet_prefix = UNET,
                              .vae_prefix = "first_stage_model.",
                              .text_prefix = {"cond_stage_model.transformer."}};
    int rc = 0;

    TRY(check_kind(w, e));
    l.v_prediction = has(w, "v_pred");
    l.zero_snr = has(w, "ztsnr");
    if (has(w, UNET "label_emb.weight"))
        TRY(refuse(w, "a model with class embeddings, which this engine does not render", e));
    if (has(w, UNET "label_emb.0.0.weight") || has_beginning(w, "conditioner.embedders.1."))
        TRY(recognize_xl(w, &l, e));
    else
        TRY(recognize_sd(w, &l, e));
    *ret_layout = l;
out:
    return rc;
}
