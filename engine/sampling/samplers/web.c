/*
 * Samplers that diffusers lacks, as the web UI has them. Equal to k-diffusion's
 * sample_dpmpp_2s_ancestral, sample_dpmpp_sde (r = 1/2) and sample_dpmpp_3m_sde, with plain noise
 * of the picture's generator where the web UI may take a Brownian tree's. Lu et al. 2022
 * (arXiv:2211.01095). Time is minus the log of sigma there.
 */
#include "engine/sampling/sampler_inner.h"

#include <math.h>

#define START 0 /* where the latent of the step's start is kept */

/* (end / begin) from - expm1(begin's time - end's) picture, between two sigmas given as times. */
static struct value move(struct entry *n, struct value from, struct value picture, float t,
                         float t_end)
{
    float share = exp_f32(-t_end) / exp_f32(-t), more = expm1_f32(t - t_end);

    return sub(n, scale(n, share, from), scale(n, more, picture));
}

/* The last step, to no noise: Euler's. */
static struct value finish_at_zero(struct entry *n, struct value picture, float sigma)
{
    return add(n, n->x, scale(n, -sigma, over(n, sub(n, n->x, picture), sigma)));
}

/* The sigmas between which the step of entry `step` goes. */
static void step_range(const struct schedule *s, int step, float *ret_from, float *ret_to)
{
    int begin = step / 2 * 2, end = begin + 2;

    *ret_from = s->sigmas[begin];
    *ret_to = s->sigmas[end < s->n ? end : s->n];
}

struct value run_dpmpp_2s_a(struct entry *n)
{
    const struct schedule *s = n->schedule;
    float from, to, down, up, t, t_down;
    struct value picture = picture_exploding(n, s->sigmas[n->step]);

    step_range(s, n->step, &from, &to);
    schedule_ancestral(from, to, s->eta, &down, &up);
    t = -log_f32(from);
    t_down = -log_f32(down);
    if (n->step % 2 == 1)
        return add_drawn(n, move(n, kept(n, START), picture, t, t_down), up);
    if (to == 0)
        return finish_at_zero(n, picture, from);
    keep(n, START, n->x);
    return move(n, n->x, picture, t, t + 0.5f * (t_down - t));
}

/* From the step's start to the time of t_to with the noise of an ancestral step. */
static struct value sde_move(struct entry *n, struct value start, float t, float t_to,
                             struct value picture)
{
    float down, up;

    schedule_ancestral(exp_f32(-t), exp_f32(-t_to), n->schedule->eta, &down, &up);
    return add_drawn(n, move(n, start, picture, t, -log_f32(down)), up);
}

struct value run_dpmpp_sde(struct entry *n)
{
    const struct schedule *s = n->schedule;
    struct value picture = picture_exploding(n, s->sigmas[n->step]);
    float from, to, t, t_to;

    step_range(s, n->step, &from, &to);
    t = -log_f32(from);
    t_to = -log_f32(to);
    if (n->step % 2 == 1)
        return sde_move(n, kept(n, START), t, t_to, picture);
    if (to == 0)
        return finish_at_zero(n, picture, from);
    keep(n, START, n->x);
    return sde_move(n, n->x, t, t + (t_to - t) * 0.5f, picture);
}

/* What the pictures of earlier steps say of the way: first and second difference. */
struct bends {
    float h, h_1, h_2; /* steps in time: this one, the one before, the one before that; 0: none */
    float phi_2, phi_3;
};

/* Length in time of the step of an entry; 0: it was not run. */
static float step_time(const struct schedule *s, int step)
{
    if (step < s->first)
        return 0;
    return -log_f32(s->sigmas[step + 1]) - -log_f32(s->sigmas[step]);
}

static struct value add_bends(struct entry *n, const struct bends *b, struct value picture,
                              struct value x)
{
    float r0 = b->h_1 / b->h, r1 = b->h_2 / b->h;
    struct value before = kept(n, place_of(n->age - 1, 3));
    struct value d1_0 = over(n, sub(n, picture, before), r0), d1_1, d1, d2, twist;

    if (b->h_2 == 0)
        return add(n, x, scale(n, b->phi_2, d1_0));
    d1_1 = over(n, sub(n, before, kept(n, place_of(n->age - 2, 3))), r1);
    twist = sub(n, d1_0, d1_1);
    d1 = add(n, d1_0, over(n, scale(n, r0, twist), r0 + r1));
    d2 = over(n, twist, r0 + r1);
    return sub(n, add(n, x, scale(n, b->phi_2, d1)), scale(n, b->phi_3, d2));
}

static struct value step_3m(struct entry *n, struct value picture)
{
    const struct schedule *s = n->schedule;
    float eta = (float)s->eta, to = s->sigmas[n->step + 1];
    struct bends b = {.h = step_time(s, n->step),
                      .h_1 = step_time(s, n->step - 1),
                      .h_2 = step_time(s, n->step - 2)};
    float both = b.h * (eta + 1), share = exp_f32(-both), more = -expm1_f32(-both);
    struct value x = add(n, scale(n, share, n->x), scale(n, more, picture));

    b.phi_2 = expm1_f32(-both) / both + 1;
    b.phi_3 = b.phi_2 / both - 0.5f;
    if (b.h_1 != 0)
        x = add_bends(n, &b, picture, x);
    if (eta == 0)
        return x;
    return add_drawn(n, x, to * sqrtf(-expm1_f32(-2 * b.h * eta)));
}

struct value run_dpmpp_3m_sde(struct entry *n)
{
    const struct schedule *s = n->schedule;
    struct value picture = picture_exploding(n, s->sigmas[n->step]), x = picture;

    if (s->sigmas[n->step + 1] != 0)
        x = step_3m(n, picture);
    keep(n, place_of(n->age, 3), picture);
    return x;
}
