/*
 * bf16 products in tiles: two tiles of rows against two panels keep four sums busy, which hides the
 * latency of one. Compiled with AMX's flags (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* What ldtilecfg reads: eight tiles of sixteen rows of 64 bytes. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static void enter(void)
{
    struct tile_config config = {.palette = 1};

    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = TILE;
    }
    __asm__ volatile("" ::"m"(config) : "memory");
    _tile_loadconfig(&config);
}

static void leave(void)
{
    _tile_release();
}

INLINE void fetch(const char **ahead, int lines)
{
    for (int i = 0; i < lines; i++, *ahead += 64)
        _mm_prefetch(*ahead, _MM_HINT_T1);
}

/* Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 columns. A stride of 0 repeats one row. */
#define BEGIN(tile, t, p)                                                                          \
    do {                                                                                           \
        if (begin != NULL)                                                                         \
            _tile_loadd(tile, begin[t] + PANEL * (p), 0);                                          \
        else                                                                                       \
            _tile_loadd(tile, sums[t] + PANEL * (p), ld * 4);                                      \
    } while (0)
#define END(tile, t, p) _tile_stored(tile, sums[t] + PANEL * (p), ld * 4)

INLINE void product(float *const *sums, size_t ld, const struct walk *w,
                    const uint16_t *const *tiles, const uint16_t *const *panels,
                    const float *const *begin, const int n_tiles, const int n_panels)
{
    const uint16_t *a0 = tiles[0], *a1 = n_tiles > 1 ? tiles[1] : a0;
    const uint16_t *b0 = panels[0], *b1 = n_panels > 1 ? panels[1] : b0;
    const char *ahead = w->ahead;
    size_t row = w->row * 2;

    BEGIN(0, 0, 0);
    if (n_panels > 1)
        BEGIN(1, 0, 1);
    if (n_tiles > 1)
        BEGIN(2, 1, 0);
    if (n_tiles > 1 && n_panels > 1)
        BEGIN(3, 1, 1);
    for (int block = 0; block < w->blocks; block++, a0 += w->block, a1 += w->block)
        for (int tap = 0; tap < w->taps; tap++) {
            _tile_loadd(4, a0 + w->tap[tap], row);
            _tile_loadd(6, b0, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (n_panels > 1) {
                _tile_loadd(7, b1, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (n_tiles > 1) {
                _tile_loadd(5, a1 + w->tap[tap], row);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (n_tiles > 1 && n_panels > 1)
                _tile_dpbf16ps(3, 5, 7);
            b0 += PANEL_STEP;
            b1 += PANEL_STEP;
            fetch(&ahead, w->ahead_per_step);
        }
    END(0, 0, 0);
    if (n_panels > 1)
        END(1, 0, 1);
    if (n_tiles > 1)
        END(2, 1, 0);
    if (n_tiles > 1 && n_panels > 1)
        END(3, 1, 1);
}

static void multiply(float *const *sums, size_t ld, const struct walk *w,
                     const uint16_t *const *tiles, int n_tiles, const uint16_t *const *panels,
                     int n_panels, const float *const *begin)
{
    __asm__ volatile("" ::: "memory"); /* tile loads are not known to read memory */
    if (n_tiles > 1 && n_panels > 1)
        product(sums, ld, w, tiles, panels, begin, 2, 2);
    else if (n_panels > 1)
        product(sums, ld, w, tiles, panels, begin, 1, 2);
    else if (n_tiles > 1)
        product(sums, ld, w, tiles, panels, begin, 2, 1);
    else
        product(sums, ld, w, tiles, panels, begin, 1, 1);
}

const struct bf16_kernels bf16_amx = {
    .device_class = "cpu-amx",
    .panels = 2,
    .enter = enter,
    .leave = leave,
    .multiply = multiply,
};
#endif
