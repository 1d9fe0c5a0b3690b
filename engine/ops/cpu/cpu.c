#include "engine/ops/cpu/bf16_ops.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS_MAX 1024
#define CHUNK       4096 /* numbers of an item of elementwise work */

/* Waking a team costs some microseconds; a core does about 1e5 multiplications in one. */
int cpu_threads(const struct cpu *cpu, int64_t items, double multiplications)
{
    int64_t most = items < cpu->threads ? items : cpu->threads;

    return multiplications < 1e6 || most < 1 ? 1 : (int)most;
}

static int cpu_geglu(struct ops *o, struct act *y, const struct act *x, int64_t m, int64_t c,
                     struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    int threads = cpu_threads(cpu, m, 32.0 * (double)(m * c));

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < m; row++)
        cpu->kernels->geglu(f32(y) + row * c, f32_in(x) + 2 * row * c,
                            f32_in(x) + (2 * row + 1) * c, (size_t)c);
    return 0;
}

static int cpu_activate(struct ops *o, struct act *y, const struct act *x, int64_t n,
                        enum activation act, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    int64_t items = (n + CHUNK - 1) / CHUNK;
    int threads = cpu_threads(cpu, items, 32.0 * (double)n);

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < items; i++) {
        int64_t first = i * CHUNK, left = n - first;

        cpu->kernels->activate(f32(y) + first, f32_in(x) + first,
                               (size_t)(left < CHUNK ? left : CHUNK), act);
    }
    return 0;
}

static int cpu_add(struct ops *o, struct act *y, const struct act *a, const struct act *b,
                   int64_t n, struct err *e)
{
    int threads = cpu_threads((const struct cpu *)o, (n + CHUNK - 1) / CHUNK, 8.0 * (double)n);

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < n; i++)
        f32(y)[i] = f32_in(a)[i] + f32_in(b)[i];
    return 0;
}

/* The next two move numbers of either format. */
static int cpu_concat(struct ops *o, struct act *y, const struct act *a, const struct act *b,
                      int64_t m, int64_t ca, int64_t cb, struct err *e)
{
    int threads = cpu_threads((const struct cpu *)o, m, 8.0 * (double)(m * (ca + cb)));
    size_t row_a = (size_t)ca * o->act_bytes, row_b = (size_t)cb * o->act_bytes;

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < m; row++) {
        char *to = (char *)y + (size_t)row * (row_a + row_b);

        memcpy(to, (const char *)a + (size_t)row * row_a, row_a);
        memcpy(to + row_a, (const char *)b + (size_t)row * row_b, row_b);
    }
    return 0;
}

static int cpu_upsample(struct ops *o, struct act *y, const struct act *x, int64_t n, int64_t h,
                        int64_t w, int64_t c, int64_t ho, int64_t wo, struct err *e)
{
    int threads = cpu_threads((const struct cpu *)o, n * ho, 8.0 * (double)(n * ho * wo * c));
    size_t pixel = (size_t)c * o->act_bytes;

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < n * ho; row++) {
        const char *from =
            (const char *)x + (size_t)((row / ho * h + row % ho * h / ho) * w) * pixel;

        for (int64_t i = 0; i < wo; i++)
            memcpy((char *)y + (size_t)(row * wo + i) * pixel, from + (size_t)(i * w / wo) * pixel,
                   pixel);
    }
    return 0;
}

#define LARGE_PAGE ((size_t)2 << 20)

/* On large pages, where the system has them: rows of a tile lie pages apart. */
static int memory_new(struct ops *o, size_t n_bytes, void **ret_memory, struct err *e)
{
    size_t unit = n_bytes < 2 * LARGE_PAGE ? 64 : LARGE_PAGE;
    size_t size = n_bytes < SIZE_MAX - unit ? (n_bytes + unit - 1) / unit * unit : 0;

    (void)o;
    *ret_memory = size == 0 && n_bytes > 0 ? NULL : aligned_alloc(unit, size > 0 ? size : unit);
    if (*ret_memory == NULL)
        return err_set(e, ERR_OOM, "scratch memory of %zu bytes is not available", n_bytes);
#if defined(MADV_HUGEPAGE)
    if (unit == LARGE_PAGE)
        (void)madvise(*ret_memory, size, MADV_HUGEPAGE); /* helps, or does not */
#endif
    return 0;
}

