#include "float_pass.cuh"
#include "launch_kernel.cuh"
#include "passes.h"

namespace ccdeploy {
namespace {

template <int kQueryChannels, Direction kDirection>
ccdeploy_status launch_pass(Operands<float> const& operands, void* stream)
{
    using Tile = FloatTile<kQueryChannels>;
    bool constexpr kRow = kDirection == Direction::kRow;
    int64_t const lines = int64_t{operands.batch} * (kRow ? operands.height : operands.width);
    int64_t const length = kRow ? operands.width : operands.height;
    int64_t const blocks = lines * ((length + Tile::kQueries - 1) / Tile::kQueries) *
                           ((operands.channels + Tile::kChannels - 1) / Tile::kChannels);
    return launch_kernel(&float_kernel<kQueryChannels, kDirection>, blocks, Tile::kThreads, Tile::kBytes, stream,
                         operands);
}

template <int kQueryChannels>
ccdeploy_status launch_both(Operands<float> const& operands, void* stream)
{
    DeviceFacts device{}; // asked only so that a GPU without code here gets the error that says so
    void const* const any = reinterpret_cast<void const*>(&float_kernel<kQueryChannels, Direction::kColumn>);
    if (ccdeploy_status const status = find_device(any, device); status != CCDEPLOY_OK)
        return status;
    ccdeploy_status const status = launch_pass<kQueryChannels, Direction::kColumn>(operands, stream);
    return status == CCDEPLOY_OK ? launch_pass<kQueryChannels, Direction::kRow>(operands, stream) : status;
}

} // namespace

ccdeploy_status launch_passes(Operands<float> const& operands, ccdeploy_tile, void* stream)
{
    if (operands.query_channels <= kQueryChannels[0])
        return launch_both<kQueryChannels[0]>(operands, stream);
    if (operands.query_channels <= kQueryChannels[1])
        return launch_both<kQueryChannels[1]>(operands, stream);
    return launch_both<kQueryChannels[2]>(operands, stream);
}

} // namespace ccdeploy
