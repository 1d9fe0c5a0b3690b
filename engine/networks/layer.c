#include "engine/networks/layer.h"

#include "engine/networks/adapter.h"

#include <stdarg.h>

#define NAME_MAX_SIZE 256

int64_t extent_pixels(const struct extent *s)
{
    return s->h * s->w;
}

int64_t extent_rows(const struct extent *s)
{
    return s->n * s->h * s->w;
}

/* Prefix, formatted name and ending; a name that does not fit is an error, never cut. */
static void name_set(struct loader *ld, char name[NAME_MAX_SIZE], const char *ending,
                     const char *format, va_list args)
{
    int n, m;

    n = snprintf(name, NAME_MAX_SIZE, "%s", ld->prefix ? ld->prefix : "");
    m = vsnprintf(name + n, (size_t)(NAME_MAX_SIZE - n), format, args);
    if (m < 0 || n + m + (int)strlen(ending) >= NAME_MAX_SIZE) {
        ld->rc = err_set(ld->e, ERR_INTERNAL, "a tensor's name is too long: %s", name);
        return;
    }
    snprintf(name + n + m, (size_t)(NAME_MAX_SIZE - n - m), "%s", ending);
}

bool loader_has(const struct loader *ld, const char *format, ...)
{
    struct loader copy = *ld;
    char name[NAME_MAX_SIZE];
    struct tensor t;
    va_list args;

    copy.e = NULL;
    va_start(args, format);
    name_set(&copy, name, "", format, args);
    va_end(args);
    return copy.rc == 0 && weights_find(ld->weights, name, &t);
}

/* Counts memory against the budget. */
static void account(struct loader *ld, uint64_t bytes)
{
    ld->bytes += bytes;
    if (ld->rc == 0 && ld->budget_bytes != 0 && ld->bytes > ld->budget_bytes)
        ld->rc =
            err_set(ld->e, ERR_OOM, "'%s': the weights alone take more than the budget of %.1f MiB",
                    weights_path(ld->weights), (double)ld->budget_bytes / 1048576.0);
}

static void get(struct loader *ld, const char *name, int rank, const int64_t *shape,
                struct tensor *ret_t)
{
    if (ld->rc == 0)
        ld->rc = weights_get(ld->weights, name, rank, shape, ret_t, ld->e);
    if (ld->rc == 0)
        weights_map(ld->weights, ret_t);
}

/* weight and bias tensors of a layer whose name is given without ending. */
struct pair {
    char weight[NAME_MAX_SIZE], bias[NAME_MAX_SIZE];
};

static void pair_set(struct loader *ld, struct pair *p, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    name_set(ld, p->weight, ".weight", format, args);
    if (ld->rc == 0)
        name_set(ld, p->bias, ".bias", format, again);
    va_end(again);
}

void layer_list_done(struct layer_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].name);
    free(l->items);
    *l = (struct layer_list){0};
}

static int list_add(struct layer_list *list, const struct named_layer *layer)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        void *items = realloc(list->items, capacity * sizeof *list->items);

        if (items == NULL)
            return ERR_OOM;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = *layer;
    return 0;
}

/* Puts a layer on the loader's list, under its name without prefix and ending. */
static void list_layer(struct loader *ld, const struct pair *name, struct linear_layer *linear,
                       struct conv_layer *conv)
{
    const char *begin = name->weight + (ld->prefix ? strlen(ld->prefix) : 0);
    struct named_layer layer = {.linear = linear, .conv = conv};

    if (ld->layers == NULL || ld->rc != 0)
        return;
    layer.name = strndup(begin, strlen(begin) - strlen(".weight"));
    if (layer.name != NULL && list_add(ld->layers, &layer) == 0)
        return;
    free(layer.name);
    ld->rc = err_set(ld->e, ERR_OOM, "'%s': no memory for the names of its layers",
                     weights_path(ld->weights));
}

struct linear_layer *loader_linear(struct loader *ld, int64_t in, int64_t out, bool bias,
                                   const char *format, ...)
{
    int64_t shape[4] = {out, in, 1, 1};
    struct tensor w = {0}, b = {0};
    uint64_t before = ld->ops->weight_bytes;
    struct linear_layer *l;
    struct pair name;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    pair_set(ld, &name, format, args);
    va_end(args);
    if (ld->rc == 0 && weights_find(ld->weights, name.weight, &w) && w.rank == 4)
        get(ld, name.weight, 4, shape, &w);
    else
        get(ld, name.weight, 2, shape, &w);
    if (bias)
        get(ld, name.bias, 1, shape, &b);
    if (ld->rc != 0)
        return NULL;
    w.rank = 2;
    l = loader_items(ld, 1, sizeof *l);
    if (l == NULL)
        return NULL;
    *l = (struct linear_layer){.in = in, .out = out};
    ld->rc = ld->ops->linear_new(ld->ops, &w, bias ? &b : NULL, &l->base, ld->e);
    weights_drop(ld->weights, &w);
    account(ld, ld->ops->weight_bytes - before);
    list_layer(ld, &name, l, NULL);
    if (ld->rc == 0)
        return l;
    linear_layer_free(ld->ops, l);
    return NULL;
}

