// The sentence behind a status: what was seen and what was expected, kept for the thread that asks.
#pragma once

#include "ccdeploy/criss_cross.h"

namespace ccdeploy {

// Remembers the sentence for ccdeploy_last_error() and returns the status.
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
ccdeploy_status
fail(ccdeploy_status status, char const* format, ...);

} // namespace ccdeploy
