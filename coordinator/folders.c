#include "coordinator/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static struct folder *find(struct folders *f, const char *path, size_t size)
{
    for (int i = 0; i < f->n; i++)
        if (strlen(f->open[i].path) == size && memcmp(f->open[i].path, path, size) == 0)
            return &f->open[i];
    return NULL;
}

static int keep(struct folders *f, const char *path, size_t size, int fd,
                struct folder **ret_folder, struct err *e)
{
    char *copy = strndup(path, size);

    if (!copy) {
        close(fd);
        return err_set(e, ERR_OOM, "no memory for a folder");
    }
    f->open[f->n] = (struct folder){.path = copy, .fd = fd};
    *ret_folder = &f->open[f->n++];
    return 0;
}

/* One level down. */
static int descend(struct folder *parent, const char *path, size_t size, const char *name,
                   bool make, int *ret_fd, struct err *e)
{
    char text[1100];
    int fd = openat(parent->fd, name, FOLDER_FLAGS);

    if (fd < 0 && errno == ENOENT && make) {
        if (mkdirat(parent->fd, name, 0777) == 0)
            parent->dirty = true;
        else if (errno != EEXIST)
            goto failed;
        fd = openat(parent->fd, name, FOLDER_FLAGS);
    }
    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
failed:
    snprintf(text, sizeof text, "%.*s", (int)size, path);
    if (errno == ENOTDIR || errno == ELOOP)
        return err_set(e, ERR_CONFLICT,
                       "'%s' in the output folder is not a folder (symbolic links are not "
                       "followed): move it away, or change output.path",
                       text);
    return err_errno(e, text);
}

static bool component_ok(const char *name, size_t size)
{
    return size > 0 && size < 256 && !(size == 1 && name[0] == '.') &&
           !(size == 2 && name[0] == '.' && name[1] == '.');
}

int folders_of(struct folders *f, const char *path, bool make, struct folder **ret_folder,
               const char **ret_name, struct err *e)
{
    const char *name = path, *slash;
    struct folder *at;
    char part[256];
    int fd = -1, rc = 0;

    /* Room for every level of this path, so that no pointer handed out here moves or closes. */
    if (f->n > FOLDERS_OPEN_MAX / 2)
        TRY(folders_sync(f, e));
    if (!(at = find(f, "", 0))) {
        fd = openat(f->root, ".", FOLDER_FLAGS);
        if (fd < 0)
            TRY(err_errno(e, "output folder"));
        TRY(keep(f, "", 0, fd, &at, e));
    }
    for (; (slash = strchr(name, '/')); name = slash + 1) {
        size_t size = (size_t)(slash - path);
        struct folder *next = find(f, path, size);

        if (!component_ok(name, (size_t)(slash - name)))
            TRY(err_set(e, ERR_ARG, "path '%s' is not inside the output folder", path));
        snprintf(part, sizeof part, "%.*s", (int)(slash - name), name);
        if (!next && f->n == FOLDERS_OPEN_MAX)
            TRY(err_set(e, ERR_ARG, "path '%s' has too many folders", path));
        if (!next) {
            TRY(descend(at, path, size, part, make, &fd, e));
            TRY(keep(f, path, size, fd, &next, e));
        }
        at = next;
    }
    if (!component_ok(name, strlen(name)))
        TRY(err_set(e, ERR_ARG, "path '%s' is not inside the output folder", path));
    *ret_folder = at;
    *ret_name = name;
out:
    return rc;
}

void folders_drop(struct folders *f)
{
    while (f->n > 0) {
        f->n--;
        close(f->open[f->n].fd);
        free(f->open[f->n].path);
    }
}

int folders_sync(struct folders *f, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < f->n; i++)
        if (f->open[i].dirty && fsync(f->open[i].fd) != 0 && rc == 0)
            rc = err_errno(e, f->open[i].path[0] ? f->open[i].path : "output folder");
    /* On failure all stay open and dirty, to be tried again. */
    if (rc == 0)
        folders_drop(f);
    return rc;
}
