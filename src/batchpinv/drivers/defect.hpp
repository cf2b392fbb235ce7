// b - A x, as if computed in twice the working precision and then rounded: what an ill-conditioned
// problem must be refined with (Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26, 2005).
#pragma once

#include "columns.hpp"

namespace batchpinv {

// A sum of products of reals; that of float is exact enough in double.
template <class R> class Twice {
    double sum = 0, rest = 0;

  public:
    void add(R a, R b) {
        if constexpr (std::is_same_v<R, float>)
            sum += static_cast<double>(a) * static_cast<double>(b);
        else {
            const double product = a * b, total = sum + product, part = total - sum;
            rest += (sum - (total - part)) + (product - part) + std::fma(a, b, -product);
            sum = total;
        }
    }
    R value() const { return static_cast<R>(sum + rest); }
};

// d = b - op(W) x by rows, k columns, op(W) being W^T, or where `adjoint`, conj(W): see
// columns.hpp.
template <class C>
void find_defect(const C *w, std::int64_t p, bool adjoint, const C *b, const C *x,
                 std::int64_t rows, std::int64_t solution_rows, std::int64_t k, C *d) {
    using R = Real<C>;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < k; ++j) {
            Twice<R> re, im;
            re.add(std::real(b[i * k + j]), R(1));
            im.add(std::imag(b[i * k + j]), R(1));
            for (std::int64_t l = 0; l < solution_rows; ++l) {
                const C a = adjoint ? conjugate(w[i + l * p]) : w[l + i * p], at = x[l * k + j];
                re.add(-std::real(a), std::real(at));
                if constexpr (is_complex<C>) {
                    re.add(std::imag(a), std::imag(at));
                    im.add(-std::real(a), std::imag(at));
                    im.add(-std::imag(a), std::real(at));
                }
            }
            if constexpr (is_complex<C>)
                d[i * k + j] = {re.value(), im.value()};
            else
                d[i * k + j] = re.value();
        }
}

} // namespace batchpinv
