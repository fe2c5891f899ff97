// A whole problem on the device: transposes if need be, the two passes, and the workspace they share.
#pragma once

#include <cstddef>

#include "ccdeploy/criss_cross.h"

namespace ccdeploy {

// Bytes of scratch memory for a problem that is within the limits.
size_t workspace_bytes(ccdeploy_criss_cross const& problem);

// Launches a problem whose arguments have been checked. `workspace` holds workspace_bytes(problem), aligned to 16.
ccdeploy_status launch(ccdeploy_criss_cross const& problem, void const* qkv, void const* residual, void* y,
                       void* workspace, void* stream);

} // namespace ccdeploy
