/*
 * bench_engine: how long a model's networks and a whole picture take, operation by operation, next
 * to what this machine could do, measured in the same process (peak.h).
 *
 *     bench_engine [--model MODEL] [--size PIXELS] [--steps N] [--threads N] [--runs N]
 *                  [--precision f32|bf16|auto] [--only PART] [--json] [--quick]
 *
 * Default: the shipped model at 128 px, 20 steps of dpmpp_2m with guidance, so two samples in each
 * U-Net step. PART: text (prompt and negative prompt), context (their keys and values), step, vae,
 * picture. Times of parts are medians, those of operations means over the same runs. Bytes are
 * operands, results and weights, each once; their share is of what copying memory reaches, and is
 * above 100 % where caches serve. The peak of memory is the process's, at its end.
 */
#include "engine/pipeline/pipeline.h"
#include "tests/bench/meter.h"
#include "tests/bench/peak.h"
#include "tests/engine/models.h"

#include <omp.h>
#include <sys/resource.h>

#define REPEATS_MAX  15
#define SECONDS_MOST 60 /* of a part, once three runs are done */

struct options {
    const char *model, *only;
    int size, steps, threads, precision, runs;
    bool json, quick;
};

/* What the parts work on. */
struct bench {
    const struct options *options;
    struct ops *ops;
    struct model *model;
    struct render render;
    struct extent latent; /* two samples */
    float *x, *y, *states, *picture, *pooled;
    struct act *kv, *added;
    int32_t *ids;
    int64_t tokens;
    double peak, copy; /* GFLOP/s, GB/s */
    bool first;        /* nothing printed yet */
};

/* ---- the parts */

static int run_text(struct bench *b, struct err *e)
{
    const struct clip_text text = {.ids = b->ids, .tokens = b->tokens};
    int rc = 0;

    for (int i = 0; i < 2; i++) {
        TRY(clip_encode(b->model->clip, b->states, NULL, &text, 0, true, e));
        if (b->model->clip2 != NULL)
            TRY(clip_encode(b->model->clip2, b->states, b->pooled, &text, 0, true, e));
    }
out:
    return rc;
}

static int run_context(struct bench *b, struct err *e)
{
    const float sizes[UNET_TIME_IDS] = {1024, 1024, 0, 0, 1024, 1024};
    struct unet *u = b->model->unet;
    int64_t kv = unet_context_size(u, b->tokens);
    int rc = 0;

    for (int i = 0; i < 2; i++)
        TRY(unet_context(u, act_at(b->ops, b->kv, i * kv),
                         b->states + i * b->tokens * unet_config(u)->text_width, b->tokens, e));
    if (b->added != NULL)
        TRY(unet_added(u, b->added, b->pooled, sizes, e));
out:
    return rc;
}

static int run_step(struct bench *b, struct err *e)
{
    int64_t kv = unet_context_size(b->model->unet, b->tokens);
    const struct unet_text texts[2] = {
        {.kv = b->kv, .tokens = b->tokens, .added = b->added},
        {.kv = act_at(b->ops, b->kv, kv), .tokens = b->tokens, .added = b->added}};

    return unet_forward(b->ops, b->model->unet, b->y, b->x, &b->latent, 500, texts, e);
}

static int run_vae(struct bench *b, struct err *e)
{
    struct extent one = {1, b->latent.h, b->latent.w};

    return vae_decode(b->model->vae, b->picture, b->x, &one, e);
}

/* ---- what is printed */

static double share(double rate, double of)
{
    return of > 0 ? 100 * rate / of : 0;
}

