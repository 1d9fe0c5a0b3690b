/*
 * Names that the manifest, the messages, the pictures' metadata and the engine must spell alike:
 * samplers, schedulers, precisions and the like. Field terms follow AUTOMATIC1111.
 */
#ifndef PROTO_TERMS_H
#define PROTO_TERMS_H

#include "proto/err.h"

#include <stdbool.h>

/* enum, name in manifests, AUTOMATIC1111's label (where it has none, the name in its style) */
#define SAMPLER_TABLE(X)                                                                           \
    X(SAMPLER_DDIM, "ddim", "DDIM")                                                                \
    X(SAMPLER_DDPM, "ddpm", "DDPM")                                                                \
    X(SAMPLER_PNDM, "pndm", "PLMS")                                                                \
    X(SAMPLER_LMS, "lms", "LMS")                                                                   \
    X(SAMPLER_HEUN, "heun", "Heun")                                                                \
    X(SAMPLER_EULER, "euler", "Euler")                                                             \
    X(SAMPLER_EULER_A, "euler_a", "Euler a")                                                       \
    X(SAMPLER_DPM2, "dpm2", "DPM2")                                                                \
    X(SAMPLER_DPM2_A, "dpm2_a", "DPM2 a")                                                          \
    X(SAMPLER_DPMPP_2S_A, "dpmpp_2s_a", "DPM++ 2S a")                                              \
    X(SAMPLER_DPMPP_2M, "dpmpp_2m", "DPM++ 2M")                                                    \
    X(SAMPLER_DPMPP_2M_SDE, "dpmpp_2m_sde", "DPM++ 2M SDE")                                        \
    X(SAMPLER_DPMPP_3M_SDE, "dpmpp_3m_sde", "DPM++ 3M SDE")                                        \
    X(SAMPLER_DPMPP_SDE, "dpmpp_sde", "DPM++ SDE")                                                 \
    X(SAMPLER_UNIPC, "unipc", "UniPC")                                                             \
    X(SAMPLER_DEIS, "deis", "DEIS")                                                                \
    X(SAMPLER_LCM, "lcm", "LCM")                                                                   \
    X(SAMPLER_TCD, "tcd", "TCD")

#define SCHEDULER_TABLE(X)                                                                         \
    X(SCHEDULER_AUTOMATIC, "automatic", "Automatic")                                               \
    X(SCHEDULER_UNIFORM, "uniform", "Uniform")                                                     \
    X(SCHEDULER_KARRAS, "karras", "Karras")                                                        \
    X(SCHEDULER_EXPONENTIAL, "exponential", "Exponential")                                         \
    X(SCHEDULER_POLYEXPONENTIAL, "polyexponential", "Polyexponential")                             \
    X(SCHEDULER_SGM_UNIFORM, "sgm_uniform", "SGM Uniform")                                         \
    X(SCHEDULER_SIMPLE, "simple", "Simple")                                                        \
    X(SCHEDULER_NORMAL, "normal", "Normal")                                                        \
    X(SCHEDULER_KL_OPTIMAL, "kl_optimal", "KL Optimal")                                            \
    X(SCHEDULER_BETA, "beta", "Beta")                                                              \
    X(SCHEDULER_ALIGN_YOUR_STEPS, "align_your_steps", "Align Your Steps")

/* What (word:1.2) does to the text's states. */
#define EMPHASIS_TABLE(X)                                                                          \
    X(EMPHASIS_ORIGINAL, "original", "Original")                                                   \
    X(EMPHASIS_NO_NORM, "no_norm", "No norm")                                                      \
    X(EMPHASIS_IGNORE, "ignore", "Ignore")                                                         \
    X(EMPHASIS_NONE, "none", "None")

/* Whose random numbers the noise equals: torch on the CPU, or CUDA's Philox. */
#define RNG_TABLE(X)                                                                               \
    X(RNG_CPU, "cpu", "CPU")                                                                       \
    X(RNG_NV, "nv", "NV")

/* How an initial picture comes to the render's size. */
#define RESIZE_TABLE(X)                                                                            \
    X(RESIZE_STRETCH, "stretch", "Just resize")                                                    \
    X(RESIZE_CROP, "crop", "Crop and resize")                                                      \
    X(RESIZE_FILL, "fill", "Resize and fill")

/* What stands under the mask when inpainting starts. */
#define FILL_TABLE(X)                                                                              \
    X(FILL_ORIGINAL, "original", "original")                                                       \
    X(FILL_FILL, "fill", "fill")                                                                   \
    X(FILL_LATENT_NOISE, "latent_noise", "latent noise")                                           \
    X(FILL_LATENT_NOTHING, "latent_nothing", "latent nothing")

