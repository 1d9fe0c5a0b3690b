#include "jobs/cli/beside.h"

#include "proto/buf.h"
#include "proto/hash.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (64u << 20) /* bytes of a picture, as on the wire */

static int is_png(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);

    return size > 4 && strcmp(entry->d_name + size - 4, ".png") == 0;
}

static bool has_hash(const char *path, const char *sha256)
{
    char hex[HASH_HEX_SIZE];
    struct buf bytes = {0};
    bool it = buf_read_file(&bytes, path, FILE_MAX, NULL) == 0 &&
              hash_bytes(bytes.data, bytes.size, hex, NULL) == 0 && strcmp(hex, sha256) == 0;

    buf_done(&bytes);
    return it;
}

/* names: sorted, as frames follow each other; `at` is where the image stands. */
static int look(const char *folder, struct dirent **names, int n, int at, const char *sha256,
                char **ret_path, struct err *e)
{
    for (int k = 1; k < 2 * n + 2; k++) {
        int i = k % 2 ? at - (k + 1) / 2 : at + k / 2; /* the one before, the one after, ... */
        struct buf path = {0};
        bool it;

        if (i < 0 || i >= n)
            continue;
        buf_printf(&path, "%s/%s", folder, names[i]->d_name);
        it = !path.failed && has_hash(buf_text(&path), sha256);
        if (it)
            *ret_path = buf_detach(&path);
        buf_done(&path);
        if (it)
            return *ret_path ? 0 : err_set(e, ERR_OOM, "path: out of memory");
    }
    return 0;
}

int beside_find(const char *image, const char *sha256, char **ret_path, struct err *e)
{
    const char *slash = strrchr(image, '/'), *name = slash ? slash + 1 : image;
    struct dirent **names = NULL;
    char folder[PATH_MAX];
    struct buf text = {0};
    int rc = 0, n = 0, at = 0;

    *ret_path = NULL;
    buf_append(&text, slash ? image : ".", slash ? (size_t)(slash - image) + 1 : 1);
    TRY(buf_check(&text, e));
    if (!realpath(buf_text(&text), folder))
        TRY(err_errno(e, buf_text(&text)));
    n = scandir(folder, &names, is_png, alphasort);
    if (n < 0)
        TRY(err_errno(e, folder));
    while (at < n && strcmp(names[at]->d_name, name) != 0)
        at++;
    TRY(look(folder, names, n, at, sha256, ret_path, e));
out:
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    buf_done(&text);
    return rc;
}
