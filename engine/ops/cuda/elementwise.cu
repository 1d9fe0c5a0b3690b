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

template <int V>
__global__ void rows(uint16_t *y, int64_t width_y, const uint16_t *x, int64_t m, int64_t c)
{
    int64_t i = item() * V, row = i / c;

    if (row < m)
        store_pack<uint16_t, V>(y + row * width_y + i % c, load_pack<uint16_t, V>(x + i));
}

template <int V> __global__ void pad(struct kernel_pad p)
{
    int64_t i = item() * V, pixel = i / p.cp, channel = i % p.cp, sample = pixel / p.wp / p.hp;
    int64_t row = pixel / p.wp % p.hp - p.top, column = pixel % p.wp - p.left;
    pack<uint16_t, V> values = {};

    if (sample >= p.n)
        return;
    if (row >= 0 && row < p.h && column >= 0 && column < p.w && channel < p.c)
        values = load_pack<uint16_t, V>(static_cast<const uint16_t *>(p.x) +
                                        ((sample * p.h + row) * p.w + column) * p.c + channel);
    store_pack<uint16_t, V>(static_cast<uint16_t *>(p.y) + i, values);
}

struct sides {
    int64_t h, w, ho, wo, c;
};

template <int V>
__global__ void upsample(uint16_t *y, const uint16_t *x, int64_t pixels, struct sides s)
{
    int64_t i = item() * V, pixel = i / s.c;

    if (pixel >= pixels)
        return;
    int64_t column = pixel % s.wo, row = pixel / s.wo % s.ho, sample = pixel / s.wo / s.ho;
    int64_t from = (sample * s.h + row * s.h / s.ho) * s.w + column * s.w / s.wo;

    store_pack<uint16_t, V>(y + i, load_pack<uint16_t, V>(x + from * s.c + i % s.c));
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

template <class T> static void convert_from(cudaStream_t s, void *y, const float *x, int64_t n)
{
    LAUNCH((convert<T, float>), dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s,
           static_cast<T *>(y), x, n);
}

cudaError_t kernels_from_float(cudaStream_t s, enum kernel_number type, void *y, const float *x,
                               int64_t n)
{
    type == KERNEL_F16 ? convert_from<__half>(s, y, x, n) : convert_from<__nv_bfloat16>(s, y, x, n);
    return cudaGetLastError();
}

template <class T> static void convert_to(cudaStream_t s, float *y, const void *x, int64_t n)
{
    LAUNCH((convert<float, T>), dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s, y,
           static_cast<const T *>(x), n);
}

cudaError_t kernels_to_float(cudaStream_t s, enum kernel_number type, float *y, const void *x,
                             int64_t n)
{
    type == KERNEL_F16 ? convert_to<__half>(s, y, x, n) : convert_to<__nv_bfloat16>(s, y, x, n);
    return cudaGetLastError();
}

template <class To> static void weights_to(cudaStream_t s, const struct kernel_weights &w)
{
    dim3 blocks(blocks_for(w.rows * w.taps * w.in_wide, THREADS));

    if (w.from == KERNEL_F32)
        LAUNCH((weights<To, float>), blocks, dim3(THREADS), 0, s, w);
    else if (w.from == KERNEL_F16)
        LAUNCH((weights<To, __half>), blocks, dim3(THREADS), 0, s, w);
    else
        LAUNCH((weights<To, __nv_bfloat16>), blocks, dim3(THREADS), 0, s, w);
}

cudaError_t kernels_weights(cudaStream_t s, const struct kernel_weights *w)
{
    if (w->to == KERNEL_F32)
        weights_to<float>(s, *w);
    else if (w->to == KERNEL_F16)
        weights_to<__half>(s, *w);
    else
        weights_to<__nv_bfloat16>(s, *w);
    return cudaGetLastError();
}

template <class T, int V>
static void activate_with(cudaStream_t s, void *y, const void *x, const void *residual, int64_t n,
                          int act)
{
    LAUNCH((activate<T, V>), dim3(blocks_for(n, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<T *>(y), static_cast<const T *>(x), static_cast<const T *>(residual), n,
           act);
}

cudaError_t kernels_activate(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                             const void *residual, int64_t n, enum kernel_activation act)
{
    bool f16 = type == KERNEL_F16;

    if (wide(n, y, x, residual))
        f16 ? activate_with<__half, 8>(s, y, x, residual, n, act)
            : activate_with<__nv_bfloat16, 8>(s, y, x, residual, n, act);
    else
        f16 ? activate_with<__half, 1>(s, y, x, residual, n, act)
            : activate_with<__nv_bfloat16, 1>(s, y, x, residual, n, act);
    return cudaGetLastError();
}

template <class T, int V>
static void add_with(cudaStream_t s, void *y, const void *a, const void *b, int64_t n)
{
    LAUNCH((add<T, V>), dim3(blocks_for(n, THREADS * V)), dim3(THREADS), 0, s, static_cast<T *>(y),
           static_cast<const T *>(a), static_cast<const T *>(b), n);
}

cudaError_t kernels_add(cudaStream_t s, enum kernel_number type, void *y, const void *a,
                        const void *b, int64_t n)
{
    bool f16 = type == KERNEL_F16;

    if (wide(n, y, a, b))
        f16 ? add_with<__half, 8>(s, y, a, b, n) : add_with<__nv_bfloat16, 8>(s, y, a, b, n);
    else
        f16 ? add_with<__half, 1>(s, y, a, b, n) : add_with<__nv_bfloat16, 1>(s, y, a, b, n);
    return cudaGetLastError();
}

template <class T, int V>
static void geglu_with(cudaStream_t s, void *y, const void *x, int64_t m, int64_t c)
{
    LAUNCH((geglu<T, V>), dim3(blocks_for(m * c, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<T *>(y), static_cast<const T *>(x), m, c);
}

cudaError_t kernels_geglu(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                          int64_t m, int64_t c)
{
    bool f16 = type == KERNEL_F16;

    if (wide(c, y, x))
        f16 ? geglu_with<__half, 8>(s, y, x, m, c) : geglu_with<__nv_bfloat16, 8>(s, y, x, m, c);
    else
        f16 ? geglu_with<__half, 1>(s, y, x, m, c) : geglu_with<__nv_bfloat16, 1>(s, y, x, m, c);
    return cudaGetLastError();
}

template <int V>
static void rows_with(cudaStream_t s, void *y, int64_t width_y, const void *x, int64_t m, int64_t c)
{
    LAUNCH(rows<V>, dim3(blocks_for(m * c, THREADS * V)), dim3(THREADS), 0, s,
           static_cast<uint16_t *>(y), width_y, static_cast<const uint16_t *>(x), m, c);
}

cudaError_t kernels_rows(cudaStream_t s, void *y, int64_t width_y, const void *x, int64_t m,
                         int64_t c)
{
    if (wide(c, y, x) && width_y % 8 == 0)
        rows_with<8>(s, y, width_y, x, m, c);
    else
        rows_with<1>(s, y, width_y, x, m, c);
    return cudaGetLastError();
}

cudaError_t kernels_pad(cudaStream_t s, const struct kernel_pad *p)
{
    int64_t n = p->n * p->hp * p->wp * p->cp;

    if (wide(p->c, p->y, p->x) && p->cp % 8 == 0)
        LAUNCH(pad<8>, dim3(blocks_for(n, THREADS * 8)), dim3(THREADS), 0, s, *p);
    else
        LAUNCH(pad<1>, dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s, *p);
    return cudaGetLastError();
}

cudaError_t kernels_upsample(cudaStream_t s, void *y, const void *x, int64_t n, int64_t h,
                             int64_t w, int64_t c, int64_t ho, int64_t wo)
{
    struct sides sides = {h, w, ho, wo, c};
    int64_t pixels = n * ho * wo;

    if (wide(c, y, x))
        LAUNCH(upsample<8>, dim3(blocks_for(pixels * c, THREADS * 8)), dim3(THREADS), 0, s,
               static_cast<uint16_t *>(y), static_cast<const uint16_t *>(x), pixels, sides);
    else
        LAUNCH(upsample<1>, dim3(blocks_for(pixels * c, THREADS)), dim3(THREADS), 0, s,
               static_cast<uint16_t *>(y), static_cast<const uint16_t *>(x), pixels, sides);
    return cudaGetLastError();
}

template <class T, int V> static void finish_with(cudaStream_t s, const struct kernel_finish *f)
{
    LAUNCH((finish<T, V>), dim3(blocks_for(f->n * f->p * f->c, THREADS * V)), dim3(THREADS), 0, s,
           *f);
}

cudaError_t kernels_finish(cudaStream_t s, enum kernel_number type, const struct kernel_finish *f)
{
    bool f16 = type == KERNEL_F16;

    if (wide(f->c, f->y, f->x, f->residual) && wide(f->c, f->per_sample) && f->width_x % 8 == 0)
        f16 ? finish_with<__half, 8>(s, f) : finish_with<__nv_bfloat16, 8>(s, f);
    else
        f16 ? finish_with<__half, 1>(s, f) : finish_with<__nv_bfloat16, 1>(s, f);
    return cudaGetLastError();
}
