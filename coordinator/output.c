/* The output folder and the plain files in it. */
#include "coordinator/output_inner.h"
#include "coordinator/state_dir.h"
#include "proto/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int output_check(struct output *o, struct err *e)
{
    struct stat now;
    int fd;

    if (o->checked)
        return 0;
    if (stat(o->dir, &now) != 0)
        return err_set(e, ERR_IO, "the output folder %s is gone (%s)", o->dir, strerror(errno));
    if (now.st_dev != o->st.st_dev)
        return err_set(e, ERR_IO, "another file system is at the output folder %s", o->dir);
    if (now.st_ino != o->st.st_ino) {
        fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return err_errno(e, o->dir);
        folders_drop(&o->folders);
        close(o->root);
        o->root = o->folders.root = fd;
        o->st = now;
    }
    o->checked = true;
    return 0;
}

/*
 * What lies there under a temporary name is removed first: what a crash left, or what others put
 * there, who may write here too and can tell the name: a link, a pipe, a file of theirs.
 */
static int create_anew(int folder, const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(folder, name, flags, 0666);

    if (fd < 0 && errno == EEXIST && unlinkat(folder, name, 0) == 0)
        fd = openat(folder, name, flags, 0666);
    return fd;
}

static int try_writing(struct output *o, struct err *e)
{
    const char *name = ".litho-try.part";
    int fd = create_anew(o->root, name);

    if (fd < 0)
        return err_errno(e, o->dir);
    close(fd);
    unlinkat(o->root, name, 0);
    return 0;
}

int output_open(const char *out_dir, struct output **ret_output, struct err *e)
{
    struct output *o = calloc(1, sizeof *o);
    int rc;

    if (!o)
        return err_set(e, ERR_OOM, "no memory for the output folder");
    o->root = -1;
    TRY(folder_make(out_dir, e));
    o->dir = realpath(out_dir, NULL);
    if (!o->dir)
        TRY(err_errno(e, out_dir));
    o->root = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (o->root < 0)
        TRY(err_errno(e, o->dir));
    o->folders.root = o->root;
    if (fstat(o->root, &o->st) != 0)
        TRY(err_errno(e, o->dir));
    TRY(try_writing(o, e));
    *ret_output = o;
    o = NULL;
out:
    if (rc != 0 && e && rc != ERR_OOM)
        err_set(e, rc, "the output folder cannot be used: %s", e->text);
    output_close(o);
    return rc;
}

void output_close(struct output *o)
{
    if (!o)
        return;
    folders_drop(&o->folders);
    if (o->root >= 0)
        close(o->root);
    free(o->dir);
    free(o);
}

const char *output_dir(const struct output *o)
{
    return o->dir;
}

int output_sync(struct output *o, struct err *e)
{
    o->checked = false;
    return folders_sync(&o->folders, e);
}

/* Reads an open file whole. ERR_CONFLICT: it is no regular file, or too large. */
static int read_all(int fd, const char *path, size_t limit, struct buf *ret_bytes, struct err *e)
{
    char block[65536];
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) != 0)
        return err_errno(e, path);
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > limit)
        return err_set(e, ERR_CONFLICT, "'%s' is no file of at most %zu bytes", path, limit);
    while ((n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, path);
        buf_append(ret_bytes, block, (size_t)n);
        if (ret_bytes->size > limit)
            return err_set(e, ERR_CONFLICT, "'%s' is larger than %zu bytes", path, limit);
    }
    return buf_check(ret_bytes, e);
}

int output_read(struct output *o, const char *path, size_t limit, struct buf *ret_bytes,
                struct err *e)
{
    struct folder *folder;
    const char *name;
    int fd = -1, rc;

    TRY(folders_of(&o->folders, path, false, &folder, &name, e));
    fd = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        TRY(errno == ELOOP ? err_set(e, ERR_CONFLICT, "'%s' is a symbolic link", path)
                           : err_errno(e, path));
    TRY(read_all(fd, path, limit, ret_bytes, e));
out:
    if (fd >= 0)
        close(fd);
    return rc;
}

