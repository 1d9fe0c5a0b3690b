#include "jobs/param.h"

#include "jobs/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const names[PARAM_COUNT] = {
    [PARAM_MODEL] = "model",
    [PARAM_MODEL_CONFIG] = "model_config",
    [PARAM_VAE] = "vae",
    [PARAM_PROMPT] = "prompt",
    [PARAM_NEGATIVE_PROMPT] = "negative_prompt",
    [PARAM_EMPHASIS] = "emphasis",
    [PARAM_CLIP_SKIP] = "clip_skip",
    [PARAM_STEPS] = "steps",
    [PARAM_SAMPLER] = "sampler",
    [PARAM_SCHEDULER] = "scheduler",
    [PARAM_ETA] = "eta",
    [PARAM_S_NOISE] = "s_noise",
    [PARAM_RESCALE_BETAS_ZERO_SNR] = "rescale_betas_zero_snr",
    [PARAM_CFG_SCALE] = "cfg_scale",
    [PARAM_GUIDANCE_RESCALE] = "guidance_rescale",
    [PARAM_WIDTH] = "width",
    [PARAM_HEIGHT] = "height",
    [PARAM_SEED] = "seed",
    [PARAM_RNG] = "rng",
    [PARAM_SUBSEED] = "subseed",
    [PARAM_SUBSEED_STRENGTH] = "subseed_strength",
    [PARAM_SEED_RESIZE_FROM_W] = "seed_resize_from_w",
    [PARAM_SEED_RESIZE_FROM_H] = "seed_resize_from_h",
    [PARAM_INIT_IMAGE] = "init_image",
    [PARAM_DENOISING_STRENGTH] = "denoising_strength",
    [PARAM_RESIZE_MODE] = "resize_mode",
    [PARAM_MASK] = "mask",
    [PARAM_MASK_BLUR] = "mask_blur",
    [PARAM_INPAINTING_MASK_INVERT] = "inpainting_mask_invert",
    [PARAM_INPAINTING_FILL] = "inpainting_fill",
    [PARAM_INPAINT_FULL_RES] = "inpaint_full_res",
    [PARAM_INPAINT_FULL_RES_PADDING] = "inpaint_full_res_padding",
    [PARAM_OUTPAINT_LEFT] = "outpaint_left",
    [PARAM_OUTPAINT_RIGHT] = "outpaint_right",
    [PARAM_OUTPAINT_TOP] = "outpaint_top",
    [PARAM_OUTPAINT_BOTTOM] = "outpaint_bottom",
    [PARAM_HR_SCALE] = "hr_scale",
    [PARAM_HR_RESIZE_X] = "hr_resize_x",
    [PARAM_HR_RESIZE_Y] = "hr_resize_y",
    [PARAM_HR_UPSCALER] = "hr_upscaler",
    [PARAM_HR_SECOND_PASS_STEPS] = "hr_second_pass_steps",
    [PARAM_VAE_TILE] = "vae_tile",
    [PARAM_PRECISION] = "precision",
    [PARAM_SIZE] = "size",
    [PARAM_STYLES] = "styles",
};

/* What a parameter is. Numbers: from min to max, and 0 beside them if `or_zero`. */
struct info {
    enum param_kind kind;
    size_t offset;          /* of its field in struct task */
    const char *preset;     /* where a manifest gives none; NULL: must be given */
    bool optional;          /* left out at its preset */
    enum term_kind terms;   /* PARAM_KIND_TERM */
    int64_t min, max, unit; /* numbers; unit of whole ones */
    bool or_zero;
};

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

