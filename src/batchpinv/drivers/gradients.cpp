// The formulas of _derivatives.py, one matrix after the other. Their products are those of the
// lanes.
#include "gradients.hpp"

#include "floating_point.hpp"
#include "lapack.hpp"
#include "matrix.hpp"

namespace batchpinv {
namespace {

// One matrix after the other; all are stored by rows.
template <class T> class Gradients {
    const LaneKernels &kernels;
    const std::int64_t m, n, k;
    const std::int64_t longer, shorter;
    Buffer<T> first, second, third, remains, product; // any matrix that occurs: see size()
    Buffer<T> inner, along, mixed, gram;              // shorter×shorter

  public:
    Gradients(const GradientCall &call, const LaneTable &lanes)
        : kernels(*lanes.of[dtype_index<T>]), m(call.m), n(call.n), k(call.k),
          longer(std::max(m, n)), shorter(std::min(m, n)), first(size()), second(size()),
          third(size()), remains(size()), product(size()), inner(shorter * shorter),
          along(shorter * shorter), mixed(shorter * shorter), gram(shorter * shorter) {}

    void of_inverse(const T *a, const T *x, const T *gx, T *ga) {
        if (m >= n) {
            adjoint(x, n, m, first);
            adjoint(gx, n, m, second);
            of_tall_inverse(a, x, first, second, ga);
        } else { // of A^H, whose pseudo-inverse is X^H
            adjoint(a, m, n, first);
            adjoint(x, n, m, second);
            of_tall_inverse(first, second, x, gx, third);
            adjoint(third, n, m, ga);
        }
    }

    // GA = R (X GB)^H - GB x^H + (X^H x) (gx - X A gx)^H with GB = X^H gx, R = b - A x
    void of_solution(const T *a, const T *inverse, const T *b, const T *x, const T *gx, T *ga,
                     T *gb) {
        T *const transposed = third, *const side = product, *const row = first;
        adjoint(inverse, n, m, transposed);
        multiply(transposed, m, n, gx, k, gb);
        multiply(a, m, n, x, k, side);
        subtract(b, side, m * k, side);
        multiply(inverse, n, m, gb, k, second);
        adjoint(second, n, k, row);
        multiply(side, m, k, row, n, ga);

        adjoint(x, n, k, row);
        multiply(gb, m, k, row, n, remains);
        subtract(ga, remains, m * n, ga);

        multiply(a, m, n, gx, k, side);
        multiply(inverse, n, m, side, k, second);
        subtract(gx, second, n * k, second);
        adjoint(second, n, k, row);
        multiply(transposed, m, n, x, k, side);
        multiply(side, m, k, row, n, remains);
        for (std::int64_t i = 0; i < m * n; ++i)
            ga[i] += remains[i];
    }

  private:
    std::int64_t size() const { return longer * std::max(shorter, k); }

    // GA = X^H (K - K^H - K (X A)) + (G - A K) (X X^H) with G = GX^H, K = X G; A is p×q, p >= q.
    void of_tall_inverse(const T *a, const T *x, const T *x_adjoint, const T *g, T *ga) {
        const std::int64_t p = longer, q = shorter;
        multiply(x, q, p, g, q, inner);
        multiply(x, q, p, a, q, along);
        multiply(inner, q, q, along, q, mixed);
        for (std::int64_t i = 0; i < q; ++i)
            for (std::int64_t j = 0; j < q; ++j)
                along[i * q + j] =
                    inner[i * q + j] - conjugate(inner[j * q + i]) - mixed[i * q + j];
        multiply(x_adjoint, p, q, along, q, ga);

        multiply(x, q, p, x_adjoint, q, gram);
        multiply(a, p, q, inner, q, product);
        subtract(g, product, p * q, remains);
        multiply(remains, p, q, gram, q, product);
        for (std::int64_t i = 0; i < p * q; ++i)
            ga[i] += product[i];
    }

    // out = X Y, rows×terms by terms×cols
    void multiply(const T *x, std::int64_t rows, std::int64_t terms, const T *y, std::int64_t cols,
                  T *out) const {
        kernels.multiply(x, static_cast<int>(rows), terms, y, cols, cols, out, nullptr);
    }

    static void subtract(const T *x, const T *y, std::int64_t count, T *out) {
        for (std::int64_t i = 0; i < count; ++i)
            out[i] = x[i] - y[i];
    }

    static void adjoint(const T *from, std::int64_t rows, std::int64_t cols, T *to) {
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < cols; ++j)
                to[j * rows + i] = conjugate(from[i * cols + j]);
    }
};

template <class T> void find(const GradientCall &call, const LaneTable &lanes) {
    Gradients<T> gradients(call, lanes);
    const std::int64_t area = call.m * call.n, sides = call.m * call.k, found = call.n * call.k;
    const auto at = [](const char *array, std::int64_t index) {
        return reinterpret_cast<const T *>(array) + index;
    };
    const auto into = [](char *array, std::int64_t index) {
        return reinterpret_cast<T *>(array) + index;
    };
    for (std::int64_t i = 0; i < call.count; ++i)
        if (call.k == 0)
            gradients.of_inverse(at(call.a, i * area), at(call.inverse, i * area),
                                 at(call.gx, i * area), into(call.ga, i * area));
        else
            gradients.of_solution(at(call.a, i * area), at(call.inverse, i * area),
                                  at(call.b, i * sides), at(call.x, i * found),
                                  at(call.gx, i * found), into(call.ga, i * area),
                                  into(call.gb, i * sides));
}

} // namespace

bool find_gradients(const GradientCall &call, const LaneTable &lanes) noexcept {
    const FloatingPoint usual;
    constexpr void (*finders[])(const GradientCall &, const LaneTable &) = {
        find<float>, find<double>, find<std::complex<float>>, find<std::complex<double>>};
    try {
        finders[call.dtype](call, lanes);
        return true;
    } catch (const std::bad_alloc &) {
        return false;
    }
}

} // namespace batchpinv