/* How the second pass of hires fix gets its larger start. */
#define UPSCALER_TABLE(X)                                                                          \
    X(UPSCALER_LATENT, "latent", "Latent")                                                         \
    X(UPSCALER_LATENT_NEAREST, "latent_nearest", "Latent (nearest)")                               \
    X(UPSCALER_LANCZOS, "lanczos", "Lanczos")

/* What products are computed in. Auto: what the device does natively, as the record then says. */
#define PRECISION_TABLE(X)                                                                         \
    X(PRECISION_F32, "f32", "f32")                                                                 \
    X(PRECISION_BF16, "bf16", "bf16")                                                              \
    X(PRECISION_F16, "f16", "f16")                                                                 \
    X(PRECISION_AUTO, "auto", "auto")

#define X(id, name, label) id,
enum sampler_id { SAMPLER_TABLE(X) SAMPLER_COUNT };
enum scheduler_id { SCHEDULER_TABLE(X) SCHEDULER_COUNT };
enum precision { PRECISION_TABLE(X) PRECISION_COUNT };
enum emphasis { EMPHASIS_TABLE(X) EMPHASIS_COUNT };
enum rng_kind { RNG_TABLE(X) RNG_COUNT };
enum resize_mode { RESIZE_TABLE(X) RESIZE_COUNT };
enum mask_fill { FILL_TABLE(X) FILL_COUNT };
enum upscaler { UPSCALER_TABLE(X) UPSCALER_COUNT };
#undef X

/* The tables above. */
enum term_kind {
    TERM_SAMPLER,
    TERM_SCHEDULER,
    TERM_PRECISION,
    TERM_EMPHASIS,
    TERM_RNG,
    TERM_RESIZE,
    TERM_FILL,
    TERM_UPSCALER,
    TERM_KIND_COUNT
};

/* Static strings; "?" for a value outside the table. */
const char *term_name(enum term_kind kind, int id);
const char *term_label(enum term_kind kind, int id);

/* The id of an exact name, or -1. */
int term_from_name(enum term_kind kind, const char *name);

/* The id of a name or label, whatever its capitals; or -1. */
int term_from_label(enum term_kind kind, const char *text);

/* Entries of a table. */
int term_count(enum term_kind kind);

/* The same for the tables that are asked most. */
const char *sampler_name(enum sampler_id id);
const char *sampler_label(enum sampler_id id);
const char *scheduler_name(enum scheduler_id id);
const char *scheduler_label(enum scheduler_id id);
const char *precision_name(enum precision id);
int sampler_from_name(const char *name);
int scheduler_from_name(const char *name);
int precision_from_name(const char *name);

/*
 * A sampler by any of its names, whatever the capitals: ours, AUTOMATIC1111's label also with a
 * scheduler's behind it ("DPM++ 2M Karras", "dpmpp_2m_karras"), the aliases of its API
 * ("k_dpmpp_2m_ka"), k-diffusion's and ComfyUI's names ("k_euler_a", "sample_euler",
 * "dpm_2_ancestral", "dpmpp_sde_gpu") or the diffusers class
 * ("EulerDiscreteScheduler"). ret_scheduler: the scheduler that the text says, or -1. Returns 0, or
 * -1 where it names none: "DPM++ 2M SDE Heun" is another sampler, not a scheduler of one.
 */
int sampler_from_label(const char *text, enum sampler_id *ret_sampler, int *ret_scheduler);

/* Bounds of a task's eta and s_noise. */
#define ETA_MAX     1
#define S_NOISE_MAX 10

/* The eta that a sampler has where a task leaves it open; NAN: it has none, and takes no other. */
double sampler_eta(enum sampler_id sampler);

/* Whether its steps add noise, which s_noise multiplies. */
bool sampler_adds_noise(enum sampler_id sampler);

/* Whether a text names a sampler of web UIs or diffusers that is none of ours, nor like one: to
 * suggest one that is written alike would mislead. */
bool sampler_is_foreign(const char *text);
/* The same for schedulers. */
bool scheduler_is_foreign(const char *text);

/*
 * What `automatic` means for a sampler (AUTOMATIC1111 1.10): karras for dpm2, dpm2_a, dpmpp_2s_a,
 * dpmpp_2m and dpmpp_sde, exponential for dpmpp_2m_sde and dpmpp_3m_sde, uniform for the others.
 * Any other scheduler is returned as it is.
 */
enum scheduler_id scheduler_resolve(enum sampler_id sampler, enum scheduler_id scheduler);

#endif
