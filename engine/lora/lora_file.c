#include "engine/lora/lora_file.h"

#include "engine/lora/lora_scale.h"
#include "engine/networks/adapter.h"

#include <stdlib.h>
#include <string.h>

int lora_target_init(struct lora_target *t, const struct model *m, struct err *e)
{
    int rc = 0;

    *t = (struct lora_target){.text_width = unet_config(m->unet)->text_width};
    t->layers[LORA_TEXT] = clip_layers(m->clip);
    t->layers[LORA_TEXT_2] = m->clip2 != NULL ? clip_layers(m->clip2) : NULL;
    t->layers[LORA_UNET] = unet_layers(m->unet);
    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        if (t->layers[p] != NULL)
            TRY(lora_index_init(&t->index[p], t->layers[p],
                                p == LORA_UNET ? unet_config(m->unet) : NULL, e));
out:
    if (rc != 0)
        lora_target_done(t);
    return rc;
}

void lora_target_done(struct lora_target *t)
{
    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        lora_index_done(&t->index[p]);
    *t = (struct lora_target){0};
}

/* For errors: what this model is, so that a LoRA of another family is seen for what it is. */
static const char *family(const struct lora_target *t)
{
    switch (t->text_width) {
    case 768:
        return "this model is shaped like SD 1";
    case 1024:
        return "this model is shaped like SD 2";
    case 2048:
        return "this model is shaped like SDXL";
    default:
        return "is the LoRA for another model?";
    }
}

static int no_module(const struct lora_file *f, const struct lora_target *t, const char *tensor,
                     const struct lora_key *key, struct err *e)
{
    if (t->layers[key->part] == NULL)
        return err_set(e, ERR_INPUT,
                       "%s: tensor '%s' changes a second text encoder (SDXL); this model has one",
                       f->path, tensor);
    return err_set(e, ERR_INPUT, "%s: tensor '%s': the %s has no module '%s' (%s)", f->path, tensor,
                   lora_part_name(key->part), key->module, family(t));
}

static bool same_tensor(const struct tensor *a, const struct tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0 &&
           memcmp(a->data, b->data, (size_t)tensor_count(a) * dtype_size(a->dtype)) == 0;
}

/* Puts tensor i of the file where its name says. The same numbers twice, under two names, are
 * once. */
static int take(struct lora_file *f, const struct lora_target *t, size_t i, struct err *e)
{
    struct lora_tensor got = {.name = weights_name(f->weights, i)}, *place;
    struct lora_change *change;
    struct lora_key key;
    size_t layer = 0;
    int rc = 0;

    TRY(lora_key_read(f->path, got.name, &key, e));
    if (!lora_index_find(&t->index[key.part], key.module, &layer))
        return no_module(f, t, got.name, &key, e);
    if (!weights_find(f->weights, got.name, &got.tensor))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is of a type or rank that is not read here",
                       f->path, got.name);
    change = &f->changes[key.part][layer];
    place = key.what == LORA_DOWN ? &change->down
            : key.what == LORA_UP ? &change->up
                                  : &change->alpha;
    if (place->name != NULL && !same_tensor(&place->tensor, &got.tensor))
        return err_set(e, ERR_INPUT, "%s: tensors '%s' and '%s' are for the same place", f->path,
                       place->name, got.name);
    *place = got;
out:
    return rc;
}

/* [rows, columns, kernel, kernel], where a kernel of 1 may be left out. */
static bool is_matrix(const struct tensor *t, int64_t rows, int64_t columns, int kernel)
{
    bool flat = t->rank == 2 && kernel == 1;
    bool full = t->rank == 4 && t->shape[2] == kernel && t->shape[3] == kernel;

    return (flat || full) && t->shape[0] == rows && t->shape[1] == columns &&
           dtype_is_float(t->dtype);
}

static int bad_shape(const struct lora_file *f, const struct lora_target *t,
                     const struct lora_tensor *got, const struct tensor *wanted, struct err *e)
{
    char has[128], wants[128];

    if (!dtype_is_float(got->tensor.dtype))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is of type %s; F32, F16 or BF16 is needed",
                       f->path, got->name, dtype_name(got->tensor.dtype));
    return err_set(e, ERR_INPUT, "%s: tensor '%s' has shape %s, its layer takes %s (%s)", f->path,
                   got->name, tensor_shape_text(&got->tensor, has, sizeof has),
                   tensor_shape_text(wanted, wants, sizeof wants), family(t));
}

/* Both tensors against the layer, and the rank that they have. */
static int check_shapes(const struct lora_file *f, const struct lora_target *t,
                        const struct named_layer *layer, const struct lora_change *c,
                        int64_t *ret_rank, struct err *e)
{
    int kernel = layer->conv != NULL ? layer->conv->kernel : 1;
    int64_t in = layer->conv != NULL ? layer->conv->in : layer->linear->in;
    int64_t out = layer->conv != NULL ? layer->conv->out : layer->linear->out;
    int64_t rank = c->down.tensor.rank > 0 ? c->down.tensor.shape[0] : 0;
    int ranks = kernel > 1 ? 4 : 2;
    struct tensor down = {.rank = ranks, .shape = {rank, in, kernel, kernel}};
    struct tensor up = {.rank = ranks, .shape = {out, rank, 1, 1}};

    if (rank < 1 || rank > ADAPTER_RANK_MAX)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is of rank %lld; 1 to %d is possible",
                       f->path, c->down.name, (long long)rank, ADAPTER_RANK_MAX);
    if (!is_matrix(&c->down.tensor, rank, in, kernel))
        return bad_shape(f, t, &c->down, &down, e);
    if (!is_matrix(&c->up.tensor, out, rank, 1))
        return bad_shape(f, t, &c->up, &up, e);
    *ret_rank = rank;
    return 0;
}

