// One call as the drivers see it: the problem, its strided operands, and a cursor that walks the
// batch. Filled in by _batch.pyx; nothing here owns memory of the caller's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace batchpinv {

// The last two are those of systems only.
enum Operand { A, OUT, ATOL, RTOL, RANK, RUNG, B, RESIDUAL, N_OPERANDS };
constexpr int MAX_DIMS = 64 + 1; // NumPy's, and one for blocks

// How many of k right-hand sides are multiplied together by a pseudo-inverse; 0 where they are too
// few for one. A block has about half of a usual L2 cache, so that workers can share a matrix.
inline std::int64_t block_width(std::int64_t m, std::int64_t n, std::int64_t k) {
    const std::int64_t longer = std::max<std::int64_t>({m, n, 1});
    if (k < std::max<std::int64_t>(128, longer))
        return 0;
    return std::min(k, std::clamp<std::int64_t>(32768 / longer, 64, 1024));
}

// Wanted are pseudo-inverses; or where B is not null, solutions x = pinv(A) b of k columns.
//
// Matrices are m×n with m <= n: a tall one is described as its transpose, since pinv(A^T) =
// pinv(A)^T, and then `transposed`. Byte strides throughout. `kind` and `itemsize` are NumPy's: 'f'
// and 8 is float64.
struct Batch {
    std::int64_t m, n, k;
    std::int64_t width, blocks; // of right-hand sides that are solved together
    char kind;
    int itemsize;
    bool swapped, hermitian, lower, svd_only, nan_on_failure, transposed;
    unsigned only;    // bits of the rungs that may answer, if not 0: for measurements
    double *evidence; // of each matrix: rank, most, least, kept, dropped; or null
    bool multiplies;  // X is formed once for each matrix, for its many right-hand sides
    std::ptrdiff_t a_row, a_col, b_row, b_col, out_row, out_col, residual_col;

    std::int64_t count;
    int ndim;
    std::int64_t shape[MAX_DIMS];
    char *data[N_OPERANDS]; // null where not given, or not wanted
    std::ptrdiff_t strides[N_OPERANDS][MAX_DIMS];

    // Whether LAPACK is asked for eigenvalues rather than singular values. Those of heevd are up to
    // three times as far off, which matters if the tolerance is as small as that of small matrices.
    bool by_eigenvalues() const { return hermitian && n > 8; }

    bool solves() const { return data[B]; }

    // `total` right-hand sides for each matrix; where there are so many that a pseudo-inverse pays,
    // in blocks along one more axis, the last of which may be shorter.
    void set_sides(std::int64_t total) {
        k = width = total;
        blocks = 1;
        const std::int64_t wanted = block_width(m, n, k);
        multiplies = wanted > 0;
        if (!multiplies)
            return;
        width = wanted;
        blocks = (k + width - 1) / width;
        const std::ptrdiff_t steps[N_OPERANDS] = {0, out_col, 0, 0, 0, 0, b_col, residual_col};
        for (int op = 0; op < N_OPERANDS; ++op)
            strides[op][ndim] = width * steps[op];
        shape[ndim++] = blocks;
        count *= blocks;
    }

