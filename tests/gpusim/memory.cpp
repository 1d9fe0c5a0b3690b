/*
 * Device memory: its own range of addresses, which the host may not touch. An allocation opens when
 * the device first touches it, and closes when the device has done what it was waited for: what is
 * not used costs nothing. Each lies between guard pages, NaN in every byte until written; an
 * address is never given twice before the range is used up.
 */
#include "state.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

extern "C" {
void __asan_poison_memory_region(const volatile void *p, size_t size) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *p, size_t size) __attribute__((weak));
}

namespace gpusim
{

static const size_t page = 4096, range_size = (size_t)256 << 30;

static char *range;       /* the addresses of the device */
static size_t range_used; /* bytes from its start, guards included */
struct allocation {
    size_t size;
    bool filled = false; /* with NaNs, when it was first touched */
    bool open = false;   /* the device touched it since it began to work */
};
using allocations = std::map<uintptr_t, allocation>;

static allocations device, pinned;
static std::vector<uintptr_t>
    touched; /* those that are open; room for all, since a handler adds to it */
static size_t device_bytes;
static bool at_work; /* the device */
static struct sigaction before;

static size_t round_up(size_t n)
{
    return (n + page - 1) / page * page;
}

static size_t capacity()
{
    const char *s = getenv("GPUSIM_MEMORY");
    return s ? (size_t)strtoull(s, nullptr, 10) : (size_t)8 << 30;
}

static bool in_range(const void *p)
{
    return range && (const char *)p >= range && (const char *)p < range + range_size;
}

/* The allocation that holds p or ends at it. */
static allocations::iterator around(allocations &of, const void *p)
{
    auto i = of.upper_bound((uintptr_t)p);
    if (i == of.begin())
        return of.end();
    --i;
    return (uintptr_t)p <= i->first + i->second.size ? i : of.end();
}

/* ---- the host's own accesses ---- */

/* The device touches an allocation that is closed; false: there is none, or that was not it. */
static bool open_for_device(const void *p)
{
    auto i = around(device, p);
    if (!at_work || i == device.end() || i->second.open)
        return false;
    size_t pages = round_up(i->second.size);
    if ((uintptr_t)p >= i->first + pages ||
        mprotect((void *)i->first, pages, PROT_READ | PROT_WRITE) != 0)
        return false;
    touched.push_back(i->first);
    i->second.open = true;
    if (!i->second.filled)
        std::memset((void *)i->first, 0xff, i->second.size);
    i->second.filled = true;
    return true;
}

static void on_fault(int signal_number, siginfo_t *info, void *)
{
    char text[200];
    int n = 0;
    if (in_range(info->si_addr) && open_for_device(info->si_addr))
        return;
    if (in_range(info->si_addr))
        n = snprintf(text, sizeof text,
                     at_work ? "gpusim: device code reached outside of device allocations: %p\n"
                             : "gpusim: the host touched device memory at %p\n",
                     info->si_addr);
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(1);
    sigaction(signal_number, &before, nullptr); /* and again, to the handler before */
}

static bool reserve()
{
    if (range)
        return true;
    void *p =
        mmap(nullptr, range_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    range = (char *)p;
    range_used = page;
    return true;
}

/* Again and again: test runners put their own handler in its place. */
static void watch()
{
    struct sigaction now, a = {};
    sigaction(SIGSEGV, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)
        return;
    before = now;
    a.sa_sigaction = on_fault;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &a, nullptr);
}

void memory_die_of_faults()
{
    before = {};
}

void memory_open()
{
    watch();
    at_work = true;
}

void memory_close()
{
    for (uintptr_t at : touched) {
        auto i = device.find(at);
        if (i == device.end())
            continue;
        mprotect((void *)at, round_up(i->second.size), PROT_NONE);
        i->second.open = false;
    }
    touched.clear();
    at_work = false;
}

/* ---- allocations ---- */

static cudaError_t allocate(void **ret, size_t size)
{
    size_t pages = round_up(size);
    if (device_bytes + size > capacity() || !reserve() || range_used + pages + page > range_size)
        return fail(cudaErrorMemoryAllocation, "cudaMalloc: no room for %zu bytes", size);
    watch();
    char *p = range + range_used;
    if (__asan_poison_memory_region) {
        __asan_poison_memory_region(p - page, page);
        __asan_unpoison_memory_region(p, size);
        __asan_poison_memory_region(p + size, pages - size + page);
    }
    range_used += pages + page;
    device_bytes += size;
    device[(uintptr_t)p] = {size};
    touched.reserve(device.size());
    *ret = p;
    return cudaSuccess;
}

static void release(uintptr_t at, size_t size)
{
    void *p = (void *)at;
    madvise(p, round_up(size), MADV_DONTNEED);
    mprotect(p, round_up(size), PROT_NONE);
    if (__asan_poison_memory_region)
        __asan_poison_memory_region(p, size);
    device_bytes -= size;
}

void memory_reset()
{
    for (const auto &[at, a] : device)
        release(at, a.size);
    device.clear();
    for (const auto &[at, a] : pinned)
        free((void *)at);
    pinned.clear();
}

size_t memory_of_device()
{
    return device_bytes;
}

size_t memory_pinned()
{
    size_t bytes = 0;
    for (const auto &[at, a] : pinned)
        bytes += a.size;
    return bytes;
}

where where_is(const void *p)
{
    if (in_range(p))
        return where::device;
    return around(pinned, p) != pinned.end() ? where::pinned : where::host;
}

static bool holds(allocations &of, const void *p, size_t bytes)
{
    auto i = around(of, p);
    return i != of.end() && bytes <= i->first + i->second.size - (uintptr_t)p;
}

bool device_range(const void *p, size_t bytes, bool pinned_too)
{
    return holds(device, p, bytes) || (pinned_too && holds(pinned, p, bytes));
}

/* ---- arguments of kernels ---- */

static bool mapped(uintptr_t p)
{
    unsigned char resident;
    return mincore((void *)(p & ~(uintptr_t)(page - 1)), page, &resident) == 0;
}

static bool pointer_ok(const char *kernel, int index, uintptr_t p)
{
    guard g(lock);
    if (p == 0 || device_range((void *)p, 0, true))
        return true;
    fail(cudaErrorInvalidValue, "kernel %s: argument %d holds %s pointer %p", kernel, index,
         in_range((void *)p) ? "a freed device" : "a host", (void *)p);
    return false;
}

bool argument_ok(const char *kernel, int index, const void *bytes, size_t size, bool is_pointer)
{
    for (size_t i = 0; i + sizeof(uintptr_t) <= size; i += sizeof(uintptr_t)) {
        uintptr_t word;
        std::memcpy(&word, (const char *)bytes + i, sizeof word);
        /* In a struct a word may be two numbers: an address of the host is above 2^40 and mapped.
         */
        bool address = is_pointer || in_range((void *)word) ||
                       (word >> 40 != 0 && word >> 47 == 0 && mapped(word));
        if (address && !pointer_ok(kernel, index, word))
            return false;
    }
    return true;
}

} // namespace gpusim

