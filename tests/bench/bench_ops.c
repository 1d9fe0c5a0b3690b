/*
 * bench_ops: how fast the cpu backend's operations run, next to what this machine's FMA units
 * could do, measured in the same process because shared machines change by the minute.
 *
 *     bench_ops [--json] [--quick] [--ref] [--threads N] [--precision f32|bf16] [--only OP]
 *
 * Shapes are those of the shipped 128 px model and of Stable Diffusion 1.5 at 512 px, both with
 * guidance, so two samples. Medians. --quick: few repeats of small shapes alone.
 */
#include "engine/ops/workspace.h"
#include "tests/bench/peak.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { LINEAR, CONV, ATTENTION, GROUP_NORM, LAYER_NORM, GEGLU, SILU, ADD };

static const char *const kinds[] = {"linear",     "conv2d", "attention", "group_norm",
                                    "layer_norm", "geglu",  "silu",      "add"};

/*
 * LINEAR: rows, in, out. CONV: samples, side, in, out, kernel, stride. ATTENTION: samples, heads,
 * queries, keys, dim. GROUP_NORM: samples, pixels, channels, groups. The others: rows, channels.
 */
struct bench_case {
    enum kind kind;
    bool small; /* of the shipped model; all that --quick runs */
    int64_t a[6];
};

static const struct bench_case cases[] = {
    {LINEAR, true, {2, 256, 192}},
    {LINEAR, true, {154, 192, 192}},
    {LINEAR, true, {512, 64, 64}},
    {LINEAR, true, {512, 64, 512}},
    {LINEAR, true, {32, 192, 1536}},
    {CONV, true, {2, 16, 4, 64, 3, 1}},
    {CONV, true, {2, 16, 64, 64, 3, 1}},
    {CONV, true, {2, 8, 128, 128, 3, 1}},
    {CONV, true, {2, 4, 192, 192, 3, 1}},
    {CONV, true, {2, 4, 384, 192, 3, 1}},
    {CONV, true, {2, 16, 64, 64, 3, 2}},
    {CONV, true, {1, 128, 24, 24, 3, 1}},
    {CONV, true, {1, 64, 48, 48, 3, 1}},
    {CONV, true, {1, 32, 96, 96, 3, 1}},
    {CONV, true, {1, 128, 24, 3, 3, 1}},
    {ATTENTION, true, {2, 8, 256, 256, 8}},
    {ATTENTION, true, {2, 8, 256, 77, 8}},
    {ATTENTION, true, {1, 1, 256, 256, 128}},
    {GROUP_NORM, true, {2, 256, 64, 16}},
    {GROUP_NORM, true, {1, 16384, 24, 8}},
    {LAYER_NORM, true, {512, 64}},
    {GEGLU, true, {512, 256}},
    {SILU, true, {2, 256}},
    {ADD, true, {512, 64}},
    {LINEAR, false, {8192, 320, 320}},
    {LINEAR, false, {8192, 320, 2560}},
    {LINEAR, false, {2048, 640, 640}},
    {LINEAR, false, {512, 1280, 10240}},
    {LINEAR, false, {128, 1280, 1280}},
    {LINEAR, false, {154, 768, 3072}},
    {CONV, false, {2, 64, 4, 320, 3, 1}},
    {CONV, false, {2, 64, 320, 320, 3, 1}},
    {CONV, false, {2, 32, 640, 640, 3, 1}},
    {CONV, false, {2, 16, 1280, 1280, 3, 1}},
    {CONV, false, {2, 8, 1280, 1280, 3, 1}},
    {CONV, false, {2, 64, 640, 320, 1, 1}},
    {CONV, false, {2, 64, 320, 4, 3, 1}},
    {CONV, false, {1, 128, 512, 512, 3, 1}},
    {CONV, false, {1, 256, 256, 128, 3, 1}},
    {ATTENTION, false, {2, 8, 4096, 4096, 40}},
    {ATTENTION, false, {2, 8, 1024, 1024, 80}},
    {ATTENTION, false, {2, 8, 4096, 77, 40}},
    {ATTENTION, false, {1, 1, 4096, 4096, 512}},
    {GROUP_NORM, false, {2, 4096, 320, 32}},
    {LAYER_NORM, false, {8192, 320}},
    {GEGLU, false, {8192, 1280}},
    {ADD, false, {8192, 320}},
};

static void fill(float *x, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) * 0x1p-24f - 0.5f;
    }
}

/* What one case works on. */
struct work {
    struct act *x, *y, *z; /* operands and result, each large enough for the case */
    struct norm *norm;
    struct linear *l;
    struct conv *c;
    double flops, bytes; /* of one run; bytes for what only moves memory */
};

