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

struct cut cut_none(int64_t in, int64_t out)
{
    return (struct cut){in, out, {0, in}, {0, out}, 1};
}

struct cut cut_inputs(int64_t in, int64_t out, struct range inputs)
{
    return (struct cut){in, out, inputs, {0, out}, 1};
}

struct cut cut_outputs(int64_t in, int64_t out, int folds, struct range outputs)
{
    return (struct cut){in, out, {0, in}, outputs, folds};
}

static bool cut_is_whole(const struct cut *c)
{
    return c->inputs.n == c->in && c->outputs.n * c->folds == c->out;
}

static bool cut_is_empty(const struct cut *c)
{
    return c->inputs.n == 0 || c->outputs.n == 0;
}

/*
 * The held part of a tensor [out, in, area...] in memory of its own, which the caller frees; the
 * tensor itself if that is all of it.
 */
static void take_part(struct loader *ld, const struct cut *c, struct tensor *t, void **ret_memory)
{
    size_t number = dtype_size(t->dtype), area, row, part;
    int64_t fold = c->out / c->folds;
    const char *from = t->data;
    char *to;

    *ret_memory = NULL;
    if (ld->rc != 0 || cut_is_whole(c))
        return;
    area = (size_t)(tensor_count(t) / (c->out * c->in)) * number;
    row = (size_t)c->in * area;
    part = (size_t)c->inputs.n * area;
    to = *ret_memory = malloc((size_t)(c->outputs.n * c->folds) * part);
    if (to == NULL) {
        ld->rc = err_set(ld->e, ERR_OOM, "'%s': no memory for a part of a layer",
                         weights_path(ld->weights));
        return;
    }
    from += (size_t)c->inputs.begin * area;
    for (int f = 0; f < c->folds; f++)
        for (int64_t i = 0; i < c->outputs.n; i++, to += part)
            memcpy(to, from + (size_t)(f * fold + c->outputs.begin + i) * row, part);
    t->data = *ret_memory;
    t->shape[0] = c->outputs.n * c->folds;
    t->shape[1] = c->inputs.n;
}

/* A bias goes with the outputs; of a layer cut by its inputs with rank 0. */
static void take_bias(struct loader *ld, const struct cut *c, struct tensor *b, void **ret_memory)
{
    struct cut outputs = {.in = 1, .out = c->out, {0, 1}, c->outputs, c->folds};
    struct tensor column = *b;

    *ret_memory = NULL;
    if (b->data == NULL || ld->rc != 0)
        return;
    if (c->inputs.begin > 0) {
        *b = (struct tensor){0};
        return;
    }
    column.rank = 2;
    column.shape[1] = 1;
    take_part(ld, &outputs, &column, ret_memory);
    b->data = column.data;
    b->shape[0] = column.shape[0];
}

/* Weight and bias of a layer as the backend gets them. */
struct held {
    struct tensor w, b; /* b.data NULL: no bias */
    void *w_memory, *b_memory;
};

static void take(struct loader *ld, const struct cut *c, struct held *h)
{
    take_part(ld, c, &h->w, &h->w_memory);
    take_bias(ld, c, &h->b, &h->b_memory);
}

static void give_back(struct held *h)
{
    free(h->w_memory);
    free(h->b_memory);
}

static struct linear_layer *load_linear(struct loader *ld, const struct cut *cut, bool bias,
                                        const char *format, va_list args)
{
    int64_t shape[4] = {cut->out, cut->in, 1, 1};
    uint64_t before = ld->ops->weight_bytes;
    struct tensor whole = {0};
    struct held h = {0};
    struct linear_layer *l;
    struct pair name;

    pair_set(ld, &name, format, args);
    if (ld->rc == 0 && weights_find(ld->weights, name.weight, &whole) && whole.rank == 4)
        get(ld, name.weight, 4, shape, &whole);
    else
        get(ld, name.weight, 2, shape, &whole);
    if (bias)
        get(ld, name.bias, 1, shape, &h.b);
    l = loader_items(ld, 1, sizeof *l);
    if (l == NULL)
        return NULL;
    *l = (struct linear_layer){.in = cut->in, .out = cut->out, .cut = *cut};
    h.w = whole;
    h.w.rank = 2;
    if (!cut_is_empty(cut)) {
        take(ld, cut, &h);
        if (ld->rc == 0)
            ld->rc = ld->ops->linear_new(ld->ops, &h.w, h.b.data ? &h.b : NULL, &l->base, ld->e);
        give_back(&h);
    }
    weights_drop(ld->weights, &whole);
    account(ld, ld->ops->weight_bytes - before);
    list_layer(ld, &name, l, NULL);
    if (ld->rc == 0)
        return l;
    linear_layer_free(ld->ops, l);
    return NULL;
}

