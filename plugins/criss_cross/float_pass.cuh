// Criss-cross attention for float32: the passes of attention_pass.cuh, without tensor cores.
//
// Tensor cores would round the operands to 10 bits (TF32); whoever asks for float32 wants its 23. So this kernel is
// bound by arithmetic, not by memory, and is kept simple: one stage, products in registers.
//
// A block computes kQueries queries of one line for a slice of 128 channels, 32 keys at a time, with 128 threads:
//   energies: 16 x 8 threads, each kQueries / 16 neighbouring queries by the 4 keys `column` + 8 * i
//   values:    8 x 16 threads, each kQueries / 8 neighbouring queries by the channels 4 * column + 64 * part + 0..3
#pragma once

#include "attention_pass.cuh"

namespace ccdeploy {

template <int kQueryChannels>
struct FloatTile {
    static constexpr int kThreads = 128;
    static constexpr int kQueries = kQueryChannels <= 64 ? 64 : 32; // 7.5 has 64 KB of shared memory
    static constexpr int kKeys = 32;
    static constexpr int kChannels = 128;

    // Shared memory, in bytes. Padding lets 8 lanes that read 16 bytes each of 8 rows do so from different banks.
    static constexpr int kPadding = 16;
    static constexpr int kQueryStride = kQueryChannels * 4 + kPadding; // of queries and of keys
    static constexpr int kValueStride = kChannels * 4;
    static constexpr int kProbabilityStride = kKeys * 4 + kPadding;
    static constexpr int kQueriesAt = 0;
    static constexpr int kKeysAt = kQueriesAt + kQueries * kQueryStride;
    static constexpr int kValuesAt = kKeysAt + kKeys * kQueryStride;
    static constexpr int kProbabilitiesAt = kValuesAt + kKeys * kValueStride;
    static constexpr int kFactorsAt = kProbabilitiesAt + kQueries * kProbabilityStride;
    static constexpr int kBytes = kFactorsAt + kQueries * 4;
};

template <int kQueryChannels, Direction kDirection>
class FloatPass {
    using Tile = FloatTile<kQueryChannels>;

    static constexpr bool kRow = kDirection == Direction::kRow;
    static constexpr int kEnergyRows = Tile::kQueries / 16; // queries of a thread in the first product
    static constexpr int kEnergyKeys = Tile::kKeys / 8;     // its keys
    static constexpr int kChunk = 16;                       // query channels that are summed up among themselves
    static constexpr int kValueRows = Tile::kQueries / 8;   // queries of a thread in the second product
    static constexpr int kParts = Tile::kChannels / 64;     // its channels, 4 a part

    Operands<float> const& operands_;
    Place const place_;
    SharedAddress const shared_ = shared_memory();
    int const energy_row_ = thread_index() / 8 * kEnergyRows;
    int const energy_column_ = thread_index() % 8;
    int const value_row_ = thread_index() / 16 * kValueRows;
    int const value_column_ = thread_index() % 16 * 4;

    float maximum_[kEnergyRows]; // equal in the 8 threads of a row
    float sum_[kEnergyRows];     // this thread's share
    Float4 accumulator_[kValueRows][kParts];

    __device__ __forceinline__ int64_t pixel(int index) const
    {
        return place_.first_pixel + index * place_.pixel_step;
    }

    __device__ __forceinline__ int channel(int part) const
    {
        return place_.first_channel + value_column_ + part * 64;
    }

    __device__ __forceinline__ SharedAddress factor(int query) const
    {
        return shared_ + Tile::kFactorsAt + query * 4;
    }

    template <int kRows, int kChannelsOfRow, int kStride>
    __device__ __forceinline__ void copy(int target, int first_pixel_of_line, int first_channel_of_qkv, int channels)
    {
        int64_t const all = 2 * operands_.query_channels + operands_.channels;
        copy_rows_async<kRows, kChannelsOfRow * 4, kStride, Tile::kThreads>(
            shared_ + target, operands_.qkv + pixel(first_pixel_of_line) * all + first_channel_of_qkv,
            place_.pixel_step * all * 4, place_.length - first_pixel_of_line, channels * 4);
    }

