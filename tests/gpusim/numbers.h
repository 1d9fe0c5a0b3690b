/* Numbers in the device's formats, and the one product that the libraries' stand-ins are made of.
 */
#ifndef GPUSIM_NUMBERS_H
#define GPUSIM_NUMBERS_H

#include <cstddef>
#include <cstdint>

namespace gpusim
{

enum class number { f16, bf16, f32 };

inline size_t size_of(number t)
{
    return t == number::f32 ? 4 : 2;
}

/* y[i * y_step] = x[i * x_step], i < n; steps in numbers. */
void to_float(float *y, size_t y_step, const void *x, size_t x_step, number type, size_t n);
void from_float(void *y, size_t y_step, number type, const float *x, size_t n);

/* Rounded as tensor cores take float32 operands: 10 bits of the fraction stay. */
void round_to_tf32(float *x, size_t n);

/*
 * c[m, n] += a[m, k] b[k, n], each sum in the order of k. Callers that pass parts of k in another
 * order get other roundings, as a device's algorithms do.
 */
void multiply_add(float *c, const float *a, const float *b, size_t m, size_t n, size_t k,
                  size_t a_step);

} // namespace gpusim

#endif