    // Describes tall matrices as their transposes.
    void lay_flat() {
        transposed = m > n;
        if (!transposed)
            return;
        std::swap(m, n);
        std::swap(a_row, a_col);
        if (!solves())
            std::swap(out_row, out_col);
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

// Walks the batch in stretches along its last axis.
class Cursor {
    const Batch &batch;
    const std::int64_t prefetched;
    std::int64_t at[MAX_DIMS];

  public:
    std::int64_t left = 1; // matrices to the end of the last axis, this one included
    char *data[N_OPERANDS];
    std::ptrdiff_t step[N_OPERANDS] = {}; // from one matrix to the next along that axis

    Cursor(const Batch &batch, std::int64_t index)
        : batch(batch),
          prefetched(std::min<std::int64_t>(
              1024, batch.itemsize * (batch.solves() ? batch.k : batch.m) * batch.n)) {
        std::copy_n(batch.data, static_cast<int>(N_OPERANDS), data);
        const int last = batch.ndim - 1;
        for (int axis = last; axis >= 0; --axis) {
            at[axis] = index % batch.shape[axis];
            index /= batch.shape[axis];
            for (int op = 0; op < N_OPERANDS; ++op)
                data[op] += at[axis] * batch.strides[op][axis];
        }
        if (last >= 0) {
            left = batch.shape[last] - at[last];
            for (int op = 0; op < N_OPERANDS; ++op)
                step[op] = batch.strides[op][last];
        }
    }

    // On by `count` <= left matrices.
    void advance(std::int64_t count) {
        for (int op = 0; op < N_OPERANDS; ++op)
            data[op] += count * step[op];
        left -= count;
        if (left == 0)
            carry();
    }

    // Starts to bring in the first lines of the answer that comes `ahead` places later; what is
    // read is asked for when the matrix before it is. Without them small matrices wait for memory
    // as long as they compute. (Always inline, or GCC takes it for a function without effects.)
    __attribute__((always_inline)) void prefetch(std::int64_t ahead) const {
        const auto out = reinterpret_cast<std::uintptr_t>(data[OUT]) + ahead * step[OUT];
        for (std::int64_t offset = 0; offset < prefetched; offset += 64)
            __builtin_prefetch(reinterpret_cast<const void *>(out + offset), 1);
    }

  private:
    // Back to the start of the last axis, and on along the others.
    void carry() {
        for (int axis = batch.ndim - 1; axis >= 0; --axis) {
            at[axis] = 0;
            for (int op = 0; op < N_OPERANDS; ++op)
                data[op] -= batch.shape[axis] * batch.strides[op][axis];
            if (axis == 0)
                break;
            for (int op = 0; op < N_OPERANDS; ++op)
                data[op] += batch.strides[op][axis - 1];
            if (++at[axis - 1] < batch.shape[axis - 1])
                break;
        }
        left = batch.ndim ? batch.shape[batch.ndim - 1] : 1;
    }
};

enum class Outcome { solved, non_finite, no_convergence };

// Told of each matrix that has no answer, by any worker. Failures are rare.
class Failures {
  public:
    virtual ~Failures() = default;
    virtual void add(std::int64_t index, Outcome outcome) = 0;
};

// Remembers them, in the order they were found.
class FailureList final : public Failures {
    std::mutex lock;

  public:
    std::vector<std::int64_t> non_finite, no_convergence;

    void add(std::int64_t index, Outcome outcome) override {
        std::lock_guard<std::mutex> guard(lock);
        (outcome == Outcome::non_finite ? non_finite : no_convergence).push_back(index);
    }
};

// Workers pass through before they write to the caller's arrays. Once closed nobody is inside and
// nobody enters, so a call that was interrupted can return while LAPACK is still at work
// elsewhere. Each worker has a pass of its own, so that they do not wait for each other's cache
// line.
class Gate {
  public:
    class Pass {
        Gate &gate;
        Pass *before = nullptr, *after; // in the gate's list
        alignas(64) std::atomic<bool> inside{false};
        friend Gate;

      public:
        explicit Pass(Gate &gate) : gate(gate) {
            std::lock_guard<std::mutex> guard(gate.lock);
            after = std::exchange(gate.passes, this);
            if (after)
                after->before = this;
        }
        Pass(const Pass &) = delete;
        ~Pass() {
            std::lock_guard<std::mutex> guard(gate.lock);
            (before ? before->after : gate.passes) = after;
            if (after)
                after->before = before;
        }

        bool open() const { return gate.open(); }

        bool enter() {
            inside.store(true);
            if (open())
                return true;
            leave();
            return false;
        }

        void leave() { inside.store(false, std::memory_order_release); }
    };

    bool open() const { return !closed.load(); }

    // Called by the thread that made the call.
    void close() {
        closed.store(true);
        std::lock_guard<std::mutex> guard(lock);
        for (const Pass *pass = passes; pass; pass = pass->after)
            while (pass->inside.load())
                std::this_thread::yield();
    }

  private:
    std::atomic<bool> closed{false};
    std::mutex lock;
    Pass *passes = nullptr;
};

} // namespace batchpinv
