/* The inner loops. Built without sanitizers and optimised: callers have checked every extent. */
#include "state.h"

namespace gpusim
{

template <class T> static float number(const void *p, int i)
{
    return (float)static_cast<const T *>(p)[i];
}

static float number(const void *p, int i, bool bf16)
{
    return bf16 ? number<__nv_bfloat16>(p, i) : number<__half>(p, i);
}

/* The matrix that 32 lanes hold. */
template <class F> static void gather(float *m, int size, F share)
{
    for (unsigned lane = 0; lane < 32; lane++) {
        for (int i = 0; i < size / 32; i++)
            m[scatter(lane, (unsigned)i, (unsigned)size)] = share(lane, i);
    }
}

void multiply(void *requests[32], unsigned came, int m, int n, int k, bool bf16)
{
    if (came != 0xffffffffu)
        trap("mma_sync without all 32 lanes");
    auto of = [&](unsigned lane) { return static_cast<product *>(requests[lane]); };
    float a[512], b[512], c[512];
    gather(a, m * k, [&](unsigned lane, int i) { return number(of(lane)->a, i, bf16); });
    gather(b, k * n, [&](unsigned lane, int i) { return number(of(lane)->b, i, bf16); });
    gather(c, m * n, [&](unsigned lane, int i) { return of(lane)->c[i]; });
    for (int row = 0; row < m; row++) {
        for (int p = 0; p < k; p++) {
            for (int col = 0; col < n; col++)
                c[row * n + col] += a[row * k + p] * b[p * n + col];
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        for (int i = 0; i < m * n / 32; i++)
            of(lane)->d[i] = c[scatter(lane, (unsigned)i, (unsigned)(m * n))];
    }
}

void check_matrix(const void *address, unsigned ldm, size_t element)
{
    if ((uintptr_t)address % 32 != 0)
        trap("a wmma matrix that is not aligned to 32 bytes");
    if (ldm * element % 16 != 0)
        trap("wmma rows that are not multiples of 16 bytes apart");
}

} // namespace gpusim
