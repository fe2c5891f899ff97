// How the work is cut into thread blocks, and which cut fits which GPU. This is the one place that decides it.
//
// A block computes 64 queries of one line for a slice of the channels. A wider slice repeats the energies less often
// (they are computed again for each slice) but takes more shared memory and registers; it pays where a multiprocessor
// has room for two such blocks and the image is large enough to keep all of them busy.
#pragma once

#include <cstdint>
#include <type_traits>

#include "ccdeploy/criss_cross.h"
#include "values.h"

namespace ccdeploy {

template <int kChannelsOfSlice, int kStagesOfKeys>
struct Tile {
    static constexpr int kThreads = 128;
    static constexpr int kWarps = kThreads / 32;
    static constexpr int kQueries = 64;
    static constexpr int kKeys = 32; // a step along the line
    static constexpr int kChannels = kChannelsOfSlice;
    static constexpr int kStages = kStagesOfKeys; // steps whose keys and values are in shared memory or on their way
};

using NarrowTile = Tile<128, 2>;
using WideTile = Tile<256, 2>;
using DeepTile = Tile<256, 3>;

// The kernels are compiled for these numbers of query channels; others are filled up with zeros to the next.
constexpr int kQueryChannels[] = {32, 64, 128};

// The wide cut of an architecture (major * 10 + minor): the narrow one where shared memory holds no two wide blocks.
constexpr ccdeploy_tile widest_tile(int architecture)
{
    switch (architecture) {
    case 80: // 163 KB of shared memory a block
    case 87:
        return CCDEPLOY_TILE_WIDE;
    case 90: // 227 KB
    case 100:
    case 103:
    case 110:
        return CCDEPLOY_TILE_DEEP;
    default: // 64 KB on 7.5, 99 KB on 8.6, 8.9 and 12.x
        return CCDEPLOY_TILE_NARROW;
    }
}

// Whether the code of an architecture holds a tile: narrow and its widest; for tuning, all that fit.
constexpr bool holds_tile(int architecture, ccdeploy_tile tile)
{
#ifdef CCDEPLOY_ALL_TILES
    return tile == CCDEPLOY_TILE_NARROW || architecture >= 80;
#else
    return tile == CCDEPLOY_TILE_NARROW || tile == widest_tile(architecture);
#endif
}

template <int kArchitecture, ccdeploy_tile kTile>
inline constexpr bool kHoldsTile = holds_tile(kArchitecture, kTile); // nvcc: no call in device code

// bfloat16 came to the tensor cores with 8.0.
template <class T>
constexpr bool holds_type(int architecture)
{
    return !std::is_same_v<T, Bfloat16> || architecture >= 80;
}

template <int kArchitecture, class T>
inline constexpr bool kHoldsType = holds_type<T>(kArchitecture);

constexpr int64_t blocks_of(int64_t lines, int64_t length, int64_t channels, int channels_of_slice)
{
    return lines * ((length + NarrowTile::kQueries - 1) / NarrowTile::kQueries) *
           ((channels + channels_of_slice - 1) / channels_of_slice);
}

// The tile for a pass over `lines` lines of `length` pixels.
constexpr ccdeploy_tile choose_tile(int architecture, int multiprocessors, int64_t lines, int64_t length,
                                    int64_t channels)
{
    constexpr int kBlocksToKeepBusy = 2; // a multiprocessor: one computes while the other waits for memory
    if (channels <= NarrowTile::kChannels)
        return CCDEPLOY_TILE_NARROW; // half of a wide slice would be empty
    bool const enough =
        blocks_of(lines, length, channels, WideTile::kChannels) >= int64_t{kBlocksToKeepBusy} * multiprocessors;
    return enough ? widest_tile(architecture) : CCDEPLOY_TILE_NARROW;
}

} // namespace ccdeploy
