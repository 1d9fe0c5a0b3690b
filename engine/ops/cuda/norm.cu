/*
 * Group norm and layer norm. Means come before deviations, so that no difference of large numbers
 * is taken; every sum has a fixed order.
 */
#include "engine/ops/cuda/number.h"

#define THREADS 256
#define WARP    32
#define ALL     0xffffffffu

/* Of a piece of a group, or of the whole: mean, and squared deviations from it or 1/deviation. */
struct moments {
    float mean, m2;
};

static __device__ inline double warp_sum(double x)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL, x, step);
    return x;
}

static __device__ inline float warp_sum(float x)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL, x, step);
    return x;
}

/* How the threads of a block share the rows and channels of a piece. */
struct piece {
    int64_t rows, columns; /* columns: packs of V channels */
    int lanes;             /* threads side by side over rows; more than 1 only for few columns */
};

template <int V> static __device__ inline struct piece piece_of(const struct kernel_group_norm &g)
{
    struct piece p;
    int64_t left = g.p - static_cast<int64_t>(blockIdx.x) * KERNEL_NORM_ROWS;

    p.rows = left < KERNEL_NORM_ROWS ? left : KERNEL_NORM_ROWS;
    p.columns = g.c / V;
    p.lanes = p.columns < THREADS ? static_cast<int>(THREADS / p.columns) : 1;
    return p;
}

/*
 * Sums of x - centre[group] over a piece's rows, or of its square, to sums[lane][channel], then by
 * group to ret[groups], where each thread sees what is its own; others after a barrier.
 */
template <class T, int V, bool SQUARE>
static __device__ void piece_sums(const struct kernel_group_norm &g, const T *x,
                                  const struct piece &p, const float *centre, float *sums,
                                  float *ret)
{
    int width = static_cast<int>(g.c / g.groups), lane = static_cast<int>(threadIdx.x / p.columns);

    for (int64_t column = threadIdx.x % p.columns;
         p.lanes == 1 ? column < p.columns : lane < p.lanes; column += THREADS) {
        float sum[V] = {}, middle[V] = {};

        for (int k = 0; SQUARE && k < V; k++)
            middle[k] = centre[(column * V + k) / width];
        for (int64_t r = p.lanes == 1 ? 0 : lane; r < p.rows; r += p.lanes) {
            pack<T, V> values = load_pack<T, V>(x + r * g.c + column * V);

            for (int k = 0; k < V; k++) {
                float d = to_float(values.at[k]) - middle[k];

                sum[k] += SQUARE ? d * d : d;
            }
        }
        for (int k = 0; k < V; k++)
            sums[(p.lanes == 1 ? 0 : lane) * g.c + column * V + k] = sum[k];
        if (p.lanes > 1)
            break;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < g.groups; i += THREADS) {
        float sum = 0;

        for (int l = 0; l < p.lanes; l++)
            for (int k = 0; k < width; k++)
                sum += sums[l * g.c + i * width + k];
        ret[i] = sum;
    }
}

