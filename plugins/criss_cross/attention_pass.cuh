// Criss-cross attention for 16-bit types, on the tensor cores.
//
// For a pixel p with query q, and the pixels r of its criss-cross with keys k[r] and values v[r]:
//
//   y = sum_r exp(q . k[r]) v[r]  /  sum_r exp(q . k[r])  +  residual          (Huang et al., CCNet, 2019)
//
// Two passes. The column pass takes the r of p's column without p, the row pass those of p's row. Each runs along its
// line with the softmax of Milakov and Gimelshein (2018): it keeps the largest energy m seen so far, the sum
// l = sum_r exp(e[r] - m) and the accumulator a = sum_r exp(e[r] - m) v[r], and multiplies l and a by exp(m - m') when
// m grows to m'. The row pass starts where the column pass ended: m and l come from `state`, a / l from `y`. So there
// is nothing to merge, and between the passes only y and 8 bytes a pixel go through memory.
//
// A block computes 64 queries of one line for a slice of the channels (tiles.h), 32 keys at a time:
//
//                    32 keys k               slice of channels
//                   +---------+            +--------------------+
//   query channels  |   K^T   |    32 keys |         V          |      K and V of the next steps are on their way
//                   +---------+            +--------------------+      into shared memory (kStages)
//        +------+   +---------+            +----+----+----+-----+
//     64 |  Q   |   | S -> P  |         64 |    |    |    |     |
//  queries      |   | 16 rows |    queries | w0 | w1 | w2 | w3  |  a += P V
//        |      |   | a warp  |            |    |    |    |     |
//        +------+   +---------+            +----+----+----+-----+
//
// 1. Energies: each of the 4 warps computes S = Q K^T for 16 queries, and from it P = 2 ** (S log2(e) - m) and l.
// 2. P goes through shared memory, because the second product is cut the other way:
// 3. Values: each warp adds P V for all 64 queries and a quarter of the slice's channels, so that V is read once.
//
// Fragments (primitives.cuh) leave a lane with row `group` and row `group + 8` of a 16-row tile: index `half` below.
#pragma once

#include "attention_layout.h"
#include "line.cuh"
#include "primitives.cuh"
#include "problem.h"
#include "tiles.h"

namespace ccdeploy {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

// The accumulator is rescaled only when the maximum grows by more than this power of two. Probabilities then reach
// 2 ** 8, far below the largest half (65504), and the many small steps upwards cost nothing.
constexpr float kSlack = 8.0f;

template <class T, int kQueryChannels, class Tile, Direction kDirection>
class AttentionPass {
    using Shared = SharedLayout<kQueryChannels, Tile>;

    static constexpr int kQueryTiles = Tile::kQueries / 16;
    static constexpr int kKeyTiles = Tile::kKeys / 8;                    // of the energies
    static constexpr int kWarpChannels = Tile::kChannels / Tile::kWarps; // of the values
    static constexpr int kGroup = 32;                                    // channels: a quad moves 64 bytes of y
    static constexpr int kGroups = kWarpChannels / kGroup;
    static constexpr bool kRow = kDirection == Direction::kRow;

    static_assert(Tile::kQueries == 16 * Tile::kWarps, "one 16-row tile of energies a warp");
    static_assert(kWarpChannels % kGroup == 0, "a warp stores whole groups");

    Operands<T> const& operands_;
    Place const place_;
    SharedAddress const shared_ = shared_memory();
    int const warp_ = thread_index() / 32;
    int const lane_ = thread_index() % 32;
    int const group_ = lane_ / 4;
    int const member_ = lane_ % 4;
    int const warp_channel_;  // first of this warp's channels
    int const query_tiles_;   // 16-row tiles that hold a query
    bool const has_channels_; // whether this warp's part of the slice lies within the channels

    // Of the 16 queries whose energies this warp computes. `sum_` is this lane's share: the quad adds up at the end.
    float maximum_[2];
    float sum_[2];
    // [16-row tile][8 channels][row group, its 2 channels; row group + 8, its 2 channels]
    float accumulator_[kQueryTiles][kGroups * 4][4];

