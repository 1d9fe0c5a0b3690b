#include "engine/weights.h"

#include "proto/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX (100u << 20) /* bytes; the limit of the reference implementation */
#define PREFIX     8u           /* bytes of the header's length */

/* What the format knows. Types that no network here reads are measured, not converted. */
static const struct {
    const char *name;
    size_t size;
    int dtype; /* enum dtype, or -1 */
} formats[] = {
    {"F32", 4, DTYPE_F32}, {"F16", 2, DTYPE_F16}, {"BF16", 2, DTYPE_BF16}, {"I64", 8, DTYPE_I64},
    {"I32", 4, DTYPE_I32}, {"U8", 1, DTYPE_U8},   {"F64", 8, -1},          {"I16", 2, -1},
    {"I8", 1, -1},         {"U16", 2, -1},        {"U32", 4, -1},          {"U64", 8, -1},
    {"BOOL", 1, -1},       {"F8_E4M3", 1, -1},    {"F8_E5M2", 1, -1},      {"C64", 8, -1},
};

struct entry {
    const char *name;   /* borrowed from the header's JSON */
    const char *format; /* the same */
    size_t begin, end;  /* bytes from the start of the data */
    bool readable;      /* tensor is filled: a dtype and rank that struct tensor can hold */
    struct tensor tensor;
};

struct weights {
    char *path;
    int file; /* -1 when not open */
    const unsigned char *map;
    size_t size;               /* bytes of the file and of the mapping */
    const unsigned char *data; /* first byte behind the header */
    size_t data_size;
    json_t *header;
    struct entry *entries; /* in order of data */
    struct entry **by_name;
    size_t count;
};

void weights_close(struct weights *w)
{
    if (!w)
        return;
    if (w->map)
        munmap((void *)w->map, w->size);
    if (w->file >= 0)
        close(w->file);
    json_decref(w->header);
    free(w->entries);
    free(w->by_name);
    free(w->path);
    free(w);
}

/* Only the size at open is known: a file that others shorten later kills the process with SIGBUS,
 * as with every mapping; model files are replaced by rename, never rewritten. */
static int map_file(struct weights *w, struct err *e)
{
    struct stat status;
    void *map;

    w->file = open(w->path, O_RDONLY | O_CLOEXEC);
    if (w->file < 0 || fstat(w->file, &status) != 0)
        return err_errno(e, w->path);
    if (!S_ISREG(status.st_mode))
        return err_set(e, ERR_INPUT, "%s: not a regular file", w->path);
    if (status.st_size < (off_t)PREFIX)
        return err_set(e, ERR_INPUT, "%s: too short for a safetensors file (%lld bytes)", w->path,
                       (long long)status.st_size);
    map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, w->file, 0);
    if (map == MAP_FAILED)
        return err_errno(e, w->path);
    w->map = map;
    w->size = (size_t)status.st_size;
    close(w->file);
    w->file = -1;
    return 0;
}

static int read_header(struct weights *w, struct err *e)
{
    uint64_t length = 0;
    int rc;

    for (int i = 7; i >= 0; i--)
        length = length << 8 | w->map[i];
    if (length > HEADER_MAX)
        return err_set(e, ERR_INPUT,
                       "%s: not a safetensors file: header of %" PRIu64 " bytes, the limit is %u",
                       w->path, length, HEADER_MAX);
    if (length > w->size - PREFIX)
        return err_set(e, ERR_INPUT, "%s: truncated: header of %" PRIu64 " bytes in a file of %zu",
                       w->path, length, w->size);
    rc = json_read(w->path, (const char *)w->map + PREFIX, (size_t)length, &w->header, e);
    if (rc == 0 && !json_is_object(w->header))
        rc = err_set(e, ERR_INPUT, "%s: the header is no JSON object", w->path);
    w->data = w->map + PREFIX + length;
    w->data_size = w->size - PREFIX - (size_t)length;
    return rc;
}

static int bad_tensor(const struct weights *w, const char *name, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: tensor '%s': %s", w->path, name, what);
}

/* A whole number that is not negative and fits size_t and int64_t. */
static bool read_size(const json_t *v, size_t *ret_n)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret_n = (size_t)json_integer_value(v);
    return true;
}

static int read_offsets(const struct weights *w, const json_t *value, struct entry *t,
                        struct err *e)
{
    const json_t *offsets = json_object_get(value, "data_offsets");

    if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &t->begin) ||
        !read_size(json_array_get(offsets, 1), &t->end))
        return bad_tensor(w, t->name, "data_offsets must be two whole numbers", e);
    if (t->begin > t->end)
        return bad_tensor(w, t->name, "data_offsets end before they begin", e);
    if (t->end > w->data_size)
        return err_set(e, ERR_INPUT,
                       "%s: truncated: tensor '%s' ends at byte %zu of the data, past its size %zu",
                       w->path, t->name, t->end, w->data_size);
    return 0;
}

