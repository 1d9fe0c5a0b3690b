#include "engine/lora/lora_find.h"

#include "engine/networks/layer.h"
#include "proto/buf.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int check_name(const char *name, struct err *e)
{
    if (name[0] == '\0' || name[0] == '.' || strpbrk(name, "/\\") != NULL ||
        strlen(name) > NAME_MAX - strlen(".safetensors"))
        return err_set(e, ERR_INPUT, "'%.200s' cannot be the name of a file", name);
    return 0;
}

/* FOLDER/NAME + ending; false: no such regular file. */
static bool file_at(const char *folder, const char *name, const char *ending,
                    char ret_path[PATH_MAX])
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%s%s", folder, name, ending);
    struct stat status;

    return n > 0 && n < PATH_MAX && stat(ret_path, &status) == 0 && S_ISREG(status.st_mode);
}

/* In the subfolders of a folder. ret_path is "" if none has it. */
static int find_below(const char *folder, const char *name, char ret_path[PATH_MAX], struct err *e)
{
    char below[PATH_MAX], path[PATH_MAX];
    DIR *d = opendir(folder);
    const struct dirent *entry;
    int rc = 0;

    ret_path[0] = '\0';
    if (d == NULL)
        return errno == ENOENT ? 0 : err_errno(e, folder);
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        TRY(part_path(below, folder, entry->d_name, e));
        if (!file_at(below, name, ".safetensors", path))
            continue;
        if (ret_path[0] != '\0')
            TRY(err_set(e, ERR_INPUT, "both '%.400s' and '%.400s' have that name", ret_path, path));
        snprintf(ret_path, PATH_MAX, "%s", path);
    }
out:
    closedir(d);
    return rc;
}

/* A pickle of that name, where no folder has more; it is found to be refused by its own name. */
static bool find_pickle(const char *const *folders, const char *name, char ret_path[PATH_MAX])
{
    static const char *const endings[] = {".pt", ".ckpt", ".bin"};

    for (; folders != NULL && *folders != NULL; folders++)
        for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
            if (file_at(*folders, name, endings[i], ret_path))
                return true;
    return false;
}

static int missing(const char *const *folders, const char *name, struct err *e)
{
    struct buf list = {0};
    int rc;

    for (size_t i = 0; folders != NULL && folders[i] != NULL; i++)
        buf_printf(&list, "%s'%s'", i > 0 ? ", " : "", folders[i]);
    rc = err_set(e, ERR_MISSING, "there is no '%s.safetensors' in %s", name,
                 list.size > 0 ? buf_text(&list) : "any folder: none is set");
    buf_done(&list);
    return rc;
}

int lora_find(const char *const *folders, const char *name, char ret_path[PATH_MAX], struct err *e)
{
    int rc = 0;

    TRY(check_name(name, e));
    for (size_t i = 0; folders != NULL && folders[i] != NULL; i++) {
        if (file_at(folders[i], name, ".safetensors", ret_path))
            return 0;
        TRY(find_below(folders[i], name, ret_path, e));
        if (ret_path[0] != '\0')
            return 0;
    }
    if (!find_pickle(folders, name, ret_path))
        rc = missing(folders, name, e);
out:
    return rc;
}
