// A sketch of a long matrix: a few combinations of its rows. Its triangular factor makes the matrix
// well conditioned, however ill conditioned it is (Clarkson & Woodruff, J. ACM 63, 2017; as a
// preconditioner: Rokhlin & Tygert, PNAS 105, 2008).
//
// The rows are taken in blocks of as many as there are combinations. Four times, each block is
// rotated by a random number of places, its rows get random signs, and half of it is added to the
// sketch, so that the lengths of vectors are roughly kept. An unlucky choice costs time, not
// digits: what is made of the sketch is checked.
#pragma once

#include "random_bits.hpp"
#include "rung.hpp"

namespace batchpinv {

template <class C> class Sketch {
    // Combinations: `factor` for each column, and `more`, since small sketches are unlucky more
    // often. They leave the matrix a condition number of 4 to 6. Four for each column would leave
    // 3, but take twice the time to factorise; 1.5 would leave up to 20. A matrix with fewer than
    // 1.5 times as many rows as combinations is its own sketch.
    static constexpr std::int64_t factor = 2, more = 16;
    static constexpr int times = 4;
    // Rows and columns that are added at once, so that they and their sums stay in the first-level
    // cache.
    static constexpr std::int64_t most_rows = 256, most_columns = 8;
    static constexpr std::int64_t parts = is_complex<C> ? 2 : 1, padding = SKETCH_PADDING / parts;

    const LaneTable *const lanes;
    const std::int64_t longer, shorter;

  public:
    const std::int64_t size; // how many combinations

    Sketch(const LaneTable *lanes, std::int64_t longer, std::int64_t shorter)
        : lanes(lanes), longer(longer), shorter(shorter),
          size(2 * longer < 3 * most_combinations(shorter) ? longer : most_combinations(shorter)) {}

    bool is_whole() const { return size == longer; }
    // Rows of the sums that add() forms.
    std::int64_t sum_rows() const { return is_whole() ? size : size + padding; }
    // The same; 0 if the sketch is the matrix itself.
    std::int64_t sum_size() const { return is_whole() ? 0 : sum_rows(); }

    // If the sketch is whole: copies rows start to start + count of the matrix; `rows` is
    // count×shorter.
    void copy(const C *rows, std::int64_t start, std::int64_t count, C *sketch) const {
        for (std::int64_t j = 0; j < shorter; ++j)
            std::copy_n(rows + j * count, count, sketch + start + j * size);
    }

    // Adds such rows to the sums, sum_rows()×shorter.
    void add(const C *rows, std::int64_t start, std::int64_t count, C *sums) const {
        double signs[times][parts * most_rows];
        for (std::int64_t at = 0; at < count;) {
            const std::int64_t block = (start + at) / size, within = (start + at) % size;
            const std::int64_t some = std::min({count - at, size - within, most_rows});
            choose_signs(start + at, some, signs);
            for (std::int64_t j = 0; j < shorter; j += most_columns)
                for (int time = 0; time < times; ++time) {
                    const std::uint64_t turn = random_bits(4 * block + time) >> 32;
                    const auto places = static_cast<std::int64_t>(turn * size >> 32);
                    add_signed(rows + at + j * count, count, std::min(most_columns, shorter - j),
                               some, signs[time], sums + j * sum_rows(), (within + places) % size);
                }
            at += some;
        }
    }

    // Makes the sketch, size×shorter, of the sums, in their place.
    void finish(C *sums) const {
        for (std::int64_t j = 0; !is_whole() && j < shorter; ++j) {
            C *const column = sums + j * sum_rows();
            for (std::int64_t i = 0; i < padding; ++i)
                column[i] += column[size + i];
            std::copy_n(column, size, sums + j * size);
        }
    }

  private:
    // Of whole vectors, so that add_signed_rows seldom adds less than one at a time.
    static std::int64_t most_combinations(std::int64_t shorter) {
        return (factor * shorter + more + 7) / 8 * 8;
    }

    // A number for each part of a row, and each time.
    static void choose_signs(std::int64_t row, std::int64_t count,
                             double (&signs)[times][parts * most_rows]) {
        for (std::int64_t i = 0; i < count; ++i) {
            const std::uint64_t bits = random_bits(row + i + (std::uint64_t(1) << 62));
            for (int time = 0; time < times; ++time)
                for (std::int64_t part = 0; part < parts; ++part) // a branch would be mispredicted
                    signs[time][parts * i + part] =
                        0.5 - static_cast<double>(static_cast<int>(bits >> (63 - time) & 1));
        }
    }

    // Adds rows to the combinations from `first` on, and from 0 again after the last.
    void add_signed(const C *rows, std::int64_t column, std::int64_t columns, std::int64_t count,
                    const double *signs, C *sums, std::int64_t first) const {
        if (lanes)
            return lanes->add_signed_rows(reinterpret_cast<const double *>(rows), parts * column,
                                          static_cast<int>(columns), parts * count, signs,
                                          reinterpret_cast<double *>(sums), parts * size,
                                          parts * first);
        for (std::int64_t j = 0; j < columns; ++j)
            for (std::int64_t i = 0; i < count; ++i)
                sums[(first + i) % size + j * sum_rows()] +=
                    signs[parts * i] * rows[i + j * column];
    }
};

} // namespace batchpinv
