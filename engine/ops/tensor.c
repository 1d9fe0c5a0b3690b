#include "engine/ops/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4}, [DTYPE_U8] = {"U8", 1},
};

size_t dtype_size(enum dtype dtype)
{
    return dtypes[dtype].size;
}

const char *dtype_name(enum dtype dtype)
{
    return dtypes[dtype].name;
}

bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

int64_t tensor_count(const struct tensor *t)
{
    int64_t n = 1;

    for (int i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

const char *tensor_shape_text(const struct tensor *t, char *text, size_t size)
{
    size_t at = 0;

    if (size == 0)
        return text;
    at += (size_t)snprintf(text, size, "[");
    for (int i = 0; i < t->rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    if (at < size)
        snprintf(text + at, size - at, "]");
    return text;
}

static float from_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * IEEE 754 binary16 to binary32: every half has an exact float. Exponent and fraction moved into a
 * float's places are too small by 2^112; infinities and NaNs get the float's largest exponent. No
 * branches, so that compilers vectorise it: a model has a billion of these.
 */
static float from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    float scaled = from_bits(rest) * 0x1p112f;
    uint32_t bits;

    memcpy(&bits, &scaled, sizeof bits);
    bits = rest >= 0x0f800000u ? rest | 0x7f800000u : bits;
    return from_bits(sign | bits);
}

#if defined(__x86_64__)
/* Eight at a time; the processor's conversion is exact too. Returns how many it did. */
__attribute__((target("avx,f16c"))) static size_t halves_f16c(const unsigned char *bytes,
                                                              float *ret_values, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(ret_values + i,
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(bytes + 2 * i))));
    return i;
}
#endif

static size_t halves_fast(const unsigned char *bytes, float *ret_values, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c"))
        return halves_f16c(bytes, ret_values, n);
#endif
    (void)bytes;
    (void)ret_values;
    (void)n;
    return 0;
}

void tensor_to_f32(const struct tensor *t, float *ret_values)
{
    size_t n = (size_t)tensor_count(t), i = 0;
    const unsigned char *bytes = t->data; /* a file promises no alignment: memcpy each number */

    if (t->dtype == DTYPE_F32) {
        if (n)
            memcpy(ret_values, bytes, n * sizeof(float));
        return;
    }
    if (t->dtype == DTYPE_F16)
        i = halves_fast(bytes, ret_values, n);
    for (; i < n; i++) {
        uint16_t bits;

        memcpy(&bits, bytes + 2 * i, sizeof bits);
        ret_values[i] = t->dtype == DTYPE_BF16 ? from_bits((uint32_t)bits << 16) : from_half(bits);
    }
}
