#include "engine/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

/* IEEE 754 binary16 to binary32: every half has an exact float. */
static float from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 31, fraction = half & 1023;

    if (exponent == 31)
        return from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0)
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    /* Subnormal halves are fraction * 2^-24, which a float holds as a normal number. */
    return from_bits(sign | 0x3f800000u) * ((float)fraction * 0x1p-24f);
}

void tensor_to_f32(const struct tensor *t, float *ret_values)
{
    size_t n = (size_t)tensor_count(t);
    const unsigned char *bytes = t->data; /* a file promises no alignment: memcpy each number */

    if (t->dtype == DTYPE_F32) {
        if (n)
            memcpy(ret_values, bytes, n * sizeof(float));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half;

        memcpy(&half, bytes + 2 * i, sizeof half);
        ret_values[i] = t->dtype == DTYPE_BF16 ? from_bits((uint32_t)half << 16) : from_half(half);
    }
}
