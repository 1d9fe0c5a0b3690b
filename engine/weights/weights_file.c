#include "engine/weights/weights_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX (100u << 20) /* bytes; the limit of the reference implementation */
#define PREFIX     8u           /* bytes of the header's length */
#define FAULT      (64u << 10)  /* what Linux maps around a page that is touched */

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

static bool is_named_as_pickle(const char *path)
{
    static const char *const endings[] = {".ckpt", ".pt", ".pth", ".bin", ".pkl"};
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcmp(dot, endings[i]) == 0)
            return true;
    return false;
}

/* Python's pickle as torch.save writes it: a zip archive since torch 1.6, or the bare stream. */
static bool is_pickle(const struct weights_file *f)
{
    return memcmp(f->map, "PK\3\4", 4) == 0 ||
           (f->map[0] == 0x80 && f->map[1] >= 2 && f->map[1] <= 5) || is_named_as_pickle(f->path);
}

int weights_refuse_pickle(const char *path, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "%s: a pickle, whose reading may run any program hidden in it: convert it to "
                   ".safetensors (on a machine that may be lost), and give that",
                   path);
}

/* Only the size at open is known: a file that others shorten later kills the process with SIGBUS,
 * as with every mapping; model files are replaced by rename, never rewritten. */
static int map_file(struct weights_file *f, struct err *e)
{
    struct stat status;
    void *map;

    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &status) != 0)
        return err_errno(e, f->path);
    if (!S_ISREG(status.st_mode))
        return err_set(e, ERR_INPUT, "%s: not a regular file", f->path);
    if (status.st_size < (off_t)PREFIX && is_named_as_pickle(f->path))
        return weights_refuse_pickle(f->path, e);
    if (status.st_size < (off_t)PREFIX)
        return err_set(e, ERR_INPUT, "%s: too short for a safetensors file (%lld bytes)", f->path,
                       (long long)status.st_size);
    map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, f->fd, 0);
    if (map == MAP_FAILED)
        return err_errno(e, f->path);
    f->map = map;
    f->size = (size_t)status.st_size;
    close(f->fd);
    f->fd = -1;
    return 0;
}

static int read_header(struct weights_file *f, struct err *e)
{
    uint64_t length = 0;
    int rc;

    for (int i = 7; i >= 0; i--)
        length = length << 8 | f->map[i];
    if ((length > HEADER_MAX || length > f->size - PREFIX || length == 0 ||
         f->map[PREFIX] != '{') &&
        is_pickle(f))
        return weights_refuse_pickle(f->path, e);
    if (length > HEADER_MAX)
        return err_set(e, ERR_INPUT,
                       "%s: not a safetensors file: header of %" PRIu64 " bytes, the limit is %u",
                       f->path, length, HEADER_MAX);
    if (length > f->size - PREFIX)
        return err_set(e, ERR_INPUT, "%s: truncated: header of %" PRIu64 " bytes in a file of %zu",
                       f->path, length, f->size);
    rc = json_read(f->path, (const char *)f->map + PREFIX, (size_t)length, &f->header, e);
    if (rc == 0 && !json_is_object(f->header))
        rc = err_set(e, ERR_INPUT, "%s: the header is no JSON object", f->path);
    f->data = f->map + PREFIX + length;
    f->data_size = f->size - PREFIX - (size_t)length;
    return rc;
}

static int bad_tensor(const struct weights_file *f, const char *name, const char *what,
                      struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: tensor '%s': %s", f->path, name, what);
}

/* A whole number that is not negative and fits size_t and int64_t. */
static bool read_size(const json_t *v, size_t *ret_n)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret_n = (size_t)json_integer_value(v);
    return true;
}

static int read_offsets(const struct weights_file *f, const json_t *value, struct weights_entry *t,
                        struct err *e)
{
    const json_t *offsets = json_object_get(value, "data_offsets");

    if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &t->begin) ||
        !read_size(json_array_get(offsets, 1), &t->end))
        return bad_tensor(f, t->name, "data_offsets must be two whole numbers", e);
    if (t->begin > t->end)
        return bad_tensor(f, t->name, "data_offsets end before they begin", e);
    if (t->end > f->data_size)
        return err_set(e, ERR_INPUT,
                       "%s: truncated: tensor '%s' ends at byte %zu of the data, past its size %zu",
                       f->path, t->name, t->end, f->data_size);
    return 0;
}

/* Shape and dtype against the byte range. */
static int read_type(const struct weights_file *f, const json_t *value, struct weights_entry *t,
                     struct err *e)
{
    const json_t *shape = json_object_get(value, "shape");
    size_t bytes = 0, count = 1, n = 0, rank = json_array_size(shape);
    bool overflow = false;

