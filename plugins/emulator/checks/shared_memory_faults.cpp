// Races, uninitialised memory, and addresses that are none.
#include "fault_kernel.h"

namespace ccdeploy::emulator {
namespace {

// A thread reads what its neighbour writes.
struct WriteThenRead {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(thread_index()), 1.0f);
        synchronize_block(); // from here on nothing is uninitialised
        store_shared(word(thread_index()), 2.0f);
        if (!kFaulty)
            synchronize_block();
        load_shared_float(word(thread_index() ^ 1));
    }
};

// The same between warps.
struct WriteThenReadAcrossWarps {
    template <bool kFaulty>
    static void run(Global)
    {
        if (in_first_warp())
            store_shared(word(thread_index()), 1.0f);
        synchronize_block();
        if (!in_first_warp())
            store_shared(word(thread_index() - kLanes), 2.0f);
        if (!kFaulty)
            synchronize_block();
        if (in_first_warp())
            load_shared_float(word(thread_index()));
    }
};

// A thread overwrites what its neighbour may still have to read.
struct ReadThenWrite {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(thread_index()), 1.0f);
        synchronize_block();
        load_shared_float(word(thread_index() ^ 1));
        if (!kFaulty)
            synchronize_block();
        store_shared(word(thread_index()), 2.0f);
    }
};

struct TwoWriters {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(kFaulty ? thread_index() / 2 : thread_index()), 1.0f);
    }
};

// All lanes have met in a shuffle, but that orders nothing in memory.
struct ShuffleIsNoBarrier {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(thread_index()), 1.0f);
        exchange_with(1.0f, 1);
        if (!kFaulty)
            synchronize_block();
        load_shared_float(word(thread_index() ^ 1));
    }
};

// Each lane names the row that it has written itself; but its values go to other lanes.
struct MatrixOfOwnRows {
    template <bool kFaulty>
    static void run(Global)
    {
        for (int i = 0; i < 4; ++i)
            store_shared(word(thread_index() * 4 + i), 0u);
        if (!kFaulty)
            synchronize_block();
        uint32_t matrix[4];
        load_matrices(matrix, row(thread_index()));
    }
};

// A matrix is read by the whole warp: its lanes must not write to it before a barrier.
struct WriteBehindMatrix {
    template <bool kFaulty>
    static void run(Global)
    {
        for (int i = 0; i < 4; ++i)
            store_shared(word(thread_index() * 4 + i), 0u);
        synchronize_block();
        uint32_t matrix[4];
        load_matrices_transposed(matrix, row(thread_index()));
        if (!kFaulty)
            synchronize_block();
        store_shared(word(thread_index() * 4), 1u);
    }
};

struct Uninitialised {
    template <bool kFaulty>
    static void run(Global)
    {
        if (!kFaulty)
            store_shared(word(thread_index()), 1u);
        load_shared_word(word(thread_index()));
    }
};

// Only 12 of the 16 bytes have been written.
struct PartlyUninitialised {
    template <bool kFaulty>
    static void run(Global)
    {
        for (int i = 0; i < (kFaulty ? 3 : 4); ++i)
            store_shared(word(thread_index() * 4 + i), 1.0f);
        load_shared_float4(row(thread_index()));
    }
};

// Every block writes for the next one. A block of the device may find other contents.
struct LeftByAnotherBlock {
    template <bool kFaulty>
    static void run(Global global)
    {
        float& blocks = global.values[thread_index()];
        if (!kFaulty || blocks == 0.0f)
            store_shared(word(thread_index()), 1.0f);
        blocks += load_shared_float(word(thread_index()));
    }
};

struct BehindTheEnd {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(kSharedBytes / 4 - kThreads + thread_index() + (kFaulty ? 1 : 0)), 1.0f);
    }
};

// The last matrix row lies half outside.
struct MatrixBehindTheEnd {
    template <bool kFaulty>
    static void run(Global)
    {
        constexpr int kFirst = kSharedBytes - kLanes * 16;
        for (int i = thread_index(); i < kLanes * 4; i += kThreads)
            store_shared(word(kFirst / 4 + i), 0u);
        synchronize_block();
        uint32_t matrix[4];
        load_matrices(matrix, row(thread_index() % kLanes) + kFirst + (kFaulty ? 16 : 0));
    }
};

struct BeforeTheBeginning {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(thread_index()) - (kFaulty ? 4 : 0), 1.0f);
    }
};

// An offset taken for an address.
struct OffsetForAddress {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared((kFaulty ? 0 : shared_memory()) + static_cast<SharedAddress>(thread_index()) * 4, 1u);
    }
};

struct MisalignedWord {
    template <bool kFaulty>
    static void run(Global)
    {
        store_shared(word(thread_index() * 2) + (kFaulty ? 2 : 0), 1u);
    }
};

struct MisalignedFloat4 {
    template <bool kFaulty>
    static void run(Global)
    {
        for (int i = 0; i < 8; ++i)
            store_shared(word(thread_index() * 8 + i), 1.0f);
        load_shared_float4(word(thread_index() * 8) + (kFaulty ? 8 : 0));
    }
};

struct MisalignedMatrix {
    template <bool kFaulty>
    static void run(Global)
    {
        for (int i = 0; i < 8; ++i)
            store_shared(word(thread_index() * 8 + i), 0u);
        synchronize_block();
        uint32_t matrix[4];
        load_matrices(matrix, word(thread_index() * 8) + (kFaulty ? 4 : 0));
    }
};

} // namespace

std::vector<FaultCase> shared_memory_faults()
{
    return {
        {"write_then_read", &launch_case<WriteThenRead>},
        {"write_then_read_across_warps", &launch_case<WriteThenReadAcrossWarps>},
        {"read_then_write", &launch_case<ReadThenWrite>},
        {"two_writers", &launch_case<TwoWriters>},
        {"shuffle_is_no_barrier", &launch_case<ShuffleIsNoBarrier>},
        {"matrix_of_own_rows", &launch_case<MatrixOfOwnRows>},
        {"write_behind_matrix", &launch_case<WriteBehindMatrix>},
        {"uninitialised", &launch_case<Uninitialised>},
        {"partly_uninitialised", &launch_case<PartlyUninitialised>},
        {"left_by_another_block", &launch_case<LeftByAnotherBlock>},
        {"behind_the_end", &launch_case<BehindTheEnd>},
        {"matrix_behind_the_end", &launch_case<MatrixBehindTheEnd>},
        {"before_the_beginning", &launch_case<BeforeTheBeginning>},
        {"offset_for_address", &launch_case<OffsetForAddress>},
        {"misaligned_word", &launch_case<MisalignedWord>},
        {"misaligned_float4", &launch_case<MisalignedFloat4>},
        {"misaligned_matrix", &launch_case<MisalignedMatrix>},
    };
}

} // namespace ccdeploy::emulator
