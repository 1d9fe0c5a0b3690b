#include "engine/engine.h"

#include "engine/pipeline.h"

#define MODEL_FILES_MAX 16

struct engine {
    char *folder; /* owned */
    uint64_t memory_bytes;
    struct ops *ops;
    struct model *model;
    struct prompts prompts;
    struct arena arena; /* kept while renders need the same size */
    struct model_file files[MODEL_FILES_MAX];
    size_t n_files; /* 0: not yet computed */
};

static int backend_new(enum backend backend, int threads, struct ops **ret_ops, struct err *e)
{
    switch (backend) {
    case BACKEND_CPU:
        return ops_cpu_new(threads, ret_ops, e);
    case BACKEND_REF:
        return ops_ref_new(ret_ops, e);
    }
    return err_set(e, ERR_ARG, "there is no backend %d", (int)backend);
}

int engine_open(const struct engine_options *o, struct engine **ret_engine, struct err *e)
{
    struct engine *g = calloc(1, sizeof *g);
    int rc = 0;

    if (g == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", o->model);
    g->memory_bytes = o->memory_bytes;
    if (o->threads < 1 || o->precision != PRECISION_F32)
        TRY(err_set(e, ERR_ARG, "an engine needs at least one thread and a known precision"));
    g->folder = strdup(o->model);
    if (g->folder == NULL)
        TRY(err_set(e, ERR_OOM, "model '%s': no memory", o->model));
    TRY(backend_new(o->backend, o->threads, &g->ops, e));
    TRY(model_open(g->folder, g->ops, g->memory_bytes, &g->model, e));
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
    prompts_done(&g->prompts);
    model_close(g->model);
    arena_done(&g->arena);
    if (g->ops != NULL)
        g->ops->free(g->ops);
    free(g->folder);
    free(g);
}

const char *engine_device_class(const struct engine *g)
{
    return g->ops->device_class;
}

const char *engine_probe_class(enum backend backend)
{
    return backend == BACKEND_REF ? "ref" : ops_cpu_class();
}

/* One file's place in the list; a missing optional file has none. */
static int add_file(struct engine *g, const struct model_part *part, size_t *n, struct err *e)
{
    struct model_file *f = &g->files[*n];
    char path[PATH_MAX];
    struct err why;
    int rc;

    rc = layer_path(path, g->folder, part->path, e);
    if (rc != 0)
        return rc;
    rc = hash_file(path, f->sha256, &why);
    if (rc == ERR_MISSING && part->optional)
        return 0;
    if (rc != 0)
        return err_set(e, rc, "%s", why.text);
    f->path = part->path;
    ++*n;
    return 0;
}

int engine_files(struct engine *g, const struct model_file **ret_files, size_t *ret_n,
                 struct err *e)
{
    size_t n = 0;
    int rc = 0;

    if (g->n_files == 0) {
        for (const struct model_part *p = model_parts(); p->path != NULL; p++)
            TRY(add_file(g, p, &n, e));
        g->n_files = n;
    }
    *ret_files = g->files;
    *ret_n = g->n_files;
out:
    return rc;
}

int engine_model_hash(struct engine *g, char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    const struct model_file *files;
    size_t n;
    int rc = engine_files(g, &files, &n, e);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].path, "unet/diffusion_pytorch_model.safetensors") == 0) {
            memcpy(ret_hex, files[i].sha256, HASH_HEX_SIZE);
            return 0;
        }
    return err_set(e, ERR_INTERNAL, "model '%s': the U-Net's weights are not listed", g->folder);
}

static int hires_side(int side, double scale)
{
    int scaled = (int)(side * scale);

    return scaled - scaled % 8;
}

void render_size(const struct render *r, int *ret_width, int *ret_height)
{
    const struct hires *h = &r->hires;
    bool second = h->scale > 0 || (h->width > 0 && h->height > 0);
    bool given = h->width > 0 && h->height > 0;
    int width = r->width + r->outpaint_left + r->outpaint_right;
    int height = r->height + r->outpaint_top + r->outpaint_bottom;

    *ret_width = !second ? width : given ? h->width : hires_side(width, h->scale);
    *ret_height = !second ? height : given ? h->height : hires_side(height, h->scale);
}

int engine_plan(struct engine *g, const struct render *r, uint64_t *ret_bytes, struct err *e)
{
    size_t bytes;
    int rc = pipeline_plan(g->model, r, &bytes, e);

    if (rc == 0)
        *ret_bytes = g->model->weight_bytes + bytes;
    return rc;
}

static int check_budget(const struct engine *g, const struct render *r, size_t bytes, struct err *e)
{
    const double mib = 1048576;
    uint64_t all = g->model->weight_bytes + bytes;

    if (g->memory_bytes == 0 || all <= g->memory_bytes)
        return 0;
    return err_set(e, ERR_OOM,
                   "a picture of %d x %d takes %.1f MiB (weights %.1f, render %.1f); the budget is "
                   "%.1f MiB",
                   r->width, r->height, (double)all / mib, (double)g->model->weight_bytes / mib,
                   (double)bytes / mib, (double)g->memory_bytes / mib);
}

int engine_render(struct engine *g, const struct render *r, struct image *ret_image, struct err *e)
{
    size_t bytes;
    int rc = 0;

    TRY(pipeline_plan(g->model, r, &bytes, e));
    TRY(check_budget(g, r, bytes, e));
    if (g->arena.base == NULL || g->arena.capacity != bytes) {
        arena_done(&g->arena);
        TRY(arena_init(&g->arena, bytes, e));
    }
    TRY(pipeline_run(g->model, &g->prompts, &g->arena, r, ret_image, e));
out:
    return rc;
}

void image_done(struct image *image)
{
    free(image->pixels);
    *image = (struct image){0};
}