struct linear_layer *loader_linear(struct loader *ld, int64_t in, int64_t out, bool bias,
                                   const char *format, ...)
{
    struct cut cut = cut_none(in, out);
    struct linear_layer *l;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    l = load_linear(ld, &cut, bias, format, args);
    va_end(args);
    return l;
}

struct linear_layer *loader_linear_part(struct loader *ld, const struct cut *cut, bool bias,
                                        const char *format, ...)
{
    struct linear_layer *l;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    l = load_linear(ld, cut, bias, format, args);
    va_end(args);
    return l;
}

static struct conv_layer *load_conv(struct loader *ld, const struct cut *cut, int kernel,
                                    const char *format, va_list args)
{
    int64_t shape[4] = {cut->out, cut->in, kernel, kernel};
    uint64_t before = ld->ops->weight_bytes;
    struct tensor whole = {0};
    struct held h = {0};
    struct conv_layer *c;
    struct pair name;

    pair_set(ld, &name, format, args);
    get(ld, name.weight, 4, shape, &whole);
    get(ld, name.bias, 1, shape, &h.b);
    c = loader_items(ld, 1, sizeof *c);
    if (c == NULL)
        return NULL;
    *c = (struct conv_layer){.in = cut->in, .out = cut->out, .kernel = kernel, .cut = *cut};
    h.w = whole;
    if (!cut_is_empty(cut)) {
        take(ld, cut, &h);
        if (ld->rc == 0)
            ld->rc = ld->ops->conv_new(ld->ops, &h.w, h.b.data ? &h.b : NULL, &c->base, ld->e);
        give_back(&h);
    }
    weights_drop(ld->weights, &whole);
    account(ld, ld->ops->weight_bytes - before);
    list_layer(ld, &name, NULL, c);
    if (ld->rc == 0)
        return c;
    conv_layer_free(ld->ops, c);
    return NULL;
}

struct conv_layer *loader_conv(struct loader *ld, int64_t in, int64_t out, int kernel,
                               const char *format, ...)
{
    struct cut cut = cut_none(in, out);
    struct conv_layer *c;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    c = load_conv(ld, &cut, kernel, format, args);
    va_end(args);
    return c;
}

struct conv_layer *loader_conv_part(struct loader *ld, const struct cut *cut, int kernel,
                                    const char *format, ...)
{
    struct conv_layer *c;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    c = load_conv(ld, cut, kernel, format, args);
    va_end(args);
    return c;
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

static struct norm *load_norm(struct loader *ld, int64_t channels, struct range own,
                              const char *format, va_list args)
{
    uint64_t before = ld->ops->weight_bytes;
    struct cut cut = {.in = 1, .out = channels, {0, 1}, own, 1};
    struct held h = {0};
    struct norm *norm = NULL;
    struct pair name;

    pair_set(ld, &name, format, args);
    get(ld, name.weight, 1, &channels, &h.w);
    get(ld, name.bias, 1, &channels, &h.b);
    if (ld->rc != 0 || own.n == 0)
        return NULL;
    h.w.shape[1] = h.b.shape[1] = 1;
    take_part(ld, &cut, &h.w, &h.w_memory);
    take_part(ld, &cut, &h.b, &h.b_memory);
    if (ld->rc == 0)
        ld->rc = ld->ops->norm_new(ld->ops, &h.w, &h.b, &norm, ld->e);
    give_back(&h);
    account(ld, ld->ops->weight_bytes - before);
    if (ld->rc == 0)
        return norm;
    ld->ops->norm_free(ld->ops, norm);
    return NULL;
}

struct norm *loader_norm(struct loader *ld, int64_t channels, const char *format, ...)
{
    struct norm *norm;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    norm = load_norm(ld, channels, (struct range){0, channels}, format, args);
    va_end(args);
    return norm;
}

struct norm *loader_norm_part(struct loader *ld, int64_t channels, struct range own,
                              const char *format, ...)
{
    struct norm *norm;
    va_list args;

    if (ld->rc != 0)
        return NULL;
    va_start(args, format);
    norm = load_norm(ld, channels, own, format, args);
    va_end(args);
    return norm;
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

int64_t linear_layer_out(const struct linear_layer *l)
{
    return l->cut.outputs.n * l->cut.folds;
}

int linear_layer_partial(struct ops *o, struct act *y, const struct act *x,
                         const struct linear_layer *l, int64_t m, struct err *e)
{
    if (l->base == NULL)
        return shard_zero(o, y, m * l->out, e);
    return linear_layer_forward(o, y, x, l, m, ACT_NONE, NULL, e);
}

int conv_layer_partial(struct ops *o, struct act *y, const struct act *x,
                       const struct conv_layer *c, const struct extent *s, const int pad[4],
                       struct err *e)
{
    if (c->base == NULL)
        return shard_zero(o, y, extent_rows(s) * c->out, e);
    return conv_layer_forward(o, y, x, c, s->n, s->h, s->w, 1, pad, NULL, NULL, e);
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
