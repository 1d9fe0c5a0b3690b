#include "engine/weights/weights.h"

#include "engine/weights/weights_file.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 4096

/* A matrix of the base, turned. */
struct turned {
    const char *name; /* the view's; borrowed from the naming */
    struct tensor tensor;
    void *bytes; /* owned */
};

struct weights {
    char *path;                  /* NULL for a view */
    struct weights_file **files; /* [n_files], owned */
    size_t n_files;
    struct weights_entry **entries; /* [count] in order of data */
    struct weights_entry **by_name; /* [count] */
    size_t count;
    /* a view */
    const struct weights *base; /* NULL: no view */
    struct weights_naming naming;
    struct turned *turned; /* [n_turned], owned */
    size_t n_turned;
};

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_turned; i++)
        free(w->turned[i].bytes);
    for (size_t i = 0; i < w->n_files; i++)
        weights_file_close(w->files[i]);
    free(w->turned);
    free(w->files);
    free(w->entries);
    free(w->by_name);
    free(w->path);
    free(w);
}

/* ---- opening */

/* Room for the tables; nothing is in them yet. */
static int weights_new(const char *path, size_t n_files, size_t n_entries, struct weights **ret_w,
                       struct err *e)
{
    struct weights *w = calloc(1, sizeof *w);

    if (!w)
        return err_set(e, ERR_OOM, "%s: no memory", path);
    w->path = strdup(path);
    w->files = calloc(n_files ? n_files : 1, sizeof *w->files);
    w->entries = calloc(n_entries ? n_entries : 1, sizeof *w->entries);
    w->by_name = calloc(n_entries ? n_entries : 1, sizeof *w->by_name);
    if (w->path && w->files && w->entries && w->by_name) {
        *ret_w = w;
        return 0;
    }
    weights_close(w);
    return err_set(e, ERR_OOM, "%s: no memory for %zu tensors", path, n_entries);
}

static void sort_names(struct weights *w)
{
    memcpy(w->by_name, w->entries, w->count * sizeof *w->entries);
    qsort(w->by_name, w->count, sizeof *w->by_name, weights_entry_order);
}

int weights_open(const char *path, struct weights **ret_w, struct err *e)
{
    struct weights_file *f = NULL;
    struct weights *w = NULL;
    int rc = 0;

    TRY(weights_file_open(path, &f, e));
    TRY(weights_new(path, 1, f->count, &w, e));
    for (size_t i = 0; i < f->count; i++)
        w->entries[w->count++] = &f->entries[i];
    w->files[w->n_files++] = f;
    f = NULL;
    sort_names(w);
    *ret_w = w;
    w = NULL;
out:
    weights_file_close(f);
    weights_close(w);
    return rc;
}

/* ---- shards */

/* FILE beside the index; its name must be a plain one. */
static int shard_path(const char *index, const char *name, char ret_path[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(index, '/');
    int folder = slash ? (int)(slash - index + 1) : 0, n;

    if (!*name || *name == '.' || strchr(name, '/'))
        return err_set(e, ERR_INPUT, "%s: the shard '%.200s' is not a name in this folder", index,
                       name);
    n = snprintf(ret_path, PATH_MAX, "%.*s%s", folder, index, name);
    return n < PATH_MAX ? 0 : err_set(e, ERR_INPUT, "%s: a shard's name is too long", index);
}

/* The shard of that name, opened at the first time. */
static int open_shard(struct weights *w, const char *name, struct weights_file **ret_f,
                      struct err *e)
{
    char path[PATH_MAX];
    struct err why = {0};
    int rc = shard_path(w->path, name, path, e);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < w->n_files; i++)
        if (strcmp(w->files[i]->path, path) == 0) {
            *ret_f = w->files[i];
            return 0;
        }
    if (w->n_files == SHARDS_MAX)
        return err_set(e, ERR_INPUT, "%s: more than %d shards", w->path, SHARDS_MAX);
    rc = weights_file_open(path, &w->files[w->n_files], &why);
    if (rc != 0)
        return err_set(e, rc, "%s (a shard of %s)", why.text, w->path);
    *ret_f = w->files[w->n_files++];
    return 0;
}

