/*
 * bf16 products in tiles: two tiles of rows against two panels keep four sums busy, which hides the
 * latency of one. Compiled with AMX's flags (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#define SIMD_AVX512
#include "engine/ops/cpu/bf16_finish.h"
#include "engine/ops/cpu/bf16_softmax.h"

/* The compiler does not know it of their loads: what is to be read must have been stored. */
#define TILES_READ_MEMORY __asm__ volatile("" ::: "memory")

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
    TILES_READ_MEMORY;
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

INLINE void finish(const struct walk *w)
{
    if (w->finishing != NULL && w->finishing->n_runs > 0)
        finish_some(w->finishing, w->finishing->per_step);
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
            _tile_loadd(6, b0, 64);
            _tile_loadd(4, a0 + w->tap[tap], row);
            _tile_dpbf16ps(0, 4, 6);
            if (n_tiles > 1) {
                _tile_loadd(5, a1 + w->tap[tap], row);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (n_panels > 1) {
                _tile_loadd(7, b1, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (n_tiles > 1 && n_panels > 1)
                _tile_dpbf16ps(3, 5, 7);
            b0 += PANEL_STEP;
            b1 += PANEL_STEP;
            fetch(&ahead, w->ahead_per_step);
            finish(w);
        }
    END(0, 0, 0);
    if (n_panels > 1)
        END(1, 0, 1);
    if (n_tiles > 1)
        END(2, 1, 0);
    if (n_tiles > 1 && n_panels > 1)
        END(3, 1, 1);
}

/*
 * Three tiles and two panels: all of 0 to 5 hold sums, and a row's tile is loaded twice, which the
 * first cache has.
 */
INLINE void product_of_three(float *const *sums, size_t ld, const struct walk *w,
                             const uint16_t *const *tiles, const uint16_t *const *panels,
                             const float *const *begin)
{
    const uint16_t *a0 = tiles[0], *a1 = tiles[1], *a2 = tiles[2], *b0 = panels[0], *b1 = panels[1];
    const char *ahead = w->ahead;
    size_t row = w->row * 2;

    BEGIN(0, 0, 0);
    BEGIN(1, 0, 1);
    BEGIN(2, 1, 0);
    BEGIN(3, 1, 1);
    BEGIN(4, 2, 0);
    BEGIN(5, 2, 1);
    for (int block = 0; block < w->blocks; block++, a0 += w->block, a1 += w->block, a2 += w->block)
        for (int tap = 0; tap < w->taps; tap++) {
            size_t at = w->tap[tap];

            _tile_loadd(7, b0, 64);
            _tile_loadd(6, a0 + at, row);
            _tile_dpbf16ps(0, 6, 7);
            _tile_loadd(6, a1 + at, row);
            _tile_dpbf16ps(2, 6, 7);
            _tile_loadd(6, a2 + at, row);
            _tile_dpbf16ps(4, 6, 7);
            _tile_loadd(7, b1, 64);
            _tile_dpbf16ps(5, 6, 7);
            _tile_loadd(6, a1 + at, row);
            _tile_dpbf16ps(3, 6, 7);
            _tile_loadd(6, a0 + at, row);
            _tile_dpbf16ps(1, 6, 7);
            b0 += PANEL_STEP;
            b1 += PANEL_STEP;
            fetch(&ahead, w->ahead_per_step);
            finish(w);
        }
    END(0, 0, 0);
    END(1, 0, 1);
    END(2, 1, 0);
    END(3, 1, 1);
    END(4, 2, 0);
    END(5, 2, 1);
}

static void multiply(float *const *sums, size_t ld, const struct walk *w,
                     const uint16_t *const *tiles, int n_tiles, const uint16_t *const *panels,
                     int n_panels, const float *const *begin)
{
    TILES_READ_MEMORY;
    if (n_tiles > 2 && n_panels > 1) {
        product_of_three(sums, ld, w, tiles, panels, begin);
        return;
    }
    if (n_tiles > 1 && n_panels > 1)
        product(sums, ld, w, tiles, panels, begin, 2, 2);
    else if (n_panels > 1)
        product(sums, ld, w, tiles, panels, begin, 1, 2);
    else if (n_tiles > 1)
        product(sums, ld, w, tiles, panels, begin, 2, 1);
    else
        product(sums, ld, w, tiles, panels, begin, 1, 1);
    if (n_tiles > 2)
        product(sums + 2, ld,
                &(struct walk){.row = w->row,
                               .block = w->block,
                               .blocks = w->blocks,
                               .taps = w->taps,
                               .tap = w->tap},
                tiles + 2, panels, begin ? begin + 2 : NULL, 1, 1);
}

/* Two tiles of queries, any tiles 0 to 3 as sums, against one panel of keys. */
#define SCORE_PANEL(first, second)                                                                 \
    do {                                                                                           \
        _tile_zero(first);                                                                         \
        _tile_zero(second);                                                                        \
        for (int i = 0; i < a->depth; i++, right += PANEL_STEP) {                                  \
            _tile_loadd(4, a->queries + i * STEP, row);                                            \
            _tile_loadd(6, right, 64);                                                             \
            _tile_dpbf16ps(first, 4, 6);                                                           \
            _tile_loadd(5, a->queries + TILE * a->depth * STEP + i * STEP, row);                   \
            _tile_dpbf16ps(second, 5, 6);                                                          \
        }                                                                                          \
    } while (0)

#define STORE_SCORES(first, second, panel)                                                         \
    do {                                                                                           \
        _tile_stored(first, a->scores + (panel)*PANEL, KEYS * 4);                                  \
        _tile_stored(second, a->scores + TILE * KEYS + (panel)*PANEL, KEYS * 4);                   \
    } while (0)

/* Scores of a block of keys; a panel's are stored when the next one is under way. */
INLINE void find_scores(const struct attend *a, const uint16_t *right, int panels)
{
    size_t row = (size_t)a->depth * STEP * 2;

    for (int p = 0; p < panels; p += 2) {
        SCORE_PANEL(0, 1);
        if (p > 0)
            STORE_SCORES(2, 3, p - 1);
        SCORE_PANEL(2, 3);
        STORE_SCORES(0, 1, p);
    }
    STORE_SCORES(2, 3, panels - 1);
}

/*
 * What two steps of two tiles of rows, `left`, make of n panels: rows stay in tiles 4 to 7, each
 * panel passes through 2 and 3, and while a tile of sums is stored the other one is at work. load:
 * sums go on with what is there, else from zero.
 */
INLINE void two_steps(float *sums, size_t ld, const uint16_t *left, size_t row,
                      const uint16_t *right, int n, const bool load)
{
    float *lower = sums + TILE * ld;

    _tile_loadd(4, left, row * 2);
    _tile_loadd(5, left + TILE * row, row * 2);
    _tile_loadd(6, left + STEP, row * 2);
    _tile_loadd(7, left + TILE * row + STEP, row * 2);
    for (int p = 0; p < n; p++, right += 2 * PANEL_STEP) {
        if (load)
            _tile_loadd(0, sums + p * PANEL, ld * 4);
        else
            _tile_zero(0);
        _tile_loadd(2, right, 64);
        _tile_dpbf16ps(0, 4, 2);
        _tile_loadd(3, right + PANEL_STEP, 64);
        _tile_dpbf16ps(0, 6, 3);
        if (p > 0)
            _tile_stored(1, lower + (p - 1) * PANEL, ld * 4);
        if (load)
            _tile_loadd(1, lower + p * PANEL, ld * 4);
        else
            _tile_zero(1);
        _tile_dpbf16ps(1, 5, 2);
        _tile_dpbf16ps(1, 7, 3);
        _tile_stored(0, sums + p * PANEL, ld * 4);
    }
    _tile_stored(1, lower + (n - 1) * PANEL, ld * 4);
}

/* Tile and vector instructions take turns by the block: finer mixtures were slower. */
static void attend(const struct attend *a)
{
    size_t ld = (size_t)a->panels * PANEL;
    struct rows rows;
    int steps;

    rows_begin(&rows);
    memset(a->sums, 0, QUERIES * ld * sizeof *a->sums);
    for (int64_t key = 0; (steps = attend_steps(a, key)) > 0; key += KEYS) {
        const uint16_t *keys = block_at(a, key);
        const uint16_t *values = keys + KEYS / PANEL * a->depth * PANEL_STEP;

        TILES_READ_MEMORY;
        if (a->depth == 2)
            two_steps(a->scores, KEYS, a->queries, 2 * STEP, keys, 2 * steps, false);
        else
            find_scores(a, keys, 2 * steps);
        weigh_block(&rows, a, key);
        TILES_READ_MEMORY;
        two_steps(a->sums, ld, a->weights, KEYS, values, a->panels, true);
    }
}

const struct bf16_kernels bf16_amx = {
    .device_class = "cpu-amx",
    .panels = 2,
    .tiles = 3,
    .enter = enter,
    .leave = leave,
    .multiply = multiply,
    .attend = attend,
};
#endif