static void show_op(const struct bench *b, const char *name, const struct meter *m, int runs,
                    double part_seconds, bool first)
{
    double s = m->seconds / runs, flops = m->flops / m->seconds * 1e-9;
    double bytes = m->bytes / m->seconds * 1e-9;

    if (b->options->json) {
        printf("%s\n    {\"op\": \"%s\", \"calls\": %ld, \"ms\": %.3f, \"gflop\": %.4f, "
               "\"gflops\": %.1f, \"peak_share\": %.4f, \"gbyte\": %.8f, \"gbytes\": %.2f, "
               "\"copy_share\": %.4f}",
               first ? "" : ",", name, m->calls / runs, s * 1e3, m->flops / runs * 1e-9, flops,
               share(flops, b->peak) / 100, m->bytes / runs * 1e-9, bytes,
               share(bytes, b->copy) / 100);
        return;
    }
    printf("  %-12s %5ld x %10.2f ms %5.1f %% ", name, m->calls / runs, s * 1e3,
           share(s, part_seconds));
    if (m->flops > 0)
        printf("%9.2f GFLOP %8.1f GFLOP/s %5.1f %% of peak, ", m->flops / runs * 1e-9, flops,
               share(flops, b->peak));
    else
        printf("%49s", "");
    printf("%6.1f GB/s %4.0f %% of copying\n", bytes, share(bytes, b->copy));
}

/* runs: that the meters have seen. */
static void show_ops(const struct bench *b, int runs, double part_seconds)
{
    struct meter meters[METER_KINDS], rest = {0};
    double inside = 0;
    bool first = true;

    meter_read(meters);
    for (int i = 0; i < METER_KINDS; i++) {
        inside += meters[i].seconds / runs;
        if (meters[i].calls == 0)
            continue;
        show_op(b, meter_name((enum meter_kind)i), &meters[i], runs, part_seconds, first);
        first = false;
    }
    rest.seconds = (part_seconds - inside) * runs;
    if (!b->options->json && rest.seconds > 0)
        printf("  %-12s %20.2f ms %5.1f %%\n", "between", rest.seconds / runs * 1e3,
               share(rest.seconds / runs, part_seconds));
}

static double metered_flops(int runs)
{
    struct meter meters[METER_KINDS];
    double flops = 0;

    meter_read(meters);
    for (int i = 0; i < METER_KINDS; i++)
        flops += meters[i].flops;
    return flops / runs;
}

static void show(struct bench *b, const char *part, double *samples, int n)
{
    double mean = 0, s, flops = metered_flops(n), rate;

    for (int i = 0; i < n; i++)
        mean += samples[i] / n;
    s = median(samples, n);
    rate = flops / s * 1e-9;
    if (b->options->json)
        printf("%s\n  {\"part\": \"%s\", \"runs\": %d, \"ms\": %.3f, \"gflop\": %.4f, "
               "\"gflops\": %.1f, \"peak_share\": %.4f, \"ops\": [",
               b->first ? "" : ",", part, n, s * 1e3, flops * 1e-9, rate,
               share(rate, b->peak) / 100);
    else
        printf("%-14s %17.2f ms %17.2f GFLOP %8.1f GFLOP/s %5.1f %% of peak\n", part, s * 1e3,
               flops * 1e-9, rate, share(rate, b->peak));
    show_ops(b, n, mean);
    if (b->options->json)
        printf("]}");
    fflush(stdout);
    b->first = false;
}

/* ---- measuring */

static int repeats(const struct bench *b, int most)
{
    int n = b->options->runs > 0 ? b->options->runs : b->options->quick ? 2 : most;

    return n < REPEATS_MAX ? n : REPEATS_MAX;
}

/* Plans the part, runs it once, then until the median is of several runs. */
static int bench_part(struct bench *b, const char *part, int (*run)(struct bench *b, struct err *e),
                      struct err *e)
{
    struct ops *o = b->ops;
    double samples[REPEATS_MAX], start, all = seconds();
    struct workspace plan, w = {0};
    int rc = 0, i, n = repeats(b, REPEATS_MAX);

    workspace_plan(&plan, o);
    TRY(run(b, e));
    TRY(workspace_init(&w, o, &plan, e));
    TRY(run(b, e)); /* the first one touches the memory */
    meter_reset();
    for (i = 0; i < n && (i < 3 || seconds() - all < SECONDS_MOST); i++) {
        start = seconds();
        TRY(run(b, e));
        samples[i] = seconds() - start;
    }
    show(b, part, samples, i);
out:
    workspace_done(&w, o);
    return rc;
}