    // Index in the line of a query: row `half` of this lane in a 16-row tile.
    __device__ __forceinline__ int query(int tile, int half) const
    {
        return place_.first_query + tile * 16 + group_ + half * 8;
    }

    __device__ __forceinline__ int64_t pixel(int index) const
    {
        return place_.first_pixel + index * place_.pixel_step;
    }

    __device__ __forceinline__ SharedAddress factor(int tile, int half) const
    {
        return shared_ + Shared::kFactors + (tile * 16 + group_ + half * 8) * 4;
    }

    __device__ __forceinline__ SharedAddress stage(int step) const
    {
        return shared_ + Shared::kFirstStage + step % Tile::kStages * Shared::kStage;
    }

    __device__ __forceinline__ T const* line_of(int first_channel_of_qkv) const
    {
        return operands_.qkv + place_.first_pixel * qkv_channels() + first_channel_of_qkv;
    }

    __device__ __forceinline__ int64_t qkv_channels() const
    {
        return 2 * operands_.query_channels + operands_.channels;
    }

    __device__ __forceinline__ int64_t pitch() const
    {
        return place_.pixel_step * qkv_channels() * 2;
    }

    __device__ __forceinline__ void copy_queries()
    {
        int64_t const skipped = place_.first_query * place_.pixel_step * qkv_channels();
        copy_rows_async<Tile::kQueries, kQueryChannels * 2, Shared::kQueryStride, Tile::kThreads>(
            shared_ + Shared::kQueries, line_of(0) + skipped, pitch(), place_.length - place_.first_query,
            operands_.query_channels * 2);
    }

    __device__ __forceinline__ void copy_keys_and_values(int step)
    {
        int const first_key = step * Tile::kKeys;
        int64_t const skipped = first_key * place_.pixel_step * qkv_channels();
        int const rows = place_.length - first_key;
        copy_rows_async<Tile::kKeys, kQueryChannels * 2, Shared::kQueryStride, Tile::kThreads>(
            stage(step) + Shared::kKeysOfStage, line_of(operands_.query_channels) + skipped, pitch(), rows,
            operands_.query_channels * 2);
        copy_rows_async<Tile::kKeys, Tile::kChannels * 2, Shared::kValueStride, Tile::kThreads>(
            stage(step) + Shared::kValuesOfStage,
            line_of(2 * operands_.query_channels + place_.first_channel) + skipped, pitch(), rows,
            (operands_.channels - place_.first_channel) * 2);
    }

