#include "launch_passes.cuh"

namespace ccdeploy {

ccdeploy_status launch_passes(Operands<Bfloat16> const& operands, ccdeploy_tile tile, void* stream)
{
    return launch_16_bit_passes(operands, tile, stream);
}

} // namespace ccdeploy
