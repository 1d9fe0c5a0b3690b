#include "engine/schedule.h"

#include "engine/schedule_config.h"

#include <math.h>

#define KARRAS_RHO 7.0

/* ---- the noise process: float32, as torch computes it */

/* torch.linspace in float32: from both ends towards the middle. */
static float linspace_f32(float start, float end, int n, int i)
{
    float step = (end - start) / (float)(n - 1);

    return i < n / 2 ? start + step * (float)i : end - step * (float)(n - 1 - i);
}

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
        if (s->sampler != SAMPLER_DDIM)
            s->alphas_cumprod[n - 1] = 0x1p-24f; /* so that the first sigma is finite */
    }
    for (int i = 0; i < n; i++)
        if (!(s->alphas_cumprod[i] > 0 && s->alphas_cumprod[i] < 1) &&
            !(set->zero_snr && i == n - 1))
            return err_set(e, ERR_INPUT, "%s: the betas leave no signal at training step %d",
                           set->where, i);
    s->final_alpha_cumprod = set->alpha_to_one ? 1.0f : s->alphas_cumprod[0];
    return 0;
}

static float sigma_at(const struct schedule *s, int i)
{
    float a = s->alphas_cumprod[i];

    return sqrtf((1.0f - a) / a);
}

/* ---- time steps: float64, as numpy computes them */

/* numpy.linspace(0, last, n)[i]: the end is exact. */
static double linspace_f64(double last, int n, int i)
{
    return n > 1 && i == n - 1 ? last : i * (last / (n > 1 ? n - 1 : 1));
}

/*
 * Length of numpy.arange(start, 0, -step), at most steps. Rounding makes it steps + 1 for some
 * counts (61 of 1000), and diffusers then takes a step at time -1, which spoils the picture (ddim)
 * or does next to nothing: here that step is left out.
 */
static int arange_count(double start, double step, int steps)
{
    int count = (int)ceil((0 - start) / -step);

    return count < steps ? count : steps;
}

/* numpy.arange(start, 0, -step)[i], which spreads the rounded first difference. */
static double arange_at(double start, double step, int i)
{
    double delta = (start - step) - start;

    return i == 1 ? start - step : start + i * delta;
}

/*
 * Training step at which the log SNR falls under the bound: steps from there on are left out
 * (dpmpp_2m's lambda_min_clipped).
 */
static int last_timestep(const struct schedule *s, double lambda_min)
{
    int n = s->n_train;

    while (n > 0) {
        float a = s->alphas_cumprod[n - 1];
        float lambda = (float)log((double)sqrtf(a)) - (float)log((double)sqrtf(1.0f - a));
        if (lambda >= (float)lambda_min)
            break;
        n--;
    }
    return n;
}

/*
 * dpmpp_2m divides the range in steps + 1 points, and leaves the last one out; trailing spacing of
 * a clipped range has fewer steps, which goes to s->n.
 */
static int spaced_dpm(struct schedule *s, const struct schedule_settings *set, int steps,
                      double *ret_t, struct err *e)
{
    int last = last_timestep(s, set->lambda_min_clipped);
    double ratio = (double)s->n_train / steps;

    if (last < 1)
        return err_set(e, ERR_INPUT, "%s: 'lambda_min_clipped' leaves no time step", set->where);
    if (set->spacing == SPACING_LEADING && last / (steps + 1) < 1)
        return err_set(e, ERR_INPUT,
                       "%d steps of dpmpp_2m do not fit %d training steps with leading spacing",
                       steps, last);
    if (set->spacing == SPACING_TRAILING)
        s->n = arange_count(last, ratio, steps);
    for (int i = 0; i < s->n; i++) {
        if (set->spacing == SPACING_LINSPACE)
            ret_t[i] = nearbyint(linspace_f64(last - 1, steps + 1, steps - i));
        else if (set->spacing == SPACING_LEADING)
            ret_t[i] = (double)(steps - i) * (last / (steps + 1)) + set->steps_offset;
        else
            ret_t[i] = nearbyint(arange_at(last, ratio, i)) - 1;
    }
    return 0;
}

/* The published spacings: Lin et al. 2023 (arXiv:2305.08891), table 2. ret_t: [steps], s->n used.
 */
static int spaced(struct schedule *s, const struct schedule_settings *set, int steps, double *ret_t,
                  struct err *e)
{
    int n_train = s->n_train;
    double ratio = (double)n_train / steps;

    if (s->sampler == SAMPLER_DPMPP_2M)
        return spaced_dpm(s, set, steps, ret_t, e);
    for (int i = 0; i < steps; i++) {
        if (set->spacing == SPACING_LINSPACE)
            ret_t[i] = linspace_f64(n_train - 1, steps, steps - 1 - i);
        else if (set->spacing == SPACING_LEADING)
            ret_t[i] = (double)(steps - 1 - i) * (n_train / steps) + set->steps_offset;
        else
            ret_t[i] = nearbyint(arange_at(n_train, ratio, i)) - 1;
        ret_t[i] = s->sampler == SAMPLER_DDIM ? nearbyint(ret_t[i]) : (double)(float)ret_t[i];
    }
    return 0;
}