static float *floats(int64_t n)
{
    float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 63) / 64 * 64);

    if (!x)
        abort();
    fill(x, n, (uint32_t)n);
    return x;
}

static struct act *acts(struct ops *o, int64_t n)
{
    float *numbers = floats(n);
    void *memory = NULL;

    if (o->memory_new(o, (size_t)n * o->act_bytes, &memory, NULL) != 0 ||
        o->put(o, memory, numbers, n, NULL) != 0)
        abort();
    free(numbers);
    return memory;
}

static struct norm *make_norm(struct ops *o, int64_t channels)
{
    float *numbers = floats(channels);
    struct tensor t = {.data = numbers, .dtype = DTYPE_F32, .rank = 1, .shape = {channels}};
    struct norm *norm = NULL;

    if (o->norm_new(o, &t, &t, &norm, NULL) != 0)
        abort();
    free(numbers);
    return norm;
}

static int prepare(struct ops *o, const struct bench_case *k, struct work *w, struct err *e)
{
    const int64_t *a = k->a;
    struct tensor t = {.dtype = DTYPE_F32, .rank = k->kind == CONV ? 4 : 2};
    float *weights;
    int rc = 0;

    *w = (struct work){0};
    if (k->kind == LINEAR || k->kind == CONV) {
        int64_t side = k->kind == CONV ? a[4] : 1, in = k->kind == CONV ? a[2] : a[1];
        int64_t out = k->kind == CONV ? a[3] : a[2];
        int64_t rows = k->kind == CONV ? a[0] * a[1] * a[1] : a[0];
        int64_t results = k->kind == CONV ? rows / (a[5] * a[5]) : rows;

        memcpy(t.shape, (int64_t[]){out, in, side, side}, 4 * sizeof *t.shape);
        t.data = weights = floats(out * in * side * side);
        rc = k->kind == CONV ? o->conv_new(o, &t, NULL, &w->c, e)
                             : o->linear_new(o, &t, NULL, &w->l, e);
        free(weights);
        w->x = acts(o, rows * in);
        w->y = acts(o, results * out);
        w->flops = 2.0 * (double)(results * out) * (double)(in * side * side);
    } else if (k->kind == ATTENTION) {
        w->x = acts(o, a[0] * a[1] * a[2] * a[4]);
        w->y = acts(o, a[0] * a[1] * a[2] * a[4]);
        w->z = acts(o, a[0] * a[1] * a[3] * a[4]);
        w->flops = 4.0 * (double)(a[0] * a[1] * a[2]) * (double)(a[3] * a[4]);
    } else {
        int64_t n = k->kind == GROUP_NORM ? a[0] * a[1] * a[2] : a[0] * a[1];

        w->x = acts(o, 2 * n);
        w->y = acts(o, n);
        w->z = acts(o, n);
        if (k->kind == GROUP_NORM || k->kind == LAYER_NORM)
            w->norm = make_norm(o, k->kind == GROUP_NORM ? a[2] : a[1]);
        w->bytes = (double)n * (double)o->act_bytes * (k->kind == GEGLU || k->kind == ADD ? 3 : 2);
    }
    return rc;
}

static int run(struct ops *o, const struct bench_case *k, struct work *w, struct err *e)
{
    const int64_t *a = k->a;
    int pad = (int)a[4] / 2, pads[4] = {pad, pad, pad, pad};

    switch (k->kind) {
    case LINEAR:
        return o->linear(o, w->y, w->x, w->l, a[0], ACT_NONE, NULL, e);
    case CONV:
        return o->conv2d(o, w->y, w->x, w->c, a[0], a[1], a[1], (int)a[5], pads, NULL, NULL, e);
    case ATTENTION:
        return o->attention(o, w->y, w->x, w->z, w->z, a[0], a[2], a[3], (int)a[1], (int)a[4],
                            1 / sqrtf((float)a[4]), false, e);
    case GROUP_NORM:
        return o->group_norm(o, w->y, w->x, w->norm, a[0], a[1], a[2], (int)a[3], 1e-5f, ACT_SILU,
                             e);
    case LAYER_NORM:
        return o->layer_norm(o, w->y, w->x, w->norm, a[0], a[1], 1e-5f, e);
    case GEGLU:
        return o->geglu(o, w->y, w->x, a[0], a[1], e);
    case SILU:
        return o->activate(o, w->y, w->x, a[0] * a[1], ACT_SILU, e);
    default:
        return o->add(o, w->y, w->x, w->z, a[0] * a[1], e);
    }
}

