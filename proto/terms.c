#include "proto/terms.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define FOREIGN_MAX 64 /* bytes of others' names, one for the end */

struct term {
    const char *name;
    const char *label;
};

#define X(id, name, label) {name, label},
static const struct term samplers[] = {SAMPLER_TABLE(X)};
static const struct term schedulers[] = {SCHEDULER_TABLE(X)};
static const struct term precisions[] = {PRECISION_TABLE(X)};
static const struct term emphases[] = {EMPHASIS_TABLE(X)};
static const struct term rngs[] = {RNG_TABLE(X)};
static const struct term resizes[] = {RESIZE_TABLE(X)};
static const struct term fills[] = {FILL_TABLE(X)};
static const struct term upscalers[] = {UPSCALER_TABLE(X)};
#undef X

static const struct {
    const struct term *terms;
    int n;
} tables[TERM_KIND_COUNT] = {
    [TERM_SAMPLER] = {samplers, SAMPLER_COUNT},
    [TERM_SCHEDULER] = {schedulers, SCHEDULER_COUNT},
    [TERM_PRECISION] = {precisions, PRECISION_COUNT},
    [TERM_EMPHASIS] = {emphases, EMPHASIS_COUNT},
    [TERM_RNG] = {rngs, RNG_COUNT},
    [TERM_RESIZE] = {resizes, RESIZE_COUNT},
    [TERM_FILL] = {fills, FILL_COUNT},
    [TERM_UPSCALER] = {upscalers, UPSCALER_COUNT},
};

static const struct term *find_id(enum term_kind kind, int id)
{
    static const struct term unknown = {"?", "?"};

    return id >= 0 && id < tables[kind].n ? &tables[kind].terms[id] : &unknown;
}

const char *term_name(enum term_kind kind, int id)
{
    return find_id(kind, id)->name;
}

const char *term_label(enum term_kind kind, int id)
{
    return find_id(kind, id)->label;
}

int term_from_name(enum term_kind kind, const char *name)
{
    for (int i = 0; i < tables[kind].n; i++)
        if (strcmp(tables[kind].terms[i].name, name) == 0)
            return i;
    return -1;
}

int term_from_label(enum term_kind kind, const char *text)
{
    for (int i = 0; i < tables[kind].n; i++)
        if (strcasecmp(tables[kind].terms[i].name, text) == 0 ||
            strcasecmp(tables[kind].terms[i].label, text) == 0)
            return i;
    if (kind == TERM_SCHEDULER && strcasecmp(text, "SGMUniform") == 0)
        return SCHEDULER_SGM_UNIFORM; /* an alias of AUTOMATIC1111's */
    return -1;
}

int term_count(enum term_kind kind)
{
    return tables[kind].n;
}

const char *sampler_name(enum sampler_id id)
{
    return term_name(TERM_SAMPLER, (int)id);
}

const char *sampler_label(enum sampler_id id)
{
    return term_label(TERM_SAMPLER, (int)id);
}

const char *scheduler_name(enum scheduler_id id)
{
    return term_name(TERM_SCHEDULER, (int)id);
}

const char *scheduler_label(enum scheduler_id id)
{
    return term_label(TERM_SCHEDULER, (int)id);
}

const char *precision_name(enum precision id)
{
    return term_name(TERM_PRECISION, (int)id);
}

int sampler_from_name(const char *name)
{
    return term_from_name(TERM_SAMPLER, name);
}

int scheduler_from_name(const char *name)
{
    return term_from_name(TERM_SCHEDULER, name);
}

int precision_from_name(const char *name)
{
    return term_from_name(TERM_PRECISION, name);
}

/*
 * What others call our samplers, beyond the labels. Compared with AUTOMATIC1111 1.10
 * (modules/sd_samplers_kdiffusion.py, sd_samplers_timesteps.py, sd_samplers_lcm.py; the names
 * ending in _ka are of 1.0 to 1.8), ComfyUI (comfy/samplers.py, its KSampler's list of 2025, 44
 * names) and the scheduler classes of diffusers 0.42.
 */
