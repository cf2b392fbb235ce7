// Singular values that are known without rounding: those of diagonal matrices, up to permutations
// of rows and columns, and the zeros due to zero or equal rows and columns. For the last rungs, if
// they are not certain: an exactly singular matrix with tolerance 0, or a value equal to the
// tolerance.
#pragma once

#include "memory.hpp"
#include "rule.hpp"

#include <complex>
#include <optional>

namespace batchpinv {

template <class C> class Structure {
    const std::int64_t p, q; // W is p×q, p >= q
    Buffer<std::int64_t> distinct;

  public:
    Structure(std::int64_t p, std::int64_t q) : p(p), q(q), distinct(q) {}

    // The rank of W, given that `kept` singular values certainly exceed the tolerance; nothing if
    // the structure does not tell.
    std::optional<std::int64_t> find_rank(const C *w, Tolerance<double> tolerance,
                                          std::int64_t kept) const {
        if (is_permuted_diagonal(w))
            return count_exceeding(w, tolerance);
        const std::int64_t most =
            std::min(count_distinct(w, q, p, 1, p), count_distinct(w, p, 1, p, q));
        return most == kept ? std::optional<std::int64_t>(kept) : std::nullopt;
    }

  private:
    // Whether each row and column has at most one entry, whose modulus is known without rounding.
    bool is_permuted_diagonal(const C *w) const {
        std::int64_t *const row_of = distinct;
        for (std::int64_t j = 0; j < q; ++j) {
            row_of[j] = -1;
            for (std::int64_t i = 0; i < p; ++i) {
                const C entry = w[i + j * p];
                if (entry == C(0))
                    continue;
                const bool is_exact = std::real(entry) == 0 || std::imag(entry) == 0;
                if (row_of[j] >= 0 || !is_exact || std::count(row_of, row_of + j, i) > 0)
                    return false;
                row_of[j] = i;
            }
        }
        return true;
    }

    std::int64_t count_exceeding(const C *w, Tolerance<double> tolerance) const {
        const auto size = [](C entry) {
            return static_cast<double>(std::abs(std::real(entry)) + std::abs(std::imag(entry)));
        };
        double s1 = 0;
        for (std::int64_t i = 0; i < p * q; ++i)
            s1 = std::max(s1, size(w[i]));
        std::int64_t count = 0;
        for (std::int64_t i = 0; i < p * q; ++i)
            count += Values<double>::exceeds(size(w[i]), s1, tolerance);
        return count;
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