/* ---- sigmas */

/* numpy.interp over the training steps, constant beyond both ends. */
static double sigma_between(const struct schedule *s, double t)
{
    int low;

    if (t <= 0)
        return sigma_at(s, 0);
    if (t >= s->n_train - 1)
        return sigma_at(s, s->n_train - 1);
    low = (int)t;
    return ((double)sigma_at(s, low + 1) - (double)sigma_at(s, low)) * (t - low) +
           (double)sigma_at(s, low);
}

static float log_sigma_at(const struct schedule *s, int i)
{
    return (float)log((double)sigma_at(s, i));
}

/* The training step, fractional, of a sigma: linear in the log. */
static double time_of_sigma(const struct schedule *s, double sigma)
{
    double log_sigma = log(fmax(sigma, 1e-10)), w;
    float low_log, high_log;
    int low = 0, high = s->n_train - 1; /* sigmas ascend over the training steps */

    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (log_sigma >= (double)log_sigma_at(s, middle))
            low = middle;
        else
            high = middle;
    }
    low_log = log_sigma_at(s, low);
    high_log = log_sigma_at(s, low + 1);
    w = ((double)low_log - log_sigma) / (double)(low_log - high_log);
    w = fmin(fmax(w, 0), 1);
    return (1 - w) * low + w * (low + 1);
}

/*
 * Karras et al. 2022 (arXiv:2206.00364), eq. 5. t: [steps], in: the spaced time steps, of which
 * euler and euler_a take their range (dpmpp_2m takes the whole one); out: those of the new sigmas.
 */
static void apply_karras(const struct schedule *s, const struct schedule_settings *set, int steps,
                         double *t, double *ret_sigmas)
{
    bool dpm = s->sampler == SAMPLER_DPMPP_2M;
    double max = dpm ? sigma_at(s, s->n_train - 1) : sigma_between(s, t[0]);
    double min = dpm ? sigma_at(s, 0) : sigma_between(s, t[steps - 1]);
    double max_root = pow(set->sigma_max > 0 ? set->sigma_max : max, 1 / KARRAS_RHO);
    double min_root = pow(set->sigma_min > 0 ? set->sigma_min : min, 1 / KARRAS_RHO);

    for (int i = 0; i < steps; i++) {
        double ramp = linspace_f64(1, steps, i);
        ret_sigmas[i] = pow(max_root + ramp * (min_root - max_root), KARRAS_RHO);
        t[i] = time_of_sigma(s, ret_sigmas[i]);
        if (dpm && set->beta_schedule != BETA_SQUAREDCOS)
            t[i] = nearbyint(t[i]);
    }
}

static int init_steps(struct schedule *s, const struct schedule_settings *set, int steps, double *t,
                      double *sigmas, struct err *e)
{
    int rc = spaced(s, set, steps, t, e);

    if (rc != 0)
        return rc;
    if (set->karras) {
        apply_karras(s, set, steps, t, sigmas);
        s->n = steps;
    }
    for (int i = 0; i < s->n; i++) {
        if (!set->karras)
            sigmas[i] = sigma_between(s, t[i]);
        s->timesteps[i] = s->sampler == SAMPLER_DPMPP_2M ? (float)trunc(t[i]) : (float)t[i];
        s->sigmas[i] = (float)sigmas[i];
    }
    s->sigmas[s->n] = set->last_sigma_min ? sigma_at(s, 0) : 0.0f;
    return 0;
}

/* ---- one sampler's part */

/* Steps that diffusers' DDIM cannot do. */
static int check_ddim(const struct schedule *s, const struct schedule_settings *set, struct err *e)
{
    int first = (int)s->timesteps[0];

    if (first >= s->n_train)
        return err_set(e, ERR_INPUT,
                       "%d steps of ddim with steps_offset %d begin at training step %d of %d: use "
                       "fewer steps",
                       s->n, set->steps_offset, first, s->n_train);
    if (s->alphas_cumprod[first] == 0 && s->prediction == PREDICTION_EPSILON)
        return err_set(e, ERR_INPUT,
                       "%s: with 'rescale_betas_zero_snr' ddim's first step holds no signal, "
                       "which a model of prediction_type epsilon cannot denoise",
                       set->where);
    return 0;
}

