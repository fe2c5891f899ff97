// One tiny kernel for each function of primitives.cuh, written with nothing else: what goes in and what comes out are
// plain arrays. What must come out is computed on the host, in golden_tests.h.
//
// Every kernel runs with two warps, each with data of its own: an operation of a warp must not meet the other's.
#pragma once

#include "primitives.cuh"

namespace ccdeploy::gpu_check {

constexpr int kThreads = 64;
constexpr uint32_t kStale = 0xbad0bad0u; // in shared memory and in the output until something is written there

struct Buffers {
    void const* input;
    void* output;
    int count; // of what a kernel that loops takes one by one

    template <class T>
    __device__ __forceinline__ T const* in() const
    {
        return static_cast<T const*>(input);
    }

    template <class T>
    __device__ __forceinline__ T* out() const
    {
        return static_cast<T*>(output);
    }
};

__device__ __forceinline__ SharedAddress shared_word(int index)
{
    return shared_memory() + static_cast<SharedAddress>(index) * 4;
}

__device__ __forceinline__ SharedAddress shared_row(int index)
{
    return shared_memory() + static_cast<SharedAddress>(index) * 16;
}

struct Indices {
    static constexpr int kBlocks = 3;

    static __device__ void run(Buffers const& buffers)
    {
        int64_t const block = block_index();
        buffers.out<uint32_t>()[block * kThreads + thread_index()] =
            static_cast<uint32_t>(block * 1000 + thread_index());
    }
};

struct SharedMemoryStart {
    static __device__ void run(Buffers const& buffers)
    {
        buffers.out<uint32_t>()[thread_index()] = shared_memory() % 16;
    }
};

// Each thread reads what its partner in the other warp has written, many times over.
struct Barrier {
    static constexpr int kRounds = 32;

    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        for (uint32_t round = 0; round < kRounds; ++round) {
            store_shared(shared_word(thread), buffers.in<uint32_t>()[thread] + round);
            synchronize_block();
            buffers.out<uint32_t>()[round * kThreads + thread] = load_shared_word(shared_word(thread ^ 32));
            synchronize_block();
        }
    }
};

// T: uint32_t or float.
template <class T>
struct Exchange {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        for (int bit = 0; bit < 5; ++bit)
            buffers.out<T>()[bit * kThreads + thread] = exchange_with(buffers.in<T>()[thread], 1 << bit);
    }
};

// Each warp has a word of 32 conditions; `count` such pairs.
struct AnyLane {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        for (int i = 0; i < buffers.count; ++i) {
            uint32_t const conditions = buffers.in<uint32_t>()[i * 2 + thread / 32];
            bool const any = any_lane((conditions >> thread % 32 & 1) != 0);
            buffers.out<uint32_t>()[i * kThreads + thread] = any ? 1 : 0;
        }
    }
};

struct Exp2 {
    static __device__ void run(Buffers const& buffers)
    {
        for (int i = thread_index(); i < buffers.count; i += kThreads)
            buffers.out<float>()[i] = exp2_fast(buffers.in<float>()[i]);
    }
};

struct Trap {
    static __device__ void run(Buffers const&)
    {
        if (thread_index() == 40)
            trap();
    }
};

// ---- memory -------------------------------------------------------------------------------------------------------

struct Load16Bytes {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        Bytes16 const value = load_16_bytes(buffers.in<uint32_t>() + thread * 4);
        for (int i = 0; i < 4; ++i)
            buffers.out<uint32_t>()[i * kThreads + thread] = value.word[i];
    }
};

struct Store16Bytes {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        Bytes16 value;
        for (int i = 0; i < 4; ++i)
            value.word[i] = buffers.in<uint32_t>()[i * kThreads + thread];
        store_16_bytes(buffers.out<uint32_t>() + thread * 4, value);
    }
};

struct LoadFloat4 {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        Float4 const value = load_float4(buffers.in<float>() + thread * 4);
        for (int i = 0; i < 4; ++i)
            buffers.out<float>()[i * kThreads + thread] = value.x[i];
    }
};

struct StoreFloat4 {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        Float4 value;
        for (int i = 0; i < 4; ++i)
            value.x[i] = buffers.in<float>()[i * kThreads + thread];
        store_float4(buffers.out<float>() + thread * 4, value);
    }
};

__device__ __forceinline__ void load_shared(uint32_t& value, SharedAddress source)
{
    value = load_shared_word(source);
}

__device__ __forceinline__ void load_shared(float& value, SharedAddress source)
{
    value = load_shared_float(source);
}

// T: uint32_t or float. Stored in order, read by another thread.
template <class T>
struct SharedValues {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        store_shared(shared_word(thread), buffers.in<T>()[thread]);
        synchronize_block();
        T value;
        load_shared(value, shared_word((thread * 7 + 3) % kThreads));
        buffers.out<T>()[thread] = value;
    }
};

struct SharedFloat4 {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        for (int i = 0; i < 4; ++i)
            store_shared(shared_word(i * kThreads + thread), buffers.in<float>()[i * kThreads + thread]);
        synchronize_block();
        Float4 const value = load_shared_float4(shared_row((thread * 5 + 1) % kThreads));
        for (int i = 0; i < 4; ++i)
            buffers.out<float>()[thread * 4 + i] = value.x[i];
    }
};

