#include "engine/engine.h"

#include "engine/gang/gang.h"
#include "engine/lora/lora.h"
#include "engine/ops/cuda.h"
#include "engine/pipeline/hires.h"
#include "engine/pipeline/pipeline.h"

struct engine {
    struct checkpoint *checkpoint; /* its files; the weights are let go of */
    enum backend backend;
    uint64_t memory_bytes;
    struct hash_memo *hashes; /* borrowed, may be NULL */
    struct ops *ops;
    char device_class[256];
    struct model *model;
    struct pipeline pipeline;
    struct embeddings *embeddings;
    struct workspace workspace;             /* kept while renders need the same size */
    struct model_file *files;               /* owned; NULL: not yet computed */
    struct embedding_info *embedding_infos; /* [n], owned */
    char model_hash[HASH_HEX_SIZE];
};

/*
 * Auto on a CUDA device: f16, which most models were published in, but bf16 for SDXL, whose VAE's
 * numbers pass f16's range.
 */
static enum precision cuda_precision(const struct checkpoint *c, enum precision precision)
{
    if (precision != PRECISION_AUTO)
        return precision;
    return checkpoint_kind(c)->xl ? PRECISION_BF16 : PRECISION_F16;
}

/* PRECISION_COUNT: refused. c NULL: of no model yet. */
static enum precision computed(enum backend backend, const struct checkpoint *c,
                               enum precision asked)
{
    if (backend == BACKEND_CUDA)
        return c != NULL ? cuda_precision(c, asked) : asked;
    if (asked == PRECISION_F16)
        return PRECISION_COUNT;
    return backend == BACKEND_REF ? PRECISION_F32 : ops_cpu_precision(asked);
}

static int backend_new(const struct engine_options *o, const struct checkpoint *c,
                       struct ops **ret_ops, struct err *e)
{
    if (o->backend == BACKEND_CUDA)
        return ops_cuda_new(o->device, cuda_precision(c, o->precision), ret_ops, e);
    if (o->precision == PRECISION_F16)
        return err_set(e, ERR_ARG, "f16 is for CUDA devices: the CPU computes in f32 or bf16");
    switch (o->backend) {
    case BACKEND_CPU:
        return ops_cpu_new(o->threads, o->precision, ret_ops, e);
    case BACKEND_REF:
        return ops_ref_new(ret_ops, e);
    default:
        return err_set(e, ERR_ARG, "there is no backend %d", (int)o->backend);
    }
}

/* Sums over other parts round otherwise: tensor parallel is a device class of its own. */
static int take_shard(struct engine *g, const struct engine_options *o, struct err *e)
{
    int n = snprintf(g->device_class, sizeof g->device_class, o->shards > 1 ? "%s+tensor%d" : "%s",
                     g->ops->device_class, o->shards);

    if (o->shard < 0 || (o->shard > 0 && o->shard >= o->shards) || o->shards > GANG_SIZE_MAX)
        return err_set(e, ERR_ARG, "there is no part %d of %d of a model", o->shard, o->shards);
    if (n < 0 || (size_t)n >= sizeof g->device_class)
        return err_set(e, ERR_INTERNAL, "the device class is too long");
    g->ops->shard = (struct shard){.rank = o->shard, .size = o->shards > 1 ? o->shards : 1};
    return 0;
}

