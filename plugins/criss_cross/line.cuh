// A line of pixels, the part of it that a block works on, and how its channels come into shared memory and out of it.
#pragma once

#include "primitives.cuh"
#include "problem.h"

namespace ccdeploy {

// The block's place in the problem. Blocks of one line are neighbours: its keys and values stay in the L2 cache.
struct Place {
    int64_t first_pixel; // of the line
    int64_t pixel_step;  // from one pixel of the line to the next
    int length;          // pixels in the line
    int first_query;     // of the block, in the line
    int first_channel;   // of the block's slice
};

template <Direction kDirection, class T>
__device__ __forceinline__ Place place_of_block(Operands<T> const& operands, int queries, int channels_of_slice)
{
    bool constexpr kRow = kDirection == Direction::kRow;
    int const length = kRow ? operands.width : operands.height;
    int const lines = kRow ? operands.height : operands.width;
    int64_t block = block_index();
    int const query_blocks = (length + queries - 1) / queries;
    int const first_query = static_cast<int>(block % query_blocks) * queries;
    block /= query_blocks;
    int const slices = (operands.channels + channels_of_slice - 1) / channels_of_slice;
    int const first_channel = static_cast<int>(block % slices) * channels_of_slice;
    block /= slices;
    int64_t const line = block % lines;
    int64_t const image = block / lines;
    int64_t const first_pixel = image * operands.height * operands.width + (kRow ? line * operands.width : line);
    return {first_pixel, kRow ? 1 : operands.width, length, first_query, first_channel};
}

// Starts copies of kRows rows of kBytes bytes into shared memory, kStride bytes apart. Rows from `rows` on and bytes
// from `bytes` on are filled with zeros: what lies there may be of another line, or nothing, or not a number.
template <int kRows, int kBytes, int kStride, int kThreads>
__device__ __forceinline__ void copy_rows_async(SharedAddress target, void const* source, int64_t pitch_bytes, int rows,
                                                int bytes)
{
    constexpr int kChunks = kBytes / 16;
    constexpr int kRowsAtOnce = kThreads / kChunks;
    static_assert(kThreads % kChunks == 0 && kRows % kRowsAtOnce == 0, "every thread copies equally much");
    int const first_row = thread_index() / kChunks;
    int const offset = thread_index() % kChunks * 16;
    char const* const column = static_cast<char const*>(source) + offset;
#pragma unroll
    for (int row = 0; row < kRows; row += kRowsAtOnce) {
        bool const valid = first_row + row < rows && offset < bytes;
        copy_16_bytes_async(target + (first_row + row) * kStride + offset,
                            valid ? column + (first_row + row) * pitch_bytes : source, valid);
    }
}

// Stores kRows rows of kBytes bytes from shared memory, kStride bytes apart; not rows from `rows` on, nor bytes from
// `bytes` on.
template <int kRows, int kBytes, int kStride, int kThreads>
__device__ __forceinline__ void store_rows(void* target, SharedAddress source, int64_t pitch_bytes, int rows, int bytes)
{
    constexpr int kChunks = kBytes / 16;
    constexpr int kRowsAtOnce = kThreads / kChunks;
    static_assert(kThreads % kChunks == 0 && kRows % kRowsAtOnce == 0, "every thread stores equally much");
    int const first_row = thread_index() / kChunks;
    int const offset = thread_index() % kChunks * 16;
    char* const column = static_cast<char*>(target) + offset;
#pragma unroll
    for (int row = 0; row < kRows; row += kRowsAtOnce)
        if (first_row + row < rows && offset < bytes)
            store_16_bytes(column + (first_row + row) * pitch_bytes,
                           load_shared_16_bytes(source + (first_row + row) * kStride + offset));
}

} // namespace ccdeploy
