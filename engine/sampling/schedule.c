#include "engine/sampling/schedule_inner.h"

#include <math.h>

/* ---- the noise process: float32, as torch computes it */

/* Nichol and Dhariwal 2021 (arXiv:2102.09672), eq. 17, capped at 0.999. */
static float beta_squaredcos(int n, int i)
{
    double t1 = (double)i / n, t2 = (double)(i + 1) / n;
    double a1 = cos((t1 + 0.008) / 1.008 * M_PI / 2), a2 = cos((t2 + 0.008) / 1.008 * M_PI / 2);
    double beta = 1 - a2 * a2 / (a1 * a1);

    return (float)(beta < 0.999 ? beta : 0.999);
}

static float beta_at(const struct schedule_settings *s, int i)
{
    float root;

    if (s->trained_betas)
        return (float)s->trained_betas[i];
    if (s->beta_schedule == BETA_SQUAREDCOS)
        return beta_squaredcos(s->n_train, i);
    if (s->beta_schedule == BETA_LINEAR)
        return linspace_f32((float)s->beta_start, (float)s->beta_end, s->n_train, i);
    root = linspace_f32((float)sqrt(s->beta_start), (float)sqrt(s->beta_end), s->n_train, i);
    return root * root;
}

/* In place: alphas to their products, kept in float64 between numbers as torch's cumprod does. */
static void cumulate(float *a, int n)
{
    double product = 1;

    for (int i = 0; i < n; i++) {
        product *= a[i];
        a[i] = (float)product;
    }
}

/*
 * Zero terminal SNR: Lin et al. 2023 (arXiv:2305.08891), algorithm 1, by way of betas as diffusers
 * has it. In: products of alphas; out: the rescaled ones, the last being 0.
 */
static void rescale_zero_snr(float *a, int n)
{
    float first = sqrtf(a[0]), last = sqrtf(a[n - 1]);
    float scale = first / (first - last);
    float before = 0;

    for (int i = 0; i < n; i++) {
        float root = (sqrtf(a[i]) - last) * scale;
        float bar = root * root;
        float alpha = i ? bar / before : bar;
        float beta = 1.0f - alpha;
        before = bar;
        a[i] = 1.0f - beta;
    }
    cumulate(a, n);
}

/* Zero SNR: where steps go by sigmas, the first one must be finite. */
static int init_alphas(struct schedule *s, const struct schedule_settings *set, struct err *e)
{
    int n = set->n_train;

    s->n_train = n;
    s->alphas_cumprod = calloc((size_t)n, sizeof *s->alphas_cumprod);
    if (!s->alphas_cumprod)
        return err_set(e, ERR_OOM, "no memory for a schedule of %d training steps", n);
    for (int i = 0; i < n; i++)
        s->alphas_cumprod[i] = 1.0f - beta_at(set, i);
    cumulate(s->alphas_cumprod, n);
    if (set->zero_snr) {
        rescale_zero_snr(s->alphas_cumprod, n);
        if (!s->by_alpha)
            s->alphas_cumprod[n - 1] = 0x1p-24f;
    }
    for (int i = 0; i < n; i++)
        if (!(s->alphas_cumprod[i] > 0 && s->alphas_cumprod[i] < 1) &&
            !(set->zero_snr && i == n - 1))
            return err_set(e, ERR_INPUT, "%s: the betas leave no signal at training step %d",
                           set->where, i);
    s->final_alpha_cumprod = set->alpha_to_one ? 1.0f : s->alphas_cumprod[0];
    return 0;
}

/* ---- two calls per step */

void schedule_ancestral(float from, float to, double eta, float *ret_down, float *ret_up)
{
    float up = sqrtf(to * to * (from * from - to * to) / (from * from));

    up = eta == 1 ? up : fminf(to, (float)eta * up);
    *ret_down = eta == 0 ? to : sqrtf(to * to - up * up);
    *ret_up = up;
}

