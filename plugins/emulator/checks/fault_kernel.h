// How the fault cases are written: a kernel is a struct with run<kFaulty>(), launched with 64 threads.
#pragma once

#include "faults.h"
#include "launch_kernel.h"
#include "primitives.h"

namespace ccdeploy::emulator {

constexpr int kThreads = 64; // two warps
constexpr int kSharedBytes = 4096;

// 4 KB of global memory to copy from and to write to.
struct Global {
    float* values;
};

template <class Case, bool kFaulty>
void fault_kernel(Global global)
{
    Case::template run<kFaulty>(global);
}

template <class Case>
ccdeploy_status launch_case(bool faulty)
{
    alignas(16) static float values[1024];
    return launch_kernel(faulty ? &fault_kernel<Case, true> : &fault_kernel<Case, false>, 2, kThreads, kSharedBytes,
                         nullptr, Global{values});
}

inline SharedAddress word(int index)
{
    return shared_memory() + static_cast<SharedAddress>(index) * 4;
}

inline SharedAddress row(int index) // of a matrix: 16 bytes
{
    return shared_memory() + static_cast<SharedAddress>(index) * 16;
}

inline bool in_first_warp()
{
    return thread_index() < kLanes;
}

} // namespace ccdeploy::emulator