/* What was found for one layer must be a whole. */
static int finish(struct lora_file *f, const struct lora_target *t, const struct lora_scale *s,
                  enum lora_part part, size_t i, struct err *e)
{
    const struct named_layer *layer = &t->layers[part]->items[i];
    struct lora_change *c = &f->changes[part][i];
    const char *given = c->down.name != NULL ? c->down.name
                        : c->up.name != NULL ? c->up.name
                                             : c->alpha.name;
    int rc = 0;

    if (given == NULL)
        return 0;
    if (c->down.name == NULL || c->up.name == NULL)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' stands alone: its %s is missing", f->path,
                       given, c->down.name == NULL ? "down" : "up");
    TRY(check_shapes(f, t, layer, c, &c->rank, e));
    if (c->alpha.name != NULL && s->notes != NULL)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' and the file's notes both give an alpha",
                       f->path, c->alpha.name);
    if (c->alpha.name != NULL)
        TRY(lora_scale_alpha(f->weights, c->alpha.name, &c->alpha.tensor, c->rank, &c->scale, e));
    else
        TRY(lora_scale_noted(s, f->weights, part, layer->name, c->rank, &c->scale, e));
    f->n_changes[part]++;
out:
    return rc;
}

static int read_changes(struct lora_file *f, const struct lora_target *t, struct err *e)
{
    struct lora_scale scale = {0};
    int rc = 0;

    TRY(lora_scale_init(&scale, f->weights, e));
    if (weights_count(f->weights) == 0)
        TRY(err_set(e, ERR_INPUT, "%s: the file holds no tensors", f->path));
    for (size_t i = 0; i < weights_count(f->weights); i++)
        TRY(take(f, t, i, e));
    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        for (size_t i = 0; t->layers[p] != NULL && i < t->layers[p]->n; i++)
            TRY(finish(f, t, &scale, p, i, e));
out:
    lora_scale_done(&scale);
    return rc;
}

static bool is_hash(const char *text)
{
    return text != NULL && strlen(text) == HASH_HEX_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == HASH_HEX_SIZE - 1;
}

static int hash(struct lora_file *f, struct err *e)
{
    const char *noted = weights_metadata(f->weights, "sshs_model_hash");
    const unsigned char *bytes;
    size_t size, data;
    int rc = 0;

    bytes = weights_bytes(f->weights, &size, &data);
    TRY(hash_bytes(bytes, size, f->sha256, e));
    if (is_hash(noted))
        memcpy(f->data_hash, noted, HASH_HEX_SIZE);
    else
        TRY(hash_bytes(bytes + data, size - data, f->data_hash, e));
out:
    return rc;
}

static int allocate(struct lora_file *f, const char *path, const char *name,
                    const struct lora_target *t, struct err *e)
{
    f->path = strdup(path);
    f->name = strdup(name);
    if (f->path == NULL || f->name == NULL)
        return err_set(e, ERR_OOM, "%s: no memory", path);
    for (enum lora_part p = 0; p < LORA_PARTS; p++) {
        size_t n = t->layers[p] != NULL ? t->layers[p]->n : 0;

        f->changes[p] = calloc(n + 1, sizeof *f->changes[p]);
        if (f->changes[p] == NULL)
            return err_set(e, ERR_OOM, "%s: no memory", path);
    }
    return 0;
}

int lora_file_open(const char *path, const char *name, const struct lora_target *t,
                   struct lora_file **ret_f, struct err *e)
{
    struct lora_file *f = calloc(1, sizeof *f);
    int rc = 0;

    if (f == NULL)
        return err_set(e, ERR_OOM, "%s: no memory", path);
    TRY(allocate(f, path, name, t, e));
    if (stat(path, &f->status) != 0)
        TRY(err_errno(e, path));
    TRY(weights_open(path, &f->weights, e));
    TRY(read_changes(f, t, e));
    TRY(hash(f, e));
    if (!lora_file_current(f))
        TRY(err_set(e, ERR_CONFLICT, "%s: changed while it was read", path));
    *ret_f = f;
    f = NULL;
out:
    lora_file_close(f);
    return rc;
}

void lora_file_close(struct lora_file *f)
{
    if (f == NULL)
        return;
    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        free(f->changes[p]);
    weights_close(f->weights);
    free(f->path);
    free(f->name);
    free(f);
}

bool lora_file_current(const struct lora_file *f)
{
    struct stat now;

    return stat(f->path, &now) == 0 && now.st_dev == f->status.st_dev &&
           now.st_ino == f->status.st_ino && now.st_size == f->status.st_size &&
           now.st_mtim.tv_sec == f->status.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == f->status.st_mtim.tv_nsec;
}
