#include "worker/known.h"

#include <stdlib.h>
#include <string.h>

void known_done(struct known *k)
{
    while (k->listings) {
        struct known_listing *next = k->listings->next;

        buf_done(&k->listings->text);
        free(k->listings);
        k->listings = next;
    }
}

bool known_is(struct known *k, const char *path, const char *sha256, uint64_t bytes)
{
    char hex[HASH_HEX_SIZE];
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes &&
           hash_memo_file(k->hashes, path, hex, NULL) == 0 && strcmp(hex, sha256) == 0;
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