    t->format = json_string_value(json_object_get(value, "dtype"));
    if (!t->format)
        return bad_tensor(f, t->name, "dtype must be text", e);
    if (!json_is_array(shape))
        return bad_tensor(f, t->name, "shape must be a list", e);
    for (size_t i = 0; i < rank; i++) {
        if (!read_size(json_array_get(shape, i), &n))
            return bad_tensor(f, t->name, "shape must hold whole numbers", e);
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
                           f->path, t->name, t->end - t->begin, t->format,
                           overflow ? "more than any file holds" : "another size");
        t->readable = formats[i].dtype >= 0 && rank <= TENSOR_RANK_MAX;
        t->tensor.dtype = t->readable ? (enum dtype)formats[i].dtype : DTYPE_U8;
        t->tensor.rank = t->readable ? (int)rank : 0;
    }
    t->tensor.data = f->data + t->begin;
    return 0;
}

static int by_data(const void *a, const void *b)
{
    const struct weights_entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

int weights_entry_order(const void *a, const void *b)
{
    return strcmp((*(struct weights_entry *const *)a)->name,
                  (*(struct weights_entry *const *)b)->name);
}

/* The format's rule: the tensors cover the data without holes or overlap. */
static int check_cover(const struct weights_file *f, struct err *e)
{
    size_t at = 0;

    for (size_t i = 0; i < f->count; i++) {
        const struct weights_entry *t = &f->entries[i];

        if (t->begin != at)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' begins at byte %zu of the data, %s %zu",
                           f->path, t->name, t->begin,
                           t->begin < at ? "overlapping the one before it, which ends at"
                                         : "leaving a hole after",
                           at);
        at = t->end;
    }
    if (at != f->data_size)
        return err_set(e, ERR_INPUT, "%s: %zu bytes of data, the tensors cover %zu", f->path,
                       f->data_size, at);
    return 0;
}

static int read_entries(struct weights_file *f, struct err *e)
{
    size_t n = json_object_size(f->header);
    const char *name;
    json_t *value;
    int rc = 0;

    f->entries = calloc(n ? n : 1, sizeof *f->entries);
    f->by_name = calloc(n ? n : 1, sizeof *f->by_name);
    if (!f->entries || !f->by_name)
        return err_set(e, ERR_OOM, "%s: no memory for %zu tensors", f->path, n);
    json_object_foreach(f->header, name, value)
    {
        struct weights_entry *t = &f->entries[f->count];

        if (strcmp(name, "__metadata__") == 0)
            continue;
        t->file = f;
        t->name = name;
        if (!json_is_object(value))
            TRY(bad_tensor(f, name, "its entry is no JSON object", e));
        TRY(read_offsets(f, value, t, e));
        TRY(read_type(f, value, t, e));
        f->count++;
    }
    qsort(f->entries, f->count, sizeof *f->entries, by_data);
    TRY(check_cover(f, e));
    for (size_t i = 0; i < f->count; i++)
        f->by_name[i] = &f->entries[i];
    qsort(f->by_name, f->count, sizeof *f->by_name, weights_entry_order);
out:
    return rc;
}

int weights_file_open(const char *path, struct weights_file **ret_f, struct err *e)
{
    struct weights_file *f = calloc(1, sizeof *f);
    int rc = 0;

    if (!f)
        return err_set(e, ERR_OOM, "%s: no memory", path);
    f->fd = -1;
    f->path = strdup(path);
    if (!f->path)
        TRY(err_set(e, ERR_OOM, "%s: no memory", path));
    TRY(map_file(f, e));
    TRY(read_header(f, e));
    TRY(read_entries(f, e));
    *ret_f = f;
    f = NULL;
out:
    weights_file_close(f);
    return rc;
}

void weights_file_close(struct weights_file *f)
{
    if (!f)
        return;
    if (f->map)
        munmap((void *)f->map, f->size);
    if (f->fd >= 0)
        close(f->fd);
    json_decref(f->header);
    free(f->entries);
    free(f->by_name);
    free(f->path);
    free(f);
}

/* Advice for whole neighbourhoods, with neighbours' bytes: those are mapped again when they are
 * read. */
static void advise(const struct weights_file *f, const void *bytes, size_t size, int advice)
{
    uintptr_t begin = (uintptr_t)bytes, map = (uintptr_t)f->map, end;

    if (begin < map || begin - map >= f->size || size == 0)
        return;
    end = (begin + size + FAULT - 1) / FAULT * FAULT;
    begin = begin / FAULT * FAULT;
    begin = begin < map ? map : begin;
    end = end > map + f->size ? map + f->size : end;
    (void)madvise((void *)begin, end - begin, advice);
}

void weights_file_map(const struct weights_file *f, const void *bytes, size_t size)
{
#if defined(MADV_POPULATE_READ) /* Linux 5.14; without it, page by page */
    advise(f, bytes, size, MADV_POPULATE_READ);
#endif
}

void weights_file_drop(const struct weights_file *f, const void *bytes, size_t size)
{
    advise(f, bytes, size, MADV_DONTNEED);
}

struct weights_entry *weights_entry_find(struct weights_entry *const *sorted, size_t n,
                                         const char *name)
{
    struct weights_entry key = {.name = name}, *pointer = &key;
    struct weights_entry *const *found =
        bsearch(&pointer, sorted, n, sizeof *sorted, weights_entry_order);

    return found ? *found : NULL;
}
