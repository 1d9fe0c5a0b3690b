/*
 * bench_engine: how long a model's parts and a whole picture take, next to what this machine's FMA
 * units could do (peak.h).
 *
 *     bench_engine [--model FOLDER] [--size PIXELS] [--steps N] [--threads N]
 *                  [--precision f32|bf16|auto] [--json] [--quick]
 *
 * Default: the shipped model at 128 px, 20 steps of dpmpp_2m with guidance, so two samples in each
 * U-Net step. Medians. FLOPs are counted by wrapping the ops table around a planning pass: two for
 * each multiply-add of linears, convolutions and attention, nothing for the rest.
 */
#include "engine/pipeline/pipeline.h"
#include "tests/bench/peak.h"

#include <omp.h>

#define REPEATS_MAX 15

struct options {
    const char *model;
    int size, steps, threads, precision;
    bool json, quick;
};

/* FLOPs counted so far, and the backend's own functions behind the counting ones. */
static struct {
    double flops;
    struct ops own;
    /* Numbers of a layer's weights by its address. */
    struct {
        const void *layer;
        double weights;
    } * layers;
    size_t n, capacity;
} count;

static void remember(const void *layer, const struct tensor *w)
{
    if (count.n == count.capacity) {
        count.capacity = count.capacity ? 2 * count.capacity : 1024;
        count.layers = realloc(count.layers, count.capacity * sizeof *count.layers);
        if (count.layers == NULL)
            abort();
    }
    count.layers[count.n].layer = layer;
    count.layers[count.n].weights = (double)tensor_count(w);
    count.n++;
}

static double weights_of(const void *layer)
{
    for (size_t i = 0; i < count.n; i++)
        if (count.layers[i].layer == layer)
            return count.layers[i].weights;
    abort();
}

static int linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                      struct linear **ret_l, struct err *e)
{
    int rc = count.own.linear_new(o, w, bias, ret_l, e);

    if (rc == 0)
        remember(*ret_l, w);
    return rc;
}

static int conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                    struct conv **ret_c, struct err *e)
{
    int rc = count.own.conv_new(o, w, bias, ret_c, e);

    if (rc == 0)
        remember(*ret_c, w);
    return rc;
}

static int linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                  int64_t m, enum activation act, const struct act *residual, struct err *e)
{
    if (o->planning)
        count.flops += 2 * (double)m * weights_of(l);
    return count.own.linear(o, y, x, l, m, act, residual, e);
}

static int conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c,
                  int64_t n, int64_t h, int64_t w, int stride, const int pad[4],
                  const struct act *per_sample, const struct act *residual, struct err *e)
{
    /* Kernels of this engine keep the size or halve it, rounding up. */
    if (o->planning)
        count.flops += 2 * (double)(n * ((h + stride - 1) / stride) * ((w + stride - 1) / stride)) *
                       weights_of(c);
    return count.own.conv2d(o, y, x, c, n, h, w, stride, pad, per_sample, residual, e);
}

static int attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                     const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                     int head_dim, float scale, bool causal, struct err *e)
{
    if (o->planning)
        count.flops += 4 * (double)(n * heads * tq) * (double)(tk * head_dim);
    return count.own.attention(o, y, q, k, v, n, tq, tk, heads, head_dim, scale, causal, e);
}

static void count_wrap(struct ops *o)
{
    count.own = *o;
    o->linear_new = linear_new;
    o->conv_new = conv_new;
    o->linear = linear;
    o->conv2d = conv2d;
    o->attention = attention;
}

/* What the parts work on, all from one arena of the whole picture's size and some more. */
struct bench {
    const struct options *options;
    struct ops *ops;
    struct model *model;
    struct render render;
    struct extent latent; /* two samples */
    float *x, *y, *states, *picture;
    struct act *kv;
    int32_t *ids;
    int64_t tokens;
    double peak; /* GFLOP/s */
    bool first;  /* nothing printed yet */
};

