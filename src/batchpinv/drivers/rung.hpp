// A rung of the ladder answers some of the matrices that it is given, and leaves the others to the
// rungs below. Here are its interface, and what the rungs of a worker share.
#pragma once

#include "cursor.hpp"
#include "failures.hpp"
#include "gate.hpp"
#include "lapack.hpp"
#include "memory.hpp"
#include "rule.hpp"

#include "../lanes/table.hpp"

#include <cstring>

namespace batchpinv {

// Which rung answered, as the caller is told; `Rung` in _info.py.
enum class RungName : unsigned char {
    qr_lanes = 1,
    pivoted_lanes,
    svd_lanes,
    direct,
    pivoted,
    svd,
    exact_lanes
};

constexpr unsigned UNCERTAIN = 0x80; // in the byte of a rung

inline RungName rung_of(unsigned char byte) { return static_cast<RungName>(byte & ~UNCERTAIN); }

inline bool is_in_lanes(RungName name) {
    return name <= RungName::svd_lanes || name == RungName::exact_lanes;
}

// One matrix of the batch, and where its operands lie.
struct Matrix {
    std::int64_t index;
    char *data[Operand::COUNT];
    bool gapless;        // a rung above saw that no gap in its singular values shows its rank
    bool lower_rank;     // a rung above saw that the rank is far from full
    bool deficient_only; // answer it only if its rank is certainly not full
    bool certain;        // of its rank, once there is an answer
    bool full;           // whether its rank is found to be full, once there is an answer
    Cut cut;             // once there is an answer

    // The matrix `ahead` places after that of the cursor, with its first `operands` operands.
    void take(const Cursor &cursor, std::int64_t index, std::int64_t ahead, int operands) {
        this->index = index;
        gapless = lower_rank = deficient_only = false;
        certain = true;
        full = false;
        cut = {};
        for (int op = 0; op < operands; ++op)
            data[op] = cursor.data[op] + ahead * cursor.step[op];
    }

    // In the scale of W, which was multiplied by 2^exponent.
    Tolerance<double> tolerance(int exponent) const {
        return {std::ldexp(atol(), exponent), rtol()};
    }

    double atol() const { return read(Operand::ATOL); }
    double rtol() const { return read(Operand::RTOL); }

    void write_rank(std::int64_t rank) const {
        if (data[Operand::RANK])
            std::memcpy(data[Operand::RANK], &rank, sizeof rank);
    }

    // One byte: which rung, and whether the rank is uncertain.
    void write_rung(RungName name) const {
        *data[Operand::RUNG] =
            static_cast<char>(static_cast<unsigned>(name) | (certain ? 0 : UNCERTAIN));
    }

  private:
    double read(Operand::Index op) const {
        double value;
        std::memcpy(&value, data[op], sizeof value);
        return value;
    }
};

// What the rungs of long matrices share; see reduction.hpp.
struct Reduced : InArena {
    virtual ~Reduced() = default;
};

// What the rungs of one worker share.
struct RungContext {
    const Batch &batch;
    const RoutineTable &routines;
    const LaneTable *lanes; // null if there are none
    Gate::Pass &pass;
    Failures &failures;
    std::unique_ptr<Reduced> &reduced; // null until a rung needs it

    // What the caller should be told of an answer with that evidence. `standing`: how many singular
    // values certainly stand out, if that is known.
    Cut cut(const Evidence<double> &found, std::int64_t rank, std::int64_t standing = 0) const {
        return {batch.noise > 0 && stands_out(found, batch.noise), standing,
                std::max<std::int64_t>(standing - rank, 0)};
    }

    bool is_certain(const Evidence<double> &found, const Tolerance<double> &tolerance) const {
        return decide(blurred(found, batch.blur * found.most), tolerance);
    }

    // For the measurement of backward errors: what the first rung that knows something knows of a
    // matrix, whose W was multiplied by 2^exponent.
    void report(const Matrix &matrix, std::int64_t rank, const Evidence<double> &found,
                int exponent) const {
        double *const to = batch.evidence ? batch.evidence + 5 * matrix.index : nullptr;
        if (!to || !std::isnan(to[0]))
            return;
        to[0] = static_cast<double>(rank);
        const double numbers[] = {found.most, found.least, found.kept, found.dropped};
        for (int at = 0; at < 4; ++at)
            to[at + 1] = std::ldexp(numbers[at], -exponent);
    }
};

class Rung : public InArena {
  public:
    virtual ~Rung() = default;
    // How many matrices it takes at a time.
    virtual int width() const { return 1; }
    virtual bool calls_lapack() const { return true; }
    // Whether it may be certain of that matrix's rank, judging by the tolerance alone.
    virtual bool may_help(const Matrix &) const { return true; }
    // Writes the answers of which it is certain, and returns a bit for each matrix that it
    // answered. The last rung reports what it cannot answer, and returns all bits. Writes nothing
    // once the gate is closed.
    virtual unsigned answer(Matrix *group, int count) = 0;
};

} // namespace batchpinv
