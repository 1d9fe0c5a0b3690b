/*
 * An emulated CUDA device: .cu files compile as C++17 against this header and run on the CPU. What
 * it emulates and what it does not: README.md. engine/ops/cuda/launch.h includes it where nvcc is
 * absent; NVIDIA's own headers declare every function and type that is not of the language itself.
 *
 * Here: the language (threadIdx, __shared__, barriers, warps, atomics) and launches. Errors are
 * cudaError_t as on a device; the sentence behind one is gpusim::message().
 */
#ifndef GPUSIM_GPUSIM_H
#define GPUSIM_GPUSIM_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#undef __shared__
#undef __launch_bounds__
/*
 * One block runs at a time, so a variable serves them all. The tag becomes part of the variable's
 * name, by which shared.ld gathers what to poison; a section's name would be lost in templates. Red
 * zones need internal linkage: kernels that are templates are best static.
 */
#define __shared__             static __attribute__((abi_tag("gpusim_shared")))
#define __launch_bounds__(...) /* the emulated device takes any block up to 1024 threads */

namespace gpusim
{

/* ---- of tests ---- */

/* The sentence of the last error, "" if none. Also on stderr. Until the next error or reset(). */
const char *message();

/* Drops all work, streams, memory and errors; orders follow this seed from now on (else
 * GPUSIM_SEED). */
void reset(uint64_t seed);

/* ---- a launch ---- */

struct call {
    const char *name;
    const void *kernel;
    dim3 grid, block;
    size_t shared; /* bytes of dynamic shared memory */
    virtual void thread() = 0;
    virtual ~call() = default;
};

/* Refuses what a device would, checks arguments for host pointers, queues the rest. */
cudaError_t launch_call(std::shared_ptr<call> c, cudaStream_t stream);

/* An argument of a kernel: a pointer must be null or of the device; words of a struct likewise. */
bool argument_ok(const char *kernel, int index, const void *bytes, size_t size, bool is_pointer);

template <class... P> struct kernel_call final : call {
    void (*function)(P...);
    std::tuple<std::decay_t<P>...> arguments;

    template <class... A>
    explicit kernel_call(void (*f)(P...), A &&...a) : function(f), arguments(std::forward<A>(a)...)
    {
    }
    void thread() override
    {
        std::apply(function, arguments);
    }
};

template <class T> bool argument_ok(const char *kernel, int index, const T &value)
{
    if constexpr (std::is_pointer_v<T>)
        return argument_ok(kernel, index, &value, sizeof value, true);
    else if constexpr (std::is_class_v<T>)
        return argument_ok(kernel, index, &value, sizeof value, false);
    else
        return true;
}

template <class... P, class... A>
cudaError_t launch(const char *name, void (*function)(P...), dim3 grid, dim3 block, size_t shared,
                   cudaStream_t stream, A &&...a)
{
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
    auto c = std::make_shared<kernel_call<P...>>(function, std::forward<A>(a)...);
    c->name = name;
    c->kernel = reinterpret_cast<const void *>(function);
    c->grid = grid;
    c->block = block;
    c->shared = shared;
    int index = 0;
    bool ok = std::apply(
        [&](const auto &...value) { return (argument_ok(name, index++, value) && ... && true); },
        c->arguments);
    return ok ? launch_call(c, stream) : cudaErrorInvalidValue;
}

/* ---- inside a kernel ---- */

struct lane; /* a thread of the running block */

struct place {
    uint3 index; /* threadIdx */
    unsigned linear;
};

extern place *self; /* of the running thread */
extern uint3 block_index;
extern dim3 block_size, grid_size;

void *dynamic_shared();
void block_barrier(const char *file, int line);
int block_count(int predicate, const char *file, int line); /* threads whose predicate holds */
[[noreturn]] void trap(const char *what);

/*
 * Waits until all lanes of `mask` that have not ended are here with the same `resolve`; the last to
 * come calls resolve(requests by lane, lanes that came).
 */
using resolver = void (*)(void *requests[32], unsigned came);
void warp_meet(unsigned mask, resolver resolve, void *request);

inline unsigned lane_id()
{
    return self->linear % 32;
}

template <class T> struct shuffle {
    T in, out;
    unsigned source;

    static void resolve(void *requests[32], unsigned came)
    {
        for (unsigned i = 0; i < 32; i++) {
            if (!(came >> i & 1))
                continue;
            auto *r = static_cast<shuffle *>(requests[i]);
            if (r->source < 32 && (came >> r->source & 1))
                r->out = static_cast<shuffle *>(requests[r->source])->in;
            else
                std::memset(static_cast<void *>(&r->out), 0xff, sizeof r->out); /* undefined */
        }
    }
};

template <class T> T exchange(unsigned mask, T value, unsigned source)
{
    static_assert(std::is_trivially_copyable_v<T>, "only numbers travel between lanes");
    shuffle<T> s{value, value, source};
    warp_meet(mask, shuffle<T>::resolve, &s);
    return s.out;
}

struct vote {
    int predicate;
    unsigned ballot, came;
    static void resolve(void *requests[32], unsigned came);
};

inline vote ask(unsigned mask, int predicate)
{
    vote v{predicate, 0, 0};
    warp_meet(mask, vote::resolve, &v);
    return v;
}

/* ---- copies on their way into shared memory ---- */

struct async_copy {
    void *to;
    const void *from;
    size_t size, zeros; /* bytes, the last of them zeros */
    unsigned batch;     /* the commit that it went with */
};

struct async_copies {
    std::vector<async_copy> open;
    unsigned commits = 0;
};

async_copies &copies_of_thread(); /* of the running block's thread */
bool draw();                      /* yes or no, by seed */

template <class T, class F> T atomic(T *address, F change)
{
    T old = *address;
    *address = change(old);
    return old;
}

} // namespace gpusim

#define threadIdx (::gpusim::self->index)
#define blockIdx  (::gpusim::block_index)
#define blockDim  (::gpusim::block_size)
#define gridDim   (::gpusim::grid_size)

#define __syncthreads()        ::gpusim::block_barrier(__FILE__, __LINE__)
#define __syncthreads_count(p) ::gpusim::block_count(p, __FILE__, __LINE__)
#define __syncthreads_or(p)    (::gpusim::block_count(p, __FILE__, __LINE__) != 0)
#define __syncthreads_and(p)   (::gpusim::block_count(!(p), __FILE__, __LINE__) == 0)

#include "device.h"
#include "wmma.h"

#endif