struct conv_layer *loader_conv(struct loader *ld, int64_t in, int64_t out, int kernel,
                               const char *format, ...)
{
    int64_t shape[4] = {out, in, kernel, kernel};
    struct tensor w = {0}, b = {0};
    uint64_t before = ld->ops->weight_bytes;
    struct conv_layer *c;
    struct pair name;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    pair_set(ld, &name, format, args);
    va_end(args);
    get(ld, name.weight, 4, shape, &w);
    get(ld, name.bias, 1, shape, &b);
    if (ld->rc != 0)
        return NULL;
    c = loader_items(ld, 1, sizeof *c);
    if (c == NULL)
        return NULL;
    *c = (struct conv_layer){.in = in, .out = out, .kernel = kernel};
    ld->rc = ld->ops->conv_new(ld->ops, &w, &b, &c->base, ld->e);
    weights_drop(ld->weights, &w);
    account(ld, ld->ops->weight_bytes - before);
    list_layer(ld, &name, NULL, c);
    if (ld->rc == 0)
        return c;
    conv_layer_free(ld->ops, c);
    return NULL;
}

/* A float32 copy of the tensor; NULL after a failure. */
static float *copy_f32(struct loader *ld, const char *name, int rank, const int64_t *shape)
{
    struct tensor t = {0};
    float *values;

    get(ld, name, rank, shape, &t);
    values = loader_items(ld, (size_t)(ld->rc == 0 ? tensor_count(&t) : 0), sizeof(float));
    if (values != NULL) {
        tensor_to_f32(&t, values);
        weights_drop(ld->weights, &t);
    }
    return values;
}

float *loader_table(struct loader *ld, int64_t rows, int64_t columns, const char *format, ...)
{
    int64_t shape[2] = {rows, columns};
    char name[NAME_MAX_SIZE];
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    name_set(ld, name, "", format, args);
    va_end(args);
    return copy_f32(ld, name, 2, shape);
}

void loader_rows(struct loader *ld, int64_t rows, int64_t columns, struct tensor *ret_t,
                 const char *format, ...)
{
    int64_t shape[2] = {rows, columns};
    char name[NAME_MAX_SIZE];
    struct tensor t = {0};
    va_list args;
    void *data;

    *ret_t = t;
    if (ld->rc != 0)
        return;
    va_start(args, format);
    name_set(ld, name, "", format, args);
    va_end(args);
    get(ld, name, 2, shape, &t);
    data = loader_items(ld, (size_t)(ld->rc == 0 ? rows * columns : 0), dtype_size(t.dtype));
    if (data == NULL)
        return;
    memcpy(data, t.data, (size_t)(rows * columns) * dtype_size(t.dtype));
    weights_drop(ld->weights, &t);
    t.data = data;
    *ret_t = t;
}

struct norm *loader_norm(struct loader *ld, int64_t channels, const char *format, ...)
{
    uint64_t before = ld->ops->weight_bytes;
    struct tensor gamma = {0}, beta = {0};
    struct norm *norm = NULL;
    struct pair name;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    pair_set(ld, &name, format, args);
    va_end(args);
    get(ld, name.weight, 1, &channels, &gamma);
    get(ld, name.bias, 1, &channels, &beta);
    if (ld->rc != 0)
        return NULL;
    ld->rc = ld->ops->norm_new(ld->ops, &gamma, &beta, &norm, ld->e);
    account(ld, ld->ops->weight_bytes - before);
    if (ld->rc == 0)
        return norm;
    ld->ops->norm_free(ld->ops, norm);
    return NULL;
}

void *loader_items(struct loader *ld, size_t n_items, size_t item_size)
{
    void *items;

    if (ld->rc != 0)
        return NULL;
    items = calloc(n_items > 0 ? n_items : 1, item_size);
    if (items == NULL)
        ld->rc = err_set(ld->e, ERR_OOM, "'%s': no memory for %zu numbers",
                         weights_path(ld->weights), n_items);
    account(ld, n_items * item_size);
    if (ld->rc == 0)
        return items;
    free(items);
    return NULL;
}

int linear_layer_forward(struct ops *o, struct act *y, const struct act *x,
                         const struct linear_layer *l, int64_t m, enum activation act,
                         const struct act *residual, struct err *e)
{
    if (l->adapter != NULL)
        return adapter_linear(o, y, x, l, m, act, residual, e);
    return o->linear(o, y, x, l->base, m, act, residual, e);
}

int conv_layer_forward(struct ops *o, struct act *y, const struct act *x,
                       const struct conv_layer *c, int64_t n, int64_t h, int64_t w, int stride,
                       const int pad[4], const struct act *per_sample, const struct act *residual,
                       struct err *e)
{
    const struct extent s = {n, h, w};

    if (c->adapter != NULL)
        return adapter_conv(o, y, x, c, &s, stride, pad, per_sample, residual, e);
    return o->conv2d(o, y, x, c->base, n, h, w, stride, pad, per_sample, residual, e);
}

void linear_layer_free(struct ops *o, struct linear_layer *l)
{
    if (l == NULL)
        return;
    adapter_free(o, l->adapter);
    o->linear_free(o, l->base);
    free(l);
}

void conv_layer_free(struct ops *o, struct conv_layer *c)
{
    if (c == NULL)
        return;
    adapter_free(o, c->adapter);
    o->conv_free(o, c->base);
    free(c);
}

int layer_path(char ret_path[PATH_MAX], const char *folder, const char *file, struct err *e)
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%s", folder, file);

    if (n < 0 || n >= PATH_MAX)
        return err_set(e, ERR_ARG, "'%.100s...': the path is too long", folder);
    return 0;
}

void nhwc_from_nchw(float *out, const float *in, int64_t channels, int64_t pixels)
{
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < channels; c++)
            out[p * channels + c] = in[c * pixels + p];
}

void nchw_from_nhwc(float *out, const float *in, int64_t channels, int64_t pixels)
{
    for (int64_t c = 0; c < channels; c++)
        for (int64_t p = 0; p < pixels; p++)
            out[c * pixels + p] = in[p * channels + c];
}
