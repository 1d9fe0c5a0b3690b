#include "jobs/shelf.h"

#include "jobs/suggest.h"
#include "proto/json.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define HEADER_MAX (32u << 20) /* bytes of a safetensors file's JSON */

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory for a list of files");
}

/* --- reading folders --- */

/* The length of a file's name without its ending; 0: no weights file. */
static size_t stem_size(const char *file, bool *ret_pickle)
{
    static const char *const endings[] = {".safetensors", ".pt", ".ckpt", ".bin"};
    const char *dot = strrchr(file, '.');

    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0) {
            *ret_pickle = i > 0;
            return (size_t)(dot - file);
        }
    return 0;
}

static int add(struct shelf *shelf, const char *path, const char *file, const struct stat *st,
               struct err *e)
{
    struct shelf_file *grown, f = {.device = st->st_dev, .inode = st->st_ino};
    size_t size = stem_size(file, &f.pickle);

    if (size == 0)
        return 0;
    if (shelf->n == SHELF_FILES_MAX)
        return err_set(e, ERR_INPUT, "more than %d weights files, the last one '%s'",
                       SHELF_FILES_MAX, path);
    grown = realloc(shelf->files, (shelf->n + 1) * sizeof *grown);
    if (grown)
        shelf->files = grown;
    f.path = strdup(path);
    f.stem = strndup(file, size);
    if (!grown || !f.path || !f.stem) {
        free(f.path);
        free(f.stem);
        return no_memory(e);
    }
    grown[shelf->n++] = f;
    return 0;
}

static int read_below(const char *folder, int depth, struct shelf *shelf, struct err *e)
{
    DIR *dir = depth <= SHELF_DEPTH_MAX ? opendir(folder) : NULL;
    struct dirent *entry;
    struct buf path = {0};
    struct stat st;
    int rc = 0;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        path.size = 0;
        buf_printf(&path, "%s/%s", folder, entry->d_name);
        TRY(buf_check(&path, e));
        if (stat(buf_text(&path), &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            TRY(read_below(buf_text(&path), depth + 1, shelf, e));
        else if (S_ISREG(st.st_mode))
            TRY(add(shelf, buf_text(&path), entry->d_name, &st, e));
    }
out:
    if (dir)
        closedir(dir);
    buf_done(&path);
    return rc;
}

static int depth_of(const char *path)
{
    int n = 0;

    for (; (path = strchr(path, '/')); path++)
        n++;
    return n;
}

/* What lies higher first: of a file that is reached twice, the shorter way is told. */
static int by_path(const void *a, const void *b)
{
    const char *x = ((const struct shelf_file *)a)->path, *y = ((const struct shelf_file *)b)->path;
    int difference = depth_of(x) - depth_of(y);

    return difference ? difference : strcmp(x, y);
}

int shelf_read(const char *folder, struct shelf *shelf, struct err *e)
{
    int rc = read_below(folder, 0, shelf, e);

    if (rc == 0 && shelf->n)
        qsort(shelf->files, shelf->n, sizeof *shelf->files, by_path);
    return rc;
}

void shelf_done(struct shelf *shelf)
{
    for (size_t i = 0; i < shelf->n; i++) {
        free(shelf->files[i].path);
        free(shelf->files[i].stem);
    }
    free(shelf->files);
    *shelf = (struct shelf){0};
}

/* --- names --- */

/* The JSON at a safetensors file's start; NULL if there is none that can be read. */
static json_t *header_of(const char *path)
{
    unsigned char length[8];
    FILE *f = fopen(path, "rb");
    json_t *root = NULL;
    uint64_t size = 0;
    char *text = NULL;

    if (!f)
        return NULL;
    if (fread(length, 1, 8, f) == 8)
        for (int i = 7; i >= 0; i--)
            size = size << 8 | length[i];
    if (size > 0 && size <= HEADER_MAX && (text = malloc(size)) && fread(text, 1, size, f) == size)
        if (json_read(path, text, size, &root, NULL) != 0)
            root = NULL;
    free(text);
    fclose(f);
    return root;
}

static bool has_alias(const char *path, const char *name)
{
    json_t *header = header_of(path);
    const char *alias = json_string_value(
        json_object_get(json_object_get(header, "__metadata__"), "ss_output_name"));
    bool it = alias && strcmp(alias, name) == 0;

    json_decref(header);
    return it;
}

int shelf_find(const struct shelf *shelf, const char *name, enum shelf_key key,
               const struct shelf_file **ret_file, struct err *e)
{
    const struct shelf_file *found = NULL;

    for (size_t i = 0; i < shelf->n; i++) {
        const struct shelf_file *f = &shelf->files[i];

        if (f->pickle ||
            !(key == SHELF_STEM ? strcmp(f->stem, name) == 0 : has_alias(f->path, name)))
            continue;
        if (found && (found->device != f->device || found->inode != f->inode))
            return err_set(e, ERR_INPUT, "both '%.400s' and '%.400s' have that name%s", found->path,
                           f->path, key == SHELF_ALIAS ? " (ss_output_name)" : "");
        if (!found)
            found = f;
    }
    *ret_file = found;
    return 0;
}

void shelf_hint(const struct shelf *shelf, const char *name, struct buf *ret_text)
{
    const char **stems = calloc(shelf->n ? shelf->n : 1, sizeof *stems);
    size_t n = 0;

    for (size_t i = 0; stems && i < shelf->n; i++) {
        if (!shelf->files[i].pickle) {
            stems[n++] = shelf->files[i].stem;
        } else if (strcmp(shelf->files[i].stem, name) == 0) {
            buf_printf(ret_text,
                       "; '%s' is a pickle, a file that runs code when it is read: convert it to "
                       ".safetensors",
                       shelf->files[i].path);
            goto out;
        }
    }
    if (stems)
        suggest_text(name, stems, n, ret_text);
out:
    free(stems);
}
