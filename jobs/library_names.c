/* What prompts call by name: LoRAs and embeddings. library.h. */
#include "jobs/library.h"
#include "jobs/shelf.h"

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

/* The folders that are there, each once; without any, all that were looked for. */
static void put_folders(const char *const *folders, struct buf *ret_text)
{
    const char *seen[LIBRARY_FOLDERS_MAX];
    struct stat st, other;
    size_t n = 0;

    for (const char *const *f = folders; *f && n < LIBRARY_FOLDERS_MAX; f++) {
        bool twice = stat(*f, &st) != 0;

        for (size_t i = 0; i < n && !twice; i++)
            twice = stat(seen[i], &other) == 0 && st.st_dev == other.st_dev &&
                    st.st_ino == other.st_ino;
        if (!twice)
            seen[n++] = *f;
    }
    for (size_t i = 0; i < n; i++)
        buf_printf(ret_text, "%s%s", i ? ", " : "", seen[i]);
    for (size_t i = 0; n == 0 && folders[i]; i++)
        buf_printf(ret_text, "%s%s", i ? ", " : "", folders[i]);
    if (n == 0)
        buf_puts(ret_text, folders[0] ? ", none of which is there" : "any folder: none is set");
}

static int lora_missing(const struct library *library, const char *name, const struct shelf *all,
                        struct err *e)
{
    struct buf list = {0}, hint = {0};
    int rc;

    shelf_hint(all, name, &hint);
    put_folders(library_lora_folders(library), &list);
    rc = err_set(e, ERR_MISSING, "LoRA '%s' is not in the model library%s (no %s" ENDING " in %s)",
                 name, buf_text(&hint), name, buf_text(&list));
    buf_done(&list);
    buf_done(&hint);
    return rc;
}

/* In the LoRA folders one after the other, each with all below it; files go before aliases. */
static int search_shelves(const struct library *library, const char *name, struct buf *ret_path,
                          struct err *e)
{
    const struct shelf_file *found = NULL;
    struct shelf all = {0}, one = {0};
    struct err why = {0};
    int rc = 0;

    for (int key = SHELF_STEM; key <= SHELF_ALIAS && !found; key++)
        for (const char *const *f = library_lora_folders(library); *f && !found; f++) {
            shelf_done(&one);
            TRY(shelf_read(*f, &one, e));
            if (shelf_find(&one, name, (enum shelf_key)key, &found, &why) != 0)
                TRY(err_set(e, ERR_INPUT,
                            "LoRA '%s': %s: say which one with its path, <lora:./FILE" ENDING
                            ":1>, or in 'loras'",
                            name, why.text));
        }
    if (found) {
        buf_puts(ret_path, found->path);
        TRY(buf_check(ret_path, e));
        goto out;
    }
    for (const char *const *f = library_lora_folders(library); *f; f++)
        TRY(shelf_read(*f, &all, e));
    TRY(lora_missing(library, name, &all, e));
out:
    shelf_done(&one);
    shelf_done(&all);
    return rc;
}

int library_find_lora(const struct library *library, const char *name, struct buf *ret_path,
                      struct err *e)
{
    struct buf path = {0};
    int rc;

    TRY(check_name("LoRA", name, e));
    for (const char *const *f = library_lora_folders(library); *f; f++) {
        path.size = 0;
        buf_printf(&path, "%s/%s" ENDING, *f, name);
        TRY(buf_check(&path, e));
        if (is_file(buf_text(&path))) {
            buf_puts(ret_path, buf_text(&path));
            rc = buf_check(ret_path, e);
            goto out;
        }
    }
    rc = search_shelves(library, name, ret_path, e);
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
