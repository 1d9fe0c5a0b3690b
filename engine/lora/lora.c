#include "engine/lora/lora.h"

#include "engine/lora/lora_file.h"
#include "engine/lora/lora_find.h"
#include "engine/networks/adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX (2 * LORA_USES_MAX) /* kept open */

/* A LoRA with its weights; an array of them is a set, sorted by name. */
struct lora_active {
    struct lora_file *file; /* one of the kept */
    double weight[LORA_PARTS];
};

struct loras {
    struct model *model;        /* borrowed */
    const char *const *folders; /* borrowed; NULL: none */
    int (*path_of)(void *user, const char *name, char ret_path[PATH_MAX], struct err *e);
    void *user; /* of path_of, which may be NULL; borrowed */
    uint64_t budget_bytes;
    struct lora_target target;
    struct kept_file {
        struct lora_file *file; /* owned; NULL: a free place */
        uint64_t used;          /* in calls */
    } kept[FILES_MAX];
    uint64_t calls;
    struct lora_active active[LORA_USES_MAX]; /* what is on the layers now */
    size_t n_active;
    uint64_t bytes;              /* of the adapters; counted in the model's weight_bytes */
    uint64_t base_bytes;         /* what the backend's layers take without them */
    char text_id[HASH_HEX_SIZE]; /* "": the text encoders are as they were */
};

int model_lora_folders(struct model *m, const char *const *folders, uint64_t budget_bytes,
                       struct err *e)
{
    struct loras *l = calloc(1, sizeof *l);
    int rc = 0;

    if (l == NULL)
        return err_set(e, ERR_OOM, "no memory for LoRAs");
    l->model = m;
    l->folders = folders;
    l->budget_bytes = budget_bytes;
    TRY(lora_target_init(&l->target, m, e));
    model_lora_done(m);
    m->loras = l;
    l = NULL;
out:
    free(l);
    return rc;
}

void model_lora_finder(struct model *m,
                       int (*path_of)(void *user, const char *name, char ret_path[PATH_MAX],
                                      struct err *e),
                       void *user)
{
    m->loras->path_of = path_of;
    m->loras->user = user;
}

/* The place in a layer where its adapter is. */
static struct adapter **place(const struct named_layer *layer)
{
    return layer->conv != NULL ? &layer->conv->adapter : &layer->linear->adapter;
}

/* Also after a failure half way. */
static void take_off(struct loras *l)
{
    for (enum lora_part p = 0; p < LORA_PARTS; p++) {
        const struct layer_list *list = l->target.layers[p];

        for (size_t i = 0; list != NULL && i < list->n; i++) {
            adapter_free(l->model->ops, *place(&list->items[i]));
            *place(&list->items[i]) = NULL;
        }
    }
    l->model->weight_bytes -= l->bytes;
    l->bytes = 0;
    l->n_active = 0;
    l->text_id[0] = '\0';
}

void model_lora_done(struct model *m)
{
    struct loras *l = m != NULL ? m->loras : NULL;

    if (l == NULL)
        return;
    take_off(l);
    for (int i = 0; i < FILES_MAX; i++)
        lora_file_close(l->kept[i].file);
    lora_target_done(&l->target);
    free(l);
    m->loras = NULL;
}

/* Closes a kept file; the layers must not go on with what was read from it. */
static void let_go(struct loras *l, struct kept_file *k)
{
    for (size_t i = 0; i < l->n_active; i++)
        if (l->active[i].file == k->file) {
            take_off(l);
            break;
        }
    lora_file_close(k->file);
    *k = (struct kept_file){0};
}

/* The file, open already or opened now in a free place or the one unused for the longest. */
static int get_file(struct loras *l, const char *name, struct lora_file **ret_f, struct err *e)
{
    struct kept_file *oldest = &l->kept[0];
    char path[PATH_MAX];
    int rc = 0;

    TRY(l->path_of ? l->path_of(l->user, name, path, e) : lora_find(l->folders, name, path, e));
    for (int i = 0; i < FILES_MAX; i++) {
        struct kept_file *k = &l->kept[i];

        if (k->file != NULL && strcmp(k->file->path, path) == 0 && !lora_file_current(k->file))
            let_go(l, k);
        if (k->file != NULL && strcmp(k->file->path, path) == 0) {
            k->used = l->calls;
            *ret_f = k->file;
            return 0;
        }
        if (k->used < oldest->used)
            oldest = k;
    }
    let_go(l, oldest);
    TRY(lora_file_open(path, name, &l->target, &oldest->file, e));
    oldest->used = l->calls;
    *ret_f = oldest->file;
out:
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lora_use *)a)->name, ((const struct lora_use *)b)->name);
}