static int add_entry(struct weights *w, const char *name, const json_t *shard, struct err *e)
{
    struct weights_file *f = NULL;
    struct weights_entry *t;
    int rc = 0;

    if (!json_is_string(shard))
        return err_set(e, ERR_INPUT, "%s: the shard of tensor '%s' is not a name", w->path, name);
    TRY(open_shard(w, json_string_value(shard), &f, e));
    t = weights_entry_find(f->by_name, f->count, name);
    if (!t)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is not in %s, where the index has it",
                       w->path, name, json_string_value(shard));
    w->entries[w->count++] = t;
out:
    return rc;
}

static int by_data(const void *a, const void *b)
{
    const struct weights_entry *x = *(struct weights_entry *const *)a,
                               *y = *(struct weights_entry *const *)b;

    if (x->file != y->file)
        return strcmp(x->file->path, y->file->path);
    return x < y ? -1 : x > y; /* a file's entries are in order of data */
}

int weights_open_index(const char *path, struct weights **ret_w, struct err *e)
{
    struct weights *w = NULL;
    json_t *root = NULL, *map, *shard;
    const char *name;
    int rc = 0;

    TRY(json_read_file(path, &root, e));
    map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        TRY(err_set(e, ERR_INPUT, "%s: has no 'weight_map' from tensors to files", path));
    TRY(weights_new(path, SHARDS_MAX, json_object_size(map), &w, e));
    json_object_foreach(map, name, shard)
    {
        TRY(add_entry(w, name, shard, e));
    }
    qsort(w->entries, w->count, sizeof *w->entries, by_data);
    sort_names(w);
    *ret_w = w;
    w = NULL;
out:
    json_decref(root);
    weights_close(w);
    return rc;
}

/* ---- looking up */

/* A tensor as its file has it, cut to a view's part. */
struct found {
    const struct weights_entry *entry; /* NULL: there is none */
    struct weights_place place;
    const struct turned *turned;
};

static const struct turned *find_turned(const struct weights *w, const char *name)
{
    for (size_t i = 0; i < w->n_turned; i++)
        if (strcmp(w->turned[i].name, name) == 0)
            return &w->turned[i];
    return NULL;
}

static struct found find(const struct weights *w, const char *name)
{
    struct found f = {.place = {.parts = 1}};

    if (!w->base) {
        f.entry = weights_entry_find(w->by_name, w->count, name);
        snprintf(f.place.name, sizeof f.place.name, "%s", name);
        return f;
    }
    if (!w->naming.place(w->naming.user, name, &f.place)) {
        f.place = (struct weights_place){.parts = 1};
        snprintf(f.place.name, sizeof f.place.name, "%s", name);
        return f;
    }
    f.entry = weights_entry_find(w->base->by_name, w->base->count, f.place.name);
    f.turned = find_turned(w, name);
    return f;
}

/* The part's rows; false if they cannot be cut evenly. */
static bool found_tensor(const struct found *f, struct tensor *ret_t)
{
    struct tensor t = f->turned ? f->turned->tensor : f->entry->tensor;
    int64_t rows = t.rank > 0 ? t.shape[0] : 0, parts = f->place.parts;

    *ret_t = t;
    if (parts == 1)
        return true;
    if (rows == 0 || rows % parts != 0)
        return false;
    t.data = (const char *)t.data +
             (size_t)(tensor_count(&t) / parts) * dtype_size(t.dtype) * (size_t)f->place.part;
    t.shape[0] = rows / parts;
    *ret_t = t;
    return true;
}

static bool has_shape(const struct tensor *t, int rank, const int64_t *shape)
{
    return t->rank == rank && memcmp(t->shape, shape, (size_t)rank * sizeof *shape) == 0;
}

int weights_get(const struct weights *w, const char *name, int rank, const int64_t *shape,
                struct tensor *ret_t, struct err *e)
{
    struct found f = find(w, name);
    struct tensor wanted = {.rank = rank}, t;
    char has[128], wants[128], part[48] = "";
    const char *path;