bool output_has(struct output *o, const char *path)
{
    struct folder *folder;
    const char *name;
    struct stat st;
    int rc = folders_of(&o->folders, path, false, &folder, &name, NULL);

    if (rc != 0)
        return rc != ERR_MISSING;
    return fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

/* Gives a temporary file its name. ERR_CONFLICT: the name is taken. */
static int rename_new(int folder, const char *temporary, const char *name, const char *path,
                      struct err *e)
{
    if (renameat2(folder, temporary, folder, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) { /* a file system without it: link keeps the promise */
        if (linkat(folder, temporary, folder, name, 0) == 0) {
            unlinkat(folder, temporary, 0);
            return 0;
        }
    }
    return errno == EEXIST ? err_set(e, ERR_CONFLICT, "'%s' exists", path) : err_errno(e, path);
}

int output_commit(struct output *o, const char *path, const char *tag, const void *data,
                  size_t size, bool replace, struct err *e)
{
    struct folder *folder = NULL;
    const char *name;
    char temporary[64];
    int fd = -1, rc;

    snprintf(temporary, sizeof temporary, ".litho-%.16s.part", tag);
    TRY(folders_of(&o->folders, path, true, &folder, &name, e));
    fd = create_anew(folder->fd, temporary);
    if (fd < 0)
        TRY(err_errno(e, path));
    TRY(file_write(fd, path, data, size, e));
    if (!replace)
        TRY(rename_new(folder->fd, temporary, name, path, e));
    else if (renameat(folder->fd, temporary, folder->fd, name) != 0)
        TRY(err_errno(e, path));
    folder->dirty = true;
out:
    if (rc != 0 && fd >= 0)
        unlinkat(folder->fd, temporary, 0);
    if (fd >= 0)
        close(fd);
    return rc;
}

int output_claim(struct output *o, const char *folder, const struct job *job, struct err *e)
{
    struct buf path = {0}, there = {0};
    size_t size;
    const char *bundle = job_bundle(job, &size);
    int rc;

    buf_printf(&path, "%s/job.json", folder);
    TRY(buf_check(&path, e));
    rc = output_read(o, buf_text(&path), JOB_BUNDLE_MAX, &there, e);
    if (rc == ERR_MISSING)
        rc = output_commit(o, buf_text(&path), job_hash(job), bundle, size, false, e);
    else if (rc == 0 && (there.size != size || memcmp(there.data, bundle, size) != 0))
        rc = err_set(e, ERR_CONFLICT, "the folder '%s' belongs to another job", folder);
out:
    buf_done(&path);
    buf_done(&there);
    return rc;
}

int output_append(struct output *o, const char *path, const struct buf *text, struct err *e)
{
    struct folder *folder;
    const char *name, *p = buf_text(text);
    size_t left = text->size;
    struct stat st;
    int fd = -1, rc;

    TRY(folders_of(&o->folders, path, true, &folder, &name, e));
    fd = openat(folder->fd, name,
                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd < 0)
        TRY(err_errno(e, path));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        TRY(err_set(e, ERR_CONFLICT, "'%s' is no file", path));
    while (left > 0) {
        ssize_t n = write(fd, p, left);

        if (n < 0 && errno != EINTR)
            TRY(err_errno(e, path));
        if (n > 0) {
            p += n;
            left -= (size_t)n;
        }
    }
out:
    if (fd >= 0)
        close(fd);
    return rc;
}

int output_size(struct output *o, const char *path, uint64_t *ret_bytes, struct err *e)
{
    struct folder *folder;
    const char *name;
    struct stat st;
    int rc = folders_of(&o->folders, path, false, &folder, &name, e);

    *ret_bytes = 0;
    if (rc == ERR_MISSING)
        return 0;
    if (rc == 0 && fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : err_errno(e, path);
    if (rc == 0 && !S_ISREG(st.st_mode))
        return err_set(e, ERR_CONFLICT, "'%s' is no file", path);
    if (rc == 0)
        *ret_bytes = (uint64_t)st.st_size;
    return rc;
}

static int open_there(struct output *o, const char *path, int flags, int *ret_fd, struct err *e)
{
    struct folder *folder;
    const char *name;
    int rc;

    TRY(folders_of(&o->folders, path, false, &folder, &name, e));
    *ret_fd = openat(folder->fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*ret_fd < 0)
        TRY(err_errno(e, path));
out:
    return rc;
}

int output_read_from(struct output *o, const char *path, uint64_t from, size_t limit,
                     struct buf *ret_bytes, struct err *e)
{
    char block[65536];
    ssize_t n = 1;
    int fd, rc = open_there(o, path, O_RDONLY, &fd, e);

    if (rc != 0)
        return rc;
    for (size_t left = limit; left > 0 && n != 0; left -= (size_t)n) {
        n = pread(fd, block, left < sizeof block ? left : sizeof block, (off_t)from);
        if (n < 0)
            TRY(err_errno(e, path));
        buf_append(ret_bytes, block, (size_t)n);
        from += (uint64_t)n;
    }
    TRY(buf_check(ret_bytes, e));
out:
    close(fd);
    return rc;
}

int output_cut(struct output *o, const char *path, uint64_t bytes, struct err *e)
{
    int fd, rc = open_there(o, path, O_WRONLY, &fd, e);

    if (rc != 0)
        return rc;
    if (ftruncate(fd, (off_t)bytes) != 0)
        rc = err_errno(e, path);
    close(fd);
    return rc;
}

int output_replace(struct output *o, const char *path, const struct buf *bytes, struct err *e)
{
    const char *slash = strrchr(path, '/');

    return output_commit(o, path, slash ? slash + 1 : path, buf_text(bytes), bytes->size, true, e);
}
