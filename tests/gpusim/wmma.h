/*
 * nvcuda::wmma of the emulated device: f16 and bf16 products with float32 sums. Which lane holds
 * which element is nobody's business, here as on a device: kernels may only do the same to every
 * x[i]. Included by gpusim.h only; NVIDIA's mma.h is empty for a C++ compiler.
 */
#ifndef GPUSIM_WMMA_H
#define GPUSIM_WMMA_H

namespace gpusim
{
/* d = a b + c of one warp, each lane with its own share of each. */
struct product {
    float *d;
    const void *a, *b;
    const float *c;
};
void multiply(void *requests[32], unsigned came, int m, int n, int k, bool bf16);

/* Element i of `lane` among `size` elements of a matrix. */
inline unsigned scatter(unsigned lane, unsigned i, unsigned size)
{
    return ((lane * (size / 32) + i) * 101 + 17) & (size - 1);
}

void check_matrix(const void *address, unsigned ldm, size_t element);
} // namespace gpusim

namespace nvcuda::wmma
{

struct matrix_a {
};
struct matrix_b {
};
struct accumulator {
};
struct row_major {
};
struct col_major {
};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int m, int n, int k>
constexpr int rows_of = std::is_same_v<Use, matrix_b> ? k : m;
template <class Use, int m, int n, int k>
constexpr int cols_of = std::is_same_v<Use, matrix_a> ? k : n;

template <class Use, int m, int n, int k, class T, class Layout = void> struct fragment {
    static_assert(k == 16 && ((m == 16 && n == 16) || (m == 32 && n == 8) || (m == 8 && n == 32)),
                  "shapes of f16 and bf16");
    static_assert(std::is_same_v<Use, accumulator>
                      ? std::is_same_v<T, float>
                      : std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>,
                  "f16 or bf16 with float32 sums");
    using element_type = T;
    static constexpr int rows = rows_of<Use, m, n, k>, cols = cols_of<Use, m, n, k>;
    static constexpr int num_elements = rows * cols / 32;
    T x[num_elements];
};

template <class F> inline void fill_fragment(F &f, typename F::element_type value)
{
    for (auto &x : f.x)
        x = value;
}

/* No meeting of the warp: what other lanes wrote before is seen only after a __syncwarp(). */
template <class F, class P>
inline void gpusim_copy(F &f, P *p, unsigned ldm, bool by_row, bool store)
{
    gpusim::check_matrix(p, ldm, sizeof *p);
    for (unsigned i = 0; i < (unsigned)F::num_elements; i++) {
        unsigned at = gpusim::scatter(gpusim::lane_id(), i, (unsigned)(F::rows * F::cols));
        unsigned row = at / (unsigned)F::cols, col = at % (unsigned)F::cols;
        P &memory = p[by_row ? row * ldm + col : col * ldm + row];
        if constexpr (!std::is_const_v<P>) {
            if (store)
                memory = f.x[i];
        }
        if (!store)
            f.x[i] = memory;
    }
}

template <class Use, int m, int n, int k, class T, class Layout>
inline void load_matrix_sync(fragment<Use, m, n, k, T, Layout> &f, const T *p, unsigned ldm)
{
    static_assert(!std::is_same_v<Use, accumulator>, "an accumulator is loaded with a layout");
    gpusim_copy(f, p, ldm, std::is_same_v<Layout, row_major>, false);
}

template <int m, int n, int k>
inline void load_matrix_sync(fragment<accumulator, m, n, k, float> &f, const float *p, unsigned ldm,
                             layout_t layout)
{
    gpusim_copy(f, p, ldm, layout == mem_row_major, false);
}

template <int m, int n, int k>
inline void store_matrix_sync(float *p, const fragment<accumulator, m, n, k, float> &f,
                              unsigned ldm, layout_t layout)
{
    gpusim_copy(const_cast<fragment<accumulator, m, n, k, float> &>(f), p, ldm,
                layout == mem_row_major, true);
}

template <int m, int n, int k, class T> void gpusim_resolve(void *requests[32], unsigned came)
{
    gpusim::multiply(requests, came, m, n, k, std::is_same_v<T, __nv_bfloat16>);
}

template <int m, int n, int k, class T, class La, class Lb>
inline void mma_sync(fragment<accumulator, m, n, k, float> &d,
                     const fragment<matrix_a, m, n, k, T, La> &a,
                     const fragment<matrix_b, m, n, k, T, Lb> &b,
                     const fragment<accumulator, m, n, k, float> &c)
{
    gpusim::product p{d.x, a.x, b.x, c.x};
    gpusim::warp_meet(0xffffffffu, gpusim_resolve<m, n, k, T>, &p);
}

} // namespace nvcuda::wmma

#endif
