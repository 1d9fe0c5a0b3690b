/*
 * Attention by blocks of keys. Fragments of the tensor cores hold their elements in an order that
 * only the hardware knows: which row an element is of is read from a fragment loaded from a table
 * of row numbers, so that running sums stay in registers.
 *
 * Two shapes of block, both of four warps:
 *   narrow heads (up to 160): each warp has one or two tiles of 16 queries and all columns;
 *   wide heads (to 512, the VAE's): 16 queries, each warp has a quarter of the columns.
 * Heads are padded to a multiple of 16 with zeros, in shared memory alone.
 *
 * What binds is shared memory, through which all operands go. So where registers allow (heads up to
 * 64), a warp holds its queries in fragments and uses each fragment of keys and values for both of
 * its tiles. Keys are copied in while the values are used, and values while the keys are.
 */
#include "engine/ops/cuda/attention.h"

#define WARPS   4
#define THREADS ATTENTION_THREADS
#define TILE    16

namespace wmma = nvcuda::wmma;

template <class T>
using left = wmma::fragment<wmma::matrix_a, TILE, TILE, TILE, T, wmma::row_major>;
template <class T>
using right = wmma::fragment<wmma::matrix_b, TILE, TILE, TILE, T, wmma::row_major>;
template <class T>
using right_turned = wmma::fragment<wmma::matrix_b, TILE, TILE, TILE, T, wmma::col_major>;
typedef wmma::fragment<wmma::accumulator, TILE, TILE, TILE, float> sums;

/* Of each element of an accumulator, the row; room: 16 x 16 floats of this warp. */
static __device__ inline void rows_of(sums *ret_rows, float *room)
{
    for (int i = threadIdx.x % 32; i < TILE * TILE; i += 32)
        room[i] = static_cast<float>(i / TILE);
    __syncwarp();
    wmma::load_matrix_sync(*ret_rows, room, TILE, wmma::mem_row_major);
    /* The caller meets a barrier before the room is used again. */
}

static __device__ inline void scale_rows(sums *s, const sums &rows, const float *by)
{
    for (int i = 0; i < s->num_elements; i++)
        s->x[i] *= by[static_cast<int>(rows.x[i])];
}

/* 16 x 16 results to y, through this warp's room [16][16]. */
template <class T>
static __device__ void store_results(T *y, const sums &s, float *room, int64_t rows,
                                     int64_t columns, int64_t width)
{
    wmma::store_matrix_sync(room, s, TILE, wmma::mem_row_major);
    __syncwarp();
    for (int i = threadIdx.x % 32; i < TILE * TILE; i += 32)
        if (i / TILE < rows && i % TILE < columns)
            y[i / TILE * width + i % TILE] = from_float<T>(room[i]);
    __syncwarp();
}

/* How a warp works on heads of up to DIM numbers. */
template <int DIM> struct narrow_way {
    static constexpr int keys = DIM > 80 ? 32 : 48; /* of a block */
    static constexpr int tiles = DIM > 64 ? 1 : 2;  /* of queries */
    static constexpr bool kept = DIM <= 64;         /* queries stay in registers */
    static constexpr int queries = WARPS * tiles * TILE;
};

template <class T, int DIM> struct narrow_room {
    typedef narrow_way<DIM> way;
    /* Of each warp's tile; then weights, T [TILE][keys + 8]. Queries that are kept come through
     * here: T [queries][DIM + 8]. */
    float scores[WARPS][way::tiles][TILE][way::keys + 4];
    T k[way::keys][DIM + 8], v[way::keys][DIM + 8];
    float by[WARPS][way::tiles][TILE];
    T q[way::kept ? 1 : way::queries][DIM + 8]; /* last: 32 bytes must divide where others begin */
};

/* A warp's work: its queries and results in fragments. */
template <class T, int DIM> struct narrow_warp {
    typedef narrow_way<DIM> way;
    typedef narrow_room<T, DIM> room;
    left<T> q[way::kept ? way::tiles : 1][way::kept ? DIM / TILE : 1];
    sums out[way::tiles][DIM / TILE], rows;
    struct running r[way::tiles];
    int64_t first; /* its first query */
};

