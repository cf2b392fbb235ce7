// One call as the drivers see it: the problem, five strided operands, and a cursor that walks the
// batch. Filled in by _batch.pyx; nothing here owns memory of the caller's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace batchpinv {

enum Operand { A, OUT, ATOL, RTOL, RANK, N_OPERANDS };
constexpr int MAX_DIMS = 64;

// Matrices are m×n with m <= n: a tall one is described as its transpose, since pinv(A^T) =
// pinv(A)^T. Byte strides throughout. `kind` and `itemsize` are NumPy's: 'f' and 8 is float64.
struct Batch {
    std::int64_t m, n;
    char kind;
    int itemsize;
    bool swapped, hermitian, lower, svd_only, nan_on_failure;
    std::ptrdiff_t a_row, a_col, out_row, out_col;

    std::int64_t count;
    int ndim;
    std::int64_t shape[MAX_DIMS];
    char *data[N_OPERANDS]; // data[RANK] is null where ranks are not wanted
    std::ptrdiff_t strides[N_OPERANDS][MAX_DIMS];

    // Describes tall matrices as their transposes.
    void lay_flat() {
        if (m > n) {
            std::swap(m, n);
            std::swap(a_row, a_col);
            std::swap(out_row, out_col);
        }
    }

    // Joins neighbouring axes that every operand walks as one, so that the cursor seldom carries.
    void coalesce() {
        int kept = 0;
        for (int axis = 0; axis < ndim; ++axis) {
            if (shape[axis] == 1)
                continue;
            bool joins = kept > 0;
            for (int op = 0; joins && op < N_OPERANDS; ++op)
                joins = strides[op][kept - 1] == strides[op][axis] * shape[axis];
            const int to = joins ? kept - 1 : kept++;
            shape[to] = joins ? shape[to] * shape[axis] : shape[axis];
            for (int op = 0; op < N_OPERANDS; ++op)
                strides[op][to] = strides[op][axis];
        }
        ndim = kept;
    }
};

class Cursor {
    const Batch &batch;
    std::int64_t at[MAX_DIMS];

  public:
    char *data[N_OPERANDS];

    Cursor(const Batch &batch, std::int64_t index) : batch(batch) {
        for (int op = 0; op < N_OPERANDS; ++op)
            data[op] = batch.data[op];
        for (int axis = batch.ndim - 1; axis >= 0; --axis) {
            at[axis] = index % batch.shape[axis];
            index /= batch.shape[axis];
            for (int op = 0; op < N_OPERANDS; ++op)
                data[op] += at[axis] * batch.strides[op][axis];
        }
    }

    void next() {
        for (int axis = batch.ndim - 1; axis >= 0; --axis) {
            for (int op = 0; op < N_OPERANDS; ++op)
                data[op] += batch.strides[op][axis];
            if (++at[axis] < batch.shape[axis])
                return;
            for (int op = 0; op < N_OPERANDS; ++op)
                data[op] -= at[axis] * batch.strides[op][axis];
            at[axis] = 0;
        }
    }
};

enum class Outcome { solved, non_finite, no_convergence };

// What went wrong, in the order it was found. Failures are rare, so one lock serves all workers.
struct Failures {
    std::mutex lock;
    std::vector<std::int64_t> non_finite, no_convergence;

    void add(std::int64_t index, Outcome outcome) {
        std::lock_guard<std::mutex> guard(lock);
        (outcome == Outcome::non_finite ? non_finite : no_convergence).push_back(index);
    }
};

// Workers pass through before they write to the caller's arrays. Once closed nobody is inside and
// nobody enters, so a call that was interrupted can return while LAPACK is still at work
// elsewhere.
class Gate {
    static constexpr std::int64_t CLOSED = INT64_MIN / 2;
    std::atomic<std::int64_t> inside{0};

  public:
    bool open() const { return inside.load() >= 0; }

    bool enter() {
        if (inside.fetch_add(1) >= 0)
            return true;
        inside.fetch_sub(1);
        return false;
    }

    void leave() { inside.fetch_sub(1); }

    // Called once, by the thread that made the call.
    void close() {
        inside.fetch_add(CLOSED);
        while (inside.load() > CLOSED)
            std::this_thread::yield();
    }
};

} // namespace batchpinv
