/* What the tests of the emulated device share. Each test begins and ends with a fresh device. */
#ifndef GPUSIM_TEST_H
#define GPUSIM_TEST_H

#include "engine/ops/cuda/launch.h"

#include <functional>
#include <string>
#include <vector>

extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
}

#define OK(call) assert_int_equal(call, 0)
#define TEST(f)  cmocka_unit_test_setup_teardown(f, begin, end)

static cudaStream_t stream;

static int begin(void **)
{
    gpusim::reset(1);
    return cudaStreamCreate(&stream);
}

static int end(void **)
{
    gpusim::reset(1);
    return 0;
}

template <class T> T *device(const std::vector<T> &from)
{
    T *p;
    OK(cudaMalloc(&p, from.size() * sizeof(T)));
    OK(cudaMemcpyAsync(p, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice, stream));
    return p;
}

template <class T> std::vector<T> host(const T *from, size_t n)
{
    std::vector<T> to(n);
    OK(cudaMemcpyAsync(to.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost, stream));
    return to;
}

template <class T> T *pinned(size_t n)
{
    T *p;
    OK(cudaMallocHost((void **)&p, n * sizeof(T)));
    return p;
}

/* Of `seeds` orders, those in which it works: right() sets up a device of its own. */
inline int right_orders(int seeds, const std::function<bool()> &right)
{
    int n = 0;
    for (int seed = 1; seed <= seeds; seed++) {
        gpusim::reset((uint64_t)seed);
        OK(cudaStreamCreate(&stream));
        n += right();
    }
    return n;
}

#endif