/* Shape and dtype against the byte range. */
static int read_type(const struct weights *w, const json_t *value, struct entry *t, struct err *e)
{
    const json_t *shape = json_object_get(value, "shape");
    size_t bytes = 0, count = 1, n = 0, rank = json_array_size(shape);
    bool overflow = false;

    t->format = json_string_value(json_object_get(value, "dtype"));
    if (!t->format)
        return bad_tensor(w, t->name, "dtype must be text", e);
    if (!json_is_array(shape))
        return bad_tensor(w, t->name, "shape must be a list", e);
    for (size_t i = 0; i < rank; i++) {
        if (!read_size(json_array_get(shape, i), &n))
            return bad_tensor(w, t->name, "shape must hold whole numbers", e);
        overflow = overflow || __builtin_mul_overflow(count, n, &count);
        if (i < TENSOR_RANK_MAX)
            t->tensor.shape[i] = (int64_t)n;
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, t->format) != 0)
            continue;
        overflow = overflow || __builtin_mul_overflow(count, formats[i].size, &bytes);
        if (overflow || bytes != t->end - t->begin)
            return err_set(e, ERR_INPUT,
                           "%s: tensor '%s': data_offsets span %zu bytes, its shape and dtype %s "
                           "need %s",
                           w->path, t->name, t->end - t->begin, t->format,
                           overflow ? "more than any file holds" : "another size");
        t->readable = formats[i].dtype >= 0 && rank <= TENSOR_RANK_MAX;
        t->tensor.dtype = t->readable ? (enum dtype)formats[i].dtype : DTYPE_U8;
        t->tensor.rank = t->readable ? (int)rank : 0;
    }
    t->tensor.data = w->data + t->begin;
    return 0;
}

static int by_data(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct entry *const *)a)->name, (*(struct entry *const *)b)->name);
}

/* The format's rule: the tensors cover the data without holes or overlap. */
static int check_cover(const struct weights *w, struct err *e)
{
    size_t at = 0;

    for (size_t i = 0; i < w->count; i++) {
        const struct entry *t = &w->entries[i];

        if (t->begin != at)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' begins at byte %zu of the data, %s %zu",
                           w->path, t->name, t->begin,
                           t->begin < at ? "overlapping the one before it, which ends at"
                                         : "leaving a hole after",
                           at);
        at = t->end;
    }
    if (at != w->data_size)
        return err_set(e, ERR_INPUT, "%s: %zu bytes of data, the tensors cover %zu", w->path,
                       w->data_size, at);
    return 0;
}

static int read_entries(struct weights *w, struct err *e)
{
    size_t n = json_object_size(w->header);
    const char *name;
    json_t *value;
    int rc = 0;

    w->entries = calloc(n ? n : 1, sizeof *w->entries);
    w->by_name = calloc(n ? n : 1, sizeof *w->by_name);
    if (!w->entries || !w->by_name)
        return err_set(e, ERR_OOM, "%s: no memory for %zu tensors", w->path, n);
    json_object_foreach(w->header, name, value)
    {
        struct entry *t = &w->entries[w->count];

        if (strcmp(name, "__metadata__") == 0)
            continue;
        t->name = name;
        if (!json_is_object(value))
            TRY(bad_tensor(w, name, "its entry is no JSON object", e));
        TRY(read_offsets(w, value, t, e));
        TRY(read_type(w, value, t, e));
        w->count++;
    }
    qsort(w->entries, w->count, sizeof *w->entries, by_data);
    TRY(check_cover(w, e));
    for (size_t i = 0; i < w->count; i++)
        w->by_name[i] = &w->entries[i];
    qsort(w->by_name, w->count, sizeof *w->by_name, by_name);
out:
    return rc;
}

int weights_open(const char *path, struct weights **ret_w, struct err *e)
{
    struct weights *w = calloc(1, sizeof *w);
    int rc = 0;

    if (!w)
        return err_set(e, ERR_OOM, "%s: no memory", path);
    w->file = -1;
    w->path = strdup(path);
    if (!w->path)
        TRY(err_set(e, ERR_OOM, "%s: no memory", path));
    TRY(map_file(w, e));
    TRY(read_header(w, e));
    TRY(read_entries(w, e));
    *ret_w = w;
    w = NULL;
out:
    weights_close(w);
    return rc;
}

const char *weights_path(const struct weights *w)
{
    return w->path;
}

static const struct entry *lookup(const struct weights *w, const char *name)
{
    struct entry key = {.name = name}, *pointer = &key;
    struct entry **found = bsearch(&pointer, w->by_name, w->count, sizeof *w->by_name, by_name);

    return found ? *found : NULL;
}

static bool has_shape(const struct tensor *t, int rank, const int64_t *shape)
{
    return t->rank == rank && memcmp(t->shape, shape, (size_t)rank * sizeof *shape) == 0;
}

int weights_get(const struct weights *w, const char *name, int rank, const int64_t *shape,
                struct tensor *ret_t, struct err *e)
{
    const struct entry *t = lookup(w, name);
    struct tensor wanted = {.rank = rank};
    char has[128], wants[128];

    if (!t)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is missing", w->path, name);
    if (!t->readable || !dtype_is_float(t->tensor.dtype))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is of type %s; F32, F16 or BF16 is needed",
                       w->path, name, t->format);
    if (!has_shape(&t->tensor, rank, shape)) {
        memcpy(wanted.shape, shape, (size_t)rank * sizeof *shape);
        return err_set(e, ERR_INPUT, "%s: tensor '%s' has shape %s, the configuration asks for %s",
                       w->path, name, tensor_shape_text(&t->tensor, has, sizeof has),
                       tensor_shape_text(&wanted, wants, sizeof wants));
    }
    *ret_t = t->tensor;
    return 0;
}

bool weights_find(const struct weights *w, const char *name, struct tensor *ret_t)
{
    const struct entry *t = lookup(w, name);

    if (!t || !t->readable)
        return false;
    *ret_t = t->tensor;
    return true;
}

size_t weights_count(const struct weights *w)
{
    return w->count;
}

const char *weights_name(const struct weights *w, size_t i)
{
    return w->entries[i].name;
}
