/*
 * Attention of float32, by blocks of keys as attention.cu, on plain cores: tensor cores have no
 * products of 24 bits, and TF32's of 11 are not what who asks for f32 wants.
 *
 * A block has 128 threads, 16 by 8. A thread has `rows` queries: it multiplies them with every
 * eighth key, weighs these scores with the seven neighbours that have the other keys, and adds up
 * its eighth of the values' columns. So scores stay in registers until they are weights, which go
 * through shared memory but not past a warp. Heads are padded with zeros, in shared memory alone.
 *
 * Its floor (tests/bench/ROOFLINE.md) is the fused multiply-adds: 4 * head_dim FLOPs a query and
 * key at 19.5 TFLOP/s on an A100, 16 times as long as f16's. Expected is about half of that for
 * heads up to 80: four queries and four keys take 8 loads of 16 bytes, 32 cycles of shared memory,
 * for 64 multiply-adds a thread, 32 cycles too; sums of values load half as much. One query a
 * thread, as registers and shared memory force for the VAE's heads of 512, is a third of the floor.
 */
#include "engine/ops/cuda/attention.h"

#define LANES 8 /* threads that share a query */
#define SIDE  (ATTENTION_THREADS / LANES)
#define STEP  4 /* numbers of 16 bytes */

template <int DIM> struct plain_way {
    static constexpr int rows = DIM > 160 ? 1 : 4;   /* queries of a thread */
    static constexpr int keys = DIM > 80 ? 16 : 32;  /* of a block */
    static constexpr int wide = DIM % 32 ? 2 : STEP; /* columns side by side */
    static constexpr int queries = SIDE * rows, columns = DIM / LANES;
};

template <int DIM> struct plain_room {
    typedef plain_way<DIM> way;
    float q[way::queries][tile_stride<float, DIM>], k[way::keys][tile_stride<float, DIM>],
        v[way::keys][tile_stride<float, DIM>];
    float weights[way::queries][tile_stride<float, way::keys>]; /* before: scores */
};

/* A thread's work. */
template <int DIM> struct plain_thread {
    float out[plain_way<DIM>::rows][plain_way<DIM>::columns]; /* as it multiplies the values */
    struct running r[plain_way<DIM>::rows];
    int row, lane; /* its first query in the block; the first of its keys */
};

/* Scores of the thread's queries and keys. */
template <int DIM>
static __device__ inline void multiply_keys(const plain_thread<DIM> &t, plain_room<DIM> *shared)
{
    typedef plain_way<DIM> way;
    float score[way::rows][way::keys / LANES] = {};

    ROLLED
    for (int d = 0; d < DIM; d += STEP) {
        pack<float, STEP> q[way::rows];

        for (int r = 0; r < way::rows; r++)
            q[r] = load_pack<float, STEP>(&shared->q[t.row + r][d]);
        for (int j = 0; j < way::keys / LANES; j++) {
            pack<float, STEP> k = load_pack<float, STEP>(&shared->k[j * LANES + t.lane][d]);

            for (int r = 0; r < way::rows; r++)
                for (int i = 0; i < STEP; i++)
                    score[r][j] += q[r].at[i] * k.at[i];
        }
    }
    for (int r = 0; r < way::rows; r++)
        for (int j = 0; j < way::keys / LANES; j++)
            shared->weights[t.row + r][j * LANES + t.lane] = score[r][j];
}

/* Its own scores to weights, with the neighbours' maxima and sums; what it has shrinks. */
template <int DIM>
static __device__ inline void weigh(plain_thread<DIM> *t, plain_room<DIM> *shared,
                                    const kernel_attention &a, int64_t first, int64_t key)
{
    typedef plain_way<DIM> way;

    for (int r = 0; r < way::rows; r++) {
        float *row = shared->weights[t->row + r];
        float shrink =
            row_softmax<float, way::keys, LANES>(row, row, nullptr, a.scale * ATTENTION_LOG2_E,
                                                 keys_seen(a, first + t->row + r, key), &t->r[r]);

        for (int i = 0; i < way::columns; i++)
            t->out[r][i] *= shrink;
    }
}

