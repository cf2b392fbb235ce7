// A sketch of a long matrix: a few combinations of its rows. Its triangular factor makes the matrix
// well conditioned, however ill conditioned it is (Clarkson & Woodruff, J. ACM 63, 2017; as a
// preconditioner: Rokhlin & Tygert, PNAS 105, 2008).
//
// The rows are taken in blocks of as many as there are combinations. Four times, each block is
// rotated by a random number of places, its rows get random signs, and half of it is added to the
// sketch, so that the lengths of vectors are roughly kept. An unlucky choice costs time, not
// digits: what is made of the sketch is checked.
#pragma once

#include "matrix.hpp"
#include "random_bits.hpp"

namespace batchpinv {

template <class C> class Sketch {
    // Combinations: `factor` for each column, and `more`, since small sketches are unlucky more
    // often. They leave the matrix a condition number of 4 to 6. Four for each column would leave
    // 3, but take twice the time to factorise; 1.5 would leave up to 20. A matrix with fewer than
    // 1.5 times as many rows as combinations is its own sketch.
    static constexpr std::int64_t factor = 2, more = 16;
    static constexpr int times = 4;

    const std::int64_t longer, shorter;

  public:
    const std::int64_t size; // how many combinations

    Sketch(std::int64_t longer, std::int64_t shorter)
        : longer(longer), shorter(shorter),
          size(2 * longer < 3 * most_combinations(shorter) ? longer : most_combinations(shorter)) {}

    bool is_whole() const { return size == longer; }
    // Rows of the sum that add() forms; 0 if the sketch is the matrix itself.
    std::int64_t sum_size() const { return is_whole() ? 0 : size; }

    // If the sketch is whole: copies rows start to start + count of the matrix; `rows` is
    // count×shorter.
    void copy(const C *rows, std::int64_t start, std::int64_t count, C *sketch) const {
        for (std::int64_t j = 0; j < shorter; ++j)
            std::copy_n(rows + j * count, count, sketch + start + j * size);
    }

    // Adds such rows to the sums, size×shorter.
    void add(const C *rows, std::int64_t start, std::int64_t count, C *sums) const {
        for (std::int64_t at = 0; at < count;) {
            const std::int64_t block = (start + at) / size, within = (start + at) % size;
            const std::int64_t some = std::min({count - at, size - within, most});
            for (int time = 0; time < times; ++time) {
                const std::uint64_t turn = random_bits(4 * block + time) >> 32;
                const auto places = static_cast<std::int64_t>(turn * size >> 32);
                add_signed(rows + at, count, some, start + at, time, (within + places) % size,
                           sums);
            }
            at += some;
        }
    }

  private:
    static constexpr std::int64_t most = 256;

    static std::int64_t most_combinations(std::int64_t shorter) { return factor * shorter + more; }

    // Adds `some` rows to the combinations from `first` on, and from 0 again after the last.
    void add_signed(const C *rows, std::int64_t count, std::int64_t some, std::int64_t row,
                    int time, std::int64_t first, C *sums) const {
        Real<C> signs[most];
        for (std::int64_t i = 0; i < some; ++i)
            signs[i] =
                random_bits((row + i) * times + time + (std::uint64_t(1) << 62)) >> 63 ? -0.5 : 0.5;
        const std::int64_t before = std::min(some, size - first);
        for (std::int64_t j = 0; j < shorter; ++j) {
            const C *const from = rows + j * count;
            C *const to = sums + j * size;
            for (std::int64_t i = 0; i < before; ++i)
                to[first + i] += signs[i] * from[i];
            for (std::int64_t i = before; i < some; ++i)
                to[i - before] += signs[i] * from[i];
        }
    }
};

} // namespace batchpinv
