/*
 * The parameters of a task by name: what manifests, bundles and axes call them, their bounds and
 * defaults, and their values as text. One table in param.c says it all.
 *
 * Two more names stand for several fields and are no keys of a task: `size` for width and height
 * together ("128x128"), and `styles`, whose texts are put into the prompts of a job's tasks
 * (jobs/style.h).
 *
 *     int p = param_from_name("steps");
 *     if (p >= 0)
 *         rc = param_set(&task, p, "20", e);      // ERR_INPUT says what a value must be
 */
#ifndef JOBS_PARAM_H
#define JOBS_PARAM_H

#include "jobs/task.h"

#include <stdbool.h>

enum param {
    PARAM_MODEL,
    PARAM_MODEL_CONFIG,
    PARAM_VAE,
    PARAM_PROMPT,
    PARAM_NEGATIVE_PROMPT,
    PARAM_EMPHASIS,
    PARAM_CLIP_SKIP,
    PARAM_STEPS,
    PARAM_SAMPLER,
    PARAM_SCHEDULER,
    PARAM_ETA,
    PARAM_S_NOISE,
    PARAM_RESCALE_BETAS_ZERO_SNR,
    PARAM_CFG_SCALE,
    PARAM_GUIDANCE_RESCALE,
    PARAM_WIDTH,
    PARAM_HEIGHT,
    PARAM_SEED,
    PARAM_RNG,
    PARAM_SUBSEED,
    PARAM_SUBSEED_STRENGTH,
    PARAM_SEED_RESIZE_FROM_W,
    PARAM_SEED_RESIZE_FROM_H,
    PARAM_INIT_IMAGE,
    PARAM_DENOISING_STRENGTH,
    PARAM_RESIZE_MODE,
    PARAM_MASK,
    PARAM_MASK_BLUR,
    PARAM_INPAINTING_MASK_INVERT,
    PARAM_INPAINTING_FILL,
    PARAM_INPAINT_FULL_RES,
    PARAM_INPAINT_FULL_RES_PADDING,
    PARAM_OUTPAINT_LEFT,
    PARAM_OUTPAINT_RIGHT,
    PARAM_OUTPAINT_TOP,
    PARAM_OUTPAINT_BOTTOM,
    PARAM_HR_SCALE,
    PARAM_HR_RESIZE_X,
    PARAM_HR_RESIZE_Y,
    PARAM_HR_UPSCALER,
    PARAM_HR_SECOND_PASS_STEPS,
    PARAM_VAE_TILE,
    PARAM_PRECISION,
    PARAM_SIZE,
    PARAM_STYLES,
    PARAM_COUNT
};

/* Those before it are a task's own fields and keys. */
#define PARAM_FIELDS PARAM_SIZE

enum param_kind {
    PARAM_KIND_PROMPT, /* UTF-8 text */
    PARAM_KIND_ASSET,  /* what the model library has: a name, or an absolute path */
    PARAM_KIND_FILE,   /* an absolute path */
    PARAM_KIND_WHOLE,  /* a whole number */
    PARAM_KIND_REAL,
    PARAM_KIND_MAYBE, /* a real number, or nothing: "" */
    PARAM_KIND_TERM,  /* a name of proto/terms.h */
    PARAM_KIND_BOOL,  /* "true" or "false" */
    PARAM_KIND_SIZE,
    PARAM_KIND_STYLES,
};

/* The id of an exact name, or -1. */
int param_from_name(const char *name);

/* Static. */
const char *param_name(enum param p);

enum param_kind param_kind(enum param p);

/* True for parameters whose values are numbers. */
bool param_is_number(enum param p);

/* The whole number that every value is a multiple of; 0 for reals and for what is no number. */
int64_t param_unit(enum param p);

/* Of a PARAM_KIND_TERM. */
enum term_kind param_terms(enum param p);

/* The value where a manifest gives none; NULL: one must be given, or the name stands for others.
 * Seeds that are drawn then are "-1". Static. */
const char *param_default(enum param p);

/* True if bundles and tasks leave the parameter out where it is at its default. */
bool param_is_optional(enum param p);
bool param_is_absent(const struct task *t, enum param p);

/* A number, a term's id, a truth value: 0 or 1. Of texts: 1 if there is one. Of numbers that may be
 * left open, and are: -1. */
double param_number(const struct task *t, enum param p);

/*
 * Sets one parameter from text, every bound checked; what it replaces is freed. t may be zeroed
 * memory otherwise. ERR_INPUT names the parameter, the text and what it must be; t is then as
 * before. `styles` changes nothing: only that it is text is checked.
 */
int param_set(struct task *t, enum param p, const char *text, struct err *e);

/* Appends a parameter's value as text; of `styles`: nothing. */
void param_text(const struct task *t, enum param p, struct buf *ret_text);

/* The same as JSON: numbers and truth values as such, the rest as text. A new reference, NULL when
 * out of memory. */
json_t *param_json(const struct task *t, enum param p);

/* Appends the same as JSON text (RFC 8785). Not of a number left open. */
void param_put_json(const struct task *t, enum param p, struct buf *ret_text);

/* Sets it from JSON of that type. value NULL: its default, if it is optional. ERR_INPUT; where:
 * named in errors ("task"). */
int param_from_json(struct task *t, enum param p, const json_t *value, const char *where,
                    struct err *e);

#endif