/* Adds the block's values by their weights. */
template <int DIM>
static __device__ inline void multiply_values(plain_thread<DIM> *t, const plain_room<DIM> *shared)
{
    typedef plain_way<DIM> way;

    ROLLED
    for (int j = 0; j < way::keys; j += STEP) {
        pack<float, STEP> weights[way::rows];

        for (int r = 0; r < way::rows; r++)
            weights[r] = load_pack<float, STEP>(&shared->weights[t->row + r][j]);
        for (int i = 0; i < STEP; i++)
            for (int c = 0; c < way::columns; c += way::wide) {
                pack<float, way::wide> v =
                    load_pack<float, way::wide>(&shared->v[j + i][c * LANES + t->lane * way::wide]);

                for (int r = 0; r < way::rows; r++)
                    for (int k = 0; k < way::wide; k++)
                        t->out[r][c + k] += weights[r].at[i] * v.at[k];
            }
    }
}

template <int DIM>
static __device__ inline void store(const plain_thread<DIM> &t, const kernel_attention &a,
                                    const struct place &p)
{
    typedef plain_way<DIM> way;

    for (int r = 0; r < way::rows; r++) {
        int64_t row = p.first + t.row + r;
        float *y = static_cast<float *>(a.y) + p.queries + row * p.width;

        for (int i = 0; i < way::columns && row < a.tq; i++) {
            int column = i / way::wide * way::wide * LANES + t.lane * way::wide + i % way::wide;

            if (column < a.head_dim)
                y[column] = t.out[r][i] / t.r[r].total;
        }
    }
}

template <int DIM>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attend_plain(struct kernel_attention a, bool wide)
{
    typedef plain_way<DIM> way;
    typedef struct plain_room<DIM> room;
    DYNAMIC_SHARED(room, shared);
    struct place p = place_of<way::queries>(a);
    const float *k = static_cast<const float *>(a.k) + p.keys;
    const float *v = static_cast<const float *>(a.v) + p.keys;
    plain_thread<DIM> t = {};

    t.row = static_cast<int>(threadIdx.x) / LANES * way::rows;
    t.lane = threadIdx.x % LANES;
    for (int r = 0; r < way::rows; r++)
        t.r[r].top = -INFINITY;
    send_tile<float, way::queries, DIM>(
        &shared->q[0][0], static_cast<const float *>(a.q) + p.queries + p.first * p.width,
        a.tq - p.first, a.head_dim, p.width, wide);
    send_tile<float, way::keys, DIM>(&shared->k[0][0], k, a.tk, a.head_dim, p.width, wide);
    __pipeline_commit();
    send_tile<float, way::keys, DIM>(&shared->v[0][0], v, a.tk, a.head_dim, p.width, wide);
    __pipeline_commit();
    for (int64_t key = 0; key < p.seen; key += way::keys) {
        int64_t next = key + way::keys;

        __pipeline_wait_prior(1); /* the keys; the values may be on their way */
        __syncthreads();
        multiply_keys(t, shared);
        weigh(&t, shared, a, p.first, key);
        __pipeline_wait_prior(0); /* the values */
        __syncthreads();          /* all are done with the keys, too, and the weights are there */
        if (next < p.seen)
            send_tile<float, way::keys, DIM>(&shared->k[0][0], k + next * p.width, a.tk - next,
                                             a.head_dim, p.width, wide);
        __pipeline_commit();
        multiply_values(&t, shared);
        __syncthreads();
        if (next < p.seen)
            send_tile<float, way::keys, DIM>(&shared->v[0][0], v + next * p.width, a.tk - next,
                                             a.head_dim, p.width, wide);
        __pipeline_commit();
    }
    store(t, a, p);
}

template <int DIM> static cudaError_t plain(const kernel_attention *a, cudaStream_t s)
{
    return attention_launch<float>(attend_plain<DIM>, a, plain_way<DIM>::queries,
                                   sizeof(struct plain_room<DIM>), s);
}

cudaError_t attention_f32(cudaStream_t s, const struct kernel_attention *a)
{
    if (a->head_dim <= 32)
        return plain<32>(a, s);
    if (a->head_dim <= 48) /* 40: Stable Diffusion 1's first level */
        return plain<48>(a, s);
    if (a->head_dim <= 64)
        return plain<64>(a, s);
    if (a->head_dim <= 80)
        return plain<80>(a, s);
    if (a->head_dim <= 160)
        return plain<160>(a, s);
    return plain<512>(a, s);
}
