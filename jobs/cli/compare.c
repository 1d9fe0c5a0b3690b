#include "jobs/cli/compare.h"

#include <math.h>
#include <stdlib.h>

struct comparison compare_pixels(const uint8_t *a, const uint8_t *b, size_t n)
{
    struct comparison c = {0};
    uint64_t squares = 0; /* at most 2^16 for each value: room for 2^48 of them */

    for (size_t i = 0; i < n; i++) {
        int difference = abs((int)a[i] - (int)b[i]);
        squares += (uint64_t)(difference * difference);
        c.n_different += difference != 0;
        if (difference > c.max_difference)
            c.max_difference = difference;
    }
    c.psnr_db = squares == 0 ? INFINITY : 10 * log10(255.0 * 255.0 * (double)n / (double)squares);
    return c;
}
