#include "jobs/cli/state.h"

#include "jobs/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_join(const char *folder, const char *name, char **ret_path, struct err *e)
{
    struct buf path = {0};

    buf_printf(&path, "%s/%s", folder, name);
    *ret_path = buf_detach(&path);
    return *ret_path == NULL ? err_set(e, ERR_OOM, "path: out of memory") : 0;
}

int state_locate(const char *out, struct state *ret_s, struct err *e)
{
    struct state s = {.out = strdup(out)};
    int rc = 0;

    if (s.out == NULL)
        TRY(err_set(e, ERR_OOM, "path: out of memory"));
    TRY(path_join(s.out, ".litho", &s.folder, e));
    TRY(path_join(s.folder, "logs", &s.logs, e));
    TRY(path_join(s.folder, "bundles", &s.bundles, e));
    *ret_s = s;
    s = (struct state){0};
out:
    state_done(&s);
    return rc;
}

static int folder_fail(struct err *e, const char *what, const char *path)
{
    return err_set(e, ERR_IO, "cannot make the %s '%s': %s", what, path, strerror(errno));
}

/* Like mkdir -p. */
static int folders_make(const char *what, const char *path, struct err *e)
{
    char *copy = strdup(path);
    int rc = 0;

    if (copy == NULL)
        return err_set(e, ERR_OOM, "path: out of memory");
    for (char *p = copy + 1; *copy != '\0' && *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            TRY(folder_fail(e, what, copy));
        *p = '/';
    }
    if (mkdir(copy, 0777) != 0 && errno != EEXIST)
        TRY(folder_fail(e, what, copy));
out:
    free(copy);
    return rc;
}

int state_make(const struct state *s, struct err *e)
{
    int rc = 0;

    TRY(folders_make("output folder", s->out, e));
    TRY(folders_make("state folder", s->logs, e));
    TRY(folders_make("state folder", s->bundles, e));
    if (access(s->out, W_OK) != 0 || access(s->folder, W_OK) != 0)
        TRY(err_set(e, ERR_IO, "cannot write into the output folder '%s': %s", s->out,
                    strerror(errno)));
out:
    return rc;
}

static int bundle_path(const struct state *s, const char *source_hash, struct buf *ret_path,
                       struct err *e)
{
    buf_printf(ret_path, "%s/%s.json", s->bundles, source_hash);
    return buf_check(ret_path, e);
}

int state_bundle_read(const struct state *s, const char *source_hash, struct buf *ret_bundle,
                      struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    TRY(bundle_path(s, source_hash, &path, e));
    if (access(path.data, F_OK) != 0)
        TRY(err_errno(e, path.data));
    TRY(buf_read_file(ret_bundle, path.data, JOB_BUNDLE_MAX, e));
out:
    buf_done(&path);
    return rc;
}

int state_bundle_write(const struct state *s, const char *source_hash, const struct buf *bundle,
                       struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    TRY(bundle_path(s, source_hash, &path, e));
    TRY(file_replace(path.data, bundle->data, bundle->size, e));
out:
    buf_done(&path);
    return rc;
}

static int write_all(int fd, const char *path, const void *data, size_t size, struct err *e)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, path);
        p += n;
        size -= (size_t)n;
    }
    return fsync(fd) != 0 ? err_errno(e, path) : 0;
}

int file_replace(const char *path, const void *data, size_t size, struct err *e)
{
    struct buf temporary = {0};
    int fd = -1, rc = 0;

    buf_printf(&temporary, "%s.%ld.new", path, (long)getpid());
    TRY(buf_check(&temporary, e));
    fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        TRY(err_errno(e, path));
    TRY(write_all(fd, path, data, size, e));
    if (rename(temporary.data, path) != 0)
        TRY(err_errno(e, path));
out:
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && rc != 0)
        unlink(temporary.data);
    buf_done(&temporary);
    return rc;
}

void state_done(struct state *s)
{
    free(s->out);
    free(s->folder);
    free(s->logs);
    free(s->bundles);
    *s = (struct state){0};
}
