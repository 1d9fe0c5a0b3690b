/* Two pictures, pixel by pixel. Pure. */
#ifndef JOBS_CLI_COMPARE_H
#define JOBS_CLI_COMPARE_H

#include <stddef.h>
#include <stdint.h>

struct comparison {
    int max_difference;   /* levels of 255; 0: equal */
    double psnr_db;       /* peak signal-to-noise ratio, INFINITY when equal */
    uint64_t n_different; /* channel values that differ */
};

/* a, b: [n] channel values, n > 0. */
struct comparison compare_pixels(const uint8_t *a, const uint8_t *b, size_t n);

#endif