    // An empty softmax before the column pass; what the column pass left before the row pass.
    __device__ __forceinline__ void begin()
    {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            maximum_[half] = kMinusInfinity;
            sum_[half] = 0.0f;
            if (kRow && query(warp_, half) < place_.length) {
                SoftmaxState const state = operands_.state[pixel(query(warp_, half))];
                maximum_[half] = state.maximum;
                sum_[half] = member_ == 0 ? state.sum : 0.0f; // once in a quad
            }
        }
#pragma unroll
        for (int tile = 0; tile < kQueryTiles; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int const index = query(tile, half);
                bool const there = kRow && index < place_.length;
                float const sum = there ? operands_.state[pixel(index)].sum : 0.0f;
#pragma unroll
                for (int group = 0; group < kGroups; ++group) {
                    Bytes16 partial{};
                    int const channel = warp_channel_ + group * kGroup;
                    if (there && channel < operands_.channels)
                        partial =
                            load_16_bytes(operands_.y + pixel(index) * operands_.channels + channel + member_ * 8);
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        float* const two = &accumulator_[tile][group * 4 + i][half * 2];
                        unpack(two[0], two[1], partial.word[i], T{});
                        two[0] *= sum;
                        two[1] *= sum;
                    }
                }
            }
    }

    // S = Q K^T for this warp's 16 queries and the step's keys; tiles of 16 keys beyond the line are left out.
    __device__ __forceinline__ void compute_energies(float (&energy)[kKeyTiles][4], SharedAddress keys, int keys_left)
    {
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                energy[tile][i] = 0.0f;
        SharedAddress const query_row =
            shared_ + Shared::kQueries + (warp_ * 16 + lane_ % 16) * Shared::kQueryStride + lane_ / 16 * 16;
        SharedAddress const key_row = keys + (lane_ % 8 + lane_ / 16 * 8) * Shared::kQueryStride + lane_ / 8 % 2 * 16;
#pragma unroll
        for (int channel = 0; channel < kQueryChannels; channel += 16) {
            uint32_t queries[4];
            load_matrices(queries, query_row + channel * 2);
#pragma unroll
            for (int tile = 0; tile < kKeyTiles; tile += 2) {
                if (tile * 8 >= keys_left)
                    continue;
                uint32_t matrices[4]; // keys 0..7 and 8..15, each with channels 0..7 and 8..15
                load_matrices(matrices, key_row + tile * 8 * Shared::kQueryStride + channel * 2);
                multiply_add(energy[tile], queries, matrices[0], matrices[1], T{});
                multiply_add(energy[tile + 1], queries, matrices[2], matrices[3], T{});
            }
        }
    }

    // From energies to probabilities in shared memory, and the factors by which the accumulator must shrink.
    __device__ __forceinline__ void update_softmax(float (&energy)[kKeyTiles][4], int first_key)
    {
        float largest[2] = {kMinusInfinity, kMinusInfinity};
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int const half = i / 2;
                int const key = first_key + tile * 8 + member_ * 2 + i % 2;
                bool const itself = !kRow && key == query(warp_, half); // counts in its row
                if (key >= place_.length || itself)
                    energy[tile][i] = kMinusInfinity;
                largest[half] = fmaxf(largest[half], energy[tile][i]);
            }
        float reference[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            largest[half] = fmaxf(largest[half], exchange_with(largest[half], 1));
            largest[half] = fmaxf(largest[half], exchange_with(largest[half], 2)) * kLog2E;
            float shrink = 1.0f;
            if (largest[half] > maximum_[half] + kSlack) { // never for -infinity > -infinity
                shrink = exp2_fast(maximum_[half] - largest[half]);
                maximum_[half] = largest[half];
                sum_[half] *= shrink;
            }
            if (member_ == 0)
                store_shared(factor(warp_, half), shrink);
            // Before the first key that counts the maximum is -infinity, and so is every energy: their difference
            // would not be a number.
            reference[half] = maximum_[half] == kMinusInfinity ? 0.0f : maximum_[half];
        }
        int const keys_left = place_.length - first_key;
        SharedAddress const row =
            shared_ + Shared::kProbabilities + (warp_ * 16 + group_) * Shared::kProbabilityStride + member_ * 4;
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile) {
            if (tile / 2 * 16 >= keys_left) // not read either: values come in tiles of 16 keys
                continue;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float first = exp2_fast(fmaf(energy[tile][half * 2], kLog2E, -reference[half]));
                float second = exp2_fast(fmaf(energy[tile][half * 2 + 1], kLog2E, -reference[half]));
                uint32_t const rounded = pack(first, second, T{});
                store_shared(row + half * 8 * Shared::kProbabilityStride + tile * 16, rounded);
                // The sum of what the values are really weighted with: where one probability dominates, its
                // rounding then cancels in the quotient.
                unpack(first, second, rounded, T{});
                sum_[half] += first + second;
            }
        }
    }

    __device__ __forceinline__ void shrink_accumulator()
    {
#pragma unroll
        for (int tile = 0; tile < kQueryTiles; ++tile) {
            if (tile >= query_tiles_)
                continue;
            float const shrink[2] = {load_shared_float(factor(tile, 0)), load_shared_float(factor(tile, 1))};
            if (!any_lane(shrink[0] != 1.0f || shrink[1] != 1.0f))
                continue;
#pragma unroll
            for (int channels = 0; channels < kGroups * 4; ++channels)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    accumulator_[tile][channels][i] *= shrink[i / 2];
        }
    }

    // a += P V for all queries and this warp's channels.
    __device__ __forceinline__ void add_values(SharedAddress values, int keys_left)
    {
        int const matrix_row = lane_ % 16;
        int const matrix_column = lane_ / 16 * 16;
#pragma unroll
        for (int key = 0; key < Tile::kKeys; key += 16) {
            if (key >= keys_left)
                continue;
            uint32_t value[kGroups * 2][4]; // 16 keys x 16 channels each
#pragma unroll
            for (int i = 0; i < kGroups * 2; ++i)
                load_matrices_transposed(value[i], values + (key + matrix_row) * Shared::kValueStride +
                                                       (warp_ * kWarpChannels + i * 16) * 2 + matrix_column);
#pragma unroll
            for (int tile = 0; tile < kQueryTiles; ++tile) {
                if (tile >= query_tiles_)
                    continue;
                uint32_t probability[4];
                load_matrices(probability, shared_ + Shared::kProbabilities +
                                               (tile * 16 + matrix_row) * Shared::kProbabilityStride + key * 2 +
                                               matrix_column);
#pragma unroll
                for (int i = 0; i < kGroups * 2; ++i) {
                    multiply_add(accumulator_[tile][i * 2], probability, value[i][0], value[i][1], T{});
                    multiply_add(accumulator_[tile][i * 2 + 1], probability, value[i][2], value[i][3], T{});
                }
            }
        }
    }

    // Adds up the quads' sums, leaves the state for the row pass, and shares 1 / sum with the other warps.
    __device__ __forceinline__ void finish_softmax()
    {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            sum_[half] += exchange_with(sum_[half], 1);
            sum_[half] += exchange_with(sum_[half], 2);
            if (member_ != 0)
                continue;
            int const index = query(warp_, half);
            if (!kRow && place_.first_channel == 0 && index < place_.length)
                operands_.state[pixel(index)] = {maximum_[half], sum_[half]};
            // A column of one pixel has no key: it contributes nothing.
            store_shared(factor(warp_, half), sum_[half] == 0.0f ? 0.0f : 1.0f / sum_[half]);
        }
    }

    // The column pass stores fragments as they are, 4 x 2 channels a lane, since the row pass wants them so again.
    __device__ __forceinline__ void store_partial()
    {
#pragma unroll
        for (int tile = 0; tile < kQueryTiles; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int const index = query(tile, half);
                float const scale = load_shared_float(factor(tile, half));
#pragma unroll
                for (int group = 0; group < kGroups; ++group) {
                    int const channel = warp_channel_ + group * kGroup;
                    if (index >= place_.length || channel >= operands_.channels)
                        continue;
                    Bytes16 partial;
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        float const* const two = &accumulator_[tile][group * 4 + i][half * 2];
                        partial.word[i] = pack(two[0] * scale, two[1] * scale, T{});
                    }
                    store_16_bytes(operands_.y + pixel(index) * operands_.channels + channel + member_ * 8, partial);
                }
            }
    }

    // Where the block's part of y or of the residual begins, in elements; its rows; what there is of it.
    __device__ __forceinline__ int64_t first_result() const
    {
        return pixel(place_.first_query) * operands_.channels + place_.first_channel;
    }

    __device__ __forceinline__ int64_t result_pitch() const
    {
        return place_.pixel_step * operands_.channels * 2;
    }

    __device__ __forceinline__ int queries_left() const
    {
        return place_.length - place_.first_query;
    }

    __device__ __forceinline__ int result_bytes() const
    {
        return (operands_.channels - place_.first_channel) * 2;
    }

    __device__ __forceinline__ void copy_residual()
    {
        copy_rows_async<Tile::kQueries, Tile::kChannels * 2, Shared::kValueStride, Tile::kThreads>(
            shared_ + Shared::kResult, operands_.residual + first_result(), result_pitch(), queries_left(),
            result_bytes());
        commit_copies();
    }

    // Each lane turns the words of the residual that its fragments belong to into words of y, in place. So fragments
    // become rows without a shuffle, and global memory is read and written in whole rows.
    __device__ __forceinline__ void add_residual()
    {
#pragma unroll
        for (int tile = 0; tile < kQueryTiles; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float const scale = load_shared_float(factor(tile, half));
                SharedAddress const row = shared_ + Shared::kResult +
                                          (tile * 16 + group_ + half * 8) * Shared::kValueStride +
                                          warp_ * kWarpChannels * 2 + member_ * 4;
#pragma unroll
                for (int channels = 0; channels < kGroups * 4; ++channels) {
                    float const* const two = &accumulator_[tile][channels][half * 2];
                    float first, second;
                    unpack(first, second, load_shared_word(row + channels * 16), T{});
                    store_shared(row + channels * 16,
                                 pack(fmaf(two[0], scale, first), fmaf(two[1], scale, second), T{}));
                }
            }
    }

    __device__ __forceinline__ void store_result()
    {
        store_rows<Tile::kQueries, Tile::kChannels * 2, Shared::kValueStride, Tile::kThreads>(
            operands_.y + first_result(), shared_ + Shared::kResult, result_pitch(), queries_left(), result_bytes());
    }

