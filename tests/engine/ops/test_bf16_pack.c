/* Weights packed for products in bf16, against the layout as bf16.h states it. */
#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/level.h"
#include "tests/engine/cases.h"

#include <math.h>

/* To nearest, ties to even; finite numbers. */
static uint16_t rounded(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* n numbers that float32 and f16 hold exactly and bf16 does not, but for its own dtype's. Caller
 * frees both. */
static void *numbers(enum dtype dtype, size_t n, float **ret_values)
{
    char *bytes = malloc(n * dtype_size(dtype));
    float *values = malloc(n * sizeof *values);

    assert_true(bytes != NULL && values != NULL);
    for (size_t i = 0; i < n; i++) {
        int k = (int)((uint32_t)i * 2654435761u >> 22) + 1024;
        uint32_t bits;

        values[i] = (float)(i % 3 ? k : -k) / 512; /* 2..4: exponent 1, ten digits behind */
        memcpy(&bits, &values[i], sizeof bits);
        if (dtype == DTYPE_F32) {
            memcpy(bytes + 4 * i, &bits, 4);
            continue;
        }
        uint16_t half = dtype == DTYPE_BF16
                            ? (uint16_t)(bits >> 16)
                            : (uint16_t)((bits >> 16 & 0x8000) | 0x4000 | (bits >> 13 & 0x3ff));

        memcpy(bytes + 2 * i, &half, 2);
        if (dtype == DTYPE_BF16) {
            bits &= 0xffff0000;
            memcpy(&values[i], &bits, sizeof bits);
        }
    }
    *ret_values = values;
    return bytes;
}

static void check(enum dtype dtype, int n_rows, int channels, int taps)
{
    size_t one = dtype_size(dtype), per_row = (size_t)(channels * taps + 5);
    size_t n = per_row * (size_t)n_rows - 5, packed = (size_t)taps * PANEL_STEP;
    uint16_t *y = malloc(packed * sizeof *y);
    float *values = NULL;
    void *w = numbers(dtype, n, &values);

    assert_non_null(y);
    memset(y, 0xff, packed * sizeof *y);
    bf16_pack(y, w, dtype, per_row * one, n_rows, channels, taps);
    for (int t = 0; t < taps; t++)
        for (int c = 0; c < STEP; c++)
            for (int r = 0; r < 16; r++) {
                size_t from = (size_t)r * per_row + (size_t)(c * taps + t);
                uint16_t wanted = r < n_rows && c < channels ? rounded(values[from]) : 0;

                if (y[t * PANEL_STEP + (c / 2 * 16 + r) * 2 + c % 2] != wanted)
                    fail_msg("%s, %d rows, %d channels, tap %d of %d: channel %d of row %d",
                             dtype_name(dtype), n_rows, channels, t, taps, c, r);
            }
    free(y);
    free(w);
    free(values);
}

static void every_number_stands_where_the_header_says(void **state)
{
    static const int rows[] = {16, 1, 7}, channels[] = {32, 1, 4, 15, 16, 17, 31};
    static const int taps[] = {1, 2, 4, 9, 10, 25, 49};

    (void)state;
    if (level_of_machine() < LEVEL_AVX512_BF16)
        skip();
    for (int dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
                for (size_t t = 0; t < sizeof taps / sizeof *taps; t++)
                    check((enum dtype)dtype, rows[r], channels[c], taps[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_stands_where_the_header_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
