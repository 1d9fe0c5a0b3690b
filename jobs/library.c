#include "jobs/library.h"

#include "jobs/suggest.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_SEEN_MAX      10000 /* that suggestions look through */
#define NAME_LIMIT          4096  /* bytes of a model's name or path */
#define EMBEDDING_DEPTH_MAX 8     /* folders below the first */

/* Paths, ended by NULL once there is one. */
struct paths {
    char **items; /* owned */
    size_t n;
};

struct library {
    struct paths directories, loras, embeddings;
};

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory for the model library");
}

/* Takes `path` over. */
static int paths_add(struct paths *paths, char *path, struct err *e)
{
    char **grown = realloc(paths->items, (paths->n + 2) * sizeof *grown);

    if (grown)
        paths->items = grown;
    if (!grown || !path) {
        free(path);
        return no_memory(e);
    }
    grown[paths->n++] = path;
    grown[paths->n] = NULL;
    return 0;
}

static void paths_done(struct paths *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        free(paths->items[i]);
    free(paths->items);
}

static int add(struct library *lib, const char *directory, size_t size, struct err *e)
{
    return paths_add(&lib->directories, strndup(directory, size), e);
}

/* The given folders of every directory. */
static int add_folders(const struct library *lib, const char *const *names, size_t n,
                       struct paths *ret_paths, struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    for (size_t i = 0; i < lib->directories.n; i++)
        for (size_t k = 0; k < n; k++) {
            buf_printf(&path, "%s/%s", lib->directories.items[i], names[k]);
            TRY(paths_add(ret_paths, buf_detach(&path), e));
        }
out:
    return rc;
}

static int add_list(struct library *lib, const char *list, struct err *e)
{
    size_t size;
    int rc = 0;

    for (; *list && rc == 0; list += size + (list[size] == ':')) {
        size = strcspn(list, ":");
        if (size)
            rc = add(lib, list, size, e);
    }
    return rc;
}

/* The program's own folder plus a relative path. */
static int add_beside_program(struct library *lib, const char *relative, struct err *e)
{
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    struct buf path = {0};
    int rc = 0;

    if (size < 0)
        return 0; /* without /proc the other directories remain */
    program[size] = 0;
    buf_append(&path, program, (size_t)(strrchr(program, '/') + 1 - program));
    buf_puts(&path, relative);
    TRY(buf_check(&path, e));
    TRY(add(lib, buf_text(&path), path.size, e));
out:
    buf_done(&path);
    return rc;
}

static int add_defaults(struct library *lib, struct err *e)
{
    const char *list = getenv("LITHO_MODELS");
    int rc = 0;

    if (list && *list)
        return add_list(lib, list, e);
    TRY(add(lib, "models", strlen("models"), e));
    TRY(add_beside_program(lib, "../../../models", e)); /* build/<preset>/bin */
    TRY(add_beside_program(lib, "../share/litho/models", e));
out:
    return rc;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The folders below one, by name, each before those below it. */
static int add_below(struct paths *paths, const char *folder, int depth, struct err *e)
{
    struct dirent **entries = NULL;
    int n = depth < EMBEDDING_DEPTH_MAX ? scandir(folder, &entries, is_shown, alphasort) : 0;
    struct buf path = {0};
    struct stat st;
    int rc = 0;

    for (int i = 0; i < n && rc == 0; i++) {
        path.size = 0;
        buf_printf(&path, "%s/%s", folder, entries[i]->d_name);
        if (buf_check(&path, NULL) != 0 || stat(buf_text(&path), &st) != 0 || !S_ISDIR(st.st_mode))
            continue;
        if (paths->n == LIBRARY_FOLDERS_MAX)
            rc = err_set(e, ERR_INPUT, "more than %d folders of embeddings, the last one '%s'",
                         LIBRARY_FOLDERS_MAX, buf_text(&path));
        if (rc == 0)
            rc = paths_add(paths, strdup(buf_text(&path)), e);
        if (rc == 0)
            rc = add_below(paths, buf_text(&path), depth + 1, e);
    }
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    buf_done(&path);
    return rc;
}

static int add_all_below(struct paths *paths, struct err *e)
{
    size_t n = paths->n;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_below(paths, paths->items[i], 0, e);
    return rc;
}

int library_open(const char *const *directories, size_t n, struct library **ret_library,
                 struct err *e)
{
    static const char *const loras[] = {"loras", "Lora"};
    static const char *const embeddings[] = {"embeddings", "embedding"};
    struct library *lib = calloc(1, sizeof *lib);
    int rc = 0;

    if (!lib)
        return no_memory(e);
    for (size_t i = 0; i < n; i++)
        TRY(add(lib, directories[i], strlen(directories[i]), e));
    if (n == 0)
        TRY(add_defaults(lib, e));
    TRY(add_folders(lib, loras, 2, &lib->loras, e));
    TRY(add_folders(lib, embeddings, 2, &lib->embeddings, e));
    TRY(add_all_below(&lib->embeddings, e));
    *ret_library = lib;
    lib = NULL;
out:
    library_close(lib);
    return rc;
}

void library_close(struct library *library)
{
    if (!library)
        return;
    paths_done(&library->directories);
    paths_done(&library->loras);
    paths_done(&library->embeddings);
    free(library);
}

static const char *const *listed(const struct paths *paths)
{
    static const char *const none[] = {NULL};

    return paths->n ? (const char *const *)paths->items : none;
}

const char *const *library_directories(const struct library *library)
{
    return listed(&library->directories);
}

const char *const *library_lora_folders(const struct library *library)
{
    return listed(&library->loras);
}

const char *const *library_embedding_folders(const struct library *library)
{
    return listed(&library->embeddings);
}

/* --- kinds of things --- */

struct kind {
    const char *what;
    const char *folders[3]; /* of a directory, besides itself; ended by NULL */
    const char *marks[2];   /* files that make a folder one of these */
    const char *inner;      /* with the second mark: the part of the folder that is meant */
    bool file;              /* a .safetensors file serves too */
};

static const struct kind models = {
    "model", {"checkpoints", "Stable-diffusion"}, {"model_index.json"}, NULL, true};
static const struct kind vaes = {
    "vae", {"vae", "VAE"}, {"config.json", "vae/config.json"}, "/vae", true};
static const struct kind configs = {"model_config", {NULL}, {"model_index.json"}, NULL, false};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n > m && strcasecmp(text + n - m, end) == 0;
}

