#include "engine/pipeline/latent.h"

#include "engine/ops/step_math.h"

#include <math.h>
#include <string.h>

#define LOGVAR_MIN -30.0f
#define LOGVAR_MAX 20.0f
#define MASKED     128 /* of 255: the first grey that counts as 1 */

void latent_from_moments(float *out, const float *moments, const float *noise, int64_t pixels,
                         const struct vae_config *c)
{
    float scale = (float)c->scaling_factor, shift = (float)c->shift_factor;
    int64_t n = c->latent_channels;

    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < n; k++) {
            float mean = moments[2 * i * n + k], logvar = moments[2 * i * n + n + k];

            logvar = logvar < LOGVAR_MIN ? LOGVAR_MIN : logvar > LOGVAR_MAX ? LOGVAR_MAX : logvar;
            out[i * n + k] = (mean + expf(0.5f * logvar) * noise[i * n + k] - shift) * scale;
        }
}

void latent_for_vae(float *x, int64_t n, const struct vae_config *c)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (float)c->scaling_factor + (float)c->shift_factor;
}

/* torch's nearest: floor(i * in / out) in float32. */
static int64_t nearest(int64_t i, int64_t out, int64_t in)
{
    int64_t at = (int64_t)floorf((float)i * ((float)in / (float)out));

    return at < in ? at : in - 1;
}

bool latent_mask(float *out, int64_t h, int64_t w, const uint8_t *mask, int64_t height,
                 int64_t width)
{
    bool any = false;

    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            uint8_t grey = mask[nearest(y, h, height) * width + nearest(x, w, width)];

            out[y * w + x] = grey >= MASKED ? 1 : 0;
            any |= grey >= MASKED;
        }
    return any;
}

/* Two neighbours of a bilinear sample, and the second one's weight. */
struct between {
    int64_t low, high;
    float weight;
};

static struct between between(int64_t i, int64_t out, int64_t in)
{
    float at = ((float)in / (float)out) * ((float)i + 0.5f) - 0.5f;
    struct between b;

    at = at < 0 ? 0 : at;
    b.low = (int64_t)at;
    b.high = b.low + 1 < in ? b.low + 1 : b.low;
    b.weight = at - (float)b.low;
    return b;
}

void latent_enlarge(float *out, int64_t h, int64_t w, const float *x, int64_t in_h, int64_t in_w,
                    int64_t channels, const struct latent_window *window, bool bilinear)
{
    for (int64_t i = 0; i < h * w; i++) {
        struct between v = between(window->top + i / w, window->full_h, in_h);
        struct between u = between(window->left + i % w, window->full_w, in_w);
        const float *a = x + (v.low * in_w + u.low) * channels;
        const float *b = x + (v.low * in_w + u.high) * channels;
        const float *c = x + (v.high * in_w + u.low) * channels;
        const float *d = x + (v.high * in_w + u.high) * channels;

        if (!bilinear) {
            int64_t row = nearest(window->top + i / w, window->full_h, in_h);
            int64_t column = nearest(window->left + i % w, window->full_w, in_w);

            memcpy(out + i * channels, x + (row * in_w + column) * channels,
                   (size_t)channels * sizeof *x);
            continue;
        }
        for (int64_t k = 0; k < channels; k++)
            out[i * channels + k] = (1 - v.weight) * ((1 - u.weight) * a[k] + u.weight * b[k]) +
                                    v.weight * ((1 - u.weight) * c[k] + u.weight * d[k]);
    }
}

void floats_from_pixels(float *out, const uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = 2.0f * ((float)pixels[i] / 255.0f) - 1.0f;
}

void mask_floats(float *picture, const uint8_t *mask, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++)
        if (mask[i] >= MASKED)
            memset(picture + 3 * i, 0, 3 * sizeof *picture);
}

bool pixels_from_floats(uint8_t *out, const float *values, size_t n)
{
    unsigned any = 0;

    for (size_t i = 0; i < n; i++) {
        out[i] = pixel_byte(values[i]);
        any |= out[i];
    }
    return any != 0;
}

bool all_finite(const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}
