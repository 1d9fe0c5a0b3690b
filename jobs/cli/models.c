#include "jobs/cli/models.h"

#include "jobs/cli/child.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void clear(struct buf *b)
{
    buf_done(b);
    *b = (struct buf){0};
}

static bool is_model(const char *folder)
{
    struct buf index = {0};
    bool found;

    buf_printf(&index, "%s/model_index.json", folder);
    found = access(buf_text(&index), R_OK) == 0;
    buf_done(&index);
    return found;
}

/* Looks in one folder of the library; notes it among the places. */
static bool look(const char *library, size_t size, const char *model, struct buf *ret_folder,
                 struct buf *places)
{
    clear(ret_folder);
    buf_append(ret_folder, library, size);
    buf_printf(ret_folder, "/%s", model);
    if (places->size > 0)
        buf_puts(places, ", ");
    buf_append(places, library, size);
    return is_model(buf_text(ret_folder));
}

static bool look_in_list(const char *list, const char *model, struct buf *ret_folder,
                         struct buf *places)
{
    while (*list != '\0') {
        size_t size = strcspn(list, ":");
        if (size > 0 && look(list, size, model, ret_folder, places))
            return true;
        list += size + (list[size] == ':');
    }
    return false;
}

/* The build tree's and the installed library, both found from the programs' folder. */
static bool look_beside_programs(const char *model, struct buf *ret_folder, struct buf *places)
{
    static const char *const ways[] = {"/../../../models", "/../share/litho/models"};
    char *folder = NULL;
    bool found = false;

    if (child_programs_folder(&folder, NULL) != 0)
        return false;
    for (size_t i = 0; i < 2 && !found; i++) {
        struct buf library = {0};
        buf_printf(&library, "%s%s", folder, ways[i]);
        found = look(buf_text(&library), library.size, model, ret_folder, places);
        buf_done(&library);
    }
    free(folder);
    return found;
}

int models_find(const char *model, const char *models, struct buf *ret_folder, struct err *e)
{
    const char *environment = getenv("LITHO_MODELS");
    struct buf places = {0};
    bool found;
    int rc = 0;

    if (strchr(model, '/') != NULL) {
        clear(ret_folder);
        buf_puts(ret_folder, model);
        if (!is_model(model))
            return err_set(e, ERR_MISSING, "model '%s': no model_index.json there", model);
        return buf_check(ret_folder, e);
    }
    if (models != NULL)
        found = look(models, strlen(models), model, ret_folder, &places);
    else if (environment != NULL && environment[0] != '\0')
        found = look_in_list(environment, model, ret_folder, &places);
    else
        found = look("./models", 8, model, ret_folder, &places) ||
                look_beside_programs(model, ret_folder, &places);
    if (!found)
        rc = err_set(e, ERR_MISSING, "model '%s' is not in the library: looked in %s", model,
                     buf_text(&places));
    buf_done(&places);
    return rc != 0 ? rc : buf_check(ret_folder, e);
}

int model_resolve(const char *model, char **model_name, struct err *e)
{
    char path[PATH_MAX];
    struct stat status;
    char *name;

    if (strchr(model, '/') == NULL && (stat(model, &status) != 0 || !S_ISDIR(status.st_mode)))
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
