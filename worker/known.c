#include "worker/known.h"

#include <stdlib.h>
#include <string.h>

void known_done(struct known *k)
{
    while (k->files) {
        struct known_file *next = k->files->next;

        free(k->files->path);
        free(k->files);
        k->files = next;
    }
    while (k->listings) {
        struct known_listing *next = k->listings->next;

        buf_done(&k->listings->text);
        free(k->listings);
        k->listings = next;
    }
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct known_file *file_of(struct known *k, const char *path)
{
    struct known_file *f = k->files;

    while (f && strcmp(f->path, path) != 0)
        f = f->next;
    if (f)
        return f;
    f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return NULL;
    }
    f->next = k->files;
    k->files = f;
    return f;
}

bool known_is(struct known *k, const char *path, const char *sha256, uint64_t bytes)
{
    struct known_file *f;
    struct stat st, after;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes ||
        !(f = file_of(k, path)))
        return false;
    if (!f->sha256[0] || !same_file(&f->st, &st)) {
        f->sha256[0] = 0;
        if (hash_file(path, f->sha256, NULL) != 0 || stat(path, &after) != 0 ||
            !same_file(&st, &after)) {
            f->sha256[0] = 0;
            return false;
        }
        k->hashed_bytes += bytes;
        f->st = st;
    }
    return strcmp(f->sha256, sha256) == 0;
}

const struct buf *known_listing(const struct known *k, const char *sha256)
{
    for (const struct known_listing *l = k->listings; l; l = l->next)
        if (strcmp(l->sha256, sha256) == 0)
            return &l->text;
    return NULL;
}

int known_add_listing(struct known *k, const char *sha256, struct buf *text, struct err *e)
{
    struct known_listing *l;
    char hex[HASH_HEX_SIZE];
    int rc;

    TRY(hash_bytes(text->data, text->size, hex, e));
    if (strcmp(hex, sha256) != 0)
        TRY(err_set(e, ERR_OUTPUT, "expected SHA-256 %s, got %s", sha256, hex));
    l = calloc(1, sizeof *l);
    if (!l)
        TRY(err_set(e, ERR_OOM, "no memory for a folder's listing"));
    memcpy(l->sha256, sha256, HASH_HEX_SIZE);
    l->text = *text;
    *text = (struct buf){0};
    l->next = k->listings;
    k->listings = l;
out:
    return rc;
}
