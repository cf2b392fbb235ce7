// The kernels of one instruction set, and groups of matrices to try them on.
#pragma once

#include "check.hpp"
#include "reference.hpp"

#include "../../src/batchpinv/drivers/lapack.hpp"
#include "../../src/batchpinv/drivers/rule.hpp"
#include "../../src/batchpinv/lanes/table.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <new>

namespace units {

using batchpinv::dtype_index;
using batchpinv::LaneGroup;
using batchpinv::LaneKernel;
using batchpinv::LaneKernels;
using batchpinv::LaneWeights;
using batchpinv::Method;
using batchpinv::MOST_LANES;
using batchpinv::Real;
using batchpinv::Rounding;

inline const batchpinv::LaneTable *lane_table = nullptr; // of the instruction set under test

struct Kernel {
    const char *name;
    LaneKernel LaneKernels::*member;
    Method method;
};

constexpr Kernel direct{"direct", &LaneKernels::direct, Method::qr_lanes},
    pivoted{"pivoted", &LaneKernels::rank_revealing, Method::pivoted_lanes},
    jacobi{"jacobi", &LaneKernels::jacobi, Method::jacobi_lanes},
    exact{"exact", &LaneKernels::exact, Method::exact_lanes};
constexpr Kernel all_kernels[] = {direct, pivoted, jacobi, exact};
// In narrow registers, and what they are compared with.
constexpr Kernel narrow_kernels[][2] = {
    {{"direct_few", &LaneKernels::direct_few, Method::qr_lanes}, direct},
    {{"rank_revealing_few", &LaneKernels::rank_revealing_few, Method::pivoted_lanes}, pivoted},
    {{"jacobi_few", &LaneKernels::jacobi_few, Method::jacobi_lanes}, jacobi}};

template <class T>
constexpr const char *dtype_name = dtype_index<T> == 0   ? "float32"
                                   : dtype_index<T> == 1 ? "float64"
                                   : dtype_index<T> == 2 ? "complex64"
                                                         : "complex128";

template <class T> constexpr double eps_of = std::numeric_limits<Real<T>>::epsilon();

inline bool has(unsigned lanes, int lane) { return lanes >> lane & 1; }

inline unsigned all_of(int lanes) { return (1u << lanes) - 1; }

struct Size {
    std::int64_t m, n;
};

// Describes the case, for Within.
template <class T> auto naming(const Kernel &kernel, Size size) {
    return [=] {
        return text(lane_table->instruction_set, " ", dtype_name<T>, " ", kernel.name, " ", size.m,
                    "x", size.n);
    };
}

// How a matrix lies in memory.
enum class Layout { by_rows, by_columns, with_gaps };

// Matrices of one shape, m >= n, in lanes, with canaries around every answer. The workspace starts
// as NaN.
template <class T> class Group {
    static constexpr std::size_t margin = 64; // bytes
    static constexpr unsigned char canary = 0xA5;

    const LaneKernels &kernels = *lane_table->of[dtype_index<T>];
    const Layout layout;
    std::vector<unsigned char> given[MOST_LANES], sides[MOST_LANES], answers[MOST_LANES];
    struct Free {
        void operator()(unsigned char *p) const { ::operator delete(p, std::align_val_t(64)); }
    };
    std::unique_ptr<unsigned char, Free> workspace;
    std::int64_t workspace_bytes;

    struct Strides {
        std::ptrdiff_t row, col;
        std::size_t bytes;
    };
    Strides strides(std::int64_t rows, std::int64_t cols) const {
        const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
        switch (layout) {
        case Layout::by_rows:
            return {cols * size, size, static_cast<std::size_t>(rows * cols * size)};
        case Layout::by_columns:
            return {size, rows * size, static_cast<std::size_t>(rows * cols * size)};
        default:
            return {2 * size, (2 * rows + 3) * size,
                    static_cast<std::size_t>((2 * rows + 3) * cols * size)};
        }
    }

    static void put(const Dense<T> &a, const Strides &at, std::vector<unsigned char> &memory) {
        memory.assign(at.bytes, canary);
        for (std::int64_t j = 0; j < a.n; ++j)
            for (std::int64_t i = 0; i < a.m; ++i)
                std::memcpy(memory.data() + i * at.row + j * at.col, &a(i, j), sizeof(T));
    }

  public:
    const std::int64_t m, n, k;
    const bool transposed;
    LaneGroup group{};
    double evidence[MOST_LANES][5] = {};

    Group(std::int64_t m, std::int64_t n, std::int64_t k = 0, bool transposed = false,
          Layout layout = Layout::by_columns)
        : layout(layout), workspace_bytes(kernels.workspace_bytes(m, n)), m(m), n(n), k(k),
          transposed(transposed) {
        workspace.reset(static_cast<unsigned char *>(
            ::operator new(static_cast<std::size_t>(workspace_bytes), std::align_val_t(64))));
        group.m = m;
        group.n = n;
        group.k = k;
        group.transposed = transposed;
        const Strides a = strides(m, n), b = strides(side_rows(), k),
                      out = strides(answer_rows(), answer_cols());
        group.a_row = a.row;
        group.a_col = a.col;
        group.b_row = b.row;
        group.b_col = b.col;
        group.out_row = out.row;
        group.out_col = out.col;
        group.separates = group.corrects = true;
        group.workspace = workspace.get();
        for (int lane = 0; lane < lanes(); ++lane) {
            group.rank[lane] = -1;
            group.kept[lane] = -1;
        }
    }

    int lanes() const { return kernels.count; }
    int lanes(const Kernel &kernel) const {
        for (const auto &pair : narrow_kernels)
            if (kernel.member == pair[0].member)
                return kernels.few;
        return lanes();
    }
    std::int64_t side_rows() const { return transposed ? n : m; }
    std::int64_t answer_rows() const { return k && transposed ? m : n; }
    std::int64_t answer_cols() const { return k ? k : m; }

    void set(int lane, const Dense<T> &a, double atol, double rtol) {
        put(a, strides(m, n), given[lane]);
        group.a[lane] = reinterpret_cast<const char *>(given[lane].data());
        group.atol[lane] = atol;
        group.rtol[lane] = rtol;
    }

    void set_sides(int lane, const Dense<T> &b) {
        put(b, strides(side_rows(), k), sides[lane]);
        group.b[lane] = reinterpret_cast<const char *>(sides[lane].data());
    }

    void set_rounding(Rounding<double> rounding) {
        group.absolute = rounding.absolute;
        group.relative = rounding.relative;
    }

    void reports() { group.evidence = evidence; }

    // Runs the first `filled` lanes and returns the bits of those that were answered. Checks that
    // nothing else was written.
    unsigned run(const Kernel &kernel, int filled) {
        group.held = false;
        group.filled = filled;
        const std::size_t bytes = strides(answer_rows(), answer_cols()).bytes;
        for (int lane = 0; lane < lanes(); ++lane) {
            answers[lane].assign(bytes + 2 * margin, canary);
            group.out[lane] = reinterpret_cast<char *>(answers[lane].data() + margin);
        }
        std::memset(workspace.get(), 0xFF, static_cast<std::size_t>(workspace_bytes));
        const unsigned answered = (kernels.*kernel.member)(group);
        check((answered >> filled) == 0u);
        check_untouched(answered);
        return answered;
    }

    // Runs again, with the factors of the last run.
    unsigned run_again(const Kernel &kernel) {
        group.held = true;
        return (kernels.*kernel.member)(group);
    }

    Dense<T> answer(int lane) const {
        Dense<T> x(answer_rows(), answer_cols());
        for (std::int64_t j = 0; j < x.n; ++j)
            for (std::int64_t i = 0; i < x.m; ++i)
                std::memcpy(&x(i, j), group.out[lane] + i * group.out_row + j * group.out_col,
                            sizeof(T));
        return x;
    }

  private:
    // Checks that only the answers of the lanes in `answered` were written.
    void check_untouched(unsigned answered) const {
        const auto is_untouched = [](const unsigned char *from, std::size_t count) {
            return std::count(from, from + count, canary) == static_cast<std::ptrdiff_t>(count);
        };
        for (int lane = 0; lane < lanes(); ++lane) {
            const unsigned char *const memory = answers[lane].data();
            const std::size_t bytes = answers[lane].size() - 2 * margin;
            check(is_untouched(memory, margin));
            check(is_untouched(memory + margin + bytes, margin));
            if (!has(answered, lane))
                check(is_untouched(memory + margin, bytes));
            else if (layout == Layout::with_gaps)
                for (std::int64_t j = 0; j < answer_cols(); ++j)
                    for (std::int64_t i = 0; i < answer_rows(); ++i)
                        check(is_untouched(memory + margin + i * group.out_row + j * group.out_col +
                                               sizeof(T),
                                           sizeof(T)));
        }
    }
};

template <class T>
Rounding<double> table_rounding(const Kernel &kernel, std::int64_t m, std::int64_t n) {
    return batchpinv::rounding_of<Real<T>>(kernel.method, m, n);
}

template <class T> bool same_bits(const Dense<T> &a, const Dense<T> &b) {
    return a.entries.size() == b.entries.size() &&
           !std::memcmp(a.entries.data(), b.entries.data(), a.entries.size() * sizeof(T));
}

// Calls the function for each dtype.
#define FOR_EACH_DTYPE(function)                                                                   \
    function<float>();                                                                             \
    function<double>();                                                                            \
    function<std::complex<float>>();                                                               \
    function<std::complex<double>>()

// Runs the tests of the instruction set that the command line names. Returns 77, a skipped test to
// Meson, if the processor or the build does not have it.
inline int run_lane_tests(int count, char **arguments) {
    lane_table = batchpinv::find_lane_table(count > 1 ? arguments[1] : "");
    if (!lane_table) {
        std::printf("no kernels for %s on this processor or in this build\n", arguments[1]);
        return 77;
    }
    return run_tests(count > 2 ? arguments[2] : "");
}

} // namespace units
