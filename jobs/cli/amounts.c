#include "jobs/cli/amounts.h"

#include <stdio.h>

void amount_duration(double seconds, struct buf *ret_text)
{
    unsigned long long whole = (unsigned long long)(seconds + 0.5);

    if (seconds < 9.95)
        buf_printf(ret_text, "%.1f s", seconds);
    else if (whole < 60)
        buf_printf(ret_text, "%llu s", whole);
    else if (whole < 3600)
        buf_printf(ret_text, "%llu:%02llu min", whole / 60, whole % 60);
    else if (whole < 2 * 86400)
        buf_printf(ret_text, "%llu:%02llu:%02llu h", whole / 3600, whole / 60 % 60, whole % 60);
    else
        buf_printf(ret_text, "%.1f days", seconds / 86400);
}

void amount_bytes(double bytes, struct buf *ret_text)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;

    if (bytes < 999.5) {
        buf_printf(ret_text, "%.0f bytes", bytes);
        return;
    }
    bytes /= 1000;
    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    buf_printf(ret_text, bytes < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

void amount_count(uint64_t n, struct buf *ret_text)
{
    char digits[24];
    int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);

    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            buf_putc(ret_text, ',');
        buf_putc(ret_text, digits[i]);
    }
}

void amount_images(uint64_t n, struct buf *ret_text)
{
    amount_count(n, ret_text);
    buf_puts(ret_text, n == 1 ? " image" : " images");
}

static void rate_in(double value, const char *unit, struct buf *ret_text)
{
    buf_printf(ret_text, value < 9.95 ? "%.1f images/%s" : "%.0f images/%s", value, unit);
}

void amount_rate(double images_per_second, struct buf *ret_text)
{
    if (images_per_second >= 0.5)
        rate_in(images_per_second, "s", ret_text);
    else if (images_per_second * 60 >= 0.5)
        rate_in(images_per_second * 60, "min", ret_text);
    else
        rate_in(images_per_second * 3600, "h", ret_text);
}