/* torch.lerp of the logs by a half. */
static float log_middle(float a, float b)
{
    float start = log_f32(a), end = log_f32(b);

    return exp_f32(end - (end - start) * 0.5f);
}

/* The sigma of the second call in a step between two. */
static float mid_sigma(const struct schedule *s, float from, float to)
{
    float down, up, t, t_next;

    if (s->sampler == SAMPLER_HEUN)
        return to;
    if (s->sampler == SAMPLER_DPM2)
        return log_middle(to, from);
    schedule_ancestral(from, to, s->eta, &down, &up);
    if (s->sampler == SAMPLER_DPM2_A)
        return log_middle(from, down);
    t = -log_f32(from);
    t_next = -log_f32(s->sampler == SAMPLER_DPMPP_2S_A ? down : to);
    return exp_f32(-(t + 0.5f * (t_next - t)));
}

/*
 * The time step of a step's second call, and the sigma that stands for it in the list: diffusers
 * has the step's end there, the web UI's samplers where the call is.
 */
static void second_call(const struct schedule *s, const struct draft *d, int i, float *ret_t,
                        float *ret_sigma)
{
    float mid = s->mids[i];
    bool at_next = s->sampler == SAMPLER_HEUN && i + 1 < d->n;
    bool web = s->sampler == SAMPLER_DPMPP_2S_A || s->sampler == SAMPLER_DPMPP_SDE;

    *ret_t = at_next ? (float)d->t[i + 1]
             : web   ? schedule_time_torch(s, mid)
                     : schedule_time_numpy(s, mid);
    *ret_sigma = web ? mid : (float)d->sigma[i + 1];
}

/* ---- the lists */

static int reserve(struct schedule *s, const struct schedule_settings *set, const struct draft *d,
                   struct err *e)
{
    bool last_whole = d->sigma[d->n] > 0;

    s->n = set->class->two_calls ? 2 * d->n - !last_whole : d->n;
    s->timesteps = calloc((size_t)s->n, sizeof *s->timesteps);
    s->sigmas = calloc((size_t)s->n + 1, sizeof *s->sigmas);
    if (set->class->two_calls)
        s->mids = calloc((size_t)d->n, sizeof *s->mids);
    if (!s->timesteps || !s->sigmas || (set->class->two_calls && !s->mids))
        return err_set(e, ERR_OOM, "no memory for a schedule of %d steps", d->n);
    return 0;
}

static int list_steps(struct schedule *s, const struct schedule_settings *set,
                      const struct draft *d, struct err *e)
{
    int rc = reserve(s, set, d, e), at = 0;

    if (rc != 0)
        return rc;
    for (int i = 0; i < d->n; i++) {
        float from = (float)d->sigma[i], to = (float)d->sigma[i + 1];

        s->timesteps[at] = (float)d->t[i];
        s->sigmas[at++] = from;
        if (set->class->two_calls && to > 0) {
            s->mids[i] = mid_sigma(s, from, to);
            second_call(s, d, i, &s->timesteps[at], &s->sigmas[at]);
            at++;
        }
    }
    s->sigmas[at] = (float)d->sigma[d->n];
    s->n_steps = s->sampler == SAMPLER_PNDM && d->n > 1 ? d->n - 1 : d->n;
    return 0;
}

static int init_steps(struct schedule *s, const struct schedule_settings *set,
                      const struct schedule_options *o, struct err *e)
{
    double *numbers = calloc((size_t)o->steps * 2 + 3, sizeof *numbers);
    struct draft d = {.t = numbers, .sigma = numbers + o->steps + 1};
    int rc = 0;

    if (!numbers)
        TRY(err_set(e, ERR_OOM, "no memory for a schedule of %d steps", o->steps));
    if (set->web) {
        schedule_web(s, set, o->steps, o->xl, &d);
    } else {
        TRY(schedule_times(s, set, o->steps, &d, e));
        schedule_sigmas(s, set, &d);
    }
    TRY(list_steps(s, set, &d, e));
out:
    free(numbers);
    return rc;
}

