#include "jobs/cli/models.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int model_resolve(const char *model, char **model_name, struct err *e)
{
    char path[PATH_MAX];
    struct stat status;
    bool there = stat(model, &status) == 0 && (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode));
    char *name;

    if (strchr(model, '/') == NULL && !there)
        name = strdup(model);
    else if (realpath(model, path) != NULL)
        name = strdup(path);
    else
        return err_errno(e, model);
    if (name == NULL)
        return err_set(e, ERR_OOM, "path: out of memory");
    free(*model_name);
    *model_name = name;
    return 0;
}