struct Shared16Bytes {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        for (int i = 0; i < 4; ++i)
            store_shared(shared_word(i * kThreads + thread), buffers.in<uint32_t>()[i * kThreads + thread]);
        synchronize_block();
        Bytes16 const value = load_shared_16_bytes(shared_row((thread * 5 + 1) % kThreads));
        for (int i = 0; i < 4; ++i)
            buffers.out<uint32_t>()[thread * 4 + i] = value.word[i];
    }
};

// ---- copies -------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void make_stale(int rows)
{
    for (int i = thread_index(); i < rows * 4; i += kThreads)
        store_shared(shared_word(i), kStale);
    synchronize_block();
}

__device__ __forceinline__ void read_row(uint32_t* target, SharedAddress row)
{
    for (int i = 0; i < 4; ++i)
        target[i] = load_shared_word(row + static_cast<SharedAddress>(i) * 4);
}

// Every third copy is not valid: zeros must arrive, though its source holds something else.
struct Copies {
    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        make_stale(kThreads);
        copy_16_bytes_async(shared_row(thread), buffers.in<uint32_t>() + thread * 4, thread % 3 != 0);
        commit_copies();
        wait_for_copies<0>();
        synchronize_block();
        int const other = thread ^ 33;
        read_row(buffers.out<uint32_t>() + other * 4, shared_row(other));
    }
};

// Four groups, the second of them empty. A wait that counted wrongly would find rows that are stale: what is read
// right behind the wait has been asked for only a few instructions before.
struct CopyGroups {
    static constexpr int kRows = 3;

    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        make_stale(kRows * kThreads);
        uint32_t const* const source = buffers.in<uint32_t>() + thread * 4;
        uint32_t* const target = buffers.out<uint32_t>() + thread * 4;
        copy_16_bytes_async(shared_row(thread), source, true);
        commit_copies();
        commit_copies();
        copy_16_bytes_async(shared_row(kThreads + thread), source + kThreads * 4, true);
        commit_copies();
        copy_16_bytes_async(shared_row(2 * kThreads + thread), source + 2 * kThreads * 4, true);
        commit_copies();
        wait_for_copies<2>(); // the first group, and the empty one
        read_row(target, shared_row(thread));
        wait_for_copies<1>();
        read_row(target + kThreads * 4, shared_row(kThreads + thread));
        wait_for_copies<0>();
        read_row(target + 2 * kThreads * 4, shared_row(2 * kThreads + thread));
    }
};

// ---- matrices -----------------------------------------------------------------------------------------------------

// A lane brings the row whose address it passes. Rows lie 48 bytes apart and in no order.
template <bool kTransposed>
struct Matrices {
    static constexpr int kStride = 48;
    static constexpr int kBytes = kThreads * kStride;

    static __device__ void run(Buffers const& buffers)
    {
        int const thread = thread_index();
        SharedAddress const row = shared_memory() + static_cast<SharedAddress>((thread * 11 + 5) % kThreads * kStride);
        for (int i = 0; i < 4; ++i)
            store_shared(row + static_cast<SharedAddress>(i) * 4, buffers.in<uint32_t>()[thread * 4 + i]);
        synchronize_block();
        uint32_t matrix[4];
        if (kTransposed)
            load_matrices_transposed(matrix, row);
        else
            load_matrices(matrix, row);
        for (int i = 0; i < 4; ++i)
            buffers.out<uint32_t>()[thread * 4 + i] = matrix[i];
    }
};

// What a thread passes to multiply_add.
struct Fragments {
    uint32_t a[4];
    uint32_t b[2];
    float c[4];
};

// `count` products, each added twice: the second time c comes from the registers that the first one has written.
template <class T>
struct MultiplyAdd {
    static __device__ void run(Buffers const& buffers)
    {
        for (int product = 0; product < buffers.count; ++product) {
            int const index = product * kThreads + thread_index();
            Fragments operands = buffers.in<Fragments>()[index];
            multiply_add(operands.c, operands.a, operands.b[0], operands.b[1], T{});
            multiply_add(operands.c, operands.a, operands.b[0], operands.b[1], T{});
            for (int i = 0; i < 4; ++i)
                buffers.out<float>()[index * 4 + i] = operands.c[i];
        }
    }
};

// ---- pairs --------------------------------------------------------------------------------------------------------

template <class T>
struct Pack {
    static __device__ void run(Buffers const& buffers)
    {
        for (int i = thread_index(); i < buffers.count; i += kThreads)
            buffers.out<uint32_t>()[i] = pack(buffers.in<float>()[i * 2], buffers.in<float>()[i * 2 + 1], T{});
    }
};

template <class T>
struct Unpack {
    static __device__ void run(Buffers const& buffers)
    {
        for (int i = thread_index(); i < buffers.count; i += kThreads)
            unpack(buffers.out<float>()[i * 2], buffers.out<float>()[i * 2 + 1], buffers.in<uint32_t>()[i], T{});
    }
};

template <class Check>
__global__ void __launch_bounds__(kThreads) golden_kernel(Buffers const buffers)
{
    Check::run(buffers);
}

} // namespace ccdeploy::gpu_check
