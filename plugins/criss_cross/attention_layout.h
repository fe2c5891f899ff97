// Where everything lies in the shared memory of a block of attention_pass.cuh.
#pragma once

namespace ccdeploy {

// The block's shared memory, in bytes. Rows are padded by 16 bytes: then the eight rows that a load of matrices
// touches lie in different banks.
template <int kQueryChannels, class Tile>
struct SharedLayout {
    static constexpr int kPadding = 16;
    static constexpr int kQueryStride = kQueryChannels * 2 + kPadding; // of queries and of keys
    static constexpr int kValueStride = Tile::kChannels * 2 + kPadding;
    static constexpr int kProbabilityStride = Tile::kKeys * 2 + kPadding;

    static constexpr int kQueries = 0;
    static constexpr int kProbabilities = kQueries + Tile::kQueries * kQueryStride;
    static constexpr int kFactors = kProbabilities + Tile::kQueries * kProbabilityStride; // one float a query
    static constexpr int kFirstStage = kFactors + Tile::kQueries * 4;

    static constexpr int kKeysOfStage = 0;
    static constexpr int kValuesOfStage = Tile::kKeys * kQueryStride;
    static constexpr int kStage = kValuesOfStage + Tile::kKeys * kValueStride;
    static constexpr int kBytes = kFirstStage + Tile::kStages * kStage;

    // After the last step the row pass needs no stages any more: there the residual becomes y.
    static constexpr int kResult = kFirstStage;
    static_assert(kResult + Tile::kQueries * kValueStride <= kBytes, "the stages hold a row of values for each query");
};

} // namespace ccdeploy