static int bench_picture(struct bench *b, struct err *e)
{
    const struct render *renders[] = {&b->render};
    const struct batch batch = {renders, 1};
    struct workspace plan, w = {0};
    double samples[REPEATS_MAX], start;
    int rc = 0, n = repeats(b, 3);

    meter_reset();
    for (int i = 0; i < n; i++) {
        struct pipeline p = {.model = b->model};
        struct image image = {0};

        start = seconds();
        TRY(pipeline_plan(&p, &batch, &plan, e));
        TRY(workspace_init(&w, b->ops, &plan, e));
        rc = pipeline_run(&p, &batch, NULL, &image, e);
        samples[i] = seconds() - start;
        image_done(&image);
        pipeline_done(&p);
        workspace_done(&w, b->ops);
        TRY(rc);
    }
    show(b, "picture", samples, n);
out:
    return rc;
}

static bool asked(const struct bench *b, const char *part)
{
    return b->options->only == NULL || strcmp(b->options->only, part) == 0;
}

static int bench_all(struct bench *b, struct err *e)
{
    static const struct {
        const char *name;
        int (*run)(struct bench *b, struct err *e);
    } parts[] = {
        {"text", run_text}, {"context", run_context}, {"step", run_step}, {"vae", run_vae}};
    int rc = 0;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (asked(b, parts[i].name))
            TRY(bench_part(b, parts[i].name, parts[i].run, e));
    if (asked(b, "picture"))
        TRY(bench_picture(b, e));
out:
    return rc;
}

/* ---- opening */

static int acts_new(struct bench *b, int64_t n, struct act **ret_acts, struct err *e)
{
    void *memory = NULL;
    size_t size = (size_t)n * b->ops->act_bytes;
    int rc = b->ops->memory_new(b->ops, size, &memory, e);

    if (rc == 0)
        memset(memory, 0, size);
    *ret_acts = memory;
    return rc;
}

static int allocate(struct bench *b, struct err *e)
{
    const struct unet_config *u = unet_config(b->model->unet);
    int64_t rows = extent_rows(&b->latent), pixels = (int64_t)b->options->size * b->options->size;
    int rc = 0;

    b->x = calloc((size_t)(rows * u->in_channels), sizeof *b->x);
    b->y = calloc((size_t)(rows * u->out_channels), sizeof *b->y);
    b->states = calloc((size_t)(2 * b->tokens * u->text_width), sizeof *b->states);
    b->pooled = calloc((size_t)u->pooled_width + 1, sizeof *b->pooled);
    b->picture = calloc((size_t)(3 * pixels), sizeof *b->picture);
    b->ids = calloc((size_t)b->tokens, sizeof *b->ids);
    if (!b->x || !b->y || !b->states || !b->pooled || !b->picture || !b->ids)
        return err_set(e, ERR_OOM, "no memory for a picture of %d px", b->options->size);
    for (int64_t i = 0; i < rows * u->in_channels; i++)
        b->x[i] = (float)(i % 17) / 8 - 1;
    TRY(acts_new(b, 2 * unet_context_size(b->model->unet, b->tokens), &b->kv, e));
    if (u->pooled_width > 0)
        TRY(acts_new(b, u->time_width, &b->added, e));
out:
    return rc;
}

static void release(struct bench *b)
{
    free(b->x);
    free(b->y);
    free(b->states);
    free(b->pooled);
    free(b->picture);
    free(b->ids);
    model_close(b->model);
    if (b->ops != NULL) {
        b->ops->memory_free(b->ops, b->kv);
        b->ops->memory_free(b->ops, b->added);
        b->ops->free(b->ops);
    }
    meter_done();
}

