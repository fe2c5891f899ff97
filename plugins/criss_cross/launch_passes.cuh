// From a problem in 16-bit types to the compiled kernel that fits it, and its launch.
#pragma once

#include "attention_pass.cuh"
#include "launch_kernel.cuh"
#include "passes.h"

namespace ccdeploy {

template <class T, int kQueryChannels, class Tile, ccdeploy_tile kName, Direction kDirection>
ccdeploy_status launch_tile(Operands<T> const& operands, int64_t lines, int64_t length, void* stream)
{
    return launch_kernel(&attention_kernel<T, kQueryChannels, Tile, kName, kDirection>,
                         blocks_of(lines, length, operands.channels, Tile::kChannels), Tile::kThreads,
                         SharedLayout<kQueryChannels, Tile>::kBytes, stream, operands);
}

template <class T, int kQueryChannels, Direction kDirection>
ccdeploy_status launch_pass(Operands<T> const& operands, ccdeploy_tile tile, void* stream)
{
    DeviceFacts device{};
    void const* const any = reinterpret_cast<void const*>(
        &attention_kernel<T, kQueryChannels, NarrowTile, CCDEPLOY_TILE_NARROW, kDirection>);
    if (ccdeploy_status const status = find_device(any, device); status != CCDEPLOY_OK)
        return status;
    if (!holds_type<T>(device.architecture))
        return fail(CCDEPLOY_UNSUPPORTED,
                    "the code that runs on this GPU is for compute capability %d.%d, 8.0 or newer "
                    "was expected for bfloat16",
                    device.architecture / 10, device.architecture % 10);
    bool constexpr kRow = kDirection == Direction::kRow;
    int64_t const lines = int64_t{operands.batch} * (kRow ? operands.height : operands.width);
    int64_t const length = kRow ? operands.width : operands.height;
    if (tile == CCDEPLOY_TILE_AUTO)
        tile = choose_tile(device.architecture, device.multiprocessors, lines, length, operands.channels);
    if (!holds_tile(device.architecture, tile))
        return fail(CCDEPLOY_UNSUPPORTED, "tile is %d; the library's code for compute capability %d.%d holds %d and %d",
                    tile, device.architecture / 10, device.architecture % 10, CCDEPLOY_TILE_NARROW,
                    widest_tile(device.architecture));
    switch (tile) {
    case CCDEPLOY_TILE_WIDE:
        return launch_tile<T, kQueryChannels, WideTile, CCDEPLOY_TILE_WIDE, kDirection>(operands, lines, length,
                                                                                        stream);
    case CCDEPLOY_TILE_DEEP:
        return launch_tile<T, kQueryChannels, DeepTile, CCDEPLOY_TILE_DEEP, kDirection>(operands, lines, length,
                                                                                        stream);
    default:
        return launch_tile<T, kQueryChannels, NarrowTile, CCDEPLOY_TILE_NARROW, kDirection>(operands, lines, length,
                                                                                            stream);
    }
}

template <class T, int kQueryChannels>
ccdeploy_status launch_both(Operands<T> const& operands, ccdeploy_tile tile, void* stream)
{
    ccdeploy_status const status = launch_pass<T, kQueryChannels, Direction::kColumn>(operands, tile, stream);
    if (status != CCDEPLOY_OK)
        return status;
    return launch_pass<T, kQueryChannels, Direction::kRow>(operands, tile, stream);
}

template <class T>
ccdeploy_status launch_16_bit_passes(Operands<T> const& operands, ccdeploy_tile tile, void* stream)
{
    if (operands.query_channels <= kQueryChannels[0])
        return launch_both<T, kQueryChannels[0]>(operands, tile, stream);
    if (operands.query_channels <= kQueryChannels[1])
        return launch_both<T, kQueryChannels[1]>(operands, tile, stream);
    return launch_both<T, kQueryChannels[2]>(operands, tile, stream);
}

} // namespace ccdeploy
