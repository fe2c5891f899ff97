// From channels first to channels last and back, for callers whose tensors are NCHW: [images, rows, columns] ->
// [images, columns, rows], 32 x 32 elements a block, through shared memory so that both sides are read in order.
#pragma once

#include "primitives.cuh"

namespace ccdeploy {

template <class T>
struct Matrices {
    T const* source; // [images, rows, columns]
    T* target;       // [images, columns, rows]
    int64_t images;
    int64_t rows;
    int64_t columns;
};

struct TransposeTile {
    static constexpr int kSide = 32;
    static constexpr int kThreads = 256;
    static constexpr int kStride = (kSide + 1) * 4; // an odd number of banks: a column then lies in all of them
    static constexpr int kBytes = kSide * kStride;

    static constexpr int64_t blocks(int64_t images, int64_t rows, int64_t columns)
    {
        return images * ((rows + kSide - 1) / kSide) * ((columns + kSide - 1) / kSide);
    }
};

__device__ __forceinline__ uint32_t bits_of(Half value)
{
    return value.bits;
}

__device__ __forceinline__ uint32_t bits_of(uint32_t value)
{
    return value;
}

__device__ __forceinline__ void from_bits(Half& value, uint32_t bits)
{
    value.bits = static_cast<uint16_t>(bits);
}

__device__ __forceinline__ void from_bits(uint32_t& value, uint32_t bits)
{
    value = bits;
}

// T is Half for any 16-bit type and uint32_t for float32: nothing is computed. An element takes 4 bytes of shared
// memory in either case, which has no smaller unit that two threads may write at once without a conflict.
template <class T>
__global__ void __launch_bounds__(TransposeTile::kThreads) transpose_kernel(Matrices<T> const matrices)
{
    constexpr int kSide = TransposeTile::kSide;
    int64_t block = block_index();
    int64_t const across = (matrices.columns + kSide - 1) / kSide;
    int64_t const down = (matrices.rows + kSide - 1) / kSide;
    int64_t const first_column = block % across * kSide;
    block /= across;
    int64_t const first_row = block % down * kSide;
    int64_t const image = block / down * matrices.rows * matrices.columns;
    int const x = thread_index() % kSide;
    int const y = thread_index() / kSide;
    SharedAddress const shared = shared_memory();
    for (int i = y; i < kSide; i += TransposeTile::kThreads / kSide) {
        int64_t const row = first_row + i;
        int64_t const column = first_column + x;
        if (row < matrices.rows && column < matrices.columns)
            store_shared(shared + i * TransposeTile::kStride + x * 4,
                         bits_of(matrices.source[image + row * matrices.columns + column]));
    }
    synchronize_block();
    for (int i = y; i < kSide; i += TransposeTile::kThreads / kSide) {
        int64_t const row = first_row + x;
        int64_t const column = first_column + i;
        if (row < matrices.rows && column < matrices.columns)
            from_bits(matrices.target[image + column * matrices.rows + row],
                      load_shared_word(shared + x * TransposeTile::kStride + i * 4));
    }
}

} // namespace ccdeploy
