#include "coordinator/state_dir.h"

#include "coordinator/store.h"
#include "proto/buf.h"
#include "proto/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

int folder_make(const char *path, struct err *e)
{
    char *copy = strdup(path);
    struct stat st;
    int rc = 0;

    if (!copy)
        return err_set(e, ERR_OOM, "no memory for a path");
    for (char *p = copy + 1; *p && rc == 0; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            rc = err_errno(e, copy);
        *p = '/';
    }
    if (rc == 0 && mkdir(copy, 0777) != 0 && errno != EEXIST)
        rc = err_errno(e, copy);
    if (rc == 0 && (stat(copy, &st) != 0 || !S_ISDIR(st.st_mode)))
        rc = err_set(e, ERR_IO, "%s: not a folder", path);
    free(copy);
    return rc;
}

static int lock_refused(int fd, const char *state_dir, struct err *e)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);

    pid[n > 0 ? n : 0] = 0;
    pid[strspn(pid, "0123456789")] = 0;
    return err_set(e, ERR_CONFLICT,
                   "the state folder %s is in use by another coordinator (process %s)", state_dir,
                   pid[0] ? pid : "unknown");
}

int state_lock(const char *state_dir, int *ret_fd, struct err *e)
{
    struct buf path = {0};
    char pid[32];
    int fd = -1, n, rc;

    TRY(folder_make(state_dir, e));
    buf_printf(&path, "%s/lock", state_dir);
    TRY(buf_check(&path, e));
    fd = open(buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        TRY(err_errno(e, buf_text(&path)));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        TRY(errno == EWOULDBLOCK ? lock_refused(fd, state_dir, e) : err_errno(e, buf_text(&path)));
    n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        TRY(err_errno(e, buf_text(&path)));
    *ret_fd = fd;
    fd = -1;
out:
    state_unlock(fd);
    buf_done(&path);
    return rc;
}

void state_unlock(int fd)
{
    if (fd >= 0)
        close(fd);
}

int state_file_write(const char *state_dir, const char *name, const char *text, struct err *e)
{
    struct buf path = {0};
    int rc;

    buf_printf(&path, "%s/%s", state_dir, name);
    TRY(buf_check(&path, e));
    TRY(file_replace(buf_text(&path), text, strlen(text), e));
out:
    buf_done(&path);
    return rc;
}

const char *store_network(const char *state_dir)
{
    struct statfs fs;

    if (statfs(state_dir, &fs) != 0)
        return NULL;
    switch ((unsigned long)fs.f_type) {
    case NFS_SUPER_MAGIC:
        return "nfs";
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
        return "smb";
    case CEPH_SUPER_MAGIC:
        return "ceph";
    case FUSE_SUPER_MAGIC:
        return "fuse";
    case V9FS_MAGIC:
        return "9p";
    default:
        return NULL;
    }
}