static const struct info infos[PARAM_COUNT] = {
    [PARAM_MODEL] = {ASSET(model)},
    [PARAM_MODEL_CONFIG] = {ASSET(model_config), OPTIONAL("")},
    [PARAM_VAE] = {ASSET(vae), OPTIONAL("")},
    [PARAM_PROMPT] = {PROMPT(prompt)},
    [PARAM_NEGATIVE_PROMPT] = {PROMPT(negative_prompt), PRESET("")},
    [PARAM_EMPHASIS] = {TERM(emphasis, TERM_EMPHASIS), OPTIONAL("original")},
    [PARAM_CLIP_SKIP] = {WHOLE(clip_skip, 1, 12, 1), OPTIONAL("1")},
    [PARAM_STEPS] = {WHOLE(steps, 1, TASK_STEPS_MAX, 1), PRESET("20")},
    [PARAM_SAMPLER] = {TERM(sampler, TERM_SAMPLER), PRESET("dpmpp_2m")},
    [PARAM_SCHEDULER] = {TERM(scheduler, TERM_SCHEDULER), PRESET("automatic")},
    [PARAM_ETA] = {MAYBE(eta, 0, 1)},
    [PARAM_S_NOISE] = {MAYBE(s_noise, 0, 10)},
    [PARAM_RESCALE_BETAS_ZERO_SNR] = {SWITCH(rescale_betas_zero_snr)},
    [PARAM_CFG_SCALE] = {REAL(cfg_scale, 0, 1000), PRESET("7")},
    [PARAM_GUIDANCE_RESCALE] = {REAL(guidance_rescale, 0, 1), OPTIONAL("0")},
    [PARAM_WIDTH] = {WHOLE(width, TASK_SIDE_MIN, TASK_SIDE_MAX, 8), PRESET("512")},
    [PARAM_HEIGHT] = {WHOLE(height, TASK_SIDE_MIN, TASK_SIDE_MAX, 8), PRESET("512")},
    [PARAM_SEED] = {WHOLE(seed, 0, TASK_SEED_MAX, 1), PRESET("-1")},
    [PARAM_RNG] = {TERM(rng, TERM_RNG), OPTIONAL("cpu")},
    [PARAM_SUBSEED] = {WHOLE(subseed, 0, TASK_SEED_MAX, 1), OPTIONAL("0")},
    [PARAM_SUBSEED_STRENGTH] = {REAL(subseed_strength, 0, 1), OPTIONAL("0")},
    [PARAM_SEED_RESIZE_FROM_W] = {WHOLE(seed_resize_from_w, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_SEED_RESIZE_FROM_H] = {WHOLE(seed_resize_from_h, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_INIT_IMAGE] = {PATH(init_image)},
    [PARAM_DENOISING_STRENGTH] = {REAL(denoising_strength, 0, 1), OPTIONAL("0.75")},
    [PARAM_RESIZE_MODE] = {TERM(resize_mode, TERM_RESIZE), OPTIONAL("stretch")},
    [PARAM_MASK] = {PATH(mask)},
    [PARAM_MASK_BLUR] = {REAL(mask_blur, 0, 64), OPTIONAL("4")},
    [PARAM_INPAINTING_MASK_INVERT] = {SWITCH(inpainting_mask_invert)},
    [PARAM_INPAINTING_FILL] = {TERM(inpainting_fill, TERM_FILL), OPTIONAL("original")},
    [PARAM_INPAINT_FULL_RES] = {SWITCH(inpaint_full_res)},
    [PARAM_INPAINT_FULL_RES_PADDING] = {WHOLE(inpaint_full_res_padding, 0, TASK_SIDE_MAX, 1),
                                        OPTIONAL("32")},
    [PARAM_OUTPAINT_LEFT] = {WHOLE(outpaint_left, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_OUTPAINT_RIGHT] = {WHOLE(outpaint_right, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_OUTPAINT_TOP] = {WHOLE(outpaint_top, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_OUTPAINT_BOTTOM] = {WHOLE(outpaint_bottom, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_HR_SCALE] = {REAL(hr_scale, 1, 16), OPTIONAL("0"), .or_zero = true},
    [PARAM_HR_RESIZE_X] = {WHOLE(hr_resize_x, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_HR_RESIZE_Y] = {WHOLE(hr_resize_y, 0, TASK_SIDE_MAX, 8), OPTIONAL("0")},
    [PARAM_HR_UPSCALER] = {TERM(hr_upscaler, TERM_UPSCALER), OPTIONAL("latent")},
    [PARAM_HR_SECOND_PASS_STEPS] = {WHOLE(hr_second_pass_steps, 0, TASK_STEPS_MAX, 1),
                                    OPTIONAL("0")},
    [PARAM_VAE_TILE] = {WHOLE(vae_tile, 0, TASK_SIDE_MAX, 64), OPTIONAL("0")},
    [PARAM_PRECISION] = {TERM(precision, TERM_PRECISION), PRESET("f32")},
    [PARAM_SIZE] = {PARAM_KIND_SIZE},
    [PARAM_STYLES] = {PARAM_KIND_STYLES},
};

static const char *name_of(const struct info *info)
{
    return names[info - infos];
}

/* Enums are read and written as ints: they have no negative values and few positive ones. */
_Static_assert(sizeof(enum sampler_id) == sizeof(int), "terms are stored as int");

int param_from_name(const char *name)
{
    for (int i = 0; i < PARAM_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

const char *param_name(enum param p)
{
    return (unsigned)p < PARAM_COUNT ? names[p] : "?";
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

static int64_t whole_of(const struct info *info, const void *field)
{
    return info->max > INT32_MAX ? *(const int64_t *)field : *(const int *)field;
}

static int term_of(const void *field)
{
    int id;

    memcpy(&id, field, sizeof id);
    return id;
}

bool param_is_absent(const struct task *t, enum param p)
{
    const struct info *info = &infos[p];
    const void *field = (const char *)t + info->offset;
    const char *text;

    if (!info->optional)
        return false;
    switch (info->kind) {
    case PARAM_KIND_WHOLE:
        return whole_of(info, field) == strtoll(info->preset, NULL, 10);
    case PARAM_KIND_REAL:
        return *(const double *)field == strtod(info->preset, NULL);
    case PARAM_KIND_MAYBE:
        return !((const struct task_number *)field)->set;
    case PARAM_KIND_BOOL:
        return !*(const bool *)field;
    case PARAM_KIND_TERM:
        return strcmp(term_name(info->terms, term_of(field)), info->preset) == 0;
    default:
        text = *(char *const *)field;
        return strcmp(text ? text : "", info->preset) == 0;
    }
}

double param_number(const struct task *t, enum param p)
{
    const struct info *info = &infos[p];
    const void *field = (const char *)t + info->offset;
    const struct task_number *maybe;
    const char *text;

    switch (info->kind) {
    case PARAM_KIND_WHOLE:
        return (double)whole_of(info, field);
    case PARAM_KIND_REAL:
        return *(const double *)field;
    case PARAM_KIND_MAYBE:
        maybe = field;
        return maybe->set ? maybe->value : -1;
    case PARAM_KIND_TERM:
        return term_of(field);
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

/* --- from text --- */

/* Digits only, up to 2^53; moves *text past them. */
static bool read_whole(const char **text, int64_t *ret_n)
{
    int64_t n = 0;
    const char *p = *text;

    for (; isdigit((unsigned char)*p); p++) {
        n = n * 10 + (*p - '0');
        if (n > TASK_SEED_MAX)
            return false;
    }
    if (p == *text)
        return false;
    *text = p;
    *ret_n = n;
    return true;
}

/* Decimal digits, at most one point, an exponent: what JSON and YAML both call a number. */
static bool read_real(const char *text, double *ret_x)
{
    char *end;

    if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
        return false;
    if (text[strspn(text, "0123456789+-.eE")])
        return false;
    *ret_x = strtod(text, &end) + 0.0; /* minus zero becomes zero */
    return *end == 0;
}

static int refuse(const struct info *info, const char *text, const char *must, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s '%.200s' must be %s", name_of(info), text, must);
}

static int refuse_number(const struct info *info, const char *text, struct err *e)
{
    char must[160];

    if (info->kind != PARAM_KIND_WHOLE)
        snprintf(must, sizeof must, "%sa number from %" PRId64 " to %" PRId64,
                 info->or_zero ? "0 or " : "", info->min, info->max);
    else if (info->unit == 1)
        snprintf(must, sizeof must, "a whole number from %" PRId64 " to %" PRId64, info->min,
                 info->max);
    else
        snprintf(must, sizeof must, "a multiple of %" PRId64 " from %" PRId64 " to %" PRId64,
                 info->unit, info->min, info->max);
    return refuse(info, text, must, e);
}

static int set_whole(const struct info *info, const char *text, void *field, struct err *e)
{
    const char *end = text;
    int64_t n;

    if (!read_whole(&end, &n) || *end || n < info->min || n > info->max || n % info->unit)
        return refuse_number(info, text, e);
    if (info->max > INT32_MAX)
        *(int64_t *)field = n;
    else
        *(int *)field = (int)n;
    return 0;
}

static int set_real(const struct info *info, const char *text, double *field, struct err *e)
{
    double x;

    if (!read_real(text, &x) ||
        !((x >= (double)info->min && x <= (double)info->max) || (info->or_zero && x == 0)))
        return refuse_number(info, text, e);
    *field = x;
    return 0;
}

static int set_maybe(const struct info *info, const char *text, struct task_number *field,
                     struct err *e)
{
    struct task_number number = {.set = *text != 0};
    int rc = number.set ? set_real(info, text, &number.value, e) : 0;

    if (rc == 0)
        *field = number;
    return rc;
}

static int set_text(const char *text, char **field, struct err *e)
{
    char *copy = strdup(text);

    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for a text of %zu bytes", strlen(text));
    free(*field);
    *field = copy;
    return 0;
}

static int check_prompt(const struct info *info, const char *text, struct err *e)
{
    if (strlen(text) > TASK_PROMPT_MAX)
        return err_set(e, ERR_INPUT, "%s is %zu bytes long, more than the limit of %d",
                       name_of(info), strlen(text), TASK_PROMPT_MAX);
    if (!utf8_valid(text))
        return err_set(e, ERR_INPUT, "%s is not UTF-8 text", name_of(info));
    return 0;
}

static bool is_plain_text(const char *text)
{
    size_t size = strlen(text);

    if (size > TASK_MODEL_MAX || !utf8_valid(text))
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 32 || text[i] == 127)
            return false;
    return true;
}

static bool is_pickle(const char *text)
{
    static const char *const endings[] = {".ckpt", ".pt", ".pth", ".bin"};
    size_t size = strlen(text);

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);

        if (size > n && strcasecmp(text + size - n, endings[i]) == 0)
            return true;
    }
    return false;
}

static int check_asset(const struct info *info, const char *text, struct err *e)
{
    bool name = *text && *text != '.' && !strchr(text, '/');

    if (!is_plain_text(text) || !(name || *text == '/' || (info->optional && !*text)))
        return refuse(info, text, "a name in the model library or an absolute path", e);
    if (is_pickle(text))
        return err_set(e, ERR_INPUT,
                       "%s '%.200s' is a pickle, a file that runs code when it is read; convert it "
                       "to .safetensors, with AUTOMATIC1111's checkpoint merger or diffusers' "
                       "save_pretrained",
                       name_of(info), text);
    return 0;
}

static int check_file(const struct info *info, const char *text, struct err *e)
{
    if (!is_plain_text(text) || (*text && *text != '/'))
        return refuse(info, text, "the absolute path of a file", e);
    return 0;
}

static int set_term(const struct info *info, const char *text, void *field, struct err *e)
{
    struct buf must = {0};
    int id = term_from_name(info->terms, text), rc;

    if (id >= 0) {
        memcpy(field, &id, sizeof id);
        return 0;
    }
    buf_puts(&must, "one of:");
    for (id = 0; id < term_count(info->terms); id++)
        buf_printf(&must, " %s", term_name(info->terms, id));
    rc = refuse(info, text, buf_text(&must), e);
    buf_done(&must);
    return rc;
}

static int set_bool(const struct info *info, const char *text, bool *field, struct err *e)
{
    bool yes = strcmp(text, "true") == 0;

    if (!yes && strcmp(text, "false") != 0)
        return refuse(info, text, "true or false", e);
    *field = yes;
    return 0;
}

static int set_size(struct task *t, const char *text, struct err *e)
{
    const char *p = text;
    int64_t w = 0, h = 0;
    bool good = read_whole(&p, &w) && *p == 'x';

    p++;
    good = good && read_whole(&p, &h) && *p == 0;
    if (!good || w < TASK_SIDE_MIN || w > TASK_SIDE_MAX || w % 8 || h < TASK_SIDE_MIN ||
        h > TASK_SIDE_MAX || h % 8)
        return refuse(&infos[PARAM_SIZE], text,
                      "WIDTHxHEIGHT in pixels such as 512x768, each a multiple of 8 from 8 to 8192",
                      e);
    t->width = (int)w;
    t->height = (int)h;
    return 0;
}

int param_set(struct task *t, enum param p, const char *text, struct err *e)
{
    const struct info *info = &infos[p];
    void *field = (char *)t + info->offset;
    int rc = 0;

    switch (info->kind) {
    case PARAM_KIND_PROMPT:
        rc = check_prompt(info, text, e);
        return rc ? rc : set_text(text, field, e);
    case PARAM_KIND_ASSET:
        rc = check_asset(info, text, e);
        return rc ? rc : set_text(text, field, e);
    case PARAM_KIND_FILE:
        rc = check_file(info, text, e);
        return rc ? rc : set_text(text, field, e);
    case PARAM_KIND_WHOLE:
        return set_whole(info, text, field, e);
    case PARAM_KIND_REAL:
        return set_real(info, text, field, e);
    case PARAM_KIND_MAYBE:
        return set_maybe(info, text, field, e);
    case PARAM_KIND_TERM:
        return set_term(info, text, field, e);
    case PARAM_KIND_BOOL:
        return set_bool(info, text, field, e);
    case PARAM_KIND_SIZE:
        return set_size(t, text, e);
    case PARAM_KIND_STYLES:
        return check_prompt(info, text, e);
    }
    return err_set(e, ERR_ARG, "no such parameter: %d", (int)p);
}

/* --- to text --- */

/* What the number is, or "nan": no text that could be read back. */
static void put_real(struct buf *text, double x)
{
    if (isfinite(x))
        buf_number(text, x);
    else
        buf_puts(text, "nan");
}

void param_text(const struct task *t, enum param p, struct buf *ret_text)
{
    const struct info *info = &infos[p];
    const void *field = (const char *)t + info->offset;
    const struct task_number *maybe = field;
    const char *text;

    switch (info->kind) {
    case PARAM_KIND_PROMPT:
    case PARAM_KIND_ASSET:
    case PARAM_KIND_FILE:
        text = *(char *const *)field;
        buf_puts(ret_text, text ? text : "");
        break;
    case PARAM_KIND_WHOLE:
        buf_whole(ret_text, whole_of(info, field));
        break;
    case PARAM_KIND_REAL:
        put_real(ret_text, *(const double *)field);
        break;
    case PARAM_KIND_MAYBE:
        if (maybe->set)
            put_real(ret_text, maybe->value);
        break;
    case PARAM_KIND_TERM:
        buf_puts(ret_text, term_name(info->terms, term_of(field)));
        break;
    case PARAM_KIND_BOOL:
        buf_puts(ret_text, *(const bool *)field ? "true" : "false");
        break;
    case PARAM_KIND_SIZE:
        buf_printf(ret_text, "%dx%d", t->width, t->height);
        break;
    case PARAM_KIND_STYLES:
        break;
    }
}

/* --- JSON --- */

json_t *param_json(const struct task *t, enum param p)
{
    const struct info *info = &infos[p];
    const void *field = (const char *)t + info->offset;
    struct buf text = {0};
    json_t *value;

    if (info->kind == PARAM_KIND_WHOLE)
        return json_integer((json_int_t)whole_of(info, field));
    if (info->kind == PARAM_KIND_REAL)
        return json_real(*(const double *)field);
    if (info->kind == PARAM_KIND_MAYBE)
        return json_real(((const struct task_number *)field)->value);
    if (info->kind == PARAM_KIND_BOOL)
        return json_boolean(*(const bool *)field);
    param_text(t, p, &text);
    value = text.failed ? NULL : json_string(buf_text(&text));
    buf_done(&text);
    return value;
}

void param_put_json(const struct task *t, enum param p, struct buf *ret_text)
{
    struct buf text = {0};
    enum param_kind kind = infos[p].kind;

    if (kind == PARAM_KIND_WHOLE || kind == PARAM_KIND_BOOL || kind == PARAM_KIND_REAL ||
        kind == PARAM_KIND_MAYBE) {
        param_text(t, p, ret_text);
        return;
    }
    param_text(t, p, &text);
    json_put_string(ret_text, buf_text(&text), text.size);
    ret_text->failed |= text.failed;
    buf_done(&text);
}

static const char *type_problem(enum param p, const json_t *value)
{
    if (!value)
        return "given";
    if (param_is_number(p))
        return json_is_number(value) ? NULL : "a number";
    if (infos[p].kind == PARAM_KIND_BOOL)
        return json_is_boolean(value) ? NULL : "true or false";
    return json_is_string(value) ? NULL : "text";
}

int param_from_json(struct task *t, enum param p, const json_t *value, const char *where,
                    struct err *e)
{
    struct buf text = {0};
    const char *problem;
    int rc = 0;

    if (!value && infos[p].optional)
        return param_set(t, p, infos[p].preset, e);
    problem = type_problem(p, value);
    if (problem)
        return err_set(e, ERR_INPUT, "%s: '%s' must be %s", where, names[p], problem);
    if (json_is_string(value))
        buf_puts(&text, json_string_value(value));
    else if (json_is_boolean(value))
        buf_puts(&text, json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        buf_printf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        buf_number(&text, json_real_value(value));
    TRY(buf_check(&text, e));
    TRY(param_set(t, p, buf_text(&text), e));
out:
    buf_done(&text);
    return rc;
}
