/*
 * A task: everything that decides one picture's pixels, and nothing else. Its canonical JSON (RFC
 * 8785) is what a lease carries, what a picture's `litho` chunk records and what replay reads:
 * jobs/SPEC.md, "The task". It names no job, index, path of the picture or worker.
 */
#ifndef JOBS_TASK_H
#define JOBS_TASK_H

#include "jobs/names.h"
#include "proto/buf.h"
#include "proto/err.h"
#include "proto/json.h"
#include "proto/terms.h"

#include <stdbool.h>
#include <stdint.h>

#define TASK_STEPS_MAX  1000
#define TASK_SIDE_MIN   8    /* pixels, and sides are multiples of 8 */
#define TASK_SIDE_MAX   8192 /* pixels, of the finished picture too */
#define TASK_CFG_MAX    1000.0
#define TASK_SEED_MAX   ((INT64_C(1) << 53) - 1) /* exact in JSON */
#define TASK_PROMPT_MAX 32768                    /* bytes */
#define TASK_MODEL_MAX  1024                     /* bytes of a model's name, and of every path */

/* A number that may be left to what it belongs to. */
struct task_number {
    bool set;
    double value;
};

/*
 * Fields are named and bounded in jobs/param.c. Texts are owned and UTF-8; those that may be absent
 * are NULL or empty then. What the numbers mean: struct render in engine/engine.h, jobs/SPEC.md.
 */
struct task {
    char *model;        /* name in the model library, or an absolute path */
    char *model_config; /* folder that describes a single-file model; may be absent */
    char *vae;          /* another VAE, named as models are; may be absent */
    char *prompt;
    char *negative_prompt;
    enum emphasis emphasis;
    int clip_skip;
    enum sampler_id sampler;
    enum scheduler_id scheduler;
    enum precision precision;
    int steps; /* 1..TASK_STEPS_MAX */
    struct task_number eta, s_noise;
    bool rescale_betas_zero_snr;
    double cfg_scale; /* 0..TASK_CFG_MAX; 1 and below: no guidance */
    double guidance_rescale;
    int width, height; /* pixels, multiples of 8 */
    int64_t seed;      /* 0..TASK_SEED_MAX */
    enum rng_kind rng;
    int64_t subseed; /* 0..TASK_SEED_MAX */
    double subseed_strength;
    int seed_resize_from_w, seed_resize_from_h; /* pixels; 0: not resized */

    char *init_image; /* absolute path; may be absent: text to picture */
    double denoising_strength;
    enum resize_mode resize_mode;
    char *mask; /* absolute path; may be absent */
    struct task_number mask_blur;
    bool inpainting_mask_invert;
    enum mask_fill inpainting_fill;
    bool inpaint_full_res;
    int inpaint_full_res_padding;
    int outpaint_left, outpaint_right, outpaint_top, outpaint_bottom; /* pixels */

    double hr_scale;              /* 0: by hr_resize_x and _y, or no second pass */
    int hr_resize_x, hr_resize_y; /* pixels; 0: from the other one, or by hr_scale */
    enum upscaler hr_upscaler;
    int hr_second_pass_steps; /* 0: as many as the first pass */
    int vae_tile;             /* pixels; 0: the whole picture */

    struct names loras, embeddings; /* of those that the prompts use: bound to files; mostly none */
};

/* A task in which everything that may be left out has its default; the rest is zero. No memory. */
struct task task_defaults(void);

/* True if there is a second pass at a larger size. */
bool task_is_hires(const struct task *t);

/*
 * Pixels after the second pass, as AUTOMATIC1111 1.10 has it: hr_resize_x and _y, one of them from
 * the other by the first pass' ratio, or hr_scale; cut to multiples of 8. Without a second pass:
 * width and height.
 */
void task_hires_size(const struct task *t, int64_t *ret_width, int64_t *ret_height);

/* Pixels of the finished picture: with the second pass and with outpainting. */
void task_size(const struct task *t, int64_t *ret_width, int64_t *ret_height);

/* Every bound, and that no two fields contradict each other (jobs/clash.h). ERR_INPUT names the
 * field and the bound. */
int task_check(const struct task *t, struct err *e);

/* Appends the canonical JSON. What may be left out and is at its default is left out. */
void task_to_json(const struct task *t, struct buf *ret_text);

/* Reads it back; unknown keys are ERR_INPUT, since they could change the picture. ret_t:
 * task_done(). */
int task_from_json(const char *text, size_t size, struct task *ret_t, struct err *e);
int task_from_value(const json_t *value, struct task *ret_t, struct err *e);

/* It starts from the picture of that SHA-256: its init_image is named by it. ERR_OOM. */
int task_start_from(struct task *t, const char *sha256, struct err *e);

/* A deep copy. ret_t: task_done(). ERR_OOM. */
int task_copy(const struct task *t, struct task *ret_t, struct err *e);

void task_done(struct task *t);

#endif
