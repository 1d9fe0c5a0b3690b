/*
 * Unified predictor and corrector, Zhao et al. 2023 (arXiv:2302.04867), algorithms 5 to 8. Equal to
 * diffusers' UniPCMultistepScheduler with predict_x0. Each call first corrects the latent of its
 * own entry, then predicts the next one: the last entry's own correction counts, one more would
 * need one more call.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>
#include <string.h>

#define ORDER 3

/* A step between two levels, and how the pictures of earlier entries enter it. */
struct step {
    int order;
    float keep, add;     /* x = keep x - add picture ... */
    float residual;      /* ... - residual (sum of weight difference) */
    float weight[ORDER]; /* of the difference to each earlier picture; last: to the newest one */
    float ratio[ORDER];  /* their distance in lambda, over the step's */
};

static float lambda_at(const struct schedule *s, int i)
{
    return level_of(s, s->sigmas[i]).lambda;
}

/* Solves the n equations a w = b by elimination; powers of distinct ratios need no pivoting. */
static void solve(int n, double a[ORDER][ORDER], double *b, float *ret_w)
{
    for (int k = 0; k < n; k++)
        for (int i = k + 1; i < n; i++) {
            double f = a[i][k] / a[k][k];
            for (int j = k; j < n; j++)
                a[i][j] -= f * a[k][j];
            b[i] -= f * b[k];
        }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++)
            b[i] -= a[i][j] * b[j];
        b[i] /= a[i][i];
        ret_w[i] = (float)b[i];
    }
}

/* Weights of n differences at the ratios, for minus the step's length. */
static void weigh(const struct step *u, float hh, float divisor, int n, float *ret_weight)
{
    double a[ORDER][ORDER], b[ORDER];
    float phi = expm1_f32(hh) / hh - 1.0f;
    int factorial = 1;

    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            a[i][j] = pow((double)u->ratio[j], i);
        b[i] = (double)(phi * (float)factorial / divisor);
        factorial *= i + 2;
        phi = phi / hh - 1.0f / (float)factorial;
    }
    solve(n, a, b, ret_weight);
}

/*
 * The step from entry `from` to the next level: as predictor, or as corrector once the picture
 * there is known too.
 */
static struct step step_from(const struct schedule *s, int from, int order, bool corrects)
{
    struct level t = level_of(s, s->sigmas[from + 1]), s0 = level_of(s, s->sigmas[from]);
    float h = t.lambda - s0.lambda, hh = -h, phi = expm1_f32(hh);
    float divisor = s->bh1 ? hh : phi;
    struct step u = {.order = order,
                     .keep = t.sigma / s0.sigma,
                     .add = t.alpha * phi,
                     .residual = t.alpha * divisor};

    for (int i = 1; i < order; i++)
        u.ratio[i - 1] = (lambda_at(s, from - i) - s0.lambda) / h;
    u.ratio[order - 1] = 1;
    if (corrects && order > 1)
        weigh(&u, hh, divisor, order, u.weight);
    else if (order > 2)
        weigh(&u, hh, divisor, order - 1, u.weight);
    else
        u.weight[0] = 0.5f;
    return u;
}

/* x from `start`. picture[0]: at the step's start, then older ones; after: at its end, or NULL. */
static void take_step(const struct step *u, float *x, const float *start, float *const *picture,
                      const float *after, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        float sum = 0, y = u->keep * start[i] - u->add * picture[0][i];

        for (int k = 1; k < u->order; k++)
            sum += u->weight[k - 1] * ((picture[k][i] - picture[0][i]) / u->ratio[k - 1]);
        if (after != NULL)
            sum = sum + u->weight[u->order - 1] * (after[i] - picture[0][i]);
        x[i] = u->order > 1 || after != NULL ? y - u->residual * sum : y;
    }
}

/* Order of the prediction at an entry, of which `kept` earlier ones were run. */
static int order_at(const struct schedule *s, int step, int kept)
{
    int order = s->order;

    if (s->lower_order_final && s->n - step < order)
        order = s->n - step;
    return order < kept + 1 ? order : kept + 1;
}

int run_unipc(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *start = piece(r, 1);
    float *picture[ORDER + 1] = {piece(r, 2), piece(r, 3), piece(r, 4), piece(r, 5)};
    int rc = 0, order = 0;

    for (int step = s->first; step < s->n; step++) {
        float *oldest = picture[ORDER];
        struct step u;

        TRY(call_picture(r, step, scaled, oldest, e));
        if (order > 0) {
            u = step_from(s, step - 1, order, true);
            take_step(&u, r->x, start, picture, oldest, r->size);
        }
        for (int k = ORDER; k > 0; k--)
            picture[k] = picture[k - 1];
        picture[0] = oldest;
        memcpy(start, r->x, r->size * sizeof *start);
        order = order_at(s, step, step - s->first);
        u = step_from(s, step, order, false);
        take_step(&u, r->x, start, picture, NULL, r->size);
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