/* The warp's queries from shared memory, where all of the block's are. */
template <class T, int DIM>
static __device__ inline void take_queries(narrow_warp<T, DIM> *w, const T *queries)
{
    const int warp = threadIdx.x / 32;

    for (int t = 0; t < narrow_way<DIM>::tiles; t++)
        for (int d = 0; d < DIM / TILE; d++)
            wmma::load_matrix_sync(
                w->q[t][d],
                queries + (warp * narrow_way<DIM>::tiles + t) * TILE * (DIM + 8) + d * TILE,
                DIM + 8);
}

/* Scores of the warp's queries and the block of keys. */
template <class T, int DIM>
static __device__ inline void multiply_keys(const narrow_warp<T, DIM> &w,
                                            narrow_room<T, DIM> *shared)
{
    typedef narrow_way<DIM> way;
    const int warp = threadIdx.x / 32;

    ROLLED
    for (int j = 0; j < way::keys; j += TILE) {
        sums s[way::tiles];
        right_turned<T> k;

        for (int t = 0; t < way::tiles; t++)
            wmma::fill_fragment(s[t], 0.0f);
        for (int d = 0; d < DIM / TILE; d++) {
            wmma::load_matrix_sync(k, &shared->k[j][d * TILE], DIM + 8);
            for (int t = 0; t < way::tiles; t++) {
                if (way::kept) {
                    wmma::mma_sync(s[t], w.q[t][d], k, s[t]);
                } else {
                    left<T> q;

                    wmma::load_matrix_sync(q, &shared->q[warp * TILE][d * TILE], DIM + 8);
                    wmma::mma_sync(s[t], q, k, s[t]);
                }
            }
        }
        for (int t = 0; t < way::tiles; t++)
            wmma::store_matrix_sync(&shared->scores[warp][t][0][j], s[t], way::keys + 4,
                                    wmma::mem_row_major);
    }
}

template <class T, int DIM>
static __device__ inline T *weights_of(narrow_room<T, DIM> *shared, int tile)
{
    return reinterpret_cast<T *>(&shared->scores[threadIdx.x / 32][tile][0][0]);
}

/* Adds the block's values by their weights to what the warp has. */
template <class T, int DIM>
static __device__ inline void multiply_values(narrow_warp<T, DIM> *w, narrow_room<T, DIM> *shared)
{
    typedef narrow_way<DIM> way;

    ROLLED
    for (int j = 0; j < way::keys; j += TILE) {
        left<T> weights[way::tiles];
        right<T> v;

        for (int t = 0; t < way::tiles; t++)
            wmma::load_matrix_sync(weights[t], weights_of(shared, t) + j, way::keys + 8);
        for (int i = 0; i < DIM / TILE; i++) {
            wmma::load_matrix_sync(v, &shared->v[j][i * TILE], DIM + 8);
            for (int t = 0; t < way::tiles; t++)
                wmma::mma_sync(w->out[t][i], weights[t], v, w->out[t][i]);
        }
    }
}

/* Scores to weights; what the warp has shrinks. From `key` on. */
template <class T, int DIM>
static __device__ inline void weigh(narrow_warp<T, DIM> *w, narrow_room<T, DIM> *shared,
                                    const kernel_attention &a, int64_t key)
{
    typedef narrow_way<DIM> way;
    const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 2;

    for (int t = 0; t < way::tiles; t++)
        shared->by[warp][t][row] = row_softmax<T, way::keys, 2>(
            weights_of(shared, t) + row * (way::keys + 8), shared->scores[warp][t][row], nullptr,
            a.scale * ATTENTION_LOG2_E, keys_seen(a, w->first + t * TILE + row, key), &w->r[t]);
    __syncwarp();
    for (int t = 0; t < way::tiles; t++)
        for (int i = 0; i < DIM / TILE; i++)
            scale_rows(&w->out[t][i], w->rows, shared->by[warp][t]);
}

template <class T, int DIM>
static __device__ inline void store_narrow(narrow_warp<T, DIM> *w, narrow_room<T, DIM> *shared,
                                           const kernel_attention &a, const struct place &p)
{
    typedef narrow_way<DIM> way;
    const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 2;

    for (int t = 0; t < way::tiles; t++) {
        int64_t first = w->first + t * TILE;

        shared->by[warp][t][row] = 1.0f / w->r[t].total;
        __syncwarp();
        for (int i = 0; i < DIM / TILE; i++) {
            scale_rows(&w->out[t][i], w->rows, shared->by[warp][t]);
            store_results(static_cast<T *>(a.y) + p.queries + first * p.width + i * TILE,
                          w->out[t][i], &shared->scores[warp][t][0][0], a.tq - first,
                          a.head_dim - i * TILE, p.width);
        }
    }
}

