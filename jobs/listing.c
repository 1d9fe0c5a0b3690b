#include "jobs/listing.h"

#include "jobs/asset.h"

#include <stdlib.h>
#include <string.h>

/* Relative, every part a safe name. */
static bool path_is_safe(const char *path, size_t size)
{
    size_t start = 0;

    if (size > LISTING_PATH_MAX)
        return false;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && path[i] != '/')
            continue;
        if (!asset_name_is_safe(path + start, i - start))
            return false;
        start = i + 1;
    }
    return true;
}

static int add(struct listing *l, const char *path, size_t size, const char *sha256, uint64_t bytes,
               struct err *e)
{
    struct listing_file *grown, *f;

    if (!path_is_safe(path, size))
        return err_set(e, ERR_INPUT, "'%.*s' is no path of a file in a folder",
                       (int)(size < 200 ? size : 200), path);
    if (l->n == LISTING_FILES_MAX)
        return err_set(e, ERR_INPUT, "a folder of more than %d files", LISTING_FILES_MAX);
    if (bytes > LISTING_BYTES_MAX - listing_bytes(l))
        return err_set(e, ERR_INPUT, "a folder of more than 2^53 bytes");
    grown = realloc(l->files, (l->n + 1) * sizeof *grown);
    if (!grown)
        return err_set(e, ERR_OOM, "no memory for a folder's listing");
    l->files = grown;
    f = &grown[l->n];
    *f = (struct listing_file){.path = strndup(path, size), .bytes = bytes};
    if (!f->path)
        return err_set(e, ERR_OOM, "no memory for a folder's listing");
    memcpy(f->sha256, sha256, HASH_HEX_SIZE - 1);
    l->n++;
    return 0;
}

int listing_add(struct listing *l, const char *path, const char *sha256, uint64_t bytes,
                struct err *e)
{
    return add(l, path, strlen(path), sha256, bytes, e);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct listing_file *)a)->path, ((const struct listing_file *)b)->path);
}

int listing_text(struct listing *l, struct buf *ret_text, struct err *e)
{
    size_t before = ret_text->size;

    if (l->n)
        qsort(l->files, l->n, sizeof *l->files, by_path);
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0 && strcmp(l->files[i].path, l->files[i - 1].path) == 0)
            return err_set(e, ERR_INPUT, "'%s' twice in a folder", l->files[i].path);
        buf_printf(ret_text, "%s %llu %s\n", l->files[i].sha256,
                   (unsigned long long)l->files[i].bytes, l->files[i].path);
    }
    if (ret_text->size - before > LISTING_TEXT_MAX)
        return err_set(e, ERR_INPUT, "the names of a folder's files are longer than %u bytes",
                       LISTING_TEXT_MAX);
    return buf_check(ret_text, e);
}

/* The number as it is always written: no sign, no zero in front. */
static bool read_number(const char **p, const char *end, uint64_t *ret_value)
{
    const char *start = *p;
    uint64_t value = 0;

    for (; *p < end && **p >= '0' && **p <= '9'; ++*p) {
        value = value * 10 + (uint64_t)(**p - '0');
        if (value > LISTING_BYTES_MAX)
            return false;
    }
    *ret_value = value;
    return *p > start && (*start != '0' || *p == start + 1);
}

static int parse_line(const char *p, const char *end, struct listing *l, struct err *e)
{
    const char *hex = p;
    uint64_t bytes;
    size_t digits = 0;

    while (p < end && digits < HASH_HEX_SIZE - 1 &&
           ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')))
        p++, digits++;
    if (digits < HASH_HEX_SIZE - 1 || p == end || *p++ != ' ' || !read_number(&p, end, &bytes) ||
        p == end || *p++ != ' ')
        return err_set(e, ERR_INPUT, "not 'SHA256 BYTES PATH'");
    return add(l, p, (size_t)(end - p), hex, bytes, e);
}

int listing_parse(const void *text, size_t size, struct listing *ret_l, struct err *e)
{
    const char *p = text, *end = p + size;
    struct listing l = {0};
    struct err why = {0};
    int rc = 0;

    if (size > LISTING_TEXT_MAX)
        return err_set(e, ERR_INPUT, "a listing of %zu bytes", size);
    for (size_t line = 1; p < end && rc == 0; line++) {
        const char *feed = memchr(p, '\n', (size_t)(end - p));

        rc = feed ? parse_line(p, feed, &l, &why)
                  : err_set(&why, ERR_INPUT, "no line feed at the end");
        if (rc == 0 && l.n > 1 && by_path(&l.files[l.n - 2], &l.files[l.n - 1]) >= 0)
            rc = err_set(&why, ERR_INPUT, "not in order, or twice");
        if (rc != 0)
            err_set(e, rc, "line %zu of a folder's listing: %s", line, why.text);
        p = feed ? feed + 1 : end;
    }
    if (rc != 0) {
        listing_done(&l);
        return rc;
    }
    *ret_l = l;
    return 0;
}

uint64_t listing_bytes(const struct listing *l)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < l->n; i++)
        bytes += l->files[i].bytes;
    return bytes;
}

void listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->files[i].path);
    free(l->files);
    *l = (struct listing){0};
}