/* One block: the moments of KERNEL_NORM_ROWS rows of sample blockIdx.y, all groups. */
template <class T, int V>
__global__ void group_pieces(struct kernel_group_norm g, struct moments *pieces)
{
    DYNAMIC_SHARED(float, shared);
    struct piece p = piece_of<V>(g);
    float *sums = shared, *mean = sums + p.lanes * g.c, *m2 = mean + g.groups;
    const T *x = static_cast<const T *>(g.x) +
                 (blockIdx.y * g.p + static_cast<int64_t>(blockIdx.x) * KERNEL_NORM_ROWS) * g.c;

    piece_sums<T, V, false>(g, x, p, nullptr, sums, mean);
    for (int i = threadIdx.x; i < g.groups; i += THREADS)
        mean[i] /= static_cast<float>(p.rows * (g.c / g.groups));
    __syncthreads();
    piece_sums<T, V, true>(g, x, p, mean, sums, m2);
    for (int i = threadIdx.x; i < g.groups; i += THREADS)
        pieces[(static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * g.groups + i] = {
            mean[i], m2[i]};
}

/*
 * One warp: group blockIdx.x of sample blockIdx.y from its pieces. Chan et al. 1979 for many pieces
 * at once: the squared deviations of each, and those of its mean from the mean of all.
 */
static __global__ void group_join(struct kernel_group_norm g, struct moments *pieces,
                                  struct moments *ret, int64_t n_pieces)
{
    int64_t width = g.c / g.groups;
    double sum = 0, m2 = 0, mean;

    pieces += blockIdx.y * n_pieces * g.groups + blockIdx.x;
    for (int64_t i = threadIdx.x; i < n_pieces; i += WARP) {
        int64_t left = g.p - i * KERNEL_NORM_ROWS;

        sum += static_cast<double>(pieces[i * g.groups].mean) *
               static_cast<double>(left < KERNEL_NORM_ROWS ? left : KERNEL_NORM_ROWS);
    }
    mean = warp_sum(sum) / static_cast<double>(g.p);
    for (int64_t i = threadIdx.x; i < n_pieces; i += WARP) {
        int64_t left = g.p - i * KERNEL_NORM_ROWS;
        double apart = pieces[i * g.groups].mean - mean;

        m2 += pieces[i * g.groups].m2 +
              apart * apart *
                  static_cast<double>((left < KERNEL_NORM_ROWS ? left : KERNEL_NORM_ROWS) * width);
    }
    m2 = warp_sum(m2);
    if (threadIdx.x == 0)
        ret[blockIdx.y * g.groups + blockIdx.x] = {
            static_cast<float>(mean),
            static_cast<float>(
                1.0 / sqrt(m2 / static_cast<double>(g.p * width) + static_cast<double>(g.eps)))};
}

template <class T, int V>
__global__ void group_apply(struct kernel_group_norm g, const struct moments *moments)
{
    int64_t i = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * V;
    int64_t column = i % g.c, width = g.c / g.groups, at = blockIdx.y * g.p * g.c + i;

    if (i >= g.p * g.c)
        return;
    pack<T, V> x = load_pack<T, V>(static_cast<const T *>(g.x) + at);

    for (int k = 0; k < V; k++) {
        struct moments m = moments[blockIdx.y * g.groups + (column + k) / width];
        float value =
            (to_float(x.at[k]) - m.mean) * m.m2 * g.gamma[column + k] + g.beta[column + k];

        x.at[k] = from_float<T>(activated(value, g.act));
    }
    store_pack<T, V>(static_cast<T *>(g.y) + at, x);
}

int64_t kernels_group_norm_scratch(int64_t n, int64_t p, int groups)
{
    int64_t pieces = (p + KERNEL_NORM_ROWS - 1) / KERNEL_NORM_ROWS;

    return n * (pieces + 1) * groups * static_cast<int64_t>(sizeof(struct moments));
}

/* One warp: group blockIdx.x of sample blockIdx.y, the sums of numbers and squares of its pieces.
 */
static __global__ void group_add(struct kernel_group_norm g, const struct moments *pieces,
                                 double *sums, int64_t n_pieces)
{
    int64_t width = g.c / g.groups;
    double sum = 0, squares = 0;

    pieces += blockIdx.y * n_pieces * g.groups + blockIdx.x;
    for (int64_t i = threadIdx.x; i < n_pieces; i += WARP) {
        int64_t left = g.p - i * KERNEL_NORM_ROWS;
        double count =
            static_cast<double>((left < KERNEL_NORM_ROWS ? left : KERNEL_NORM_ROWS) * width);
        double mean = pieces[i * g.groups].mean;

        sum += mean * count;
        squares += pieces[i * g.groups].m2 + mean * mean * count;
    }
    sum = warp_sum(sum);
    squares = warp_sum(squares);
    if (threadIdx.x == 0) {
        sums[2 * blockIdx.y * g.groups + blockIdx.x] = sum;
        sums[(2 * blockIdx.y + 1) * g.groups + blockIdx.x] = squares;
    }
}

template <class T, int V>
static void launch_pieces(packs<T, V>, cudaStream_t s, const struct kernel_group_norm *g)
{
    int64_t columns = g->c / V, lanes = columns < THREADS ? THREADS / columns : 1;
    size_t shared = static_cast<size_t>(lanes * g->c + 2 * g->groups) * sizeof(float);

    LAUNCH((group_pieces<T, V>),
           dim3(blocks_for(g->p, KERNEL_NORM_ROWS), static_cast<unsigned>(g->n)), dim3(THREADS),
           shared, s, *g, static_cast<struct moments *>(g->scratch));
}

template <class T, int V>
static void launch_apply(packs<T, V>, cudaStream_t s, const struct kernel_group_norm *g,
                         const struct moments *moments)
{
    LAUNCH((group_apply<T, V>),
           dim3(blocks_for(g->p * g->c, THREADS * V), static_cast<unsigned>(g->n)), dim3(THREADS),
           0, s, *g, moments);
}

cudaError_t kernels_group_sums(cudaStream_t s, enum kernel_number type,
                               const struct kernel_group_norm *g, double *sums)
{
    cudaError_t code = with_packs(type, {g->c}, {g->x}, [=](auto of) { launch_pieces(of, s, g); });

    if (code != cudaSuccess)
        return code;
    LAUNCH(group_add, dim3(static_cast<unsigned>(g->groups), static_cast<unsigned>(g->n)),
           dim3(WARP), 0, s, *g, static_cast<const struct moments *>(g->scratch), sums,
           static_cast<int64_t>(blocks_for(g->p, KERNEL_NORM_ROWS)));
    return cudaGetLastError();
}

static cudaError_t apply(cudaStream_t s, enum kernel_number type, const struct kernel_group_norm *g,
                         const struct moments *moments)
{
    return with_packs(type, {g->c}, {g->y, g->x},
                      [=](auto of) { launch_apply(of, s, g, moments); });
}

cudaError_t kernels_group_apply(cudaStream_t s, enum kernel_number type,
                                const struct kernel_group_norm *g, const float *moments)
{
    return apply(s, type, g, reinterpret_cast<const struct moments *>(moments));
}

cudaError_t kernels_group_norm(cudaStream_t s, enum kernel_number type,
                               const struct kernel_group_norm *g)
{
    unsigned pieces = blocks_for(g->p, KERNEL_NORM_ROWS);
    struct moments *all = static_cast<struct moments *>(g->scratch);
    struct moments *joined = all + g->n * pieces * g->groups;
    cudaError_t code =
        with_packs(type, {g->c}, {g->y, g->x}, [=](auto of) { launch_pieces(of, s, g); });

    if (code != cudaSuccess)
        return code;
    LAUNCH(group_join, dim3(static_cast<unsigned>(g->groups), static_cast<unsigned>(g->n)),
           dim3(WARP), 0, s, *g, all, joined, static_cast<int64_t>(pieces));
    return apply(s, type, g, joined);
}

/* One warp per row: its numbers are read three times, the second and third time from the cache. */
template <class T, int V>
__global__ void layer_norm(T *y, const T *x, const float *gamma, const float *beta, int64_t m,
                           int64_t c, float eps)
{
    int64_t row = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP;
    int lane = threadIdx.x % WARP;
    float sum = 0, squares = 0;

    if (row >= m) /* the whole warp */
        return;
    x += row * c;
    y += row * c;
    for (int64_t i = lane * V; i < c; i += WARP * V) {
        pack<T, V> values = load_pack<T, V>(x + i);

        for (int k = 0; k < V; k++)
            sum += to_float(values.at[k]);
    }
    float mean = warp_sum(sum) / static_cast<float>(c);

    for (int64_t i = lane * V; i < c; i += WARP * V) {
        pack<T, V> values = load_pack<T, V>(x + i);

        for (int k = 0; k < V; k++)
            squares += (to_float(values.at[k]) - mean) * (to_float(values.at[k]) - mean);
    }
    float scale = rsqrtf(warp_sum(squares) / static_cast<float>(c) + eps);

    for (int64_t i = lane * V; i < c; i += WARP * V) {
        pack<T, V> values = load_pack<T, V>(x + i);

        for (int k = 0; k < V; k++)
            values.at[k] =
                from_float<T>((to_float(values.at[k]) - mean) * scale * gamma[i + k] + beta[i + k]);
        store_pack<T, V>(y + i, values);
    }
}

template <class T, int V>
static void layer_norm_with(packs<T, V>, cudaStream_t s, void *y, const void *x, const float *gamma,
                            const float *beta, int64_t m, int64_t c, float eps)
{
    LAUNCH((layer_norm<T, V>), dim3(blocks_for(m * WARP, THREADS)), dim3(THREADS), 0, s,
           static_cast<T *>(y), static_cast<const T *>(x), gamma, beta, m, c, eps);
}

cudaError_t kernels_layer_norm(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                               const float *gamma, const float *beta, int64_t m, int64_t c,
                               float eps)
{
    return with_packs(type, {c}, {y, x},
                      [=](auto of) { layer_norm_with(of, s, y, x, gamma, beta, m, c, eps); });
}
