#include "engine/ops/cuda/plans.h"

#include "engine/ops/cuda/trial.h"

#include <stdlib.h>
#include <string.h>

/* Plans of some number of samples. */
struct batch {
    int64_t n;
    struct plan *plan; /* NULL: it failed its trial, or the engine has none */
    struct batch *next;
};

struct shape {
    struct plan_shape shape;
    struct plan_engine engine;
    struct plan *one;
    struct batch *batches;
    struct shape *next;
};

struct plans {
    struct shape *first;
    int layers;
};

int plans_new(struct plans **ret_p, struct err *e)
{
    *ret_p = calloc(1, sizeof **ret_p);
    return *ret_p != NULL ? 0 : err_set(e, ERR_OOM, "no memory for plans");
}

static void drop_all(struct plans *p)
{
    while (p->first != NULL) {
        struct shape *s = p->first;

        p->first = s->next;
        while (s->batches != NULL) {
            struct batch *b = s->batches;

            s->batches = b->next;
            plan_free(b->plan);
            free(b);
        }
        plan_free(s->one);
        free(s);
    }
}

void plans_free(struct plans *p)
{
    if (p == NULL)
        return;
    drop_all(p);
    free(p);
}

void plans_join(struct plans *p)
{
    p->layers++;
}

void plans_leave(struct plans *p)
{
    if (--p->layers == 0)
        drop_all(p);
}

static int shape_get(struct cuda *c, const struct plan_shape *s, struct shape **ret_s,
                     struct err *e)
{
    struct shape *at = c->plans->first;
    int rc;

    while (at != NULL && memcmp(&at->shape, s, sizeof *s) != 0)
        at = at->next;
    if (at == NULL) {
        at = calloc(1, sizeof *at);
        if (at == NULL)
            return err_set(e, ERR_OOM, "no memory for a convolution's plans");
        at->shape = *s;
        rc = plan_choose(c, s, &at->engine, &at->one, e);
        if (rc != 0) {
            free(at);
            return rc;
        }
        at->next = c->plans->first;
        c->plans->first = at;
    }
    *ret_s = at;
    return 0;
}

/* --- the trial --- */

/* Sizes in bytes, x and y of one sample; and where the operands are. */
struct operands {
    struct trial t;
    size_t x_bytes, y_bytes;
    char *x, *w, *y, *z, *workspace;
};

static int operands_init(struct cuda *c, const struct shape *s, int64_t n, const struct plan *whole,
                         struct operands *ret, struct err *e)
{
    const struct plan_shape *q = &s->shape;
    const size_t size = c->ops.act_bytes, one = plan_workspace(s->one), all = plan_workspace(whole);
    const size_t workspace = one > all ? one : all;
    struct operands o = {
        .x_bytes = (size_t)(q->h * q->w * q->in) * size,
        .y_bytes = (size_t)(plan_rows(q) * plan_columns(q) * q->out) * size,
    };
    const size_t x = (size_t)(n + 1) * o.x_bytes,
                 w = (size_t)(q->out * q->kh * q->kw * q->in) * size;
    const size_t y = (size_t)n * o.y_bytes, z = (size_t)(n + 1) * o.y_bytes;
    int rc = 0;

    TRY(trial_begin(
        c, TRIAL_ROOM(x) + TRIAL_ROOM(w) + TRIAL_ROOM(y) + TRIAL_ROOM(z) + TRIAL_ROOM(workspace),
        &o.t, e));
    o.x = trial_take(&o.t, x);
    o.w = trial_take(&o.t, w);
    o.y = trial_take(&o.t, y);
    o.z = trial_take(&o.t, z);
    o.workspace = trial_take(&o.t, workspace);
    TRY(trial_pattern(&o.t, o.x, (n + 1) * q->h * q->w, q->in, 1, false, e));
    TRY(trial_pattern(&o.t, o.w, q->out * q->kh * q->kw, q->in, 2, true, e));
    *ret = o;
    o.t.memory = NULL;
out:
    trial_end(&o.t);
    return rc;
}

/*
 * n + 1 samples alone; then the first n of them in one call, and the last n: each place holds two
 * samples in turn, each sample has two places and other neighbours.
 */
static int agrees(struct cuda *c, const struct shape *s, int64_t n, struct plan *whole,
                  bool *ret_agrees, struct err *e)
{
    struct operands o = {0};
    int rc = 0;

    TRY(operands_init(c, s, n, whole, &o, e));
    for (int64_t i = 0; i <= n; i++)
        TRY(plan_run(c, s->one, o.z + (size_t)i * o.y_bytes, o.x + (size_t)i * o.x_bytes, o.w,
                     o.workspace, e));
    for (size_t first = 0; first < 2; first++) {
        TRY(plan_run(c, whole, o.y, o.x + first * o.x_bytes, o.w, o.workspace, e));
        TRY(trial_compare(&o.t, o.y, o.z + first * o.y_bytes,
                          n * (int64_t)(o.y_bytes / c->ops.act_bytes), e));
    }
    TRY(trial_result(&o.t, ret_agrees, e));
out:
    trial_end(&o.t);
    return rc;
}

static int batch_new(struct cuda *c, struct shape *s, int64_t n, struct err *e)
{
    struct plan *whole = NULL;
    struct batch *b = NULL;
    bool good = false;
    int rc = 0;

    TRY(plan_new(c, &s->shape, n, &s->engine, &whole, e));
    if (whole != NULL)
        TRY(agrees(c, s, n, whole, &good, e));
    b = calloc(1, sizeof *b);
    if (b == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for a convolution's plan"));
    *b = (struct batch){n, good ? whole : NULL, s->batches};
    s->batches = b;
    whole = good ? NULL : whole;
    good ? c->ops.trials.whole++ : c->ops.trials.apart++;
out:
    plan_free(whole);
    return rc;
}

int plans_get(struct cuda *c, const struct plan_shape *s, int64_t n, struct plans_pair *ret_pair,
              struct err *e)
{
    struct shape *shape = NULL;
    struct batch *b;
    int rc = 0;

    TRY(shape_get(c, s, &shape, e));
    for (b = shape->batches; b != NULL && b->n != n; b = b->next)
        continue;
    if (b == NULL && n > 1 && c->ops.planning) {
        rc = batch_new(c, shape, n, e);
        if (rc != 0 && rc != ERR_OOM)
            return rc;
        b = rc == 0 ? shape->batches : NULL;
        rc = 0;
    }
    *ret_pair = (struct plans_pair){shape->one, b != NULL ? b->plan : NULL};
out:
    return rc;
}
