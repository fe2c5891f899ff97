// The passes on channels-last tensors, one source file a type: nvcc compiles them side by side.
#pragma once

#include <cstdint>

#include "problem.h"
#include "tiles.h"
#include "values.h"

namespace ccdeploy {

// The column pass, then the row pass. `tile` may be CCDEPLOY_TILE_AUTO.
ccdeploy_status launch_passes(Operands<Half> const& operands, ccdeploy_tile tile, void* stream);
ccdeploy_status launch_passes(Operands<Bfloat16> const& operands, ccdeploy_tile tile, void* stream);
ccdeploy_status launch_passes(Operands<float> const& operands, ccdeploy_tile tile, void* stream);

} // namespace ccdeploy
