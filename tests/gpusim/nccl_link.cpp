#include "nccl_link.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace gpusim
{

void link::post(const frame_head &head, const void *data)
{
    const char *h = (const char *)&head, *d = (const char *)data;
    out.insert(out.end(), h, h + sizeof head);
    out.insert(out.end(), d, d + head.bytes);
    pump();
}

void link::cut()
{
    gone = true;
    out.clear();
}

void link::write_some()
{
    size_t at = 0;
    while (at < out.size()) {
        ssize_t n = send(fd, out.data() + at, out.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return cut();
        if (n < 0)
            break;
        at += (size_t)n;
    }
    out.erase(out.begin(), out.begin() + (long)at);
}

void link::read_some()
{
    char buffer[65536];
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || (n < 0 && errno != EAGAIN))
            cut();
        if (n <= 0)
            break;
        in.insert(in.end(), buffer, buffer + n);
    }
    size_t at = 0;
    frame_head head;
    while (in.size() - at >= sizeof head) {
        std::memcpy(&head, in.data() + at, sizeof head);
        if (in.size() - at - sizeof head < head.bytes)
            break;
        const char *data = in.data() + at + sizeof head;
        frames.push_back({head, std::vector<char>(data, data + head.bytes)});
        at += sizeof head + head.bytes;
    }
    in.erase(in.begin(), in.begin() + (long)at);
}

void link::pump()
{
    if (fd < 0 || gone)
        return;
    write_some();
    if (!gone)
        read_some();
}

void link::close_down()
{
    if (fd >= 0)
        close(fd);
    fd = -1;
    gone = true;
}

/* A name of the kernel's own: no file to remove. */
static socklen_t address(sockaddr_un *a, const std::string &name)
{
    *a = {};
    a->sun_family = AF_UNIX;
    std::memcpy(a->sun_path + 1, name.data(), name.size());
    return (socklen_t)(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

int listen_at(const std::string &name)
{
    sockaddr_un a;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (sockaddr *)&a, address(&a, name)) == 0 && listen(fd, 64) == 0)
        return fd;
    close(fd);
    return -1;
}

int connect_to(const std::string &name, int rank)
{
    sockaddr_un a;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (sockaddr *)&a, address(&a, name)) == 0 &&
        send(fd, &rank, sizeof rank, MSG_NOSIGNAL) == (ssize_t)sizeof rank)
        return fd;
    close(fd);
    return -1;
}

int accept_from(int listener, int *ret_rank)
{
    pollfd p = {listener, POLLIN, 0};
    if (poll(&p, 1, 0) != 1)
        return -1;
    int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0 && recv(fd, ret_rank, sizeof *ret_rank, MSG_WAITALL) != (ssize_t)sizeof *ret_rank) {
        close(fd);
        return -1;
    }
    return fd;
}

} // namespace gpusim