static const struct {
    const char *name;
    enum sampler_id sampler;
} aliases[] = {
    {"DDIMScheduler", SAMPLER_DDIM},
    {"DDIMParallelScheduler", SAMPLER_DDIM},
    {"DDPMScheduler", SAMPLER_DDPM},
    {"DDPMParallelScheduler", SAMPLER_DDPM},
    {"PNDMScheduler", SAMPLER_PNDM},
    {"LMSDiscreteScheduler", SAMPLER_LMS},
    {"HeunDiscreteScheduler", SAMPLER_HEUN},
    {"EulerDiscreteScheduler", SAMPLER_EULER},
    {"EulerAncestralDiscreteScheduler", SAMPLER_EULER_A},
    {"KDPM2DiscreteScheduler", SAMPLER_DPM2},
    {"KDPM2AncestralDiscreteScheduler", SAMPLER_DPM2_A},
    {"DPMSolverMultistepScheduler", SAMPLER_DPMPP_2M},
    {"UniPCMultistepScheduler", SAMPLER_UNIPC},
    {"DEISMultistepScheduler", SAMPLER_DEIS},
    {"LCMScheduler", SAMPLER_LCM},
    {"TCDScheduler", SAMPLER_TCD},
    {"euler_ancestral", SAMPLER_EULER_A},
    {"dpm_2", SAMPLER_DPM2},
    {"dpm_2_a", SAMPLER_DPM2_A},
    {"dpm_2_ancestral", SAMPLER_DPM2_A},
    {"dpmpp_2s_ancestral", SAMPLER_DPMPP_2S_A},
    {"uni_pc", SAMPLER_UNIPC},
    {"uni_pc_bh2", SAMPLER_UNIPC},
    {"dpmpp_sde_gpu", SAMPLER_DPMPP_SDE},
    {"dpmpp_2m_sde_gpu", SAMPLER_DPMPP_2M_SDE},
    {"dpmpp_3m_sde_gpu", SAMPLER_DPMPP_3M_SDE},
    {"PNDM", SAMPLER_PNDM},
};

/* The scheduler behind a sampler's name, "dpmpp_2m_karras", or its label, "DPM++ 2M Karras"; -1. */
static int rest_scheduler(const char *text, const char *sampler, char between)
{
    size_t n = strlen(sampler);

    if (strncasecmp(text, sampler, n) != 0 || text[n] != between)
        return -1;
    return term_from_label(TERM_SCHEDULER, text + n + 1);
}

/* The sampler of a text without a scheduler, or -1. */
static int find_sampler(const char *text)
{
    int id = term_from_label(TERM_SAMPLER, text);

    if (id >= 0)
        return id;
    if (strncasecmp(text, "k_", 2) == 0)
        return find_sampler(text + 2);
    if (strncasecmp(text, "sample_", 7) == 0)
        return find_sampler(text + 7);
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcasecmp(aliases[i].name, text) == 0)
            return (int)aliases[i].sampler;
    return -1;
}

/* AUTOMATIC1111's short ends, "k_dpmpp_2m_ka": the sampler of what is before, or -1. */
static int find_shortened(const char *text, int *ret_scheduler)
{
    static const struct {
        const char *end;
        enum scheduler_id scheduler;
    } ends[] = {{"_ka", SCHEDULER_KARRAS}, {"_exp", SCHEDULER_EXPONENTIAL}};
    size_t size = strlen(text);
    char before[FOREIGN_MAX];

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i].end);

        if (size <= n || size - n >= sizeof before || strcasecmp(text + size - n, ends[i].end) != 0)
            continue;
        memcpy(before, text, size - n);
        before[size - n] = '\0';
        *ret_scheduler = (int)ends[i].scheduler;
        return find_sampler(before);
    }
    return -1;
}

int sampler_from_label(const char *text, enum sampler_id *ret_sampler, int *ret_scheduler)
{
    int sampler = find_sampler(text), scheduler = -1;

    if (sampler < 0 && (sampler = find_shortened(text, &scheduler)) < 0)
        scheduler = -1;

    for (int i = 0; sampler < 0 && i < SAMPLER_COUNT; i++) {
        scheduler = rest_scheduler(text, samplers[i].label, ' ');
        if (scheduler < 0)
            scheduler = rest_scheduler(text, samplers[i].name, '_');
        if (scheduler >= 0)
            sampler = i;
    }
    if (sampler < 0)
        return -1;
    *ret_sampler = (enum sampler_id)sampler;
    *ret_scheduler = scheduler;
    return 0;
}

double sampler_eta(enum sampler_id sampler)
{
    switch (sampler) {
    case SAMPLER_DDIM:
        return 0;
    case SAMPLER_EULER_A:
    case SAMPLER_DPM2_A:
    case SAMPLER_DPMPP_2S_A:
    case SAMPLER_DPMPP_2M_SDE:
    case SAMPLER_DPMPP_3M_SDE:
    case SAMPLER_DPMPP_SDE:
        return 1;
    case SAMPLER_TCD:
        return 0.3;
    default:
        return NAN;
    }
}