/* Those of the uses that do anything, by name. */
static int sort_uses(const struct lora_use *uses, size_t n, struct lora_use *ret_sorted,
                     size_t *ret_n, struct err *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (!isfinite((float)uses[i].unet) || !isfinite((float)uses[i].te))
            return err_set(e, ERR_INPUT, "LoRA '%s': its weight must be a finite number",
                           uses[i].name);
        if (uses[i].unet == 0 && uses[i].te == 0)
            continue;
        if (kept == LORA_USES_MAX)
            return err_set(e, ERR_INPUT, "more than %d LoRAs at once", LORA_USES_MAX);
        ret_sorted[kept++] = uses[i];
    }
    qsort(ret_sorted, kept, sizeof *ret_sorted, by_name);
    for (size_t i = 1; i < kept; i++)
        if (strcmp(ret_sorted[i - 1].name, ret_sorted[i].name) == 0)
            return err_set(e, ERR_INPUT, "LoRA '%s' is given twice", ret_sorted[i].name);
    *ret_n = kept;
    return 0;
}

static int open_all(struct loras *l, const struct lora_use *uses, size_t n,
                    struct lora_active *ret_set, struct err *e)
{
    struct err why = {0};

    l->calls++;
    for (size_t i = 0; i < n; i++) {
        struct lora_active *a = &ret_set[i];
        int rc;

        *a = (struct lora_active){.weight = {uses[i].te, uses[i].te, uses[i].unet}};
        rc = get_file(l, uses[i].name, &a->file, &why);
        if (rc != 0)
            return err_set(e, rc, "LoRA '%s': %s", uses[i].name, why.text);
    }
    return 0;
}