static void cpu_free(struct ops *o)
{
    free(o);
}

/* Half of a core's second cache, which other operands share. */
static size_t stage_bytes(void)
{
    long size = sysconf(_SC_LEVEL2_CACHE_SIZE);

    return size < 512 << 10 ? 256 << 10 : size > 2048 << 10 ? 1024 << 10 : (size_t)size / 2;
}

static const struct kernels *kernels_of(enum cpu_level level)
{
#if defined(__x86_64__)
    if (level >= LEVEL_AVX512)
        return &kernels_avx512;
    if (level >= LEVEL_AVX2)
        return &kernels_avx2;
#endif
    (void)level;
    return &kernels_plain;
}

static const struct bf16_kernels *bf16_of(enum cpu_level level, enum precision precision)
{
    if (level_precision(level, precision) == PRECISION_F32)
        return NULL;
#if defined(__x86_64__)
    return level >= LEVEL_AMX ? &bf16_amx : &bf16_avx512;
#else
    return NULL;
#endif
}

int cpu_new(enum cpu_level level, enum precision precision, int threads, struct ops **ret_o,
            struct err *e)
{
    const struct bf16_kernels *bf16 = bf16_of(level, precision);
    struct cpu *cpu;

    if (threads < 1 || threads > THREADS_MAX)
        return err_set(e, ERR_ARG, "%d threads: 1 to %d are possible", threads, THREADS_MAX);
    cpu = malloc(sizeof *cpu);
    if (!cpu)
        return err_set(e, ERR_OOM, "no memory for the backend");
    *cpu = (struct cpu){
        .ops = {.name = "cpu",
                .device_class = bf16 ? bf16->device_class : "cpu",
                .precision = bf16 ? PRECISION_BF16 : PRECISION_F32,
                .act_bytes = sizeof(float),
                .free = cpu_free,
                .memory_new = memory_new,
                .memory_free = host_memory_free,
                .step = &host_step_ops,
                .put = host_put,
                .get = host_get,
                .linear_new = cpu_linear_new,
                .linear_free = cpu_linear_free,
                .conv_new = cpu_conv_new,
                .conv_free = cpu_conv_free,
                .norm_new = host_norm_new,
                .norm_free = host_norm_free,
                .linear = cpu_linear,
                .conv2d = cpu_conv2d,
                .group_norm = cpu_group_norm,
                .group_norm_part = cpu_group_norm_part,
                .layer_norm = cpu_layer_norm,
                .attention = cpu_attention,
                .geglu = cpu_geglu,
                .activate = cpu_activate,
                .add = cpu_add,
                .concat = cpu_concat,
                .upsample = cpu_upsample},
        .kernels = kernels_of(level),
        .bf16 = bf16,
        .threads = threads,
        .stage_bytes = stage_bytes(),
    };
#if defined(__x86_64__)
    if (bf16)
        bf16_ops(&cpu->ops);
#endif
    *ret_o = &cpu->ops;
    return 0;
}

int ops_cpu_new(int threads, enum precision precision, struct ops **ret_o, struct err *e)
{
    enum cpu_level level;
    int rc = level_get(&level, e);

    return rc ? rc : cpu_new(level, precision, threads, ret_o, e);
}

enum precision ops_cpu_precision(enum precision precision)
{
    enum cpu_level level;

    return level_get(&level, NULL) != 0 ? PRECISION_F32 : level_precision(level, precision);
}

const char *ops_cpu_class(enum precision precision)
{
    const struct bf16_kernels *bf16;
    enum cpu_level level;

    if (level_get(&level, NULL) != 0)
        return "cpu";
    bf16 = bf16_of(level, precision);
    return bf16 ? bf16->device_class : "cpu";
}