static int run_text(struct bench *b, struct err *e)
{
    const struct clip_text text = {.ids = b->ids, .tokens = b->tokens};

    return clip_encode(b->model->clip, b->states, NULL, &text, 0, true, e);
}

static int run_context(struct bench *b, struct err *e)
{
    struct unet *u = b->model->unet;
    int64_t kv = unet_context_size(u, b->tokens);
    int rc = 0;

    for (int i = 0; i < 2; i++)
        TRY(unet_context(u, act_at(b->ops, b->kv, i * kv),
                         b->states + i * b->tokens * unet_config(u)->text_width, b->tokens, e));
out:
    return rc;
}

static int run_step(struct bench *b, struct err *e)
{
    int64_t kv = unet_context_size(b->model->unet, b->tokens);
    const struct unet_text texts[2] = {{.kv = b->kv, .tokens = b->tokens},
                                       {.kv = act_at(b->ops, b->kv, kv), .tokens = b->tokens}};

    return unet_forward(b->model->unet, b->y, b->x, &b->latent, 500, texts, e);
}

static int run_vae(struct bench *b, struct err *e)
{
    struct extent one = {1, b->latent.h, b->latent.w};

    return vae_decode(b->model->vae, b->picture, b->x, &one, e);
}

static void show(struct bench *b, const char *part, double s, double flops)
{
    double rate = flops / s * 1e-9;

    if (b->options->json)
        printf("%s\n  {\"part\": \"%s\", \"ms\": %.3f, \"gflop\": %.3f, \"gflops\": %.1f}",
               b->first ? "" : ",", part, s * 1e3, flops * 1e-9, rate);
    else
        printf("%-14s %10.2f ms %10.3f GFLOP %8.1f GFLOP/s %5.1f %%\n", part, s * 1e3, flops * 1e-9,
               rate, b->peak > 0 ? 100 * rate / b->peak : 0);
    fflush(stdout);
    b->first = false;
}

/* Plans the part (which counts it), then runs it until the median is of several runs. */
static int bench_part(struct bench *b, const char *part, int (*run)(struct bench *b, struct err *e),
                      struct err *e)
{
    struct ops *o = b->ops;
    int n = b->options->quick ? 3 : REPEATS_MAX;
    double samples[REPEATS_MAX], start, all = seconds();
    struct workspace plan, w = {0};
    int rc = 0, i;

    workspace_plan(&plan, o);
    count.flops = 0;
    TRY(run(b, e));
    TRY(workspace_init(&w, o, &plan, e));
    TRY(run(b, e)); /* the first one touches the memory */
    for (i = 0; i < n && (i < 3 || seconds() - all < 60); i++) {
        start = seconds();
        TRY(run(b, e));
        samples[i] = seconds() - start;
    }
    show(b, part, median(samples, i), count.flops);
out:
    workspace_done(&w, o);
    return rc;
}

static int bench_picture(struct bench *b, double per_picture_flops, struct err *e)
{
    int n = b->options->quick ? 1 : 3;
    struct workspace plan, w = {0};
    double samples[3], start;
    int rc = 0;

    for (int i = 0; i < n; i++) {
        struct pipeline p = {.model = b->model};
        struct image image = {0};

        start = seconds();
        TRY(pipeline_plan(&p, &b->render, &plan, e));
        TRY(workspace_init(&w, b->ops, &plan, e));
        rc = pipeline_run(&p, &b->render, NULL, &image, e);
        samples[i] = seconds() - start;
        image_done(&image);
        pipeline_done(&p);
        workspace_done(&w, b->ops);
        TRY(rc);
    }
    show(b, "picture", median(samples, n), per_picture_flops);
out:
    return rc;
}

