/*
 * The steps of a pass: what the backend is told before each, and the calls that it may record.
 *
 * Guidance: negative + sum of weight_i * cfg_scale * (part_i - negative), Ho and Salimans 2022
 * (arXiv:2207.12598) as diffusers has it, for several parts Liu et al. 2022 (arXiv:2206.01714) as
 * AUTOMATIC1111 has it; a cfg_scale of 1 or less is 1. With guidance_rescale the answer keeps the
 * standard deviation that it has at scale 1, in that proportion: Lin et al. 2023
 * (arXiv:2305.08891), eq. 15 and 16; diffusers' rescale_noise_cfg.
 */
#ifndef ENGINE_PIPELINE_PASS_STEP_H
#define ENGINE_PIPELINE_PASS_STEP_H

#include "engine/pipeline/pass.h"

/* Memory of the latents, and then of the other arrays of a step, in the backend's arena. */
int pass_take_latents(struct pass *p, struct err *e);
int pass_take_arrays(struct pass *p, struct err *e);

/* What pass_begin made goes to the backend; the host's numbers are of no use any more. */
int pass_put_start(struct pass *p, struct err *e);

/* Memory of the steps; behind the texts. */
int pass_take_steps(struct pass *p, struct err *e);

/* While planning: each kind of step that there may be, without numbers. */
int pass_plan_steps(struct pass *p, struct err *e);

/* All steps. ERR_OUTPUT: NaN or Inf from the U-Net. */
int pass_run_steps(struct pass *p, struct err *e);

#endif
