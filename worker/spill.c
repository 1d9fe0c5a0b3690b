#include "worker/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int folder_make(struct spill *s, struct err *e)
{
    const char *parent = s->parent ? s->parent : getenv("TMPDIR");
    struct buf path = {0};
    int rc;

    if (s->folder)
        return 0;
    buf_printf(&path, "%s/litho-worker-XXXXXX", parent && *parent ? parent : "/tmp");
    TRY(buf_check(&path, e));
    if (!mkdtemp(path.data))
        TRY(err_errno(e, buf_text(&path)));
    s->folder = buf_detach(&path);
    if (!s->folder)
        TRY(err_set(e, ERR_OOM, "out of memory for a folder's name"));
out:
    buf_done(&path);
    return rc;
}

static int file_path(const struct spill *s, const struct attempt_ref *ref, struct buf *ret_path,
                     struct err *e)
{
    buf_printf(ret_path, "%s/%s-%llu-%u.png", s->folder ? s->folder : "", ref->job,
               (unsigned long long)ref->index, ref->attempt);
    return buf_check(ret_path, e);
}

static int write_all(int fd, const char *path, const void *data, size_t size, struct err *e)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n < 0 && errno != EINTR)
            return err_errno(e, path);
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int spill_put(struct spill *s, const struct attempt_ref *ref, const void *data, size_t size,
              struct err *e)
{
    struct buf path = {0};
    int fd = -1, rc;

    TRY(folder_make(s, e));
    TRY(file_path(s, ref, &path, e));
    fd = open(buf_text(&path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        TRY(err_errno(e, buf_text(&path)));
    rc = write_all(fd, buf_text(&path), data, size, e);
    if (rc != 0)
        unlink(buf_text(&path));
    else
        s->n++;
out:
    if (fd >= 0)
        close(fd);
    buf_done(&path);
    return rc;
}

int spill_get(const struct spill *s, const struct attempt_ref *ref, size_t size,
              struct buf *ret_bytes, struct err *e)
{
    struct buf path = {0};
    int rc;

    ret_bytes->size = 0;
    TRY(file_path(s, ref, &path, e));
    TRY(buf_read_file(ret_bytes, buf_text(&path), MSG_PNG_MAX, e));
    if (ret_bytes->size != size)
        rc = err_set(e, ERR_IO, "%s has %zu bytes instead of %zu", buf_text(&path), ret_bytes->size,
                     size);
out:
    buf_done(&path);
    return rc;
}

void spill_drop(struct spill *s, const struct attempt_ref *ref)
{
    struct buf path = {0};

    if (file_path(s, ref, &path, NULL) == 0 && unlink(buf_text(&path)) == 0)
        s->n--;
    buf_done(&path);
}

void spill_done(struct spill *s)
{
    if (s->folder)
        rmdir(s->folder);
    free(s->folder);
    s->folder = NULL;
}