/* Where picture to picture begins: diffusers' get_timesteps. */
static int init_first(struct schedule *s, const struct schedule_settings *set,
                      const struct schedule_options *o, struct err *e)
{
    int run;

    if (o->strength == 0)
        return 0;
    if (!(o->strength > 0 && o->strength <= 1))
        return err_set(e, ERR_INPUT, "denoising_strength is %g: it must lie between 0 and 1",
                       o->strength);
    run = (int)(o->steps * o->strength);
    s->first = (o->steps - run) * (set->class->two_calls ? 2 : 1);
    if (run < 1 || s->first >= s->n)
        return err_set(e, ERR_INPUT,
                       "denoising_strength %g of %d steps leaves no step to run: raise either",
                       o->strength, o->steps);
    return 0;
}

/* ---- what a sampler cannot do */

/* Time steps that a walk over alphas cannot begin at. */
static int check_alphas(const struct schedule *s, const struct schedule_settings *set,
                        struct err *e)
{
    int first = (int)s->timesteps[s->first];
    bool divides = (s->prediction == PREDICTION_EPSILON && !s->clip) || s->sampler == SAMPLER_PNDM;

    if (first >= s->n_train)
        return err_set(e, ERR_INPUT,
                       "%d steps of %s with steps_offset %d begin at training step %d of %d: use "
                       "fewer steps",
                       s->n_steps, sampler_name(s->sampler), set->steps_offset, first, s->n_train);
    if (s->alphas_cumprod[first] == 0 && divides)
        return err_set(e, ERR_INPUT,
                       "%s: with 'rescale_betas_zero_snr' the first step of %s holds no signal, "
                       "which a model of prediction_type epsilon%s cannot denoise",
                       set->where, sampler_name(s->sampler),
                       s->sampler == SAMPLER_PNDM ? ", or this sampler," : "");
    return 0;
}

/* A step whose second call would come at no noise: from far too high a sigma. */
static int check_mids(const struct schedule *s, struct err *e)
{
    for (int i = s->first / 2; i < s->n / 2; i++)
        if (!(s->mids[i] > 0))
            return err_set(e, ERR_INPUT,
                           "%d steps of %s fall from sigma %g to %g at once: use more steps",
                           s->n_steps, sampler_name(s->sampler), (double)s->sigmas[2 * i],
                           (double)s->sigmas[2 * i + 1]);
    return 0;
}

/* A solver whose last step is of higher order cannot end where the log SNR is infinite. */
static int check_order(const struct schedule *s, const struct schedule_settings *set, struct err *e)
{
    if (s->sampler == SAMPLER_UNIPC && s->order > 1 && !s->lower_order_final &&
        s->sigmas[s->n] == 0)
        return err_set(e, ERR_INPUT,
                       "%s: 'lower_order_final' is false, with which unipc cannot end at no noise",
                       set->where);
    return 0;
}

static int init_noise(struct schedule *s, const struct schedule_options *o, struct err *e)
{
    double own = sampler_eta(s->sampler), eta = o->eta.value;
    double s_noise = o->s_noise.set ? o->s_noise.value : 1;

    if (o->eta.set && isnan(own) && eta != 0)
        return err_set(e, ERR_INPUT, "sampler %s has no eta", sampler_name(s->sampler));
    if (o->eta.set && !isnan(own) && !(eta >= 0 && eta <= ETA_MAX))
        return err_set(e, ERR_INPUT, "eta is %g: sampler %s takes 0 to %d", eta,
                       sampler_name(s->sampler), ETA_MAX);
    if (s_noise != 1 && !sampler_adds_noise(s->sampler))
        return err_set(e, ERR_INPUT, "sampler %s adds no noise, and has no s_noise",
                       sampler_name(s->sampler));
    if (!(s_noise >= 0 && s_noise <= S_NOISE_MAX))
        return err_set(e, ERR_INPUT, "s_noise is %g: it must lie between 0 and %d", s_noise,
                       S_NOISE_MAX);
    s->eta = o->eta.set ? eta : isnan(own) ? 0 : own;
    s->s_noise = (float)s_noise;
    return 0;
}

