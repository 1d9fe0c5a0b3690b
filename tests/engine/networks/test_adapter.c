/* What is added to a layer, against sums written out in float64; and without it, nothing. */
#include "engine/networks/adapter.h"
#include "engine/sampling/rng.h"
#include "tests/engine/nets.h"

#define TOLERANCE      2e-6 /* relative L2: float32 sums of up to 300 products in another order */
#define TOLERANCE_BF16 1e-2 /* three roundings to 8 bits */

/* n numbers of the generator, divided by size; caller frees. */
static float *draw(struct torch_rng *rng, int64_t n, double size)
{
    float *values = malloc((size_t)n * sizeof *values);

    assert_non_null(values);
    torch_rng_normal(rng, values, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        values[i] /= (float)size;
    return values;
}

static double activated(double x, enum activation act)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    case ACT_NONE:
        break;
    }
    return x;
}

/* One layer with its numbers; a linear layer is a convolution of kernel 1 on maps 1 wide. */
struct layer_case {
    int64_t n, h, w, in, out, rank;
    int kernel, stride, pad;
    enum activation act;
    bool residual, in_place; /* in_place: the residual is y */
    struct ops *ops;
    struct linear_layer *linear;
    struct conv_layer *conv;
    float *weight, *bias, *down, *up, *x, *shift, *added, *y;
};

static int64_t side(const struct layer_case *c, int64_t from)
{
    return (from + 2 * c->pad - c->kernel) / c->stride + 1;
}

static int64_t rows(const struct layer_case *c)
{
    return c->n * side(c, c->h) * side(c, c->w);
}

static void case_init(struct layer_case *c, struct ops *o, uint64_t seed)
{
    int64_t taps = c->kernel * c->kernel;
    struct torch_rng rng;

    torch_rng_init(&rng, seed);
    c->ops = o;
    c->weight = draw(&rng, c->out * c->in * taps, sqrt((double)(c->in * taps)));
    c->bias = draw(&rng, c->out, 1);
    c->down = draw(&rng, c->rank * c->in * taps, sqrt((double)(c->in * taps)));
    c->up = draw(&rng, c->out * c->rank, sqrt((double)c->rank));
    c->x = draw(&rng, c->n * c->h * c->w * c->in, 1);
    c->shift = draw(&rng, c->n * c->out, 1);
    c->added = draw(&rng, rows(c) * c->out, 1);
    c->y = malloc((size_t)(rows(c) * c->out) * sizeof *c->y);
    assert_non_null(c->y);
}

static void case_open(struct layer_case *c)
{
    struct tensor w = {c->weight, DTYPE_F32, 4, {c->out, c->in, c->kernel, c->kernel}};
    struct tensor b = {c->bias, DTYPE_F32, 1, {c->out}};

    if (c->kernel == 1) {
        w.rank = 2;
        c->linear = calloc(1, sizeof *c->linear);
        assert_non_null(c->linear);
        c->linear->cut = cut_none(c->in, c->out);
        c->linear->in = c->in;
        c->linear->out = c->out;
        assert_ok(c->ops->linear_new(c->ops, &w, &b, &c->linear->base, e));
        return;
    }
    c->conv = calloc(1, sizeof *c->conv);
    assert_non_null(c->conv);
    c->conv->cut = cut_none(c->in, c->out);
    c->conv->in = c->in;
    c->conv->out = c->out;
    c->conv->kernel = c->kernel;
    assert_ok(c->ops->conv_new(c->ops, &w, &b, &c->conv->base, e));
}

static void case_done(struct layer_case *c)
{
    linear_layer_free(c->ops, c->linear);
    conv_layer_free(c->ops, c->conv);
    free(c->weight);
    free(c->bias);
    free(c->down);
    free(c->up);
    free(c->x);
    free(c->shift);
    free(c->added);
    free(c->y);
}

