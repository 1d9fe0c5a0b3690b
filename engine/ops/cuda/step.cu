/*
 * A step's kernels, with the host's arithmetic (step_math.h) on one number a thread. This file is
 * compiled without fused multiply-add, so that latents are the host's to the bit; float64 functions
 * (log, sin, cos, exp) may differ from the host's library in their last bit, which is seen in about
 * one of 10^8 results, rounded to float.
 */
#include "engine/ops/cuda/number.h"

#define STEP_LANES 1
#include "engine/ops/step_math.h"

#define THREADS 256

static __device__ inline int64_t item()
{
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

static __device__ inline const struct step_block *step_of(const struct step_place &at)
{
    return static_cast<const struct step_block *>(at.block);
}

static __device__ inline struct step_found *found_of(const struct step_place &at)
{
    return reinterpret_cast<struct step_found *>(at.found);
}

static __global__ void draw_noise(struct step_place at)
{
    int64_t i = item(), size = at.pixels * at.channels;

    if (!step_of(at)->draws || i >= at.n * size)
        return;
    const struct step_sample *sample = step_samples(at.block) + i / size;

    if (sample->philox)
        reinterpret_cast<float *>(at.arrays[ARRAY_NOISE])[i] =
            philox_number(sample->seed, sample->draw,
                          static_cast<uint32_t>(philox_index(i % size, at.pixels, at.channels)));
}

template <class T>
__global__ void fill_input(struct step_place at, T *in, int64_t first, int64_t branches)
{
    int64_t i = item(), total = at.pixels * (at.channels + at.extra), branch = i / total;

    if (branch < branches)
        in[i] = from_float<T>(input_number(&at, step_of(at)->divisor,
                                           step_branches(at.block, at.n)[first + branch].sample,
                                           i % total));
}

template <class T> __global__ void fill_time(struct step_place at, T *row, struct sinusoids s)
{
    int64_t i = item();

    if (i < s.width)
        row[i] = from_float<T>(sinusoid_at(step_of(at)->timestep, i, &s));
}

/* Number i of a sample's answer; `plain`: the same with weights alone. */
template <class T>
static __device__ inline float guided(const struct step_place &at, const T *outputs, int64_t s,
                                      int64_t i, double *ret_plain)
{
    const struct step_sample *sample = step_samples(at.block) + s;
    const struct step_branch *branch = step_branches(at.block, at.n) + sample->first;
    int64_t size = at.pixels * at.channels;
    const T *first = outputs + sample->first * size + i;
    float negative = to_float(first[0]), v = negative;
    double plain = static_cast<double>(negative);

    for (int k = 1; k <= sample->parts; k++) {
        float part = to_float(first[k * size]);

        v = guide_part(v, negative, part, branch[k].scaled);
        if (ret_plain)
            plain = guide_part_plain(plain, static_cast<double>(negative),
                                     static_cast<double>(part), branch[k].weight);
    }
    if (ret_plain)
        *ret_plain = plain;
    return v;
}

/* The sum of a value of each thread, by a fixed tree. room: [THREADS]. */
static __device__ inline double block_sum(double value, double *room)
{
    room[threadIdx.x] = value;
    for (unsigned n = THREADS / 2; n > 0; n /= 2) {
        __syncthreads();
        if (threadIdx.x < n)
            room[threadIdx.x] += room[threadIdx.x + n];
    }
    __syncthreads();
    value = room[0];
    __syncthreads();
    return value;
}

/*
 * By what a sample's answer is multiplied to have the plain one's deviation; a block for each
 * sample. Sums are float64 in a tree, the host's in order: their last bits differ, the factor
 * rounded to float hardly ever.
 */
template <class T> __global__ void find_factors(struct step_place at, const T *outputs)
{
    __shared__ double room[THREADS];
    int64_t s = blockIdx.x, size = at.pixels * at.channels;
    const struct step_sample *sample = step_samples(at.block) + s;
    double sum = 0, squares = 0, plain_sum = 0, plain_squares = 0, plain;

    if (!(sample->share > 0))
        return;
    double shift = static_cast<double>(to_float(outputs[sample->first * size]));

    for (int64_t i = threadIdx.x; i < size; i += THREADS) {
        sum += static_cast<double>(guided(at, outputs, s, i, &plain));
        plain_sum += plain - shift;
        plain_squares += (plain - shift) * (plain - shift);
    }
    double mean = block_sum(sum, room) / static_cast<double>(size);

    plain_sum = block_sum(plain_sum, room);
    plain_squares = block_sum(plain_squares, room);
    for (int64_t i = threadIdx.x; i < size; i += THREADS) {
        double v = static_cast<double>(guided(at, outputs, s, i, static_cast<double *>(nullptr)));

        squares += (v - mean) * (v - mean);
    }
    squares = block_sum(squares, room);
    if (threadIdx.x == 0)
        found_of(at)[s].factor = static_cast<float>(deviation_of(plain_sum, plain_squares, size) /
                                                    deviation_of(0, squares, size));
}

/* Guidance and the sampler's update: what is between is never stored. */
template <class T> __global__ void update(struct step_place at, const T *outputs)
{
    int64_t i = item(), size = at.pixels * at.channels, s = i / size;
    float values[PROGRAM_MAX][STEP_LANES], v;

    if (s >= at.n)
        return;
    const struct step_sample *sample = step_samples(at.block) + s;
    struct step_found *found = found_of(at) + s;

    v = guided(at, outputs, s, i % size, static_cast<double *>(nullptr));
    if (sample->share > 0)
        v = guide_rescaled(v, found->factor, sample->share, sample->rest);
    if (!is_number(v) && found->bad == 0)
        found->bad = step_of(at)->number; /* the same, whoever comes first */
    program_run(&step_of(at)->program, reinterpret_cast<float *const *>(at.arrays), i, 1, &v,
                values);
}

template <class T>
__global__ void for_vae(T *y, const float *x, int64_t n, float divisor, float shift)
{
    int64_t i = item();

    if (i < n)
        y[i] = from_float<T>(x[i] / divisor + shift);
}

template <class T>
__global__ void to_bytes(uint8_t *y, const T *x, int64_t n, struct kernel_seen *seen)
{
    int64_t i = item();

    if (i >= n)
        return;
    float value = to_float(x[i]);

    if (!is_number(value)) {
        seen->bad = 1;
        return;
    }
    y[i] = pixel_byte(value);
    if (y[i] != 0)
        seen->any = 1;
}

cudaError_t kernels_noise(cudaStream_t s, const struct step_place *at)
{
    LAUNCH(draw_noise, dim3(blocks_for(at->n * at->pixels * at->channels, THREADS)), dim3(THREADS),
           0, s, *at);
    return cudaGetLastError();
}

template <class T>
static void input_with(packs<T, 1>, cudaStream_t s, const struct step_place *at, void *in,
                       int64_t first, int64_t n)
{
    LAUNCH(fill_input<T>, dim3(blocks_for(n * at->pixels * (at->channels + at->extra), THREADS)),
           dim3(THREADS), 0, s, *at, static_cast<T *>(in), first, n);
}

cudaError_t kernels_input(cudaStream_t s, enum kernel_number type, const struct step_place *at,
                          void *in, int64_t first, int64_t n)
{
    return with_number(type, [=](auto of) { input_with(of, s, at, in, first, n); });
}

template <class T>
static void time_with(packs<T, 1>, cudaStream_t s, const struct step_place *at, void *row,
                      const struct sinusoids *sinusoids)
{
    LAUNCH(fill_time<T>, dim3(blocks_for(sinusoids->width, THREADS)), dim3(THREADS), 0, s, *at,
           static_cast<T *>(row), *sinusoids);
}

cudaError_t kernels_time(cudaStream_t s, enum kernel_number type, const struct step_place *at,
                         void *row, const struct sinusoids *sinusoids)
{
    return with_number(type, [=](auto of) { time_with(of, s, at, row, sinusoids); });
}

template <class T>
static void update_with(packs<T, 1>, cudaStream_t s, const struct step_place *at,
                        const void *outputs, bool rescales)
{
    const T *values = static_cast<const T *>(outputs);

    if (rescales)
        LAUNCH(find_factors<T>, dim3(static_cast<unsigned>(at->n)), dim3(THREADS), 0, s, *at,
               values);
    LAUNCH(update<T>, dim3(blocks_for(at->n * at->pixels * at->channels, THREADS)), dim3(THREADS),
           0, s, *at, values);
}

cudaError_t kernels_update(cudaStream_t s, enum kernel_number type, const struct step_place *at,
                           const void *outputs, bool rescales)
{
    return with_number(type, [=](auto of) { update_with(of, s, at, outputs, rescales); });
}

template <class T>
static void for_vae_with(packs<T, 1>, cudaStream_t s, void *y, const float *x, int64_t n,
                         float divisor, float shift)
{
    LAUNCH(for_vae<T>, dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s, static_cast<T *>(y), x, n,
           divisor, shift);
}

cudaError_t kernels_for_vae(cudaStream_t s, enum kernel_number type, void *y, const float *x,
                            int64_t n, float divisor, float shift)
{
    return with_number(type, [=](auto of) { for_vae_with(of, s, y, x, n, divisor, shift); });
}

template <class T>
static void bytes_with(packs<T, 1>, cudaStream_t s, uint8_t *y, const void *x, int64_t n,
                       struct kernel_seen *seen)
{
    LAUNCH(to_bytes<T>, dim3(blocks_for(n, THREADS)), dim3(THREADS), 0, s, y,
           static_cast<const T *>(x), n, seen);
}

cudaError_t kernels_bytes(cudaStream_t s, enum kernel_number type, uint8_t *y, const void *x,
                          int64_t n, struct kernel_seen *seen)
{
    cudaError_t code = cudaMemsetAsync(seen, 0, sizeof *seen, s);

    if (code != cudaSuccess)
        return code;
    return with_number(type, [=](auto of) { bytes_with(of, s, y, x, n, seen); });
}
