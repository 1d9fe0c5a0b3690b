#include "jobs/cli/child.h"

#include "proto/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_BYTES 8192

int child_programs_folder(char **ret_folder, struct err *e)
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (size < 0)
        return err_errno(e, "/proc/self/exe");
    path[size] = '\0';
    *strrchr(path, '/') = '\0';
    *ret_folder = strdup(path);
    return *ret_folder == NULL ? err_set(e, ERR_OOM, "path: out of memory") : 0;
}

/* Between fork and exec: only what is safe there. Never returns. */
static void become(const char *program, const char *const *argv, int log, pid_t parent)
{
    int nothing = open("/dev/null", O_RDONLY);
    sigset_t none;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* the parent died before prctl took hold */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    dup2(nothing, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(program, (char *const *)argv);
    dprintf(STDERR_FILENO, "cannot start %s: error %d\n", program, errno);
    _exit(127);
}

int child_start(struct child *c, const char *const *argv, const char *log, struct err *e)
{
    struct buf program = {0};
    char *folder = NULL, *kept = NULL;
    pid_t parent = getpid(), pid;
    int fd = -1, rc = 0;

    TRY(child_programs_folder(&folder, e));
    buf_printf(&program, "%s/%s", folder, argv[0]);
    TRY(buf_check(&program, e));
    if (access(program.data, X_OK) != 0)
        TRY(err_errno(e, program.data));
    if ((kept = strdup(log)) == NULL)
        TRY(err_set(e, ERR_OOM, "child: out of memory"));
    if ((fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0)
        TRY(err_errno(e, log));
    if ((pid = fork()) < 0)
        TRY(err_errno(e, "fork"));
    if (pid == 0)
        become(program.data, argv, fd, parent);
    free(c->log);
    *c = (struct child){.pid = pid, .started_ms = clock_monotonic_ms(), .log = kept};
    kept = NULL;
out:
    if (fd >= 0)
        close(fd);
    free(kept);
    free(folder);
    buf_done(&program);
    return rc;
}

bool child_ended(struct child *c)
{
    pid_t pid;

    if (c->pid == 0)
        return true;
    pid = waitpid(c->pid, &c->status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR))
        return false;
    c->pid = 0;
    return true;
}

void child_signal(struct child *c, int number)
{
    if (!child_ended(c))
        kill(c->pid, number);
}

void child_how_ended(const struct child *c, struct buf *ret_text)
{
    if (WIFSIGNALED(c->status))
        buf_printf(ret_text, "killed by signal %d (%s)", WTERMSIG(c->status),
                   strsignal(WTERMSIG(c->status)));
    else
        buf_printf(ret_text, "exit code %d", WEXITSTATUS(c->status));
}

/* Where the last lines begin in text. */
static size_t tail_start(const char *text, size_t size, int lines)
{
    size_t at = size;

    if (at > 0 && text[at - 1] == '\n')
        at--;
    while (at > 0 && !(text[at - 1] == '\n' && --lines == 0))
        at--;
    return at;
}

/* A full disk takes no log either, so that nobody else can say it. */
static bool disk_full(const char *log)
{
    struct statvfs disk;

    return log != NULL && statvfs(log, &disk) == 0 && disk.f_blocks > 0 && disk.f_bavail == 0;
}

void child_log_tail(const struct child *c, int lines, struct buf *ret_text)
{
    char text[TAIL_BYTES];
    ssize_t size = -1;
    int fd = c->log == NULL ? -1 : open(c->log, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

    if (end > 0)
        size = pread(fd, text, sizeof(text), end > TAIL_BYTES ? end - TAIL_BYTES : 0);
    if (fd >= 0)
        close(fd);
    if (size <= 0) {
        buf_puts(ret_text, disk_full(c->log) ? "  (its log is empty: No space left on device)\n"
                                             : "  (its log is empty)\n");
        return;
    }
    for (size_t i = tail_start(text, (size_t)size, lines), fresh = 1; i < (size_t)size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (fresh)
            buf_puts(ret_text, "  ");
        fresh = byte == '\n';
        buf_putc(ret_text, (byte < 0x20 && byte != '\n') || byte == 0x7F ? '?' : text[i]);
    }
    if (text[size - 1] != '\n')
        buf_putc(ret_text, '\n');
}

void child_done(struct child *c)
{
    if (!child_ended(c)) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
            ;
    }
    free(c->log);
    *c = (struct child){0};
}
