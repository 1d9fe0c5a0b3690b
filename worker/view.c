#include "worker/view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct view {
    char *parent, *root, *loras, *embeddings; /* owned */
    atomic_bool made;
    int lock; /* of root; -1: not made yet */
};

int view_open(const char *dir, struct view **ret_view, struct err *e)
{
    struct view *v = calloc(1, sizeof *v);
    struct buf path = {0};
    unsigned salt = 0;

    if (!v)
        return err_set(e, ERR_OOM, "no memory for a view of files");
    v->lock = -1;
    if (getrandom(&salt, sizeof salt, GRND_NONBLOCK) != sizeof salt)
        salt = (unsigned)getpid();
    buf_printf(&path, "%s/views", dir);
    v->parent = buf_detach(&path);
    buf_printf(&path, "%s/views/%ld-%08x", dir, (long)getpid(), salt);
    v->root = buf_detach(&path);
    buf_printf(&path, "%s/loras", v->root ? v->root : "");
    v->loras = buf_detach(&path);
    buf_printf(&path, "%s/embeddings", v->root ? v->root : "");
    v->embeddings = buf_detach(&path);
    if (!v->parent || !v->root || !v->loras || !v->embeddings) {
        view_close(v);
        return err_set(e, ERR_OOM, "no memory for a view of files");
    }
    *ret_view = v;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void view_close(struct view *v)
{
    if (!v)
        return;
    if (v->lock >= 0) {
        remove_tree(v->root);
        close(v->lock);
    }
    free(v->parent);
    free(v->root);
    free(v->loras);
    free(v->embeddings);
    free(v);
}

const char *view_loras(const struct view *v)
{
    return v->loras;
}

const char *view_embeddings(const struct view *v)
{
    return v->embeddings;
}

/* Views that no process has locked. */
static void sweep(const struct view *v)
{
    DIR *dir = opendir(v->parent);
    struct dirent *entry;
    struct buf path = {0};

    while (dir && (entry = readdir(dir))) {
        int fd;

        if (entry->d_name[0] == '.')
            continue;
        path.size = 0;
        buf_printf(&path, "%s/%s", v->parent, entry->d_name);
        fd = open(buf_text(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_tree(buf_text(&path));
        if (fd >= 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
    buf_done(&path);
}

/* The folder with all above it. */
static int make_folders(const char *path, struct err *e)
{
    char part[PATH_MAX];

    for (const char *p = path; p; p = *p ? strchr(p + 1, '/') : NULL) {
        size_t size = p == path ? 0 : (size_t)(p - path);

        if (size == 0)
            continue;
        if (size >= sizeof part)
            return err_set(e, ERR_INPUT, "the path %.200s... is too long", path);
        memcpy(part, path, size);
        part[size] = 0;
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return err_errno(e, part);
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : err_errno(e, path);
}

/* Under the lock of the folder above, so that nobody sweeps a view between its making and its lock.
 */
static int make_locked(struct view *v, struct err *e)
{
    int rc = 0;

    sweep(v);
    TRY(make_folders(v->root, e));
    v->lock = open(v->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v->lock < 0)
        return err_errno(e, v->root);
    if (flock(v->lock, LOCK_EX | LOCK_NB) != 0) {
        rc = err_errno(e, v->root);
        close(v->lock);
        v->lock = -1;
    }
out:
    return rc;
}

int view_make(struct view *v, struct err *e)
{
    int rc = 0, above;
    bool locked;

    if (v->lock >= 0)
        return 0;
    TRY(make_folders(v->parent, e));
    above = open(v->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    do
        locked = above >= 0 && flock(above, LOCK_EX) == 0;
    while (above >= 0 && !locked && errno == EINTR);
    if (!locked)
        rc = err_errno(e, v->parent);
    else
        rc = make_locked(v, e);
    if (above >= 0)
        close(above);
    if (rc == 0)
        atomic_store(&v->made, true);
out:
    return rc;
}

/* path leads to target, from now on or already. */
static int link_to(const char *path, const char *target, struct err *e)
{
    char there[PATH_MAX], temporary[PATH_MAX];
    ssize_t n = readlink(path, there, sizeof there - 1);

    if (n > 0 && (size_t)n == strlen(target) && memcmp(there, target, (size_t)n) == 0)
        return 0;
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return err_set(e, ERR_INPUT, "the path %.200s... is too long", path);
    unlink(temporary);
    if (symlink(target, temporary) != 0 || rename(temporary, path) != 0)
        return err_errno(e, path);
    return 0;
}

int view_link(struct view *v, const char *folder, const char *name, const char *target,
              struct buf *ret_path, struct err *e)
{
    struct buf above = {0};
    int rc;

    buf_printf(ret_path, "%s/%s/%s", v->root, folder, name);
    TRY(buf_check(ret_path, e));
    buf_append(&above, ret_path->data, (size_t)(strrchr(ret_path->data, '/') - ret_path->data));
    TRY(buf_check(&above, e));
    TRY(make_folders(buf_text(&above), e));
    TRY(link_to(buf_text(ret_path), target, e));
out:
    buf_done(&above);
    return rc;
}

/* NAME.safetensors of one that is wanted there. */
static bool is_wanted(const struct given *g, bool embedding, const char *file)
{
    for (size_t i = 0; g && i < g->n_names; i++) {
        size_t size = strlen(g->names[i].name);

        if (g->names[i].embedding == embedding && g->names[i].path &&
            strncmp(file, g->names[i].name, size) == 0 && strcmp(file + size, ".safetensors") == 0)
            return true;
    }
    return false;
}

static int names_in(const char *folder, const struct given *g, bool embedding, struct err *e)
{
    struct dirent *entry;
    struct buf path = {0};
    DIR *dir = opendir(folder);
    int rc = 0;

    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !is_wanted(g, embedding, entry->d_name))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    for (size_t i = 0; g && i < g->n_names; i++) {
        if (g->names[i].embedding != embedding || !g->names[i].path)
            continue;
        TRY(make_folders(folder, e));
        path.size = 0;
        buf_printf(&path, "%s/%s.safetensors", folder, g->names[i].name);
        TRY(buf_check(&path, e));
        TRY(link_to(buf_text(&path), g->names[i].path, e));
    }
out:
    buf_done(&path);
    return rc;
}

int view_names(struct view *v, const struct given *g, struct err *e)
{
    int rc = 0;

    if (!atomic_load(&v->made))
        return 0; /* nothing is there, and nothing was to be */
    TRY(names_in(v->loras, g, false, e));
    TRY(names_in(v->embeddings, g, true, e));
out:
    return rc;
}
