// Singular values that are known without rounding: those of diagonal matrices, up to permutations
// of rows and columns, and the zeros due to zero or equal rows and columns. For the last rungs, if
// they are not certain: an exactly singular matrix with tolerance 0, or a value equal to the
// tolerance. A diagonal is then inverted here, too, since of its smallest values, LAPACK's SVD may
// be wrong in all digits.
#pragma once

#include "matrix.hpp"
#include "memory.hpp"
#include "rule.hpp"

#include <complex>
#include <optional>

namespace batchpinv {

template <class C> class Structure {
    const std::int64_t p, q; // W is p×q, p >= q
    Buffer<std::int64_t> distinct;
    // Of a permuted diagonal: in which row each column has its entry, if it has any; and that
    // entry, or 0 if it is dropped.
    Buffer<std::int64_t> row_of;
    Buffer<C> entry;

  public:
    // Set by find_rank():
    bool is_diagonal = false; // up to permutations
    std::int64_t most = 0;    // the rank that W has at most

    Structure(std::int64_t p, std::int64_t q) : p(p), q(q), distinct(q), row_of(q), entry(q) {}

    // The rank of W, given that `kept` singular values certainly exceed the tolerance; nothing if
    // the structure does not tell.
    std::optional<std::int64_t> find_rank(const C *w, Tolerance<double> tolerance,
                                          std::int64_t kept) {
        is_diagonal = find_diagonal(w);
        most = is_diagonal ? keep_exceeding(tolerance)
                           : std::min(count_distinct(w, q, p, 1, p), count_distinct(w, p, 1, p, q));
        return is_diagonal || kept >= most ? std::optional<std::int64_t>(most) : std::nullopt;
    }

    // What SingularVectors (singular_vectors.hpp) does, for a permuted diagonal.
    void pseudo_inverse(C *x) const {
        std::fill_n(x, p * q, C(0));
        for_each_kept([&](std::int64_t i, std::int64_t j) { x[j + i * q] = divide(1, entry[j]); });
    }

    void half_inverse(C *x) const {
        std::fill_n(x, q * q, C(0));
        for_each_kept([&](std::int64_t, std::int64_t j) { x[j + j * q] = divide(1, entry[j]); });
    }

    void apply(bool adjoint, std::int64_t k, const C *b, C *x) const {
        std::fill_n(x, (adjoint ? q : p) * k, C(0));
        for_each_kept([&](std::int64_t i, std::int64_t j) {
            const C by = adjoint ? conjugate(entry[j]) : entry[j];
            const C *const from = b + (adjoint ? i : j) * k;
            std::transform(from, from + k, x + (adjoint ? j : i) * k,
                           [=](C side) { return divide(side, by); });
        });
    }

  private:
    // Each row and column has at most one entry, whose modulus is known without rounding.
    bool find_diagonal(const C *w) {
        for (std::int64_t j = 0; j < q; ++j) {
            row_of[j] = -1;
            entry[j] = 0;
            for (std::int64_t i = 0; i < p; ++i) {
                const C found = w[i + j * p];
                if (found == C(0))
                    continue;
                const bool is_exact = std::real(found) == 0 || std::imag(found) == 0;
                if (row_of[j] >= 0 || !is_exact || std::count(row_of.get(), row_of + j, i) > 0)
                    return false;
                row_of[j] = i;
                entry[j] = found;
            }
        }
        return true;
    }

    static double size(C entry) {
        return static_cast<double>(std::abs(std::real(entry)) + std::abs(std::imag(entry)));
    }

    std::int64_t keep_exceeding(Tolerance<double> tolerance) {
        double s1 = 0;
        for (std::int64_t j = 0; j < q; ++j)
            s1 = std::max(s1, size(entry[j]));
        std::int64_t count = 0;
        for (std::int64_t j = 0; j < q; ++j)
            if (Values<double>::exceeds(size(entry[j]), s1, tolerance))
                ++count;
            else
                entry[j] = 0;
        return count;
    }

    template <class Body> void for_each_kept(Body &&body) const {
        for (std::int64_t j = 0; j < q; ++j)
            if (entry[j] != C(0))
                body(row_of[j], j);
    }

    // By a number without real or without imaginary part: each part is rounded once.
    static C divide(C x, C by) {
        if constexpr (is_complex<C>)
            return by.real() != 0 ? C(x.real() / by.real(), x.imag() / by.real())
                                  : C(x.imag() / by.imag(), -x.real() / by.imag());
        else
            return x / by;
    }

    // How many of `count` vectors, `step` apart with entries `along` apart, differ from each other
    // and from 0. Stops at q.
    std::int64_t count_distinct(const C *w, std::int64_t count, std::int64_t step,
                                std::int64_t along, std::int64_t length) const {
        std::int64_t found = 0;
        for (std::int64_t v = 0; v < count && found < q; ++v) {
            const C *const vector = w + v * step;
            const auto equals = [&](const C *other) {
                for (std::int64_t i = 0; i < length; ++i)
                    if (vector[i * along] != (other ? other[i * along] : C(0)))
                        return false;
                return true;
            };
            bool is_new = !equals(nullptr);
            for (std::int64_t at = 0; at < found && is_new; ++at)
                is_new = !equals(w + distinct[at] * step);
            if (is_new)
                distinct[found++] = v;
        }
        return found;
    }
};

} // namespace batchpinv
