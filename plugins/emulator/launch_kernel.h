// Takes the place of criss_cross/launch_kernel.cuh on the CPU: the device of settings.h, and launches that run here.
#pragma once

#include <cstdint>
#include <functional>

#include "ccdeploy/criss_cross.h"
#include "errors.h"

namespace ccdeploy {

struct DeviceFacts {
    int architecture; // major * 10 + minor
    int multiprocessors;
};

// The device has code for every architecture that is emulated; for another one it is CCDEPLOY_NO_CODE.
ccdeploy_status find_device(void const* kernel, DeviceFacts& facts);

namespace emulator {

// Runs all blocks to their end. Refuses, as CUDA does, what the device cannot hold. Throws Fault, unless the settings
// say that a fault becomes CCDEPLOY_CUDA_ERROR.
ccdeploy_status launch(int64_t blocks, int threads, int shared_bytes, std::function<void()> const& kernel);

} // namespace emulator

template <class Parameters>
ccdeploy_status launch_kernel(void (*kernel)(Parameters), int64_t blocks, int threads, int shared_bytes, void*,
                              Parameters parameters)
{
    return emulator::launch(blocks, threads, shared_bytes, [&] { kernel(parameters); });
}

} // namespace ccdeploy
