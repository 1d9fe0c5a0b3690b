#include "tests/bench/cluster_process.h"

#include "proto/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 300000

static void run_program(const struct cluster *c)
{
    char state[300], out[300], log[300], listen[320] = "tcp://127.0.0.1:0";
    int fd;

    snprintf(state, sizeof state, "%s/state", c->dir);
    snprintf(out, sizeof out, "%s/out", c->dir);
    snprintf(log, sizeof log, "%s/log", c->dir);
    if (c->ipc)
        snprintf(listen, sizeof listen, "ipc://%s/socket", c->dir);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    execl(c->program, c->program, "--listen", listen, "--state", state, "--out", out,
          "--empty-results", (char *)NULL);
    _exit(127);
}

static int endpoint_wait(struct cluster *c, struct err *e)
{
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct buf text = {0};
    char path[300];
    int rc = 0;

    snprintf(path, sizeof path, "%s/state/endpoint", c->dir);
    while (buf_read_file(&text, path, sizeof c->endpoint - 1, NULL) != 0 || text.size < 2) {
        text.size = 0;
        if (waitpid(c->pid, NULL, WNOHANG) == c->pid || clock_monotonic_ms() > end_ms)
            TRY(err_set(e, ERR_LOST, "%s did not start; see %s/log", c->program, c->dir));
        poll(NULL, 0, 1);
    }
    snprintf(c->endpoint, sizeof c->endpoint, "%.*s", (int)text.size - 1, text.data);
out:
    buf_done(&text);
    return rc;
}

int cluster_start(struct cluster *c, struct err *e)
{
    char path[300];

    c->client.fd = -1;
    snprintf(path, sizeof path, "%s/state/endpoint", c->dir);
    unlink(path); /* a killed coordinator leaves it */
    c->pid = fork();
    if (c->pid < 0)
        return err_errno(e, "fork");
    if (c->pid == 0)
        run_program(c);
    return endpoint_wait(c, e);
}

int cluster_stop(struct cluster *c, bool force, struct err *e)
{
    int status = 0;

    zmtp_close(&c->client);
    if (c->pid <= 0)
        return 0;
    kill(c->pid, force ? SIGKILL : SIGTERM);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
    if (!force && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return err_set(e, ERR_LOST, "the coordinator ended badly; see %s/log", c->dir);
    return 0;
}

int cluster_client(struct cluster *c, struct err *e)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION,
                              .protocol_min = PROTOCOL_VERSION_MIN,
                              .role = "client",
                              .software = "bench_cluster"}};
    struct buf frame = {0};
    int rc;

    TRY(zmtp_connect(&c->client, c->endpoint, "bench-client", e));
    TRY(msg_encode(&m, &frame, e));
    zmtp_put(&c->client, frame.data, frame.size);
    TRY(zmtp_flush(&c->client, e));
    TRY(cluster_answer(c, &m, e));
    msg_done(&m);
out:
    buf_done(&frame);
    return rc;
}

int cluster_send(struct cluster *c, struct msg *m, uint64_t *request, struct err *e)
{
    struct buf frame = {0};
    int rc;

    *request = ++c->request;
    TRY(msg_encode(m, &frame, e));
    zmtp_put(&c->client, frame.data, frame.size);
    TRY(zmtp_flush(&c->client, e));
out:
    buf_done(&frame);
    return rc;
}

int cluster_answer(struct cluster *c, struct msg *ret_m, struct err *e)
{
    const unsigned char *frame;
    size_t size;
    int rc = 0;

    for (;;) {
        struct pollfd fd = {.fd = c->client.fd, .events = POLLIN};

        if (zmtp_next(&c->client, &frame, &size)) {
            TRY(msg_decode(frame, size, ret_m, e));
            break;
        }
        if (c->client.out.size > c->client.out_at)
            fd.events |= POLLOUT;
        if (poll(&fd, 1, PATIENCE_MS) == 0)
            TRY(err_set(e, ERR_TIMEOUT, "the coordinator does not answer"));
        TRY(zmtp_flush(&c->client, e));
        if (fd.revents & ~POLLOUT)
            TRY(zmtp_read(&c->client, e));
    }
    if (ret_m->type == MSG_ERROR) {
        rc = err_set(e, ERR_CONFLICT, "the coordinator says: %s", ret_m->error.text);
        msg_done(ret_m);
    }
out:
    return rc;
}

int cluster_memory(const struct cluster *c, uint64_t *ret_bytes, struct err *e)
{
    char path[64], line[256];
    FILE *file;
    unsigned long long kib = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)c->pid);
    file = fopen(path, "r");
    if (!file)
        return err_errno(e, path);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            break;
    fclose(file);
    *ret_bytes = kib * 1024;
    return kib ? 0 : err_set(e, ERR_IO, "%s has no RssAnon", path);
}