using namespace gpusim;

cudaError_t cudaMalloc(void **ret, size_t size)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaMalloc", true))
        return e;
    if (capturing_any())
        return fail(cudaErrorStreamCaptureUnsupported, "cudaMalloc during a capture");
    if (!ret)
        return fail(cudaErrorInvalidValue, "cudaMalloc: no place for the address");
    *ret = nullptr;
    return size == 0 ? cudaSuccess : allocate(ret, size);
}

/* Waits for all work, as a device does. */
cudaError_t cudaFree(void *p)
{
    guard g(lock);
    if (!p)
        return cudaSuccess;
    if (capturing_any())
        return fail(cudaErrorStreamCaptureUnsupported, "cudaFree during a capture");
    auto i = device.find((uintptr_t)p);
    if (i == device.end())
        return fail(cudaErrorInvalidValue, "cudaFree: %p is no allocation", p);
    cudaError_t e = drain_all();
    release(i->first, i->second.size);
    device.erase(i);
    return e;
}

static cudaError_t allocate_pinned(const char *call, void **ret, size_t size)
{
    guard g(lock);
    if (cudaError_t e = asked(call, true))
        return e;
    if (capturing_any())
        return fail(cudaErrorStreamCaptureUnsupported, "%s during a capture", call);
    if (!ret || posix_memalign(ret, 256, size) != 0)
        return fail(cudaErrorMemoryAllocation, "%s: no room for %zu bytes", call, size);
    std::memset(*ret, 0xff, size);
    pinned[(uintptr_t)*ret] = {size};
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **ret, size_t size, unsigned)
{
    return allocate_pinned("cudaHostAlloc", ret, size);
}

cudaError_t cudaMallocHost(void **ret, size_t size)
{
    return allocate_pinned("cudaMallocHost", ret, size);
}

cudaError_t cudaFreeHost(void *p)
{
    guard g(lock);
    if (!p)
        return cudaSuccess;
    if (pinned.find((uintptr_t)p) == pinned.end())
        return fail(cudaErrorInvalidValue, "cudaFreeHost: %p is no allocation", p);
    cudaError_t e = drain_all();
    pinned.erase((uintptr_t)p);
    free(p);
    return e;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    guard g(lock);
    *total = capacity();
    *free_bytes = capacity() > device_bytes ? capacity() - device_bytes : 0;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *ret, const void *p)
{
    guard g(lock);
    *ret = {};
    where w = where_is(p);
    ret->type = w == where::device   ? cudaMemoryTypeDevice
                : w == where::pinned ? cudaMemoryTypeHost
                                     : cudaMemoryTypeUnregistered;
    if (w != where::host)
        ret->devicePointer = const_cast<void *>(p);
    if (w != where::device)
        ret->hostPointer = const_cast<void *>(p);
    return cudaSuccess;
}