static bool is_on(const struct loras *l, const struct lora_active *set, size_t n)
{
    if (l->n_active != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (l->active[i].file != set[i].file ||
            memcmp(l->active[i].weight, set[i].weight, sizeof set[i].weight) != 0)
            return false;
    return true;
}

/* One layer of a part, and what a set does to it. */
struct lora_site {
    const struct lora_active *set;
    size_t n, index;
    enum lora_part part;
    const struct named_layer *layer;
    int64_t in, out; /* in: with the kernel's taps */
    int64_t rank;    /* of all changes together; 0: none */
};

static const struct lora_change *change_of(const struct lora_site *s, size_t i)
{
    const struct lora_change *c = &s->set[i].file->changes[s->part][s->index];

    return s->set[i].weight[s->part] != 0 && c->rank > 0 ? c : NULL;
}

static struct lora_site site(const struct loras *l, const struct lora_active *set, size_t n,
                             enum lora_part part, size_t index)
{
    const struct named_layer *layer = &l->target.layers[part]->items[index];
    struct lora_site s = {.set = set, .n = n, .index = index, .part = part, .layer = layer};

    if (layer->conv != NULL) {
        s.in = layer->conv->in * layer->conv->kernel * layer->conv->kernel;
        s.out = layer->conv->out;
    } else {
        s.in = layer->linear->in;
        s.out = layer->linear->out;
    }
    for (size_t i = 0; i < n; i++)
        s.rank += change_of(&s, i) != NULL ? change_of(&s, i)->rank : 0;
    return s;
}

static int not_finite(const struct lora_site *s, size_t i, const struct lora_tensor *t,
                      struct err *e)
{
    return err_set(e, ERR_INPUT, "LoRA '%s': %s: tensor '%s' holds NaN or Inf, or does so times %g",
                   s->set[i].file->name, s->set[i].file->path, t->name, s->set[i].weight[s->part]);
}

/* Change i's numbers into the stacked ones from row or column `at` on. part: [out * rank]. */
static int stack_one(const struct lora_site *s, size_t i, int64_t at, float *down, float *up,
                     float *part, struct err *e)
{
    const struct lora_change *c = change_of(s, i);
    double factor = c->scale * s->set[i].weight[s->part];
    int64_t n_down = c->rank * s->in;

    tensor_to_f32(&c->down.tensor, down + at * s->in);
    for (int64_t j = 0; j < n_down; j++)
        if (!isfinite(down[at * s->in + j]))
            return not_finite(s, i, &c->down, e);
    tensor_to_f32(&c->up.tensor, part);
    for (int64_t o = 0; o < s->out; o++)
        for (int64_t r = 0; r < c->rank; r++) {
            float value = (float)(part[o * c->rank + r] * factor);

            if (!isfinite(value))
                return not_finite(s, i, &c->up, e);
            up[o * s->rank + at + r] = value;
        }
    return 0;
}

static int check_budget(const struct loras *l, struct err *e)
{
    uint64_t loras = l->model->ops->weight_bytes - l->base_bytes, own = l->model->weight_bytes;
    const double mib = 1048576;

    if (l->budget_bytes == 0 || own + loras <= l->budget_bytes)
        return 0;
    return err_set(
        e, ERR_OOM,
        "the weights with LoRAs take %.1f MiB or more (the model's own %.1f); the budget "
        "is %.1f MiB",
        (double)(own + loras) / mib, (double)own / mib, (double)l->budget_bytes / mib);
}

/* All changes of a layer as one adapter. down: [rank * in], up and part: [rank * out]. */
static int stack_on_layer(struct loras *l, const struct lora_site *s, float *down, float *up,
                          float *part, struct err *e)
{
    const struct low_rank numbers = {s->rank, down, up};
    struct ops *o = l->model->ops;
    int64_t at = 0;
    int rc = 0;

    if (down == NULL || up == NULL || part == NULL)
        TRY(err_set(e, ERR_OOM, "no memory to put a LoRA on '%s'", s->layer->name));
    for (size_t i = 0; i < s->n; i++)
        if (change_of(s, i) != NULL) {
            TRY(stack_one(s, i, at, down, up, part, e));
            at += change_of(s, i)->rank;
        }
    if (s->layer->conv != NULL)
        TRY(adapter_new_conv(o, s->layer->conv, &numbers, place(s->layer), e));
    else
        TRY(adapter_new_linear(o, s->layer->linear, &numbers, place(s->layer), e));
    TRY(check_budget(l, e));
out:
    return rc;
}

static int put_on_layer(struct loras *l, const struct lora_site *s, struct err *e)
{
    float *down, *up, *part;
    int rc;

    if (s->rank > ADAPTER_RANK_MAX)
        return err_set(e, ERR_INPUT, "all LoRAs together give '%s' the rank %lld; the limit is %d",
                       s->layer->name, (long long)s->rank, ADAPTER_RANK_MAX);
    down = malloc((size_t)(s->rank * s->in) * sizeof *down);
    up = malloc((size_t)(s->rank * s->out) * sizeof *up);
    part = malloc((size_t)(s->rank * s->out) * sizeof *part);
    rc = stack_on_layer(l, s, down, up, part, e);
    free(down);
    free(up);
    free(part);
    return rc;
}

static int put_on_layers(struct loras *l, const struct lora_active *set, size_t n, struct err *e)
{
    int rc = 0;

    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        for (size_t i = 0; l->target.layers[p] != NULL && i < l->target.layers[p]->n; i++) {
            struct lora_site s = site(l, set, n, p, i);

            if (s.rank > 0)
                TRY(put_on_layer(l, &s, e));
        }
out:
    return rc;
}

/* Of the files that change text encoders and their weights, in order. */
static int write_text_id(struct loras *l, struct err *e)
{
    struct buf text = {0};
    int rc = 0;

    for (size_t i = 0; i < l->n_active; i++) {
        const struct lora_active *a = &l->active[i];

        if (a->weight[LORA_TEXT] != 0 &&
            a->file->n_changes[LORA_TEXT] + a->file->n_changes[LORA_TEXT_2] > 0)
            buf_printf(&text, "%s %a\n", a->file->sha256, a->weight[LORA_TEXT]);
    }
    TRY(buf_check(&text, e));
    if (text.size > 0)
        TRY(hash_bytes(text.data, text.size, l->text_id, e));
out:
    buf_done(&text);
    return rc;
}

/* The set onto a model without any. */
static int put_on(struct loras *l, const struct lora_active *set, size_t n, struct err *e)
{
    struct ops *o = l->model->ops;
    int rc;

    l->base_bytes = o->weight_bytes;
    rc = put_on_layers(l, set, n, e);
    l->bytes = o->weight_bytes - l->base_bytes;
    l->model->weight_bytes += l->bytes;
    if (rc != 0)
        return rc;
    memcpy(l->active, set, n * sizeof *set);
    l->n_active = n;
    return write_text_id(l, e);
}

int model_loras(struct model *m, const struct lora_use *uses, size_t n, struct err *e)
{
    struct lora_use sorted[LORA_USES_MAX];
    struct lora_active set[LORA_USES_MAX];
    struct loras *l = m->loras;
    size_t n_set = 0;
    int rc = 0;

    TRY(sort_uses(uses, n, sorted, &n_set, e));
    if (l == NULL && n_set > 0)
        return err_set(e, ERR_MISSING, "LoRA '%s': there is no folder with LoRAs", sorted[0].name);
    if (l == NULL)
        return 0;
    TRY(open_all(l, sorted, n_set, set, e));
    if (is_on(l, set, n_set))
        return 0;
    take_off(l);
    TRY(put_on(l, set, n_set, e));
out:
    if (rc != 0 && l != NULL)
        take_off(l);
    return rc;
}

const char *model_lora_text_id(const struct model *m)
{
    return m->loras != NULL ? m->loras->text_id : "";
}

size_t model_lora_infos(const struct model *m, struct lora_info *ret_infos)
{
    size_t n = m->loras != NULL ? m->loras->n_active : 0;

    for (size_t i = 0; i < n; i++) {
        const struct lora_active *a = &m->loras->active[i];

        ret_infos[i] = (struct lora_info){.name = a->file->name,
                                          .path = a->file->path,
                                          .unet = a->weight[LORA_UNET],
                                          .te = a->weight[LORA_TEXT],
                                          .sha256 = a->file->sha256,
                                          .data_hash = a->file->data_hash};
    }
    return n;
}
