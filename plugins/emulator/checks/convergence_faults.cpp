// Collectives that not all lanes of the warp come to, and barriers that not all threads of the block come to.
#include "fault_kernel.h"

namespace ccdeploy::emulator {
namespace {

bool is_odd()
{
    return thread_index() % 2 == 1;
}

struct TwoCollectives {
    template <bool kFaulty>
    static void run(Global)
    {
        if (kFaulty && is_odd())
            any_lane(true);
        else
            exchange_with(1u, 1);
    }
};

// The same function, but not the same instruction.
struct TwoLines {
    template <bool kFaulty>
    static void run(Global)
    {
        float c[4] = {};
        uint32_t const a[4] = {};
        if (kFaulty && is_odd())
            multiply_add(c, a, 0, 0, Half{});
        else
            multiply_add(c, a, 0, 0, Half{});
    }
};

// The twin also shows that lanes may leave when no collective is to come.
struct ExitedLanes {
    template <bool kFaulty>
    static void run(Global)
    {
        if (!kFaulty)
            exchange_with(1.0f, 2);
        if (is_odd())
            return;
        if (kFaulty)
            exchange_with(1.0f, 2);
    }
};

struct LanesAtBarrier {
    template <bool kFaulty>
    static void run(Global)
    {
        if (!kFaulty || is_odd())
            synchronize_block();
        any_lane(false);
        if (kFaulty && !is_odd())
            synchronize_block();
    }
};

struct LanesMissingAtBarrier {
    template <bool kFaulty>
    static void run(Global)
    {
        if (!kFaulty || thread_index() != 7)
            synchronize_block();
    }
};

struct WarpMissingAtBarrier {
    template <bool kFaulty>
    static void run(Global)
    {
        if (!kFaulty || in_first_warp())
            synchronize_block();
    }
};

// One warp comes once, the other twice.
struct BarrierInLoop {
    template <bool kFaulty>
    static void run(Global)
    {
        int const times = kFaulty && in_first_warp() ? 2 : 1;
        for (int i = 0; i < times; ++i)
            synchronize_block();
    }
};

struct TwoBarriers {
    template <bool kFaulty>
    static void run(Global)
    {
        if (kFaulty && in_first_warp())
            synchronize_block();
        else
            synchronize_block();
    }
};

} // namespace

std::vector<FaultCase> convergence_faults()
{
    return {
        {"two_collectives", &launch_case<TwoCollectives>},
        {"two_lines", &launch_case<TwoLines>},
        {"exited_lanes", &launch_case<ExitedLanes>},
        {"lanes_at_barrier", &launch_case<LanesAtBarrier>},
        {"lanes_missing_at_barrier", &launch_case<LanesMissingAtBarrier>},
        {"warp_missing_at_barrier", &launch_case<WarpMissingAtBarrier>},
        {"barrier_in_loop", &launch_case<BarrierInLoop>},
        {"two_barriers", &launch_case<TwoBarriers>},
    };
}

} // namespace ccdeploy::emulator