public:
    __device__ __forceinline__ explicit AttentionPass(Operands<T> const& operands)
        : operands_(operands)
        , place_(place_of_block<kDirection>(operands, Tile::kQueries, Tile::kChannels))
        , warp_channel_(place_.first_channel + warp_ * kWarpChannels)
        , query_tiles_((place_.length - place_.first_query + 15) / 16)
        , has_channels_(warp_channel_ < operands.channels)
    {
    }

    __device__ __forceinline__ void run()
    {
        int const steps = (place_.length + Tile::kKeys - 1) / Tile::kKeys;
        copy_queries();
#pragma unroll
        for (int step = 0; step < Tile::kStages - 1; ++step) {
            if (step < steps)
                copy_keys_and_values(step);
            commit_copies(); // one group a step, empty or not: the waits below count groups
        }
        begin();
        for (int step = 0; step < steps; ++step) {
            int const first_key = step * Tile::kKeys;
            int const keys_left = place_.length - first_key;
            wait_for_copies<Tile::kStages - 2>();
            synchronize_block(); // this step has landed; the previous one's stage, probabilities and factors are free
            int const ahead = step + Tile::kStages - 1;
            if (ahead < steps)
                copy_keys_and_values(ahead);
            commit_copies();
            if (warp_ < query_tiles_) {
                float energy[kKeyTiles][4];
                compute_energies(energy, stage(step) + Shared::kKeysOfStage, keys_left);
                update_softmax(energy, first_key);
            }
            synchronize_block(); // probabilities and factors are there
            if (has_channels_) {
                shrink_accumulator();
                add_values(stage(step) + Shared::kValuesOfStage, keys_left);
            }
        }
        synchronize_block(); // everybody is done with the last step: its stage and its factors are free
        if (kRow)
            copy_residual();
        finish_softmax();
        wait_for_copies<0>();
        synchronize_block(); // the factors are there, and the residual
        if (kRow) {
            add_residual();
            synchronize_block(); // y is there
            store_result();
        } else {
            store_partial();
        }
    }
};

// At least two blocks a multiprocessor: 255 registers a thread, which no tile exceeds.
template <class T, int kQueryChannels, class Tile, ccdeploy_tile kName, Direction kDirection>
__global__ void __launch_bounds__(Tile::kThreads, 2) attention_kernel(Operands<T> const operands)
{
#ifdef __CUDA_ARCH__
    constexpr int kArchitecture = __CUDA_ARCH__ / 10;
#else
    constexpr int kArchitecture = 90; // only a name on the host, and on the emulator all tiles
#endif
    if constexpr (kHoldsTile<kArchitecture, kName> && kHoldsType<kArchitecture, T>)
        AttentionPass<T, kQueryChannels, Tile, kDirection>(operands).run();
    else
        trap(); // never launched: the launch chooses among what the code holds
}

} // namespace ccdeploy
