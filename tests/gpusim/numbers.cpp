/* The inner loops. Built without sanitizers and optimised: callers have checked every extent. */
#include "numbers.h"
#include "state.h"

namespace gpusim
{

/* The float of each f16, since the conversion by arithmetic is what would take the time. */
struct half_table {
    float value[65536];
    half_table()
    {
        for (unsigned i = 0; i < 65536; i++) {
            __half_raw raw;
            raw.x = (unsigned short)i;
            value[i] = __half2float(__half(raw));
        }
    }
};

static float float_of(const void *p, size_t i, number type)
{
    static const half_table &table = *new half_table;
    uint16_t bits;
    float f;
    if (type == number::f32)
        return ((const float *)p)[i];
    std::memcpy(&bits, (const char *)p + 2 * i, 2);
    if (type == number::f16)
        return table.value[bits];
    uint32_t wide = (uint32_t)bits << 16;
    std::memcpy(&f, &wide, 4);
    return f;
}

void to_float(float *y, size_t y_step, const void *x, size_t x_step, number type, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i * y_step] = float_of(x, i * x_step, type);
}

void from_float(void *y, size_t y_step, number type, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (type == number::f32)
            ((float *)y)[i * y_step] = x[i];
        else if (type == number::f16)
            ((__half *)y)[i * y_step] = __float2half_rn(x[i]);
        else
            ((__nv_bfloat16 *)y)[i * y_step] = __float2bfloat16_rn(x[i]);
    }
}

void round_to_tf32(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        std::memcpy(&bits, &x[i], 4);
        if ((bits & 0x7f800000u) != 0x7f800000u)
            bits += 0x1000u; /* to nearest, ties away from zero; Inf and NaN stay */
        bits &= ~0x1fffu;
        std::memcpy(&x[i], &bits, 4);
    }
}

void multiply_add(float *c, const float *a, const float *b, size_t m, size_t n, size_t k,
                  size_t a_step)
{
    for (size_t i = 0; i < m; i++) {
        float *row = c + i * n;
        for (size_t p = 0; p < k; p++) {
            float f = a[i * a_step + p];
            const float *from = b + p * n;
            for (size_t j = 0; j < n; j++)
                row[j] += f * from[j];
        }
    }
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
    number type = bf16 ? number::bf16 : number::f16;
    float a[512], b[512], c[512];
    gather(a, m * k, [&](unsigned lane, int i) { return float_of(of(lane)->a, (size_t)i, type); });
    gather(b, k * n, [&](unsigned lane, int i) { return float_of(of(lane)->b, (size_t)i, type); });
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
