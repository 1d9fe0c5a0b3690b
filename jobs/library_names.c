/* What prompts call by name: LoRAs and embeddings. library.h. */
#include "jobs/library.h"

#include <dirent.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define ENDING    ".safetensors"
#define STEM_SIZE 256

static int check_name(const char *what, const char *name, struct err *e)
{
    if (name[0] == 0 || name[0] == '.' || strpbrk(name, "/\\") ||
        strlen(name) >= STEM_SIZE - strlen(ENDING))
        return err_set(e, ERR_INPUT, "%s '%.200s' cannot be the name of a file", what, name);
    return 0;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* In the folders below one. */
static int find_below(const char *folder, const char *name, struct buf *ret_path, struct err *e)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    struct buf path = {0};
    int rc = 0;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        path.size = 0;
        buf_printf(&path, "%s/%s/%s" ENDING, folder, entry->d_name, name);
        TRY(buf_check(&path, e));
        if (!is_file(buf_text(&path)))
            continue;
        if (ret_path->size)
            TRY(err_set(e, ERR_INPUT, "lora '%s': both '%.400s' and '%.400s' have that name", name,
                        buf_text(ret_path), buf_text(&path)));
        buf_puts(ret_path, buf_text(&path));
    }
    rc = buf_check(ret_path, e);
out:
    if (dir)
        closedir(dir);
    buf_done(&path);
    return rc;
}

static int lora_missing(const struct library *library, const char *name, struct err *e)
{
    const char *const *folders = library_lora_folders(library);
    struct buf list = {0};
    int rc;

    for (; *folders; folders++)
        buf_printf(&list, "%s%s", list.size ? ", " : "", *folders);
    rc = err_set(e, ERR_MISSING, "lora '%s' is not in the model library: no %s" ENDING " in %s",
                 name, name, buf_text(&list));
    buf_done(&list);
    return rc;
}

int library_find_lora(const struct library *library, const char *name, struct buf *ret_path,
                      struct err *e)
{
    const char *const *folders = library_lora_folders(library);
    struct buf path = {0};
    int rc;

    TRY(check_name("lora", name, e));
    for (; *folders && !path.size; folders++) {
        buf_printf(&path, "%s/%s" ENDING, *folders, name);
        TRY(buf_check(&path, e));
        if (is_file(buf_text(&path)))
            break;
        path.size = 0;
        TRY(find_below(*folders, name, &path, e));
    }
    if (!path.size)
        TRY(lora_missing(library, name, e));
    buf_puts(ret_path, buf_text(&path));
    rc = buf_check(ret_path, e);
out:
    buf_done(&path);
    return rc;
}

/* The name of an embedding's file without its ending; false: it is none. */
static bool stem_of(const char *file, char ret_stem[STEM_SIZE])
{
    const char *dot = strrchr(file, '.');
    size_t size = dot ? (size_t)(dot - file) : 0;

    if (size == 0 || size >= STEM_SIZE || strcasecmp(dot, ENDING) != 0)
        return false;
    memcpy(ret_stem, file, size);
    ret_stem[size] = 0;
    return true;
}

/* f for each embedding of each folder, with its folder and file. */
static int each_embedding(const struct library *library,
                          int (*f)(void *user, const char *name, const char *folder,
                                   const char *file, struct err *e),
                          void *user, struct err *e)
{
    const char *const *folders = library_embedding_folders(library);
    char stem[STEM_SIZE];
    struct dirent *entry;
    int rc = 0;

    for (; *folders && rc == 0; folders++) {
        DIR *dir = opendir(*folders);

        while (dir && rc == 0 && (entry = readdir(dir)))
            if (stem_of(entry->d_name, stem))
                rc = f(user, stem, *folders, entry->d_name, e);
        if (dir)
            closedir(dir);
    }
    return rc;
}

struct found {
    const char *name;
    struct buf *path;
};

static int match(void *user, const char *name, const char *folder, const char *file, struct err *e)
{
    struct found *found = user;
    (void)e;

    if (strcmp(name, found->name) != 0)
        return 0;
    buf_printf(found->path, "%s/%s", folder, file);
    return 1;
}

int library_find_embedding(const struct library *library, const char *name, struct buf *ret_path,
                           struct err *e)
{
    struct found found = {name, ret_path};
    int rc;

    TRY(check_name("embedding", name, e));
    rc = each_embedding(library, match, &found, e);
    if (rc == 0)
        rc = err_set(e, ERR_MISSING, "embedding '%s' is not in the model library", name);
    else if (rc == 1)
        rc = buf_check(ret_path, e);
out:
    return rc;
}

struct told {
    int (*f)(void *user, const char *name, struct err *e);
    void *user;
};

static int tell(void *user, const char *name, const char *folder, const char *file, struct err *e)
{
    struct told *told = user;
    (void)folder;
    (void)file;

    return told->f(told->user, name, e);
}

int library_embeddings(const struct library *library,
                       int (*f)(void *user, const char *name, struct err *e), void *user,
                       struct err *e)
{
    struct told told = {f, user};

    return each_embedding(library, tell, &told, e);
}