    __device__ __forceinline__ void begin()
    {
#pragma unroll
        for (int row = 0; row < kEnergyRows; ++row) {
            int const index = place_.first_query + energy_row_ + row;
            maximum_[row] = kMinusInfinity;
            sum_[row] = 0.0f;
            if (kRow && index < place_.length) {
                SoftmaxState const state = operands_.state[pixel(index)];
                maximum_[row] = state.maximum;
                sum_[row] = energy_column_ == 0 ? state.sum : 0.0f; // once in a row of threads
            }
        }
#pragma unroll
        for (int row = 0; row < kValueRows; ++row) {
            int const index = place_.first_query + value_row_ + row;
            bool const there = kRow && index < place_.length;
            float const sum = there ? operands_.state[pixel(index)].sum : 0.0f;
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
                Float4 partial{};
                if (there && channel(part) < operands_.channels)
                    partial = load_float4(operands_.y + pixel(index) * operands_.channels + channel(part));
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    accumulator_[row][part].x[i] = partial.x[i] * sum;
            }
        }
    }

    __device__ __forceinline__ void compute_energies(float (&energy)[kEnergyRows][kEnergyKeys])
    {
#pragma unroll
        for (int row = 0; row < kEnergyRows; ++row)
#pragma unroll
            for (int key = 0; key < kEnergyKeys; ++key)
                energy[row][key] = 0.0f;
#pragma unroll 1
        for (int first = 0; first < kQueryChannels; first += kChunk) {
            // Fours first, then chunks of them: an error in an energy is a relative error of its probability, and an
            // addition to an energy of 60 costs up to half a unit in the last place of 60, 1.9e-6. So few are made.
            float chunk[kEnergyRows][kEnergyKeys] = {};
#pragma unroll 2
            for (int channel = first; channel < first + kChunk; channel += 4) {
                Float4 queries[kEnergyRows], keys[kEnergyKeys];
#pragma unroll
                for (int row = 0; row < kEnergyRows; ++row)
                    queries[row] = load_shared_float4(shared_ + Tile::kQueriesAt +
                                                      (energy_row_ + row) * Tile::kQueryStride + channel * 4);
#pragma unroll
                for (int key = 0; key < kEnergyKeys; ++key)
                    keys[key] = load_shared_float4(shared_ + Tile::kKeysAt +
                                                   (energy_column_ + key * 8) * Tile::kQueryStride + channel * 4);
#pragma unroll
                for (int row = 0; row < kEnergyRows; ++row)
#pragma unroll
                    for (int key = 0; key < kEnergyKeys; ++key) {
                        float four = queries[row].x[0] * keys[key].x[0];
#pragma unroll
                        for (int i = 1; i < 4; ++i)
                            four = fmaf(queries[row].x[i], keys[key].x[i], four);
                        chunk[row][key] += four;
                    }
            }
#pragma unroll
            for (int row = 0; row < kEnergyRows; ++row)
#pragma unroll
                for (int key = 0; key < kEnergyKeys; ++key)
                    energy[row][key] += chunk[row][key];
        }
    }

    // As in attention_pass.cuh, but the accumulator follows every growth of the maximum: it costs little here.
    __device__ __forceinline__ void update_softmax(float (&energy)[kEnergyRows][kEnergyKeys], int first_key)
    {
#pragma unroll
        for (int row = 0; row < kEnergyRows; ++row) {
            int const query = place_.first_query + energy_row_ + row;
            float largest = kMinusInfinity;
#pragma unroll
            for (int i = 0; i < kEnergyKeys; ++i) {
                int const key = first_key + energy_column_ + i * 8;
                bool const itself = !kRow && key == query; // counts in its row
                if (key >= place_.length || itself)
                    energy[row][i] = kMinusInfinity;
                largest = fmaxf(largest, energy[row][i]);
            }
#pragma unroll
            for (int mask = 1; mask < 8; mask *= 2)
                largest = fmaxf(largest, exchange_with(largest, mask));
            largest *= kLog2E;
            float shrink = 1.0f;
            if (largest > maximum_[row]) {
                shrink = exp2_fast(maximum_[row] - largest);
                maximum_[row] = largest;
                sum_[row] *= shrink;
            }
            if (energy_column_ == 0)
                store_shared(factor(energy_row_ + row), shrink);
            float const reference = maximum_[row] == kMinusInfinity ? 0.0f : maximum_[row]; // see attention_pass.cuh
#pragma unroll
            for (int i = 0; i < kEnergyKeys; ++i) {
                float const probability = exp2_fast(fmaf(energy[row][i], kLog2E, -reference));
                sum_[row] += probability;
                store_shared(shared_ + Tile::kProbabilitiesAt + (energy_row_ + row) * Tile::kProbabilityStride +
                                 (energy_column_ + i * 8) * 4,
                             probability);
            }
        }
    }