template <class T, int DIM>
__global__ void __launch_bounds__(THREADS, 2) attend_narrow(struct kernel_attention a, bool wide)
{
    typedef narrow_way<DIM> way;
    typedef struct narrow_room<T, DIM> room;
    DYNAMIC_SHARED(room, shared);
    struct place p = place_of<way::queries>(a);
    const T *k = static_cast<const T *>(a.k) + p.keys, *v = static_cast<const T *>(a.v) + p.keys;
    T *queries = way::kept ? reinterpret_cast<T *>(shared->scores) : &shared->q[0][0];
    narrow_warp<T, DIM> w;

    w.first = p.first + static_cast<int64_t>(threadIdx.x / 32) * way::tiles * TILE;
    send_tile<T, way::queries, DIM>(queries,
                                    static_cast<const T *>(a.q) + p.queries + p.first * p.width,
                                    a.tq - p.first, a.head_dim, p.width, wide);
    __pipeline_commit();
    send_tile<T, way::keys, DIM>(&shared->k[0][0], k, a.tk, a.head_dim, p.width, wide);
    __pipeline_commit();
    send_tile<T, way::keys, DIM>(&shared->v[0][0], v, a.tk, a.head_dim, p.width, wide);
    __pipeline_commit();
    for (int t = 0; t < way::tiles; t++) {
        w.r[t] = {-INFINITY, 0};
        for (int i = 0; i < DIM / TILE; i++)
            wmma::fill_fragment(w.out[t][i], 0.0f);
    }
    if (way::kept) {
        __pipeline_wait_prior(2);
        __syncthreads();
        take_queries(&w, queries);
        __syncthreads(); /* scores take their place */
    }
    rows_of(&w.rows, &shared->scores[threadIdx.x / 32][0][0][0]);
    for (int64_t key = 0; key < p.seen; key += way::keys) {
        int64_t next = key + way::keys;

        __pipeline_wait_prior(1); /* the keys; the values may be on their way */
        __syncthreads();
        multiply_keys(w, shared);
        __syncthreads(); /* all are done with the keys, and the scores are there */
        if (next < p.seen)
            send_tile<T, way::keys, DIM>(&shared->k[0][0], k + next * p.width, a.tk - next,
                                         a.head_dim, p.width, wide);
        __pipeline_commit();
        weigh(&w, shared, a, key);
        __pipeline_wait_prior(1); /* the values */
        __syncthreads();
        multiply_values(&w, shared);
        __syncthreads();
        if (next < p.seen)
            send_tile<T, way::keys, DIM>(&shared->v[0][0], v + next * p.width, a.tk - next,
                                         a.head_dim, p.width, wide);
        __pipeline_commit();
    }
    store_narrow(&w, shared, a, p);
}

/* The four warps: two tiles of 16 keys, each in two halves of the columns, for the scores. */
#define WIDE_KEYS 32

template <class T, int DIM> struct wide_room {
    T q[TILE][DIM + 8], k[WIDE_KEYS][DIM + 8], v[WIDE_KEYS][DIM + 8];
    float scores[2][TILE][WIDE_KEYS + 4];
    T weights[TILE][WIDE_KEYS + 8];
    float by[TILE];
    float results[WARPS][TILE * TILE];
};

