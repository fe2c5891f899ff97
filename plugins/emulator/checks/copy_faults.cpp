// Copies that run beside the threads: waits, groups, barriers behind them, and 16-byte accesses to global memory.
#include "fault_kernel.h"

namespace ccdeploy::emulator {
namespace {

void start_copy(Global global, int to_row)
{
    copy_16_bytes_async(row(to_row), global.values + thread_index() * 4, true);
}

// Two groups are under way, the older one is wanted.
struct WaitOffByOne {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        start_copy(global, kThreads + thread_index());
        commit_copies();
        wait_for_copies<kFaulty ? 2 : 1>();
        synchronize_block();
        load_shared_float4(row(thread_index() ^ 1));
        wait_for_copies<0>();
    }
};

struct NoWait {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        if (!kFaulty)
            wait_for_copies<0>();
        synchronize_block();
        load_shared_float4(row(thread_index()));
    }
};

// A wait covers committed groups only.
struct NoCommit {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        if (!kFaulty)
            commit_copies();
        wait_for_copies<0>();
        synchronize_block();
        load_shared_float4(row(thread_index()));
    }
};

// An empty group counts as one: without it the wait below would leave the copy under way.
struct NoEmptyGroup {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        if (!kFaulty)
            commit_copies();
        wait_for_copies<1>();
        synchronize_block();
        load_shared_float4(row(thread_index()));
        wait_for_copies<0>();
    }
};

// Landed for the thread that waits, but for nobody else yet. (any_lane sees to it that all lanes have waited.)
struct LandedButNotPublished {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        wait_for_copies<0>();
        any_lane(true);
        if (!kFaulty)
            synchronize_block();
        load_shared_float4(row(thread_index() ^ 1));
    }
};

// The twin also shows that a thread may read its own copy without a barrier.
struct StoreOverCopyInFlight {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        if (!kFaulty)
            wait_for_copies<0>();
        store_shared(word(thread_index() * 4), 1.0f);
        wait_for_copies<0>();
        load_shared_float4(row(thread_index()));
    }
};

struct CopyOverCopyInFlight {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        start_copy(global, thread_index() + (kFaulty ? 0 : kThreads));
        commit_copies();
        wait_for_copies<0>();
    }
};

// A stage is filled anew while the other lanes may still read it.
struct CopyOverWhatIsRead {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        wait_for_copies<0>();
        synchronize_block();
        load_shared_float4(row(thread_index() ^ 1));
        if (!kFaulty)
            synchronize_block();
        start_copy(global, thread_index());
        commit_copies();
        wait_for_copies<0>();
    }
};

struct InFlightAtExit {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, thread_index());
        commit_copies();
        if (!kFaulty)
            wait_for_copies<0>();
    }
};

// The twin also shows that empty groups may be left.
struct UncommittedAtExit {
    template <bool kFaulty>
    static void run(Global global)
    {
        if (kFaulty)
            start_copy(global, thread_index());
        else
            commit_copies();
    }
};

struct CopyBehindTheEnd {
    template <bool kFaulty>
    static void run(Global global)
    {
        start_copy(global, kSharedBytes / 16 - kThreads + thread_index() + (kFaulty ? 1 : 0));
        commit_copies();
        wait_for_copies<0>();
    }
};

struct CopyToMisaligned {
    template <bool kFaulty>
    static void run(Global global)
    {
        copy_16_bytes_async(row(thread_index() * 2) + (kFaulty ? 8 : 0), global.values, true);
        commit_copies();
        wait_for_copies<0>();
    }
};

struct CopyFromMisaligned {
    template <bool kFaulty>
    static void run(Global global)
    {
        copy_16_bytes_async(row(thread_index()), global.values + (kFaulty ? 2 : 4), true);
        commit_copies();
        wait_for_copies<0>();
    }
};

struct LoadMisaligned {
    template <bool kFaulty>
    static void run(Global global)
    {
        load_16_bytes(global.values + (kFaulty ? 1 : 4));
    }
};

struct StoreMisaligned {
    template <bool kFaulty>
    static void run(Global global)
    {
        store_float4(global.values + thread_index() * 8 + (kFaulty ? 2 : 4), Float4{});
    }
};

} // namespace

std::vector<FaultCase> copy_faults()
{
    return {
        {"wait_off_by_one", &launch_case<WaitOffByOne>},
        {"no_wait", &launch_case<NoWait>},
        {"no_commit", &launch_case<NoCommit>},
        {"no_empty_group", &launch_case<NoEmptyGroup>},
        {"landed_but_not_published", &launch_case<LandedButNotPublished>},
        {"store_over_copy_in_flight", &launch_case<StoreOverCopyInFlight>},
        {"copy_over_copy_in_flight", &launch_case<CopyOverCopyInFlight>},
        {"copy_over_what_is_read", &launch_case<CopyOverWhatIsRead>},
        {"in_flight_at_exit", &launch_case<InFlightAtExit>},
        {"uncommitted_at_exit", &launch_case<UncommittedAtExit>},
        {"copy_behind_the_end", &launch_case<CopyBehindTheEnd>},
        {"copy_to_misaligned", &launch_case<CopyToMisaligned>},
        {"copy_from_misaligned", &launch_case<CopyFromMisaligned>},
        {"load_misaligned", &launch_case<LoadMisaligned>},
        {"store_misaligned", &launch_case<StoreMisaligned>},
    };
}

} // namespace ccdeploy::emulator