static float init_noise_sigma(const struct schedule *s, const struct schedule_settings *set)
{
    float max = 0;

    if (s->sampler == SAMPLER_DDIM || s->sampler == SAMPLER_DPMPP_2M)
        return 1;
    for (int i = 0; i < s->n; i++)
        max = fmaxf(max, s->sigmas[i]);
    return set->spacing == SPACING_LEADING ? sqrtf(max * max + 1.0f) : max;
}

static int init_all(struct schedule *s, const struct schedule_settings *set, int steps,
                    struct err *e)
{
    double *t = calloc((size_t)steps * 2, sizeof *t);
    int rc = 0;

    s->timesteps = calloc((size_t)steps, sizeof *s->timesteps);
    s->sigmas = calloc((size_t)steps + 1, sizeof *s->sigmas);
    if (!t || !s->timesteps || !s->sigmas)
        TRY(err_set(e, ERR_OOM, "no memory for a schedule of %d steps", steps));
    TRY(init_alphas(s, set, e));
    TRY(init_steps(s, set, steps, t, t + steps, e));
    if (s->sampler == SAMPLER_DDIM)
        TRY(check_ddim(s, set, e));
    s->init_noise_sigma = init_noise_sigma(s, set);
out:
    free(t);
    return rc;
}

/* Where picture to picture begins: diffusers' get_timesteps. */
static int init_first(struct schedule *s, const struct schedule_options *o, struct err *e)
{
    int run = (int)(o->steps * o->strength);

    if (o->strength == 0)
        return 0;
    if (!(o->strength > 0 && o->strength <= 1))
        return err_set(e, ERR_INPUT, "denoising_strength is %g: it must lie between 0 and 1",
                       o->strength);
    s->first = o->steps - run;
    if (s->first >= s->n)
        return err_set(e, ERR_INPUT,
                       "denoising_strength %g of %d steps leaves no step to run: raise either",
                       o->strength, o->steps);
    return 0;
}

int schedule_init(struct schedule *s, const struct schedule_config *c,
                  const struct schedule_options *o, struct err *e)
{
    enum sampler_id sampler = o->sampler;
    int steps = o->steps, rc;
    struct schedule_settings set;

    *s = (struct schedule){.sampler = sampler};
    if ((sampler != SAMPLER_DDIM && sampler != SAMPLER_EULER && sampler != SAMPLER_EULER_A &&
         sampler != SAMPLER_DPMPP_2M) ||
        o->scheduler > SCHEDULER_KARRAS)
        return err_set(e, ERR_INPUT, "sampler %s with scheduler %s is not implemented",
                       sampler_name(sampler), scheduler_name(o->scheduler));
    if (o->eta.set || o->s_noise.set)
        return err_set(e, ERR_INPUT, "eta and s_noise are not implemented");
    TRY(schedule_settings_read(c, sampler, o->scheduler, &set, e));
    set.zero_snr = set.zero_snr || o->zero_snr;
    if (steps < 1 || steps > set.n_train)
        TRY(err_set(e, ERR_INPUT, "steps is %d: the model's schedule allows 1 to %d", steps,
                    set.n_train));
    s->prediction = set.prediction;
    s->n = steps;
    s->stride = set.n_train / steps;
    s->clip = set.clip;
    s->clip_range = (float)set.clip_range;
    s->order = set.order;
    s->heun = set.heun;
    TRY(init_all(s, &set, steps, e));
    s->n_steps = s->n;
    TRY(init_first(s, o, e));
    s->euler_last =
        set.euler_at_final || (set.lower_order_final && s->n < 15) || !set.last_sigma_min;
out:
    if (rc != 0)
        schedule_done(s);
    return rc;
}

int schedule_count(const struct schedule *s, int step)
{
    (void)s;
    return step + 1;
}

/* What share of clean and noise makes the level before a step. */
static void shares_at(const struct schedule *s, int step, float *ret_clean, float *ret_noise)
{
    float sigma = s->sigmas[step];

    *ret_clean = 1;
    *ret_noise = sigma;
    if (s->sampler == SAMPLER_DDIM) {
        float a = s->alphas_cumprod[(int)s->timesteps[step]];
        *ret_clean = sqrtf(a);
        *ret_noise = sqrtf(1.0f - a);
    } else if (s->sampler == SAMPLER_DPMPP_2M) {
        *ret_clean = 1.0f / sqrtf(sigma * sigma + 1.0f);
        *ret_noise = sigma * *ret_clean;
    }
}

void schedule_add_noise(const struct schedule *s, int step, float *out, const float *clean,
                        const float *noise, size_t n)
{
    float keep = 1, add = 0;

    if (step < s->n)
        shares_at(s, step, &keep, &add);
    for (size_t i = 0; i < n; i++)
        out[i] = keep * clean[i] + add * noise[i];
}

void schedule_done(struct schedule *s)
{
    free(s->timesteps);
    free(s->sigmas);
    free(s->alphas_cumprod);
    *s = (struct schedule){0};
}