/* n numbers of the host in the backend's arena. */
static int put(struct ops *o, struct act **ret_x, const float *x, int64_t n, struct err *e)
{
    int rc = 0;

    TRY(scratch(o, n, ret_x, e));
    TRY(o->put(o, *ret_x, x, n, e));
out:
    return rc;
}

static int forward(void *user, struct err *e)
{
    struct layer_case *c = user;
    const int pad[4] = {c->pad, c->pad, c->pad, c->pad};
    int64_t results = rows(c) * c->out;
    struct ops *o = c->ops;
    size_t mark = arena_mark(o->arena);
    struct act *x, *y, *shift, *added, *residual = NULL;
    int rc = 0;

    TRY(put(o, &x, c->x, c->n * c->h * c->w * c->in, e));
    TRY(put(o, &shift, c->shift, c->n * c->out, e));
    TRY(put(o, &added, c->added, results, e));
    TRY(put(o, &y, c->added, results, e));
    if (c->residual)
        residual = c->in_place ? y : added;
    if (c->linear != NULL)
        TRY(linear_layer_forward(o, y, x, c->linear, rows(c), c->act, residual, e));
    else
        TRY(conv_layer_forward(o, y, x, c->conv, c->n, c->h, c->w, c->stride, pad, shift, residual,
                               e));
    TRY(o->get(o, c->y, y, results, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static void adapt(struct layer_case *c)
{
    const struct low_rank numbers = {c->rank, c->down, c->up};

    if (c->linear != NULL)
        assert_ok(adapter_new_linear(c->ops, c->linear, &numbers, &c->linear->adapter, e));
    else
        assert_ok(adapter_new_conv(c->ops, c->conv, &numbers, &c->conv->adapter, e));
}

static void unadapt(struct layer_case *c)
{
    struct adapter **a = c->linear != NULL ? &c->linear->adapter : &c->conv->adapter;

    adapter_free(c->ops, *a);
    *a = NULL;
}

/* Row of x under a tap of an output pixel; NULL: outside. */
static const float *tap(const struct layer_case *c, int64_t row, int64_t t)
{
    int64_t wide = side(c, c->w), high = side(c, c->h);
    int64_t sample = row / (wide * high);
    int64_t iy = row / wide % high * c->stride - c->pad + t / c->kernel;
    int64_t ix = row % wide * c->stride - c->pad + t % c->kernel;

    if (iy < 0 || iy >= c->h || ix < 0 || ix >= c->w)
        return NULL;
    return c->x + ((sample * c->h + iy) * c->w + ix) * c->in;
}

/* sum over taps and channels of one row of weights [in, kernel, kernel] */
static double product(const struct layer_case *c, const float *weights, int64_t row)
{
    int64_t taps = c->kernel * c->kernel;
    double sum = 0;

    for (int64_t t = 0; t < taps; t++) {
        const float *x = tap(c, row, t);

        for (int64_t i = 0; x != NULL && i < c->in; i++)
            sum += (double)weights[i * taps + t] * x[i];
    }
    return sum;
}

static float expected(const struct layer_case *c, int64_t row, int64_t o)
{
    int64_t size = c->in * c->kernel * c->kernel, sample = row / (rows(c) / c->n);
    double sum = c->bias[o] + product(c, c->weight + o * size, row);

    for (int64_t r = 0; r < c->rank; r++)
        sum += (double)c->up[o * c->rank + r] * product(c, c->down + r * size, row);
    if (c->conv != NULL)
        sum += c->shift[sample * c->out + o];
    sum = activated(sum, c->act);
    return (float)(c->residual ? sum + c->added[row * c->out + o] : sum);
}

static void check_sum(const struct layer_case *c)
{
    int64_t n = rows(c) * c->out;
    float *want = malloc((size_t)n * sizeof *want);
    double error;

    assert_non_null(want);
    for (int64_t row = 0; row < rows(c); row++)
        for (int64_t o = 0; o < c->out; o++)
            want[row * c->out + o] = expected(c, row, o);
    error = relative_l2(c->y, want, (size_t)n);
    if (!(error < (c->ops->precision == PRECISION_BF16 ? TOLERANCE_BF16 : TOLERANCE)))
        fail_msg("%s, kernel %d, rank %d, act %d: %.2e", c->ops->name, c->kernel, (int)c->rank,
                 (int)c->act, error);
    free(want);
}

/* The sum with the adapter; the layer's own bytes before it and after it. */
static void check_case(const struct layer_case *shape, struct ops *o)
{
    struct layer_case c = *shape;
    size_t size = (size_t)(rows(&c) * c.out) * sizeof(float);
    float *before = malloc(size);

    assert_non_null(before);
    case_init(&c, o, 7);
    case_open(&c);
    run_planned(o, forward, &c);
    memcpy(before, c.y, size);
    adapt(&c);
    run_planned(o, forward, &c);
    check_sum(&c);
    assert_memory_not_equal(before, c.y, size);
    unadapt(&c);
    run_planned(o, forward, &c);
    assert_memory_equal(before, c.y, size);
    case_done(&c);
    free(before);
}

static void check_cases(const struct layer_case *cases, size_t n)
{
    for (int b = 0; b <= N_BACKENDS; b++) {
        struct ops *o = NULL;

        if (b < N_BACKENDS)
            o = backend_open(b);
        else
            assert_ok(ops_cpu_new(2, PRECISION_BF16, &o, e));
        for (size_t i = 0; i < n; i++)
            check_case(&cases[i], o);
        o->free(o);
    }
}

static struct layer_case linear_case(int64_t rows, int64_t in, int64_t out, int64_t rank)
{
    return (struct layer_case){
        .n = 1, .h = rows, .w = 1, .in = in, .out = out, .rank = rank, .kernel = 1, .stride = 1};
}

static void linear_layer_gains_up_of_down_and_loses_it_without_trace(void **state)
{
    const struct layer_case cases[] = {linear_case(77, 32, 48, 4), linear_case(5, 300, 17, 1),
                                       linear_case(130, 24, 200, 37), linear_case(1, 7, 3, 19)};

    (void)state;
    check_cases(cases, sizeof cases / sizeof *cases);
}

static void activation_and_residual_come_after_the_sum(void **state)
{
    static const enum activation acts[] = {ACT_NONE, ACT_SILU, ACT_GELU, ACT_QUICK_GELU};
    struct layer_case cases[12];

    (void)state;
    for (int i = 0; i < 12; i++) {
        cases[i] = linear_case(9, 40, 33, 4);
        cases[i].act = acts[i % 4];
        cases[i].residual = i >= 4;
        cases[i].in_place = i >= 8;
    }
    check_cases(cases, 12);
}

static void convolution_gains_one_of_the_same_kernel_stride_and_padding(void **state)
{
    const struct layer_case cases[] = {
        {.n = 2,
         .h = 6,
         .w = 9,
         .in = 20,
         .out = 24,
         .rank = 4,
         .kernel = 3,
         .stride = 1,
         .pad = 1},
        {.n = 2, .h = 7, .w = 5, .in = 8, .out = 16, .rank = 3, .kernel = 3, .stride = 2, .pad = 1},
        {.n = 1,
         .h = 5,
         .w = 5,
         .in = 6,
         .out = 4,
         .rank = 20,
         .kernel = 3,
         .stride = 1,
         .residual = true},
        {.n = 2,
         .h = 4,
         .w = 6,
         .in = 6,
         .out = 18,
         .rank = 1,
         .kernel = 3,
         .stride = 1,
         .pad = 1,
         .residual = true,
         .in_place = true},
    };

    (void)state;
    check_cases(cases, sizeof cases / sizeof *cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layer_gains_up_of_down_and_loses_it_without_trace),
        cmocka_unit_test(activation_and_residual_come_after_the_sum),
        cmocka_unit_test(convolution_gains_one_of_the_same_kernel_stride_and_padding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
