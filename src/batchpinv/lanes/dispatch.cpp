// Finds the table of an instruction set, if this processor can run its kernels.
#include "table.hpp"

#include <cstring>

namespace batchpinv {

#if BATCHPINV_X86_LANES
extern const LaneTable lane_table_avx512, lane_table_avx2;
#endif
extern const LaneTable lane_table_baseline;

namespace {

bool always() { return true; }

#if BATCHPINV_X86_LANES
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#endif

struct Choice {
    const LaneTable *table;
    bool (*runs_here)();
};

// Best first.
const Choice choices[] = {
#if BATCHPINV_X86_LANES
    {&lane_table_avx512, has_avx512},
    {&lane_table_avx2, has_avx2},
#endif
    {&lane_table_baseline, always},
};

} // namespace

const LaneTable *find_lane_table(const char *instruction_set) {
    for (const Choice &choice : choices) {
        const bool wanted =
            !*instruction_set || !std::strcmp(instruction_set, choice.table->instruction_set);
        if (wanted && choice.runs_here())
            return choice.table;
    }
    return nullptr;
}

} // namespace batchpinv
