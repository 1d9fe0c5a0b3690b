#include "jobs/library.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LIMIT 4096 /* bytes of a model's name or path */

struct library {
    char **directories; /* owned */
    size_t n;
};

static int add(struct library *lib, const char *directory, size_t size, struct err *e)
{
    char **grown = realloc(lib->directories, (lib->n + 1) * sizeof *grown);

    if (!grown)
        return err_set(e, ERR_OOM, "out of memory for the model library");
    lib->directories = grown;
    grown[lib->n] = strndup(directory, size);
    if (!grown[lib->n])
        return err_set(e, ERR_OOM, "out of memory for the model library");
    lib->n++;
    return 0;
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

int library_open(const char *const *directories, size_t n, struct library **ret_library,
                 struct err *e)
{
    struct library *lib = calloc(1, sizeof *lib);
    int rc = 0;

    if (!lib)
        return err_set(e, ERR_OOM, "out of memory for the model library");
    for (size_t i = 0; i < n; i++)
        TRY(add(lib, directories[i], strlen(directories[i]), e));
    if (n == 0)
        TRY(add_defaults(lib, e));
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
    for (size_t i = 0; i < library->n; i++)
        free(library->directories[i]);
    free(library->directories);
    free(library);
}

static int is_model(const char *folder, bool *ret_yes, struct err *e)
{
    struct buf index = {0};
    struct stat st;
    int rc;

    buf_printf(&index, "%s/model_index.json", folder);
    TRY(buf_check(&index, e));
    *ret_yes = stat(buf_text(&index), &st) == 0 && S_ISREG(st.st_mode);
out:
    buf_done(&index);
    return rc;
}

static int find_absolute(const char *model, struct buf *ret_path, struct err *e)
{
    struct stat st;
    bool yes = false;
    int rc;

    if ((rc = is_model(model, &yes, e)) != 0)
        return rc;
    if (yes) {
        buf_puts(ret_path, model);
        return buf_check(ret_path, e);
    }
    if (stat(model, &st) != 0)
        return err_set(e, ERR_MISSING, "model '%s': %s", model, strerror(errno));
    return err_set(e, ERR_MISSING, "model '%s' has no model_index.json: not a diffusers folder",
                   model);
}

static int find_named(const struct library *lib, const char *model, struct buf *ret_path,
                      struct err *e)
{
    struct buf candidate = {0}, looked = {0};
    bool yes = false;
    int rc = 0;

    for (size_t i = 0; i < lib->n && !yes; i++) {
        candidate.size = 0;
        buf_printf(&candidate, "%s/%s", lib->directories[i], model);
        buf_printf(&looked, "%s%s", i ? ", " : "", lib->directories[i]);
        TRY(buf_check(&candidate, e));
        TRY(buf_check(&looked, e));
        TRY(is_model(buf_text(&candidate), &yes, e));
    }
    if (!yes)
        TRY(err_set(e, ERR_MISSING,
                    "model '%s' is not in the model library: no %s/model_index.json in %s", model,
                    model, lib->n ? buf_text(&looked) : "any directory (none is configured)"));
    buf_append(ret_path, candidate.data, candidate.size);
    rc = buf_check(ret_path, e);
out:
    buf_done(&candidate);
    buf_done(&looked);
    return rc;
}

int library_find(const struct library *library, const char *model, struct buf *ret_path,
                 struct err *e)
{
    if (strlen(model) > NAME_LIMIT)
        return err_set(e, ERR_INPUT, "model name of %zu bytes", strlen(model));
    if (model[0] == '/')
        return find_absolute(model, ret_path, e);
    if (model[0] == 0 || model[0] == '.' || strchr(model, '/'))
        return err_set(e, ERR_INPUT,
                       "model '%s' is neither a name in the model library nor an absolute path",
                       model);
    return find_named(library, model, ret_path, e);
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