    if (!f.entry)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is missing", weights_path(w), f.place.name);
    path = f.entry->file->path;
    if (!f.entry->readable || !dtype_is_float(f.entry->tensor.dtype))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is of type %s; F32, F16 or BF16 is needed",
                       path, f.place.name, f.entry->format);
    if (found_tensor(&f, &t) && has_shape(&t, rank, shape)) {
        *ret_t = t;
        return 0;
    }
    if (f.place.parts > 1)
        snprintf(part, sizeof part, " (part %d of %d)", f.place.part + 1, f.place.parts);
    memcpy(wanted.shape, shape, (size_t)rank * sizeof *shape);
    return err_set(e, ERR_INPUT, "%s: tensor '%s'%s has shape %s, the configuration asks for %s",
                   path, f.place.name, part, tensor_shape_text(&t, has, sizeof has),
                   tensor_shape_text(&wanted, wants, sizeof wants));
}

bool weights_find(const struct weights *w, const char *name, struct tensor *ret_t)
{
    struct found f = find(w, name);

    return f.entry && f.entry->readable && found_tensor(&f, ret_t);
}

static void each_file(const struct weights *w, const struct tensor *t,
                      void (*run)(const struct weights_file *f, const void *bytes, size_t size))
{
    const struct weights *files = w->base ? w->base : w;
    size_t size = (size_t)tensor_count(t) * dtype_size(t->dtype);

    for (size_t i = 0; i < files->n_files; i++)
        run(files->files[i], t->data, size);
}

void weights_map(const struct weights *w, const struct tensor *t)
{
    each_file(w, t, weights_file_map);
}

void weights_drop(const struct weights *w, const struct tensor *t)
{
    each_file(w, t, weights_file_drop);
}

const char *weights_path(const struct weights *w)
{
    return w->base ? weights_path(w->base) : w->path;
}

size_t weights_files(const struct weights *w)
{
    return w->n_files;
}

const char *weights_file_path(const struct weights *w, size_t i)
{
    return w->files[i]->path;
}

const char *weights_metadata(const struct weights *w, const char *key)
{
    if (w->n_files != 1)
        return NULL;
    return json_string_value(
        json_object_get(json_object_get(w->files[0]->header, "__metadata__"), key));
}

const unsigned char *weights_bytes(const struct weights *w, size_t *ret_size, size_t *ret_data)
{
    const struct weights_file *f = w->files[0];

    assert(w->n_files == 1);
    *ret_size = f->size;
    *ret_data = (size_t)(f->data - f->map);
    return f->map;
}

size_t weights_count(const struct weights *w)
{
    return w->count;
}

const char *weights_name(const struct weights *w, size_t i)
{
    return w->entries[i]->name;
}

/* ---- views */

/* A copy of matrix [rows, columns] as [columns, rows]. */
static int turn(const struct tensor *t, struct turned *ret_turned, struct err *e)
{
    size_t size = dtype_size(t->dtype), rows = (size_t)t->shape[0], columns = (size_t)t->shape[1];
    const char *from = t->data;
    char *to = malloc(rows * columns * size + 1);

    if (!to)
        return err_set(e, ERR_OOM, "no memory for a matrix of %zu x %zu", rows, columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(to + (j * rows + i) * size, from + (i * columns + j) * size, size);
    ret_turned->bytes = to;
    ret_turned->tensor = (struct tensor){
        .data = to, .dtype = t->dtype, .rank = 2, .shape = {t->shape[1], t->shape[0]}};
    return 0;
}

/* Those that are there; what is missing or no matrix is found out by who asks for it. */
static int turn_all(struct weights *w, struct err *e)
{
    const char *const *names = w->naming.transposed;
    size_t n = 0;
    struct tensor t;
    int rc = 0;

    while (names && names[n])
        n++;
    w->turned = calloc(n ? n : 1, sizeof *w->turned);
    if (!w->turned)
        return err_set(e, ERR_OOM, "%s: no memory", weights_path(w));
    for (size_t i = 0; i < n; i++)
        if (weights_find(w, names[i], &t) && t.rank == 2) {
            TRY(turn(&t, &w->turned[w->n_turned], e));
            w->turned[w->n_turned++].name = names[i];
        }
out:
    return rc;
}

int weights_view(const struct weights *base, const struct weights_naming *naming,
                 struct weights **ret_w, struct err *e)
{
    struct weights *w = calloc(1, sizeof *w);
    int rc = 0;

    if (!w)
        return err_set(e, ERR_OOM, "%s: no memory", weights_path(base));
    assert(base->base == NULL);
    w->base = base;
    w->naming = *naming;
    TRY(turn_all(w, e));
    *ret_w = w;
    w = NULL;
out:
    weights_close(w);
    return rc;
}
