/* Kernels that read each number once: nothing here is bound by anything but memory. */
#include "engine/ops/cuda/number.h"

#define THREADS 256

/* The item of this thread. */
static __device__ inline int64_t item()
{
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <class To, class From> __global__ void convert(To *y, const From *x, int64_t n)
{
    int64_t i = item();

    if (i < n)
        y[i] = from_float<To>(to_float(x[i]));
}

template <class To, class From> __global__ void weights(struct kernel_weights w)
{
    int64_t i = item(), channel = i % w.in_wide, tap = i / w.in_wide % w.taps,
            row = i / w.in_wide / w.taps;

    if (row >= w.rows)
        return;
    static_cast<To *>(w.y)[i] = from_float<To>(
        channel < w.in
            ? to_float(static_cast<const From *>(w.x)[(row * w.in + channel) * w.taps + tap])
            : 0.0f);
}

template <class T, int V>
__global__ void activate(T *y, const T *x, const T *residual, int64_t n, int act)
{
    int64_t i = item() * V;

    if (i >= n)
        return;
    pack<T, V> a = load_pack<T, V>(x + i), r;

    if (residual)
        r = load_pack<T, V>(residual + i);
    for (int k = 0; k < V; k++) {
        float value = activated(to_float(a.at[k]), act);

        a.at[k] = from_float<T>(residual ? value + to_float(r.at[k]) : value);
    }
    store_pack<T, V>(y + i, a);
}

template <class T, int V> __global__ void add(T *y, const T *a, const T *b, int64_t n)
{
    int64_t i = item() * V;

    if (i >= n)
        return;
    pack<T, V> p = load_pack<T, V>(a + i), q = load_pack<T, V>(b + i);

    for (int k = 0; k < V; k++)
        p.at[k] = from_float<T>(to_float(p.at[k]) + to_float(q.at[k]));
    store_pack<T, V>(y + i, p);
}

template <class T, int V> __global__ void geglu(T *y, const T *x, int64_t m, int64_t c)
{
    int64_t i = item() * V, row = i / c, at = 2 * row * c + i % c;

    if (row >= m)
        return;
    pack<T, V> a = load_pack<T, V>(x + at), gate = load_pack<T, V>(x + at + c);

    for (int k = 0; k < V; k++)
        a.at[k] = from_float<T>(to_float(a.at[k]) * activated(to_float(gate.at[k]), KERNEL_GELU));
    store_pack<T, V>(y + i, a);
}

/* What only moves numbers takes T as a word of their size. */
template <class T, int V>
__global__ void rows(T *y, int64_t width_y, const T *x, int64_t m, int64_t c)
{
    int64_t i = item() * V, row = i / c;

    if (row < m)
        store_pack<T, V>(y + row * width_y + i % c, load_pack<T, V>(x + i));
}

template <class T, int V> __global__ void pad(struct kernel_pad p)
{
    int64_t i = item() * V, pixel = i / p.cp, channel = i % p.cp, sample = pixel / p.wp / p.hp;
    int64_t row = pixel / p.wp % p.hp - p.top, column = pixel % p.wp - p.left;
    pack<T, V> values = {};

    if (sample >= p.n)
        return;
    if (row >= 0 && row < p.h && column >= 0 && column < p.w && channel < p.c)
        values = load_pack<T, V>(static_cast<const T *>(p.x) +
                                 ((sample * p.h + row) * p.w + column) * p.c + channel);
    store_pack<T, V>(static_cast<T *>(p.y) + i, values);
}

struct sides {
    int64_t h, w, ho, wo, c;
};

template <class T, int V> __global__ void upsample(T *y, const T *x, int64_t pixels, struct sides s)
{
    int64_t i = item() * V, pixel = i / s.c;

    if (pixel >= pixels)
        return;
    int64_t column = pixel % s.wo, row = pixel / s.wo % s.ho, sample = pixel / s.wo / s.ho;
    int64_t from = (sample * s.h + row * s.h / s.ho) * s.w + column * s.w / s.wo;

    store_pack<T, V>(y + i, load_pack<T, V>(x + from * s.c + i % s.c));
}

template <class T, int V> __global__ void finish(struct kernel_finish f)
{
    int64_t i = item() * V, row = i / f.c, column = i % f.c;

    if (row >= f.n * f.p)
        return;
    pack<T, V> x = load_pack<T, V>(static_cast<const T *>(f.x) + row * f.width_x + column), s, r;

    if (f.per_sample)
        s = load_pack<T, V>(static_cast<const T *>(f.per_sample) + row / f.p * f.c + column);
    if (f.residual)
        r = load_pack<T, V>(static_cast<const T *>(f.residual) + i);
    for (int k = 0; k < V; k++) {
        float sum = to_float(x.at[k]);

        if (f.bias)
            sum += f.bias[column + k];
        if (f.per_sample)
            sum += to_float(s.at[k]);
        if (f.residual)
            sum += to_float(r.at[k]);
        x.at[k] = from_float<T>(sum);
    }
    store_pack<T, V>(static_cast<T *>(f.y) + i, x);
}

template <class T>
static void convert_from(packs<T, 1>, cudaStream_t s, void *y, const float *x, int64_t n)
{
    LAUNCH((convert<T, float>), dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s,
           static_cast<T *>(y), x, n);
}

cudaError_t kernels_from_float(cudaStream_t s, enum kernel_number type, void *y, const float *x,
                               int64_t n)
{
    return with_number(type, [=](auto of) { convert_from(of, s, y, x, n); });
}

template <class T>
static void convert_to(packs<T, 1>, cudaStream_t s, float *y, const void *x, int64_t n)
{
    LAUNCH((convert<float, T>), dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s, y,
           static_cast<const T *>(x), n);
}

cudaError_t kernels_to_float(cudaStream_t s, enum kernel_number type, float *y, const void *x,
                             int64_t n)
{
    return with_number(type, [=](auto of) { convert_to(of, s, y, x, n); });
}

template <class To, class From>
static void weights_with(packs<To, 1>, packs<From, 1>, cudaStream_t s,
                         const struct kernel_weights &w)
{
    LAUNCH((weights<To, From>), dim3(blocks_for(w.rows * w.taps * w.in_wide, THREADS)),
           dim3(THREADS), 0, s, w);
}

cudaError_t kernels_weights(cudaStream_t s, const struct kernel_weights *w)
{
    cudaError_t rc = cudaSuccess,
                code = with_number(w->to, [&](auto to) {
                    rc = with_number(w->from, [&](auto from) { weights_with(to, from, s, *w); });
                });

    return code != cudaSuccess ? code : rc;
}

template <class T, int V>
static void activate_with(packs<T, V>, cudaStream_t s, void *y, const void *x, const void *residual,
                          int64_t n, int act)
{
    LAUNCH((activate<T, V>), dim3(blocks_for(n, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<T *>(y), static_cast<const T *>(x), static_cast<const T *>(residual), n,
           act);
}

cudaError_t kernels_activate(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                             const void *residual, int64_t n, enum kernel_activation act)
{
    return with_packs(type, {n}, {y, x, residual},
                      [=](auto of) { activate_with(of, s, y, x, residual, n, act); });
}

template <class T, int V>
static void add_with(packs<T, V>, cudaStream_t s, void *y, const void *a, const void *b, int64_t n)
{
    LAUNCH((add<T, V>), dim3(blocks_for(n, THREADS * V)), dim3(THREADS), 0, s, static_cast<T *>(y),
           static_cast<const T *>(a), static_cast<const T *>(b), n);
}

cudaError_t kernels_add(cudaStream_t s, enum kernel_number type, void *y, const void *a,
                        const void *b, int64_t n)
{
    return with_packs(type, {n}, {y, a, b}, [=](auto of) { add_with(of, s, y, a, b, n); });
}

template <class T, int V>
static void geglu_with(packs<T, V>, cudaStream_t s, void *y, const void *x, int64_t m, int64_t c)
{
    LAUNCH((geglu<T, V>), dim3(blocks_for(m * c, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<T *>(y), static_cast<const T *>(x), m, c);
}

cudaError_t kernels_geglu(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                          int64_t m, int64_t c)
{
    return with_packs(type, {c}, {y, x}, [=](auto of) { geglu_with(of, s, y, x, m, c); });
}

template <class T, int V>
static void rows_with(packs<T, V>, cudaStream_t s, void *y, int64_t width_y, const void *x,
                      int64_t m, int64_t c)
{
    LAUNCH((rows<T, V>), dim3(blocks_for(m * c, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<T *>(y), width_y, static_cast<const T *>(x), m, c);
}

cudaError_t kernels_rows(cudaStream_t s, enum kernel_number type, void *y, int64_t width_y,
                         const void *x, int64_t m, int64_t c)
{
    return with_packs(type, {c, width_y}, {y, x},
                      [=](auto of) { rows_with(words(of), s, y, width_y, x, m, c); });
}

template <class T, int V>
static void pad_with(packs<T, V>, cudaStream_t s, const struct kernel_pad *p)
{
    LAUNCH((pad<T, V>), dim3(blocks_for(p->n * p->hp * p->wp * p->cp, THREADS * V)), dim3(THREADS),
           0, s, *p);
}

cudaError_t kernels_pad(cudaStream_t s, enum kernel_number type, const struct kernel_pad *p)
{
    return with_packs(type, {p->c, p->cp}, {p->y, p->x},
                      [=](auto of) { pad_with(words(of), s, p); });
}

template <class T, int V>
static void upsample_with(packs<T, V>, cudaStream_t s, void *y, const void *x, int64_t pixels,
                          const struct sides &sides)
{
    LAUNCH((upsample<T, V>), dim3(blocks_for(pixels * sides.c, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<T *>(y), static_cast<const T *>(x), pixels, sides);
}

cudaError_t kernels_upsample(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                             int64_t n, int64_t h, int64_t w, int64_t c, int64_t ho, int64_t wo)
{
    return with_packs(type, {c}, {y, x}, [=](auto of) {
        upsample_with(words(of), s, y, x, n * ho * wo, {h, w, ho, wo, c});
    });
}

template <class T, int V>
static void finish_with(packs<T, V>, cudaStream_t s, const struct kernel_finish *f)
{
    LAUNCH((finish<T, V>), dim3(blocks_for(f->n * f->p * f->c, THREADS * V)), dim3(THREADS), 0, s,
           *f);
}

cudaError_t kernels_finish(cudaStream_t s, enum kernel_number type, const struct kernel_finish *f)
{
    return with_packs(type, {f->c, f->width_x}, {f->y, f->x, f->residual, f->per_sample},
                      [=](auto of) { finish_with(of, s, f); });
}
