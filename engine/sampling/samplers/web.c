/*
 * Samplers that diffusers lacks, as the web UI has them. Equal to k-diffusion's
 * sample_dpmpp_2s_ancestral, sample_dpmpp_sde (r = 1/2) and sample_dpmpp_3m_sde, with plain noise
 * of the picture's generator where the web UI may take a Brownian tree's. Lu et al. 2022
 * (arXiv:2211.01095). Time is minus the log of sigma there.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>
#include <string.h>

/* x = (end / begin) x - expm1(begin's time - end's) picture, between two sigmas given as times. */
static void move(float *x, const float *from, const float *picture, float t, float t_end,
                 size_t size)
{
    float keep = exp_f32(-t_end) / exp_f32(-t), add = expm1_f32(t - t_end);

    for (size_t i = 0; i < size; i++)
        x[i] = keep * from[i] - add * picture[i];
}

/* The last step, to no noise: Euler's. */
static void finish_at_zero(float *x, const float *picture, float sigma, size_t size)
{
    for (size_t i = 0; i < size; i++)
        x[i] = x[i] + (x[i] - picture[i]) / sigma * -sigma;
}

/* out = the picture predicted at an entry whose sigma is in the list. */
static int predict(struct sampler_run *r, int step, float *scaled, float *out, struct err *e)
{
    float sigma = r->schedule->sigmas[step];
    int rc = call_scaled(r, step, r->x, sigma, scaled, out, e);

    if (rc == 0)
        picture_exploding(r->schedule, sigma, r->x, out, r->size);
    return rc;
}

/* The sigmas between which the step of entry `step` goes. */
static void step_range(const struct schedule *s, int step, float *ret_from, float *ret_to)
{
    int begin = step / 2 * 2, end = begin + 2;

    *ret_from = s->sigmas[begin];
    *ret_to = s->sigmas[end < s->n ? end : s->n];
}

static int run_2s_a_entry(struct sampler_run *r, int step, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *picture = piece(r, 1), *start = piece(r, 2);
    float from, to, down, up, t, t_down;
    int rc = 0;

    step_range(s, step, &from, &to);
    schedule_ancestral(from, to, s->eta, &down, &up);
    t = -log_f32(from);
    t_down = -log_f32(down);
    TRY(predict(r, step, scaled, picture, e));
    if (step % 2 == 1) {
        move(r->x, start, picture, t, t_down, r->size);
        TRY(add_drawn(r, up, scaled, r->x, e));
    } else if (to == 0) {
        finish_at_zero(r->x, picture, from, r->size);
    } else {
        memcpy(start, r->x, r->size * sizeof *start);
        move(r->x, start, picture, t, t + 0.5f * (t_down - t), r->size);
    }
out:
    return rc;
}

int run_dpmpp_2s_a(struct sampler_run *r, struct err *e)
{
    int rc = 0;

    for (int step = r->schedule->first; step < r->schedule->n; step++) {
        TRY(run_2s_a_entry(r, step, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* From the step's start to the time of t_to with the noise of an ancestral step. */
static int sde_move(struct sampler_run *r, float t, float t_to, const float *picture, struct err *e)
{
    float *noise = piece(r, 0), *start = piece(r, 2), down, up;

    schedule_ancestral(exp_f32(-t), exp_f32(-t_to), r->schedule->eta, &down, &up);
    move(r->x, start, picture, t, -log_f32(down), r->size);
    return add_drawn(r, up, noise, r->x, e);
}

static int run_sde_entry(struct sampler_run *r, int step, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *picture = piece(r, 1), *start = piece(r, 2), from, to, t, t_to;
    int rc = 0;

    step_range(s, step, &from, &to);
    t = -log_f32(from);
    t_to = -log_f32(to);
    TRY(predict(r, step, scaled, picture, e));
    if (step % 2 == 1) {
        TRY(sde_move(r, t, t_to, picture, e));
    } else if (to == 0) {
        finish_at_zero(r->x, picture, from, r->size);
    } else {
        memcpy(start, r->x, r->size * sizeof *start);
        TRY(sde_move(r, t, t + (t_to - t) * 0.5f, picture, e));
    }
out:
    return rc;
}

int run_dpmpp_sde(struct sampler_run *r, struct err *e)
{
    int rc = 0;

    for (int step = r->schedule->first; step < r->schedule->n; step++) {
        TRY(run_sde_entry(r, step, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* What the pictures of earlier steps say of the way: first and second difference. */
struct bends {
    float h, h_1, h_2; /* steps in time: this one, the one before, the one before that; 0: none */
    float phi_2, phi_3;
};

static void add_bends(const struct bends *b, float *const picture[3], float *x, size_t size)
{
    float r0 = b->h_1 / b->h, r1 = b->h_2 / b->h;

    for (size_t i = 0; i < size; i++) {
        float d1_0 = (picture[0][i] - picture[1][i]) / r0;

        if (b->h_2 != 0) {
            float d1_1 = (picture[1][i] - picture[2][i]) / r1;
            float d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1);
            float d2 = (d1_0 - d1_1) / (r0 + r1);
            x[i] = x[i] + b->phi_2 * d1 - b->phi_3 * d2;
        } else {
            x[i] = x[i] + b->phi_2 * d1_0;
        }
    }
}

/* picture[0]: of this step; h_1, h_2 as in struct bends. */
static int step_3m(struct sampler_run *r, int step, float *const picture[3], struct bends *b,
                   struct err *e)
{
    const struct schedule *s = r->schedule;
    float eta = (float)s->eta, to = s->sigmas[step + 1], both, keep, add;

    b->h = -log_f32(to) - -log_f32(s->sigmas[step]);
    both = b->h * (eta + 1);
    keep = exp_f32(-both);
    add = -expm1_f32(-both);
    for (size_t i = 0; i < r->size; i++)
        r->x[i] = keep * r->x[i] + add * picture[0][i];
    b->phi_2 = expm1_f32(-both) / both + 1;
    b->phi_3 = b->phi_2 / both - 0.5f;
    if (b->h_1 != 0)
        add_bends(b, picture, r->x, r->size);
    if (eta == 0)
        return 0;
    return add_drawn(r, to * sqrtf(-expm1_f32(-2 * b->h * eta)), piece(r, 3), r->x, e);
}

int run_dpmpp_3m_sde(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *picture[3] = {piece(r, 0), piece(r, 1), piece(r, 2)};
    struct bends b = {0};
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float *oldest = picture[2];

        TRY(predict(r, step, piece(r, 3), picture[0], e));
        if (s->sigmas[step + 1] == 0)
            memcpy(r->x, picture[0], r->size * sizeof *r->x);
        else
            TRY(step_3m(r, step, picture, &b, e));
        picture[2] = picture[1];
        picture[1] = picture[0];
        picture[0] = oldest;
        b.h_2 = b.h_1;
        b.h_1 = b.h;
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
