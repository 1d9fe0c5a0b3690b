/*
 * Unified predictor and corrector, Zhao et al. 2023 (arXiv:2302.04867), algorithms 5 to 8. Equal to
 * diffusers' UniPCMultistepScheduler with predict_x0. Each call first corrects the latent of its
 * own entry, then predicts the next one: the last entry's own correction counts, one more would
 * need one more call.
 */
#include "engine/sampling/sampler_inner.h"

#include <math.h>

#define ORDER  3
#define PLACES (ORDER + 1) /* of pictures */
#define START  PLACES      /* where the latent of the step's start is kept */

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

/*
 * The latent at the step's end. age: of the entry where it starts, whose picture and those before
 * it are kept; after: the picture at its end, or NULL.
 */
static struct value take_step(struct entry *n, const struct step *u, struct value start, int age,
                              const struct value *after)
{
    struct value picture = kept(n, place_of(age, PLACES));
    struct value y = sub(n, scale(n, u->keep, start), scale(n, u->add, picture));
    struct value sum = program_number(n->program, 0);

    if (u->order == 1 && after == NULL)
        return y;
    for (int k = 1; k < u->order; k++) {
        struct value slope = sub(n, kept(n, place_of(age - k, PLACES)), picture);

        sum = add(n, sum, scale(n, u->weight[k - 1], over(n, slope, u->ratio[k - 1])));
    }
    if (after != NULL)
        sum = add(n, sum, scale(n, u->weight[u->order - 1], sub(n, *after, picture)));
    return sub(n, y, scale(n, u->residual, sum));
}

/* Order of the prediction at an entry, of which `kept` earlier ones were run. */
static int order_at(const struct schedule *s, int step, int kept)
{
    int order = s->order;

    if (s->lower_order_final && s->n - step < order)
        order = s->n - step;
    return order < kept + 1 ? order : kept + 1;
}

struct value run_unipc(struct entry *n)
{
    const struct schedule *s = n->schedule;
    struct value picture = picture_at_level(n), x = n->x;
    struct step u;

    if (n->age > 0) {
        u = step_from(s, n->step - 1, order_at(s, n->step - 1, n->age - 1), true);
        x = take_step(n, &u, kept(n, START), n->age - 1, &picture);
    }
    keep(n, place_of(n->age, PLACES), picture);
    keep(n, START, x);
    u = step_from(s, n->step, order_at(s, n->step, n->age), false);
    return take_step(n, &u, x, n->age, NULL);
}
