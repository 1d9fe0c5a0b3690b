/* What the parts of the emulator share. Everything is guarded by one lock (state.cpp). */
#ifndef GPUSIM_STATE_H
#define GPUSIM_STATE_H

#include "gpusim.h"

#include <functional>
#include <mutex>
#include <string>

namespace gpusim
{

/*
 * Held by every call of the host; recursive, since cudart's calls are built of each other. A call
 * that waits for another process lets go of it meanwhile.
 */
class big_lock
{
    std::recursive_mutex mutex;
    int depth = 0;

  public:
    void lock()
    {
        mutex.lock();
        depth++;
    }
    void unlock()
    {
        depth--;
        mutex.unlock();
    }
    int leave() /* however often it is held; for enter() */
    {
        int n = depth;
        depth = 0;
        for (int i = 0; i < n; i++)
            mutex.unlock();
        return n;
    }
    void enter(int n)
    {
        for (int i = 0; i < n; i++)
            mutex.lock();
        depth = n;
    }
};
extern big_lock lock;
using guard = std::lock_guard<big_lock>;

/* xorshift: the order of everything that a device leaves open. */
uint64_t next_random();
inline unsigned random_below(unsigned n)
{
    return (unsigned)((next_random() >> 32) * (uint64_t)n >> 32);
}

/* Whether GPUSIM_FAULTS names this fault of a library: one that a device may have, and that is no
 * error. */
bool planted(const char *fault);

/* ---- errors ---- */

/*
 * Keeps and prints the sentence; returns code, which cudaGetLastError() then gives once.
 * cudaSuccess: the sentence alone, of a library with codes of its own.
 */
__attribute__((format(printf, 2, 3))) cudaError_t fail(cudaError_t code, const char *format, ...);
/* Of device code: like fail(), and every later call fails until reset(). */
__attribute__((format(printf, 2, 3))) cudaError_t fail_device(cudaError_t code, const char *format,
                                                              ...);
cudaError_t device_error(); /* the sticky one */
void forget_errors();
void forget_last_error(); /* but not the sticky one */

/*
 * Every call of the host that can fail asks: cudaSuccess, the sticky error, or the failure that a
 * test planned for it (control.h). takes_memory: it may fail for want of it.
 */
cudaError_t asked(const char *call, bool takes_memory = false);
/* Whether a call that is taken is planned to fail when it is carried out. */
bool fails_later(const char *call);
/* The same as asked() of libraries with codes of their own. */
template <class S>
S asked_as(const char *call, bool takes_memory, S success, S no_memory, S failure)
{
    cudaError_t e = asked(call, takes_memory);
    if (!e)
        return success;
    forget_last_error();
    return e == cudaErrorMemoryAllocation ? no_memory : failure;
}

/* ---- memory ---- */

enum class where { host, pinned, device };
where where_is(const void *p);
/* [p, p + bytes) lies in one live allocation of the device (or in pinned memory, if allowed). */
bool device_range(const void *p, size_t bytes, bool pinned_too);
void memory_open();          /* kernels may touch device memory */
void memory_close();         /* only kernels may */
void memory_die_of_faults(); /* whatever handler the process had before */
void memory_reset();
size_t memory_of_device(), memory_pinned(); /* bytes allocated */

/* ---- blocks ---- */

/* Runs all blocks now. A fault of the kernel's becomes the sticky error. */
void run(call &c);

/* ---- streams ---- */

/* Work: does a part; false: not ready, ask again. */
using work = std::function<bool()>;
cudaError_t submit(cudaStream_t stream, const char *name, work w);
bool capturing(cudaStream_t stream);
bool capturing_any();
/* A call that a capture of this stream does not allow: its end will fail. Returns the error. */
cudaError_t spoil_capture(cudaStream_t stream, const char *call);
int current_device(); /* of this thread, as cudaSetDevice() left it */
/* Whether a copy waits in a stream other than `but`. */
bool copies_under_way(cudaStream_t but);
extern uint64_t copies_beside_copies, launches_beside_copies, pageable_copies; /* control.h */
/* When no stream can go on: waits for another process; false: there is none to wait for. */
extern bool (*outside_wait)();
cudaError_t drain_all();
cudaError_t drain_until(const std::function<bool()> &done);
bool step_once(); /* one piece of work of some stream; false: none can go on */
void streams_reset();

} // namespace gpusim

#endif