    __device__ __forceinline__ void add_values()
    {
#pragma unroll
        for (int row = 0; row < kValueRows; ++row) {
            float const shrink = load_shared_float(factor(value_row_ + row));
#pragma unroll
            for (int part = 0; part < kParts; ++part)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    accumulator_[row][part].x[i] *= shrink;
        }
#pragma unroll 1
        for (int first = 0; first < Tile::kKeys; first += 4) {
            Float4 probabilities[kValueRows];
#pragma unroll
            for (int row = 0; row < kValueRows; ++row)
                probabilities[row] = load_shared_float4(shared_ + Tile::kProbabilitiesAt +
                                                        (value_row_ + row) * Tile::kProbabilityStride + first * 4);
#pragma unroll
            for (int key = 0; key < 4; ++key)
#pragma unroll
                for (int part = 0; part < kParts; ++part) {
                    Float4 const value =
                        load_shared_float4(shared_ + Tile::kValuesAt + (first + key) * Tile::kValueStride +
                                           value_column_ * 4 + part * 256);
#pragma unroll
                    for (int row = 0; row < kValueRows; ++row)
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            float& sum = accumulator_[row][part].x[i];
                            sum = fmaf(probabilities[row].x[key], value.x[i], sum);
                        }
                }
        }
    }

    __device__ __forceinline__ void finish_softmax()
    {
        synchronize_block(); // the factors of the last step have been read
#pragma unroll
        for (int row = 0; row < kEnergyRows; ++row) {
#pragma unroll
            for (int mask = 1; mask < 8; mask *= 2)
                sum_[row] += exchange_with(sum_[row], mask);
            if (energy_column_ != 0)
                continue;
            int const index = place_.first_query + energy_row_ + row;
            if (!kRow && place_.first_channel == 0 && index < place_.length)
                operands_.state[pixel(index)] = {maximum_[row], sum_[row]};
            store_shared(factor(energy_row_ + row), sum_[row] == 0.0f ? 0.0f : 1.0f / sum_[row]);
        }
        synchronize_block();
    }

    __device__ __forceinline__ void store()
    {
#pragma unroll
        for (int row = 0; row < kValueRows; ++row) {
            int const index = place_.first_query + value_row_ + row;
            float const scale = load_shared_float(factor(value_row_ + row));
            if (index >= place_.length)
                continue;
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
                if (channel(part) >= operands_.channels)
                    continue;
                int64_t const offset = pixel(index) * operands_.channels + channel(part);
                Float4 out{};
                if (kRow)
                    out = load_float4(operands_.residual + offset);
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    out.x[i] = fmaf(accumulator_[row][part].x[i], scale, out.x[i]);
                store_float4(operands_.y + offset, out);
            }
        }
    }

public:
    __device__ __forceinline__ explicit FloatPass(Operands<float> const& operands)
        : operands_(operands)
        , place_(place_of_block<kDirection>(operands, Tile::kQueries, Tile::kChannels))
    {
    }

    __device__ __forceinline__ void run()
    {
        copy<Tile::kQueries, kQueryChannels, Tile::kQueryStride>(Tile::kQueriesAt, place_.first_query, 0,
                                                                 operands_.query_channels);
        begin();
        for (int first_key = 0; first_key < place_.length; first_key += Tile::kKeys) {
            synchronize_block(); // the keys, values, probabilities and factors of the previous step are free
            copy<Tile::kKeys, kQueryChannels, Tile::kQueryStride>(Tile::kKeysAt, first_key, operands_.query_channels,
                                                                  operands_.query_channels);
            copy<Tile::kKeys, Tile::kChannels, Tile::kValueStride>(Tile::kValuesAt, first_key,
                                                                   2 * operands_.query_channels + place_.first_channel,
                                                                   operands_.channels - place_.first_channel);
            commit_copies();
            wait_for_copies<0>();
            synchronize_block(); // all copies have landed
            float energy[kEnergyRows][kEnergyKeys];
            compute_energies(energy);
            update_softmax(energy, first_key);
            synchronize_block(); // probabilities and factors are there
            add_values();
        }
        finish_softmax();
        store();
    }
};

template <int kQueryChannels, Direction kDirection>
__global__ void __launch_bounds__(FloatTile<kQueryChannels>::kThreads, 2) float_kernel(Operands<float> const operands)
{
    FloatPass<kQueryChannels, kDirection>(operands).run();
}

} // namespace ccdeploy