/* Median seconds of one run: repeats until a sample is long enough for the clock. */
static int measure(struct ops *o, const struct bench_case *k, struct work *w, bool quick,
                   double *ret_seconds, struct err *e)
{
    double samples[15], start = seconds(), once;
    int n = quick ? 3 : 15, inner;
    int rc = run(o, k, w, e);

    once = seconds() - start;
    inner = once < 1e-3 ? (int)((quick ? 2e-4 : 2e-3) / (once + 1e-7)) + 1 : 1;
    if (once > 0.2)
        n = 3;
    for (int i = 0; i < n && rc == 0; i++) {
        start = seconds();
        for (int j = 0; j < inner && rc == 0; j++)
            rc = run(o, k, w, e);
        samples[i] = (seconds() - start) / inner;
    }
    if (rc)
        return rc;
    *ret_seconds = median(samples, n);
    return 0;
}

static void show(const struct bench_case *k, const struct work *w, double s, double peak, bool json,
                 bool first)
{
    char shape[96];
    size_t at = 0;

    for (int i = 0; i < 6 && k->a[i]; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%lld", i ? " " : "",
                               (long long)k->a[i]);
    if (json)
        printf("%s\n  {\"op\": \"%s\", \"shape\": \"%s\", \"us\": %.2f, \"gflops\": %.2f, "
               "\"gbytes\": %.2f}",
               first ? "" : ",", kinds[k->kind], shape, s * 1e6, w->flops / s * 1e-9,
               w->bytes / s * 1e-9);
    else if (w->flops > 0)
        printf("%-10s %-24s %10.1f us %8.1f GFLOP/s %5.1f %%\n", kinds[k->kind], shape, s * 1e6,
               w->flops / s * 1e-9, peak > 0 ? w->flops / s * 1e-7 / peak : 0);
    else
        printf("%-10s %-24s %10.1f us %8.1f GB/s\n", kinds[k->kind], shape, s * 1e6,
               w->bytes / s * 1e-9);
    fflush(stdout);
}

static int bench_case(struct ops *o, const struct bench_case *k, bool quick, bool json, bool first,
                      double peak, struct err *e)
{
    struct workspace plan, space = {0};
    struct work w = {0};
    double s = 0;
    int rc;

    TRY(prepare(o, k, &w, e));
    workspace_plan(&plan, o);
    TRY(run(o, k, &w, e));
    TRY(workspace_init(&space, o, &plan, e));
    TRY(measure(o, k, &w, quick, &s, e));
    show(k, &w, s, peak, json, first);
out:
    workspace_done(&space, o);
    o->linear_free(o, w.l);
    o->conv_free(o, w.c);
    o->norm_free(o, w.norm);
    o->memory_free(o, w.x);
    o->memory_free(o, w.y);
    o->memory_free(o, w.z);
    return rc;
}

int main(int argc, char **argv)
{
    bool json = false, quick = false, ref = false, first = true;
    int threads = omp_get_max_threads(), precision = PRECISION_F32;
    const char *only = NULL;
    struct peaks peaks;
    struct err e = {0};
    struct ops *o = NULL;
    double peak, copy;
    int rc = 0;

    for (int i = 1; i < argc; i++) {
        json = json || strcmp(argv[i], "--json") == 0;
        quick = quick || strcmp(argv[i], "--quick") == 0;
        ref = ref || strcmp(argv[i], "--ref") == 0;
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--precision") == 0 && i + 1 < argc)
            precision = precision_from_name(argv[++i]);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
    }
    if (precision < 0)
        TRY(err_set(&e, ERR_ARG, "no such precision"));
    TRY(ref ? ops_ref_new(&o, &e) : ops_cpu_new(threads, (enum precision)precision, &o, &e));
    measure_peaks(ref ? 1 : threads, quick, &peaks);
    peak = peak_of(&peaks, o);
    copy = measure_copy(ref ? 1 : threads, quick);
    printf(json ? "{\"class\": \"%s\", \"threads\": %d, \"peak_gflops\": %.1f, "
                  "\"copy_gbytes\": %.1f, \"cases\": ["
                : "%s, %d threads, peak %.1f GFLOP/s, copy %.1f GB/s\n",
           o->device_class, ref ? 1 : threads, peak, copy);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (((quick || ref) && !cases[i].small) || (only && strcmp(only, kinds[cases[i].kind])))
            continue;
        TRY(bench_case(o, &cases[i], quick, json, first, peak, &e));
        first = false;
    }
    if (json)
        printf("\n]}\n");
out:
    if (rc)
        fprintf(stderr, "bench_ops: %s\n", e.text);
    if (o)
        o->free(o);
    return rc != 0;
}