int engine_open(const struct engine_options *o, struct engine **ret_engine, struct err *e)
{
    const struct checkpoint_options source = {
        .model = o->model, .config = o->config, .vae = o->vae};
    struct engine *g = calloc(1, sizeof *g);
    int rc = 0;

    if (g == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", o->model);
    g->backend = o->backend;
    g->memory_bytes = o->memory_bytes;
    g->hashes = o->hashes;
    if (o->threads < 1 || (unsigned)o->precision >= PRECISION_COUNT)
        TRY(err_set(e, ERR_ARG, "an engine needs at least one thread and a known precision"));
    TRY(checkpoint_open(&source, &g->checkpoint, e));
    TRY(backend_new(o, g->checkpoint, &g->ops, e));
    TRY(take_shard(g, o, e));
    TRY(model_load(g->checkpoint, g->ops, g->memory_bytes, &g->model, e));
    checkpoint_unmap(g->checkpoint);
    TRY(model_lora_folders(g->model, o->lora_folders, g->memory_bytes, e));
    if (o->lora_path)
        model_lora_finder(g->model, o->lora_path, o->lora_user);
    TRY(embeddings_new(o->embedding_folders, &g->embeddings, e));
    g->pipeline.model = g->model;
    g->pipeline.embeddings = g->embeddings;
    *ret_engine = g;
    g = NULL;
out:
    engine_close(g);
    return rc;
}

void engine_close(struct engine *g)
{
    if (g == NULL)
        return;
    pipeline_done(&g->pipeline);
    embeddings_free(g->embeddings);
    free(g->embedding_infos);
    model_lora_done(g->model);
    model_close(g->model);
    if (g->ops != NULL)
        workspace_done(&g->workspace, g->ops);
    if (g->ops != NULL)
        g->ops->free(g->ops);
    checkpoint_close(g->checkpoint);
    free(g->files);
    free(g);
}

const char *engine_device_class(const struct engine *g)
{
    return g->device_class;
}

struct engine_trials engine_trials(const struct engine *g)
{
    const struct ops_trials *t = &g->ops->trials;

    return (struct engine_trials){t->whole, t->apart, t->refused};
}

enum precision engine_precision(const struct engine *g)
{
    return g->ops->precision;
}

enum precision engine_computes(const struct engine *g, enum precision asked)
{
    return computed(g->backend, g->checkpoint, asked);
}

int engine_offers(enum backend backend, int device, struct engine_offer *ret_offers, size_t *ret_n,
                  struct err *e)
{
    struct cuda_device d;
    size_t n = 0;
    int rc = 0;

    for (int i = 0; i < PRECISION_COUNT; i++) {
        struct engine_offer *o = &ret_offers[n];

        o->asked = (enum precision)i;
        o->computed = computed(backend, NULL, o->asked);
        if (o->computed == PRECISION_COUNT)
            continue;
        if (backend == BACKEND_CUDA)
            TRY(ops_cuda_probe(device, o->asked, &d, e));
        snprintf(o->device_class, sizeof o->device_class, "%s",
                 backend == BACKEND_CUDA ? d.device_class : engine_probe_class(backend, o->asked));
        n++;
    }
    *ret_n = n;
out:
    return rc;
}

const char *engine_probe_class(enum backend backend, enum precision precision)
{
    return backend == BACKEND_REF ? "ref" : ops_cpu_class(precision);
}

int engine_count_cuda(int *ret_n, struct err *e)
{
    return ops_cuda_count(ret_n, e);
}

int engine_probe_cuda(int device, struct engine_device *ret_d, struct err *e)
{
    struct cuda_device d;
    int rc;

    TRY(ops_cuda_probe(device, PRECISION_AUTO, &d, e));
    *ret_d = (struct engine_device){.memory_bytes = d.memory_bytes};
    snprintf(ret_d->text, sizeof ret_d->text,
             "cuda:%d: %s, %.1f GiB, compute capability %d.%d, driver for CUDA %d.%d", device,
             d.name, (double)d.memory_bytes / (1 << 30), d.major, d.minor, d.driver / 1000,
             d.driver % 1000 / 10);
    snprintf(ret_d->device_class, sizeof ret_d->device_class, "%s", d.device_class);
out:
    return rc;
}

/*
 * What AUTOMATIC1111 would call the model's hash: that of the file with the U-Net's weights; of
 * several such files, the hash of their hashes in order of name.
 */
static int hash_model(struct engine *g, const struct checkpoint_file *files, size_t n,
                      struct err *e)
{
    struct buf all = {0};
    const char *last = NULL;
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        if (files[i].denoiser) {
            last = g->files[i].sha256;
            buf_puts(&all, last);
        }
    TRY(buf_check(&all, e));
    if (last == NULL)
        TRY(err_set(e, ERR_INTERNAL, "model '%s': the U-Net's weights are not listed",
                    checkpoint_path(g->checkpoint)));
    if (all.size == HASH_HEX_SIZE - 1)
        memcpy(g->model_hash, last, HASH_HEX_SIZE);
    else
        TRY(hash_bytes(all.data, all.size, g->model_hash, e));
out:
    buf_done(&all);
    return rc;
}

static int hash_files(struct engine *g, struct err *e)
{
    const struct checkpoint_file *files;
    size_t n;
    int rc = 0;

    files = checkpoint_files(g->checkpoint, &n);
    g->files = calloc(n, sizeof *g->files);
    if (g->files == NULL)
        return err_set(e, ERR_OOM, "no memory for the hashes of %zu files", n);
    for (size_t i = 0; i < n; i++) {
        g->files[i].path = files[i].name;
        TRY(hash_memo_file(g->hashes, files[i].path, g->files[i].sha256, e));
    }
    TRY(hash_model(g, files, n, e));
out:
    if (rc != 0) {
        free(g->files);
        g->files = NULL;
    }
    return rc;
}

int engine_files(struct engine *g, const struct model_file **ret_files, size_t *ret_n,
                 struct err *e)
{
    int rc = 0;

    if (g->files == NULL)
        TRY(hash_files(g, e));
    checkpoint_files(g->checkpoint, ret_n);
    *ret_files = g->files;
out:
    return rc;
}

int engine_model_hash(struct engine *g, char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    int rc = 0;

    if (g->files == NULL)
        TRY(hash_files(g, e));
    memcpy(ret_hex, g->model_hash, HASH_HEX_SIZE);
out:
    return rc;
}

uint64_t engine_weight_bytes(const struct engine *g)
{
    return g->model->weight_bytes;
}

/* Weights, the workspace and the pictures themselves. */
static uint64_t all_bytes(const struct engine *g, const struct batch *b, uint64_t workspace)
{
    uint64_t pictures = 0;
    int width, height;

    for (size_t i = 0; i < b->n; i++) {
        render_size(b->renders[i], &width, &height);
        pictures += 3 * (uint64_t)width * (uint64_t)height;
    }
    return g->model->weight_bytes + workspace + pictures;
}

int engine_plan(struct engine *g, const struct render *const *renders, size_t n,
                uint64_t *ret_bytes, struct err *e)
{
    const struct batch b = {renders, n};
    struct workspace plan;
    int rc = pipeline_plan(&g->pipeline, &b, &plan, e);

    if (rc == 0)
        *ret_bytes = all_bytes(g, &b, workspace_peak(&plan));
    return rc;
}

static int check_budget(const struct engine *g, const struct batch *b, uint64_t bytes,
                        struct err *e)
{
    const double mib = 1048576;
    uint64_t all = all_bytes(g, b, bytes), weights = g->model->weight_bytes;
    int width, height;

    if (g->memory_bytes == 0 || all <= g->memory_bytes)
        return 0;
    render_size(b->renders[0], &width, &height);
    return err_set(e, ERR_OOM,
                   "%s of %d x %d%s takes %.1f MiB (weights %.1f, render %.1f); the budget is "
                   "%.1f MiB",
                   b->n > 1 ? "a batch of pictures" : "a picture", width, height,
                   b->n > 1 ? " each" : "", (double)all / mib, (double)weights / mib,
                   (double)(all - weights) / mib, (double)g->memory_bytes / mib);
}

int engine_render(struct engine *g, const struct render *const *renders, size_t n,
                  struct image *ret_images, struct err *e)
{
    const struct batch b = {renders, n};
    struct workspace plan;
    int rc = 0;

    TRY(pipeline_plan(&g->pipeline, &b, &plan, e));
    TRY(check_budget(g, &b, workspace_peak(&plan), e));
    TRY(workspace_init(&g->workspace, g->ops, &plan, e));
    TRY(pipeline_run(&g->pipeline, &b, NULL, ret_images, e));
out:
    return rc;
}

size_t engine_loras(const struct engine *g, struct lora_info ret_loras[ENGINE_LORAS_MAX])
{
    return model_lora_infos(g->model, ret_loras);
}

int engine_embeddings(struct engine *g, size_t i, const struct embedding_info **ret_infos,
                      size_t *ret_n, struct err *e)
{
    const struct pipeline *p = &g->pipeline;
    size_t n = i < p->n_used ? p->used[i].n : 0;
    struct embedding_info *infos = calloc(n + 1, sizeof *infos);
    int rc = 0;

    if (infos == NULL)
        return err_set(e, ERR_OOM, "no memory for the hashes of embeddings");
    for (size_t k = 0; k < n; k++) {
        infos[k].name = p->used[i].items[k].name;
        infos[k].path = p->used[i].items[k].path;
        TRY(hash_memo_file(g->hashes, infos[k].path, infos[k].sha256, e));
    }
    free(g->embedding_infos);
    g->embedding_infos = infos;
    infos = NULL;
    *ret_infos = g->embedding_infos;
    *ret_n = n;
out:
    free(infos);
    return rc;
}
