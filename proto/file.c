#include "proto/file.h"

#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int file_write(int fd, const char *path, const void *data, size_t size, struct err *e)
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
    int fd = -1, rc;

    buf_printf(&temporary, "%s.%ld.new", path, (long)getpid());
    TRY(buf_check(&temporary, e));
    fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        TRY(err_errno(e, path));
    TRY(file_write(fd, path, data, size, e));
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
