#include "jobs/param_info.h"

#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct task, field)

#define PROMPT(field)     PARAM_KIND_PROMPT, AT(field)
#define ASSET(field)      PARAM_KIND_ASSET, AT(field)
#define PATH(field)       PARAM_KIND_FILE, AT(field), "", true
#define SWITCH(field)     PARAM_KIND_BOOL, AT(field), "false", true
#define TERM(field, from) PARAM_KIND_TERM, AT(field), .terms = (from)
#define WHOLE(field, from, to, step)                                                               \
    PARAM_KIND_WHOLE, AT(field), .min = (from), .max = (to), .unit = (step)
#define REAL(field, from, to)  PARAM_KIND_REAL, AT(field), .min = (from), .max = (to)
#define MAYBE(field, from, to) PARAM_KIND_MAYBE, AT(field), "", true, .min = (from), .max = (to)
#define PRESET(text)           .preset = (text)
#define OPTIONAL(text)         .preset = (text), .optional = true

static const struct param_info infos[PARAM_COUNT] = {
    [PARAM_MODEL] = {"model", ASSET(model)},
    [PARAM_MODEL_CONFIG] = {"model_config", ASSET(model_config), OPTIONAL("")},
    [PARAM_VAE] = {"vae", ASSET(vae), OPTIONAL("")},
    [PARAM_PROMPT] = {"prompt", PROMPT(prompt)},
    [PARAM_NEGATIVE_PROMPT] = {"negative_prompt", PROMPT(negative_prompt), PRESET("")},
    [PARAM_EMPHASIS] = {"emphasis", TERM(emphasis, TERM_EMPHASIS), OPTIONAL("original")},
    [PARAM_CLIP_SKIP] = {"clip_skip", WHOLE(clip_skip, 1, 12, 1), OPTIONAL("1")},
    [PARAM_STEPS] = {"steps", WHOLE(steps, 1, TASK_STEPS_MAX, 1), PRESET("20")},
    [PARAM_SAMPLER] = {"sampler", TERM(sampler, TERM_SAMPLER), PRESET("dpmpp_2m")},
    [PARAM_SCHEDULER] = {"scheduler", TERM(scheduler, TERM_SCHEDULER), PRESET("automatic")},
    [PARAM_ETA] = {"eta", MAYBE(eta, 0, ETA_MAX)},
    [PARAM_S_NOISE] = {"s_noise", MAYBE(s_noise, 0, S_NOISE_MAX)},
    [PARAM_RESCALE_BETAS_ZERO_SNR] = {"rescale_betas_zero_snr", SWITCH(rescale_betas_zero_snr)},
    [PARAM_CFG_SCALE] = {"cfg_scale", REAL(cfg_scale, 0, TASK_CFG_MAX), PRESET("7")},
    [PARAM_GUIDANCE_RESCALE] = {"guidance_rescale", REAL(guidance_rescale, 0, 1), OPTIONAL("0")},
    [PARAM_WIDTH] = {"width", WHOLE(width, TASK_SIDE_MIN, TASK_SIDE_MAX, 8), PRESET("512")},
    [PARAM_HEIGHT] = {"height", WHOLE(height, TASK_SIDE_MIN, TASK_SIDE_MAX, 8), PRESET("512")},
    [PARAM_SEED] = {"seed", WHOLE(seed, 0, TASK_SEED_MAX, 1), PRESET("-1")},
    [PARAM_RNG] = {"rng", TERM(rng, TERM_RNG), OPTIONAL("cpu")},
    [PARAM_SUBSEED] = {"subseed", WHOLE(subseed, 0, TASK_SEED_MAX, 1), OPTIONAL("0")},
    [PARAM_SUBSEED_STRENGTH] = {"subseed_strength", REAL(subseed_strength, 0, 1), OPTIONAL("0")},
    [PARAM_SEED_RESIZE_FROM_W] = {"seed_resize_from_w",
                                  WHOLE(seed_resize_from_w, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_SEED_RESIZE_FROM_H] = {"seed_resize_from_h",
                                  WHOLE(seed_resize_from_h, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_INIT_IMAGE] = {"init_image", PATH(init_image)},
    [PARAM_DENOISING_STRENGTH] = {"denoising_strength", REAL(denoising_strength, 0, 1),
                                  OPTIONAL("0.75")},
    [PARAM_RESIZE_MODE] = {"resize_mode", TERM(resize_mode, TERM_RESIZE), OPTIONAL("stretch")},
    [PARAM_MASK] = {"mask", PATH(mask)},
    [PARAM_MASK_BLUR] = {"mask_blur", MAYBE(mask_blur, 0, 64)},
    [PARAM_INPAINTING_MASK_INVERT] = {"inpainting_mask_invert", SWITCH(inpainting_mask_invert)},
    [PARAM_INPAINTING_FILL] = {"inpainting_fill", TERM(inpainting_fill, TERM_FILL),
                               OPTIONAL("original")},
    [PARAM_INPAINT_FULL_RES] = {"inpaint_full_res", SWITCH(inpaint_full_res)},
    [PARAM_INPAINT_FULL_RES_PADDING] = {"inpaint_full_res_padding",
                                        WHOLE(inpaint_full_res_padding, 0, TASK_SIDE_MAX, 1),
                                        OPTIONAL("32")},
    [PARAM_OUTPAINT_LEFT] = {"outpaint_left", WHOLE(outpaint_left, 0, TASK_SIDE_MAX, 8),
                             OPTIONAL("0")},
    [PARAM_OUTPAINT_RIGHT] = {"outpaint_right", WHOLE(outpaint_right, 0, TASK_SIDE_MAX, 8),
                              OPTIONAL("0")},
    [PARAM_OUTPAINT_TOP] = {"outpaint_top", WHOLE(outpaint_top, 0, TASK_SIDE_MAX, 8),
                            OPTIONAL("0")},
    [PARAM_OUTPAINT_BOTTOM] = {"outpaint_bottom", WHOLE(outpaint_bottom, 0, TASK_SIDE_MAX, 8),
                               OPTIONAL("0")},
    [PARAM_HR_SCALE] = {"hr_scale", REAL(hr_scale, 1, 16), OPTIONAL("0"), .or_zero = true},
    [PARAM_HR_RESIZE_X] = {"hr_resize_x", WHOLE(hr_resize_x, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_HR_RESIZE_Y] = {"hr_resize_y", WHOLE(hr_resize_y, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_HR_UPSCALER] = {"hr_upscaler", TERM(hr_upscaler, TERM_UPSCALER), OPTIONAL("latent")},
    [PARAM_HR_SECOND_PASS_STEPS] = {"hr_second_pass_steps",
                                    WHOLE(hr_second_pass_steps, 0, TASK_STEPS_MAX, 1),
                                    OPTIONAL("0")},
    [PARAM_VAE_TILE] = {"vae_tile", WHOLE(vae_tile, 0, TASK_SIDE_MAX, 64), OPTIONAL("0")},
    [PARAM_PRECISION] = {"precision", TERM(precision, TERM_PRECISION), PRESET("auto")},
    [PARAM_SIZE] = {"size", PARAM_KIND_SIZE},
    [PARAM_STYLES] = {"styles", PARAM_KIND_STYLES},
};

/* Enums are read and written as ints: they have no negative values and few positive ones. */
_Static_assert(sizeof(enum sampler_id) == sizeof(int), "terms are stored as int");

const struct param_info *param_info(enum param p)
{
    return &infos[p];
}

int param_from_name(const char *name)
{
    for (int i = 0; i < PARAM_COUNT; i++)
        if (strcmp(infos[i].name, name) == 0)
            return i;
    return -1;
}

const char *param_name(enum param p)
{
    return (unsigned)p < PARAM_COUNT ? infos[p].name : "?";
}

enum param_kind param_kind(enum param p)
{
    return infos[p].kind;
}

bool param_is_number(enum param p)
{
    return infos[p].kind == PARAM_KIND_WHOLE || infos[p].kind == PARAM_KIND_REAL ||
           infos[p].kind == PARAM_KIND_MAYBE;
}

int64_t param_unit(enum param p)
{
    return infos[p].kind == PARAM_KIND_WHOLE ? infos[p].unit : 0;
}

enum term_kind param_terms(enum param p)
{
    return infos[p].terms;
}

const char *param_default(enum param p)
{
    return infos[p].preset;
}

bool param_is_optional(enum param p)
{
    return infos[p].optional;
}

int64_t param_whole(const struct param_info *info, const void *field)
{
    return info->max > INT32_MAX ? *(const int64_t *)field : *(const int *)field;
}

int param_term(const void *field)
{
    int id;

    memcpy(&id, field, sizeof id);
    return id;
}

bool param_is_absent(const struct task *t, enum param p)
{
    const struct param_info *info = &infos[p];
    const void *field = (const char *)t + info->offset;
    const char *text;

    if (!info->optional)
        return false;
    switch (info->kind) {
    case PARAM_KIND_WHOLE:
        return param_whole(info, field) == strtoll(info->preset, NULL, 10);
    case PARAM_KIND_REAL:
        return *(const double *)field == strtod(info->preset, NULL);
    case PARAM_KIND_MAYBE:
        return !((const struct task_number *)field)->set;
    case PARAM_KIND_BOOL:
        return !*(const bool *)field;
    case PARAM_KIND_TERM:
        return strcmp(term_name(info->terms, param_term(field)), info->preset) == 0;
    default:
        text = *(char *const *)field;
        return strcmp(text ? text : "", info->preset) == 0;
    }
}

double param_number(const struct task *t, enum param p)
{
    const struct param_info *info = &infos[p];
    const void *field = (const char *)t + info->offset;
    const struct task_number *maybe;
    const char *text;

    switch (info->kind) {
    case PARAM_KIND_WHOLE:
        return (double)param_whole(info, field);
    case PARAM_KIND_REAL:
        return *(const double *)field;
    case PARAM_KIND_MAYBE:
        maybe = field;
        return maybe->set ? maybe->value : -1;
    case PARAM_KIND_TERM:
        return param_term(field);
    case PARAM_KIND_BOOL:
        return *(const bool *)field;
    case PARAM_KIND_PROMPT:
    case PARAM_KIND_ASSET:
    case PARAM_KIND_FILE:
        text = *(char *const *)field;
        return text && *text;
    case PARAM_KIND_SIZE:
    case PARAM_KIND_STYLES:
        break;
    }
    return 0;
}