static void show_machine(const struct bench *b, double load_seconds)
{
    const struct options *p = b->options;

    printf(p->json ? "{\"class\": \"%s\", \"precision\": \"%s\", \"threads\": %d, \"size\": %d, "
                     "\"steps\": %d, \"peak_gflops\": %.1f, \"copy_gbytes\": %.1f, "
                     "\"load_ms\": %.1f, \"weights_mib\": %.1f, \"parts\": ["
                   : "%s, %s, %d threads, %d px, %d steps, peak %.1f GFLOP/s, copying %.1f GB/s, "
                     "loaded in %.1f ms (weights %.1f MiB)\n",
           b->ops->device_class, precision_name(b->ops->precision), p->threads, p->size, p->steps,
           b->peak, b->copy, load_seconds * 1e3, (double)b->model->weight_bytes / 1048576.0);
}

static void show_memory(const struct bench *b)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf(b->options->json ? "\n], \"peak_mib\": %.1f}\n" : "peak of memory: %.1f MiB\n",
           (double)usage.ru_maxrss / 1024);
}

static int bench(const struct options *p, struct err *e)
{
    struct bench b = {.options = p, .first = true};
    struct peaks peaks;
    double start;
    int factor, rc = 0;

    b.render = (struct render){.prompt = "a pizza on a blue background",
                               .negative_prompt = "blurry",
                               .sampler = SAMPLER_DPMPP_2M,
                               .steps = p->steps,
                               .width = p->size,
                               .height = p->size,
                               .cfg_scale = 4,
                               .seed = 1};
    TRY(ops_cpu_new(p->threads, (enum precision)p->precision, &b.ops, e));
    measure_peaks(p->threads, p->quick, &peaks);
    b.peak = peak_of(&peaks, b.ops);
    b.copy = measure_copy(p->threads, p->quick);
    meter_wrap(b.ops);
    start = seconds();
    TRY(open_model(p->model, b.ops, &b.model, e));
    start = seconds() - start;
    factor = vae_factor(b.model->vae);
    b.latent = (struct extent){2, p->size / factor, p->size / factor};
    b.tokens = tokenizer_max_length(b.model->tokenizer);
    TRY(allocate(&b, e));
    show_machine(&b, start);
    TRY(bench_all(&b, e));
    show_memory(&b);
out:
    release(&b);
    return rc;
}

/* ---- the command line */

static int read_number(const char *text, int *ret_n)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*end != '\0' || n < 1 || n > 1 << 20)
        return -1;
    *ret_n = (int)n;
    return 0;
}

/* -1: no such option, or a value that it cannot have. */
static int read_option(struct options *p, const char *name, const char *value)
{
    static const char *const parts[] = {"text", "context", "step", "vae", "picture"};

    if (strcmp(name, "--model") == 0)
        p->model = value;
    else if (strcmp(name, "--size") == 0)
        return read_number(value, &p->size);
    else if (strcmp(name, "--steps") == 0)
        return read_number(value, &p->steps);
    else if (strcmp(name, "--threads") == 0)
        return read_number(value, &p->threads);
    else if (strcmp(name, "--runs") == 0)
        return read_number(value, &p->runs);
    else if (strcmp(name, "--precision") == 0)
        return p->precision = precision_from_name(value);
    else if (strcmp(name, "--only") == 0) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (strcmp(parts[i], value) == 0)
                p->only = parts[i];
        return p->only == NULL ? -1 : 0;
    } else
        return -1;
    return 0;
}

int main(int argc, char **argv)
{
    struct options p = {
        .model = "models/sticker-128", .size = 128, .steps = 20, .threads = omp_get_max_threads()};
    struct err e = {0};
    int rc;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            p.json = true;
        else if (strcmp(argv[i], "--quick") == 0)
            p.quick = true;
        else if (i + 1 == argc || read_option(&p, argv[i], argv[i + 1]) < 0) {
            fprintf(stderr, "bench_engine: not understood: %s %s\n", argv[i],
                    i + 1 < argc ? argv[i + 1] : "");
            return 2;
        } else
            i++;
    }
    rc = bench(&p, &e);
    if (rc != 0)
        fprintf(stderr, "bench_engine: %s\n", e.text);
    return rc != 0;
}
