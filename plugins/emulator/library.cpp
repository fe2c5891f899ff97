// The emulated device in a shared library, for callers such as ctypes: no exception may reach them.
#include <cstdint>

#include "ccdeploy/criss_cross.h"
#include "settings.h"

namespace {

// A fault becomes CCDEPLOY_CUDA_ERROR with the report in ccdeploy_last_error() and on standard error.
[[maybe_unused]] bool const kFaultsAreStatuses = [] {
    ccdeploy::emulator::settings().throw_faults = false;
    return true;
}();

} // namespace

extern "C" {

// Changes the device for the launches to come; not while one is running.
CCDEPLOY_PUBLIC void ccdeploy_emulator_configure(int32_t architecture, int32_t multiprocessors, uint64_t seed,
                                                 double preemption)
{
    auto& settings = ccdeploy::emulator::settings();
    settings.architecture = architecture;
    settings.multiprocessors = multiprocessors;
    settings.seed = seed;
    settings.preemption = preemption;
}

// Blocks that have run since the library was loaded: whoever expects the kernel to have run can see that it did.
CCDEPLOY_PUBLIC uint64_t ccdeploy_emulator_blocks(void)
{
    return ccdeploy::emulator::statistics().blocks;
}
}