static int allocate(struct bench *b, struct err *e)
{
    const struct unet_config *u = unet_config(b->model->unet);
    int64_t rows = extent_rows(&b->latent), pixels = (int64_t)b->options->size * b->options->size;
    size_t kv = (size_t)(2 * unet_context_size(b->model->unet, b->tokens));
    void *memory = NULL;
    int rc;

    b->x = calloc((size_t)(rows * u->in_channels), sizeof *b->x);
    b->y = calloc((size_t)(rows * u->out_channels), sizeof *b->y);
    b->states = calloc((size_t)(2 * b->tokens * u->text_width), sizeof *b->states);
    b->picture = calloc((size_t)(3 * pixels), sizeof *b->picture);
    b->ids = calloc((size_t)b->tokens, sizeof *b->ids);
    if (!b->x || !b->y || !b->states || !b->picture || !b->ids)
        return err_set(e, ERR_OOM, "no memory for a picture of %d px", b->options->size);
    for (int64_t i = 0; i < rows * u->in_channels; i++)
        b->x[i] = (float)(i % 17) / 8 - 1;
    rc = b->ops->memory_new(b->ops, kv * b->ops->act_bytes, &memory, e);
    b->kv = memory;
    return rc;
}

static void release(struct bench *b)
{
    free(b->x);
    free(b->y);
    free(b->states);
    free(b->picture);
    free(b->ids);
    model_close(b->model);
    if (b->ops != NULL) {
        b->ops->memory_free(b->ops, b->kv);
        b->ops->free(b->ops);
    }
    free(count.layers);
}

static int bench_all(struct bench *b, struct err *e)
{
    double text, context, step, vae;
    int rc = 0;

    TRY(bench_part(b, "text", run_text, e));
    text = count.flops;
    TRY(bench_part(b, "keys, values", run_context, e));
    context = count.flops;
    TRY(bench_part(b, "U-Net step", run_step, e));
    step = count.flops;
    TRY(bench_part(b, "VAE", run_vae, e));
    vae = count.flops;
    TRY(bench_picture(b, 2 * text + context + b->options->steps * step + vae, e));
out:
    return rc;
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
    count_wrap(b.ops);
    start = seconds();
    TRY(model_open(p->model, b.ops, 0, &b.model, e));
    start = seconds() - start;
    factor = vae_factor(b.model->vae);
    b.latent = (struct extent){2, p->size / factor, p->size / factor};
    b.tokens = tokenizer_max_length(b.model->tokenizer);
    TRY(allocate(&b, e));
    measure_peaks(p->threads, p->quick, &peaks);
    b.peak = peak_of(&peaks, b.ops);
    printf(p->json ? "{\"class\": \"%s\", \"threads\": %d, \"size\": %d, \"steps\": %d, "
                     "\"peak_gflops\": %.1f, \"load_ms\": %.1f, \"parts\": ["
                   : "%s, %d threads, %d px, %d steps, peak %.1f GFLOP/s, loaded in %.1f ms\n",
           b.ops->device_class, p->threads, p->size, p->steps, b.peak, start * 1e3);
    TRY(bench_all(&b, e));
    if (p->json)
        printf("\n]}\n");
out:
    release(&b);
    return rc;
}

int main(int argc, char **argv)
{
    struct options p = {
        .model = "models/sticker-128", .size = 128, .steps = 20, .threads = omp_get_max_threads()};
    struct err e = {0};
    int rc;

    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;

        if (strcmp(argv[i], "--json") == 0)
            p.json = true;
        else if (strcmp(argv[i], "--quick") == 0)
            p.quick = true;
        else if (strcmp(argv[i], "--model") == 0 && more)
            p.model = argv[++i];
        else if (strcmp(argv[i], "--size") == 0 && more)
            p.size = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0 && more)
            p.steps = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--precision") == 0 && more)
            p.precision = precision_from_name(argv[++i]);
        else if (strcmp(argv[i], "--threads") == 0 && more)
            p.threads = (int)strtol(argv[++i], NULL, 10);
        else {
            fprintf(stderr, "bench_engine: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    if (p.precision < 0) {
        fprintf(stderr, "bench_engine: no such precision\n");
        return 2;
    }
    rc = bench(&p, &e);
    if (rc != 0)
        fprintf(stderr, "bench_engine: %s\n", e.text);
    return rc != 0;
}