template <class T, int DIM>
__global__ void __launch_bounds__(THREADS, 2) attend_wide(struct kernel_attention a, bool wide)
{
    typedef struct wide_room<T, DIM> room;
    DYNAMIC_SHARED(room, shared);
    const int warp = threadIdx.x / 32, row = threadIdx.x / 8, mine = warp * (DIM / WARPS);
    const int tile = warp % 2 * TILE, part = warp / 2;
    struct place p = place_of<TILE>(a);
    const T *k = static_cast<const T *>(a.k) + p.keys, *v = static_cast<const T *>(a.v) + p.keys;
    struct running r = {-INFINITY, 0};
    sums out[DIM / WARPS / TILE], rows;

    send_tile<T, TILE, DIM>(&shared->q[0][0],
                            static_cast<const T *>(a.q) + p.queries + p.first * p.width,
                            a.tq - p.first, a.head_dim, p.width, wide);
    rows_of(&rows, shared->results[warp]);
    for (int i = 0; i < DIM / WARPS / TILE; i++)
        wmma::fill_fragment(out[i], 0.0f);
    for (int64_t key = 0; key < p.seen; key += WIDE_KEYS) {
        sums s;
        left<T> q;
        right_turned<T> t;

        __syncthreads();
        send_tile<T, WIDE_KEYS, DIM>(&shared->k[0][0], k + key * p.width, a.tk - key, a.head_dim,
                                     p.width, wide);
        send_tile<T, WIDE_KEYS, DIM>(&shared->v[0][0], v + key * p.width, a.tk - key, a.head_dim,
                                     p.width, wide);
        __pipeline_commit();
        __pipeline_wait_prior(0);
        __syncthreads();
        wmma::fill_fragment(s, 0.0f);
        for (int d = part * (DIM / 2); d < (part + 1) * (DIM / 2); d += TILE) {
            wmma::load_matrix_sync(q, &shared->q[0][d], DIM + 8);
            wmma::load_matrix_sync(t, &shared->k[tile][d], DIM + 8);
            wmma::mma_sync(s, q, t, s);
        }
        wmma::store_matrix_sync(&shared->scores[part][0][tile], s, WIDE_KEYS + 4,
                                wmma::mem_row_major);
        __syncthreads();
        float shrink = row_softmax<T, WIDE_KEYS, 8>(
            shared->weights[row], shared->scores[0][row], shared->scores[1][row],
            a.scale * ATTENTION_LOG2_E, keys_seen(a, p.first + row, key), &r);

        if (threadIdx.x % 8 == 0)
            shared->by[row] = shrink;
        __syncthreads();
        for (int i = 0; i < DIM / WARPS / TILE; i++)
            scale_rows(&out[i], rows, shared->by);
        for (int j = 0; j < WIDE_KEYS; j += TILE) {
            left<T> w;
            right<T> u;

            wmma::load_matrix_sync(w, &shared->weights[0][j], WIDE_KEYS + 8);
            for (int i = 0; i < DIM / WARPS / TILE; i++) {
                wmma::load_matrix_sync(u, &shared->v[j][mine + i * TILE], DIM + 8);
                wmma::mma_sync(out[i], w, u, out[i]);
            }
        }
    }
    __syncthreads();
    if (threadIdx.x % 8 == 0)
        shared->by[row] = 1.0f / r.total;
    __syncthreads();
    for (int i = 0; i < DIM / WARPS / TILE; i++) {
        int column = mine + i * TILE;

        scale_rows(&out[i], rows, shared->by);
        store_results(static_cast<T *>(a.y) + p.queries + p.first * p.width + column, out[i],
                      shared->results[warp], a.tq - p.first, a.head_dim - column, p.width);
    }
}

template <class T, int DIM> static cudaError_t narrow(const kernel_attention *a, cudaStream_t s)
{
    return attention_launch<T>(attend_narrow<T, DIM>, a, narrow_way<DIM>::queries,
                               sizeof(struct narrow_room<T, DIM>), s);
}

template <class T> static cudaError_t attend(const kernel_attention *a, cudaStream_t s)
{
    if (a->head_dim <= 16)
        return narrow<T, 16>(a, s);
    if (a->head_dim <= 48) /* 40: Stable Diffusion 1's first level */
        return narrow<T, 48>(a, s);
    if (a->head_dim <= 64)
        return narrow<T, 64>(a, s);
    if (a->head_dim <= 80)
        return narrow<T, 80>(a, s);
    if (a->head_dim <= 160)
        return narrow<T, 160>(a, s);
    if (a->head_dim <= 256)
        return attention_launch<T>(attend_wide<T, 256>, a, TILE, sizeof(struct wide_room<T, 256>),
                                   s);
    return attention_launch<T>(attend_wide<T, 512>, a, TILE, sizeof(struct wide_room<T, 512>), s);
}

cudaError_t kernels_attention(cudaStream_t s, enum kernel_number type,
                              const struct kernel_attention *a)
{
    if (a->head_dim < 1 || a->head_dim > KERNEL_HEAD_MAX)
        return cudaErrorInvalidValue;
    switch (type) {
    case KERNEL_F16:
        return attend<__half>(a, s);
    case KERNEL_BF16:
        return attend<__nv_bfloat16>(a, s);
    case KERNEL_F32:
        return attention_f32(s, a);
    }
    return cudaErrorInvalidValue;
}
