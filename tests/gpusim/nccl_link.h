/* What NCCL's members send each other: frames over local sockets, in order for each pair. */
#ifndef GPUSIM_NCCL_LINK_H
#define GPUSIM_NCCL_LINK_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <poll.h>
#include <string>
#include <vector>

namespace gpusim
{

/* What a frame belongs to; both sides must have called the same. */
struct frame_head {
    uint32_t kind, type, root, unused;
    uint64_t bytes;
};

struct frame {
    frame_head head;
    std::vector<char> data;
};

/* One member's side of the connection to another. A connection that ends is not noticed, as by
 * NCCL. */
class link
{
    std::vector<char> in;
    std::vector<char> out;
    std::deque<frame> frames;

    void read_some();
    void write_some();
    void cut();

  public:
    int fd = -1;
    bool gone = false;

    void post(const frame_head &head, const void *data);
    void deliver(frame f) /* to oneself */
    {
        frames.push_back(std::move(f));
    }
    void pump();
    frame *first()
    {
        return frames.empty() ? nullptr : &frames.front();
    }
    void drop()
    {
        frames.pop_front();
    }
    bool flushed() const
    {
        return out.empty() || gone;
    }
    pollfd wanted() const
    {
        return {gone ? -1 : fd, (short)(POLLIN | (out.empty() ? 0 : POLLOUT)), 0};
    }
    void close_down();
};

/* Listens under a name of this machine; -1 if it is taken. */
int listen_at(const std::string &name);
/* -1: nobody listens there yet. Tells its rank. */
int connect_to(const std::string &name, int rank);
/* -1: nobody has come. */
int accept_from(int listener, int *ret_rank);

} // namespace gpusim

#endif