bool sampler_adds_noise(enum sampler_id sampler)
{
    switch (sampler) {
    case SAMPLER_PNDM:
    case SAMPLER_LMS:
    case SAMPLER_HEUN:
    case SAMPLER_EULER:
    case SAMPLER_DPM2:
    case SAMPLER_DPMPP_2M:
    case SAMPLER_UNIPC:
    case SAMPLER_DEIS:
        return false;
    default:
        return true;
    }
}

/* Samplers of AUTOMATIC1111, ComfyUI and diffusers that are algorithms of their own. */
static const char *const foreign[] = {
    "dpm_fast",
    "dpm_adaptive",
    "dpm_ad",
    "restart",
    "ddim_cfgpp",
    "cfgpp_ud10_ab",
    "ipndm",
    "ipndm_v",
    "heunpp2",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
    "dpmpp_2s",
    "dpmpp_2m_sde_heun",
    "res_multistep",
    "res_multistep_ancestral",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "gradient_estimation",
    "AmusedScheduler",
    "CMStochasticIterativeScheduler",
    "CosineDPMSolverMultistepScheduler",
    "DDIMInverseScheduler",
    "DDPMWuerstchenScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EDMEulerScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "IPNDMScheduler",
    "KarrasVeScheduler",
    "RePaintScheduler",
    "SASolverScheduler",
    "SCMScheduler",
    "ScoreSdeVeScheduler",
    "ScoreSdeVpScheduler",
    "UnCLIPScheduler",
    "VQDiffusionScheduler",
};

/* Their schedules that are none of ours: ComfyUI's, and AUTOMATIC1111's and Forge's. */
static const char *const foreign_schedulers[] = {"ddim", "ddim_uniform", "linear_quadratic",
                                                 "turbo"};

/* One letter after the other, "DPM++ 2M" like "dpmpp_2m". */
static const char *next_letter(const char **text)
{
    static const char plus[] = "p";
    const char *at;

    while (**text == ' ' || **text == '_' || **text == '-')
        ++*text;
    at = **text == '+' ? plus : *text;
    if (**text)
        ++*text;
    return at;
}

static bool is_alike(const char *a, const char *b)
{
    for (;;) {
        const char *x = next_letter(&a), *y = next_letter(&b);

        if (strncasecmp(x, y, 1) != 0)
            return false;
        if (!*x)
            return true;
    }
}

/* Whether a text begins like a name; ret_rest: what follows, without "_gpu". */
static bool begins_alike(const char *text, const char *name, const char **ret_rest)
{
    size_t size = strlen(text);
    char begin[FOREIGN_MAX];

    for (size_t n = 1; n <= size && n < sizeof begin; n++) {
        memcpy(begin, text, n);
        begin[n] = '\0';
        if (!is_alike(begin, name) || strchr(" _-", text[n - 1]))
            continue;
        *ret_rest = strncasecmp(text + n, "_gpu", 4) == 0 ? text + n + 4 : text + n;
        return true;
    }
    return false;
}

bool sampler_is_foreign(const char *text)
{
    size_t size = strlen(text);
    enum sampler_id ours;
    int scheduler;
    const char *rest;

    if (sampler_from_label(text, &ours, &scheduler) == 0)
        return false;
    if (strncasecmp(text, "k_", 2) == 0)
        return sampler_is_foreign(text + 2);
    if (strncasecmp(text, "sample_", 7) == 0)
        return sampler_is_foreign(text + 7);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (begins_alike(text, foreign[i], &rest) &&
            (!*rest || term_from_label(TERM_SCHEDULER, rest + 1) >= 0 ||
             strcasecmp(rest, "_ka") == 0 || strcasecmp(rest, "_exp") == 0))
            return true;
    /* CFG++, whatever the sampler that it changes. */
    return size > 6 && (is_alike(text + size - 6, "cfg_pp") || is_alike(text + size - 5, "cfg++"));
}

bool scheduler_is_foreign(const char *text)
{
    for (size_t i = 0; i < sizeof foreign_schedulers / sizeof *foreign_schedulers; i++)
        if (is_alike(text, foreign_schedulers[i]))
            return true;
    return false;
}

enum scheduler_id scheduler_resolve(enum sampler_id sampler, enum scheduler_id scheduler)
{
    if (scheduler != SCHEDULER_AUTOMATIC)
        return scheduler;
    switch (sampler) {
    case SAMPLER_DPM2:
    case SAMPLER_DPM2_A:
    case SAMPLER_DPMPP_2S_A:
    case SAMPLER_DPMPP_2M:
    case SAMPLER_DPMPP_SDE:
        return SCHEDULER_KARRAS;
    case SAMPLER_DPMPP_2M_SDE:
    case SAMPLER_DPMPP_3M_SDE:
        return SCHEDULER_EXPONENTIAL;
    default:
        return SCHEDULER_UNIFORM;
    }
}