/* ---- all of it */

static float init_noise_sigma(const struct schedule *s, const struct schedule_settings *set)
{
    float max = 0;

    if (!s->exploding)
        return 1;
    if (set->web)
        return s->sigmas[0];
    for (int i = 0; i < s->n; i++)
        max = fmaxf(max, s->sigmas[i]);
    return set->spacing == SPACING_LEADING ? sqrtf(max * max + 1.0f) : max;
}

/* What goes from the settings as it is. */
static void take_settings(struct schedule *s, const struct schedule_settings *set, int steps)
{
    s->prediction = set->prediction;
    s->by_alpha = set->class->family == FAMILY_ALPHA;
    s->exploding = !s->by_alpha && (set->class->family != FAMILY_LAMBDA || set->web);
    s->stride = set->n_train / steps;
    s->clip = set->clip;
    s->clip_range = (float)set->clip_range;
    s->variance = set->variance;
    s->timestep_scaling = (float)set->timestep_scaling;
    s->order = set->order;
    s->heun = set->heun;
    s->bh1 = set->bh1;
    s->lower_order_final = set->lower_order_final;
}

int schedule_init(struct schedule *s, const struct schedule_config *c,
                  const struct schedule_options *o, struct err *e)
{
    struct schedule_settings set;
    int rc;

    *s = (struct schedule){.sampler = o->sampler};
    TRY(schedule_settings_read(c, o, &set, e));
    if (o->steps < 1 || o->steps > set.n_train)
        TRY(err_set(e, ERR_INPUT, "steps is %d: the model's schedule allows 1 to %d", o->steps,
                    set.n_train));
    take_settings(s, &set, o->steps);
    TRY(init_noise(s, o, e));
    TRY(init_alphas(s, &set, e));
    TRY(init_steps(s, &set, o, e));
    TRY(check_order(s, &set, e));
    TRY(init_first(s, &set, o, e));
    if (s->mids)
        TRY(check_mids(s, e));
    if (s->by_alpha)
        TRY(check_alphas(s, &set, e));
    s->init_noise_sigma = init_noise_sigma(s, &set);
    s->euler_last = s->sigmas[s->n] == 0 ||
                    (!set.web && (set.euler_at_final || (set.lower_order_final && s->n < 15)));
out:
    if (rc != 0)
        schedule_done(s);
    return rc;
}

int schedule_count(const struct schedule *s, int step)
{
    if (s->mids)
        return step / 2 + 1;
    if (s->sampler == SAMPLER_PNDM)
        return step > 1 ? step : 1;
    return step + 1;
}

void schedule_shares(const struct schedule *s, int step, float *ret_clean, float *ret_noise)
{
    float sigma = s->sigmas[step];

    if (step == s->n) {
        *ret_clean = 1;
        *ret_noise = 0;
    } else if (s->by_alpha) {
        float a = s->alphas_cumprod[(int)s->timesteps[step]];

        *ret_clean = sqrtf(a);
        *ret_noise = sqrtf(1.0f - a);
    } else {
        *ret_clean = s->exploding ? 1 : 1.0f / sqrtf(sigma * sigma + 1.0f);
        *ret_noise = sigma * *ret_clean;
    }
}

void schedule_add_noise(const struct schedule *s, int step, float *out, const float *clean,
                        const float *noise, size_t n)
{
    float keep, add;

    schedule_shares(s, step, &keep, &add);
    for (size_t i = 0; i < n; i++)
        out[i] = keep * clean[i] + add * noise[i];
}

void schedule_done(struct schedule *s)
{
    free(s->timesteps);
    free(s->sigmas);
    free(s->mids);
    free(s->alphas_cumprod);
    *s = (struct schedule){0};
}