static bool is_pickle(const char *name)
{
    return ends_with(name, ".ckpt") || ends_with(name, ".pt") || ends_with(name, ".pth") ||
           ends_with(name, ".bin");
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* A path, if it is one of the kind; appends what is meant by it. */
static int try_path(const struct kind *kind, const char *path, bool *ret_found,
                    struct buf *ret_path, struct err *e)
{
    struct buf mark = {0};
    int rc = 0;

    *ret_found = kind->file && ends_with(path, ".safetensors") && is_file(path);
    if (*ret_found)
        buf_puts(ret_path, path);
    for (size_t i = 0; i < 2 && kind->marks[i] && !*ret_found; i++) {
        mark.size = 0;
        buf_printf(&mark, "%s/%s", path, kind->marks[i]);
        TRY(buf_check(&mark, e));
        *ret_found = is_file(buf_text(&mark));
        if (*ret_found)
            buf_printf(ret_path, "%s%s", path, i == 1 ? kind->inner : "");
    }
    rc = buf_check(ret_path, e);
out:
    buf_done(&mark);
    return rc;
}

static int find_absolute(const struct kind *kind, const char *name, struct buf *ret_path,
                         struct err *e)
{
    bool found;
    struct stat st;
    int rc = try_path(kind, name, &found, ret_path, e);

    if (rc || found)
        return rc;
    if (stat(name, &st) != 0)
        return err_set(e, ERR_MISSING, "%s '%s': %s", kind->what, name, strerror(errno));
    return err_set(e, ERR_MISSING, "%s '%s' has no %s: not a diffusers folder%s", kind->what, name,
                   kind->marks[0], kind->file ? ", nor a .safetensors file" : "");
}

/* folder/NAME and folder/NAME.safetensors. */
static int try_folder(const struct kind *kind, const char *folder, const char *name,
                      bool *ret_found, struct buf *ret_path, struct err *e)
{
    struct buf candidate = {0};
    int rc;

    buf_printf(&candidate, "%s/%s", folder, name);
    TRY(buf_check(&candidate, e));
    TRY(try_path(kind, buf_text(&candidate), ret_found, ret_path, e));
    if (*ret_found || !kind->file)
        goto out;
    buf_puts(&candidate, ".safetensors");
    TRY(buf_check(&candidate, e));
    TRY(try_path(kind, buf_text(&candidate), ret_found, ret_path, e));
out:
    buf_done(&candidate);
    return rc;
}

/* A directory and the folders of it that hold such things. */
static int try_directory(const struct kind *kind, const char *directory, const char *name,
                         bool *ret_found, struct buf *ret_path, struct err *e)
{
    struct buf folder = {0};
    int rc;

    TRY(try_folder(kind, directory, name, ret_found, ret_path, e));
    for (size_t i = 0; kind->folders[i] && !*ret_found; i++) {
        folder.size = 0;
        buf_printf(&folder, "%s/%s", directory, kind->folders[i]);
        TRY(buf_check(&folder, e));
        TRY(try_folder(kind, buf_text(&folder), name, ret_found, ret_path, e));
    }
out:
    buf_done(&folder);
    return rc;
}

/* Names of a folder that lead somewhere. */
static int add_names(const struct kind *kind, const char *folder, struct paths *ret_names,
                     struct err *e)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_shown, alphasort), rc = 0;

    for (int i = 0; i < n; i++) {
        char *name = entries[i]->d_name;
        struct buf path = {0};
        bool found = false;

        if (rc == 0 && ret_names->n < NAMES_SEEN_MAX)
            rc = try_folder(kind, folder, name, &found, &path, e);
        if (rc == 0 && found && kind->file && ends_with(name, ".safetensors"))
            name[strlen(name) - strlen(".safetensors")] = 0;
        if (rc == 0 && found)
            rc = paths_add(ret_names, strdup(name), e);
        buf_done(&path);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* ", did you mean 'NAME'?", or nothing. */
static int hint(const struct library *lib, const struct kind *kind, const char *name,
                struct buf *ret_hint, struct err *e)
{
    struct paths names = {0};
    struct buf folder = {0};
    int rc = 0;

    for (size_t i = 0; i < lib->directories.n; i++) {
        TRY(add_names(kind, lib->directories.items[i], &names, e));
        for (size_t k = 0; kind->folders[k]; k++) {
            folder.size = 0;
            buf_printf(&folder, "%s/%s", lib->directories.items[i], kind->folders[k]);
            TRY(buf_check(&folder, e));
            TRY(add_names(kind, buf_text(&folder), &names, e));
        }
    }
    suggest_text(name, (const char *const *)names.items, names.n, ret_hint);
out:
    buf_done(&folder);
    paths_done(&names);
    return rc;
}

static int missing(const struct library *lib, const struct kind *kind, const char *name,
                   struct err *e)
{
    struct buf looked = {0}, nearest = {0};
    int rc;

    TRY(hint(lib, kind, name, &nearest, e));

    for (size_t i = 0; i < lib->directories.n; i++)
        buf_printf(&looked, "%s%s", i ? ", " : "", lib->directories.items[i]);
    rc = err_set(e, ERR_MISSING, "%s '%s' is not in the model library%s: no %s/%s in %s%s%s%s",
                 kind->what, name, buf_text(&nearest), name, kind->marks[0],
                 looked.size ? buf_text(&looked) : "any directory (none is configured)",
                 kind->file ? ", nor " : "", kind->file ? name : "",
                 !kind->file || ends_with(name, ".safetensors") ? "" : ".safetensors");
out:
    buf_done(&looked);
    buf_done(&nearest);
    return rc;
}

static int find(const struct library *lib, const struct kind *kind, const char *name,
                struct buf *ret_path, struct err *e)
{
    bool found = false;
    int rc;

    if (strlen(name) > NAME_LIMIT)
        return err_set(e, ERR_INPUT, "%s name of %zu bytes", kind->what, strlen(name));
    if (is_pickle(name))
        return err_set(e, ERR_INPUT,
                       "%s '%s' is a pickle, a file that runs code when it is read: convert it to "
                       ".safetensors",
                       kind->what, name);
    if (name[0] == '/')
        return find_absolute(kind, name, ret_path, e);
    if (name[0] == 0 || name[0] == '.' || strchr(name, '/'))
        return err_set(e, ERR_INPUT,
                       "%s '%s' is neither a name in the model library nor an absolute path",
                       kind->what, name);
    for (size_t i = 0; i < lib->directories.n && !found; i++)
        if ((rc = try_directory(kind, lib->directories.items[i], name, &found, ret_path, e)) != 0)
            return rc;
    return found ? 0 : missing(lib, kind, name, e);
}

int library_find(const struct library *library, const char *model, struct buf *ret_path,
                 struct err *e)
{
    return find(library, &models, model, ret_path, e);
}

int library_find_vae(const struct library *library, const char *vae, struct buf *ret_path,
                     struct err *e)
{
    return find(library, &vaes, vae, ret_path, e);
}

int library_find_config(const struct library *library, const char *config, struct buf *ret_path,
                        struct err *e)
{
    return find(library, &configs, config, ret_path, e);
}

int library_locate(const char *directory, const char *model, struct buf *ret_path, struct err *e)
{
    struct library *lib = NULL;
    int rc = 0;

    TRY(library_open(&directory, directory ? 1 : 0, &lib, e));
    TRY(library_find(lib, model, ret_path, e));
out:
    library_close(lib);
    return rc;
}
