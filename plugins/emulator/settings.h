// What the emulated device is, and what has run on it.
#pragma once

#include <cstdint>

namespace ccdeploy::emulator {

struct Settings {
    int architecture = 86; // compute capability, major * 10 + minor; shared_memory_limit() knows which
    int multiprocessors = 16;
    uint64_t seed = 1;            // of the order of blocks, warps and lanes
    double preemption = 0.05;     // probability that another warp goes on after a collective
    bool portable_fibers = false; // ucontext also where this machine has a faster switch
    bool throw_faults = true;     // a Fault leaves launch_kernel; otherwise it is printed and becomes a status
};

// The one instance. Change it only while no launch is running.
Settings& settings();

// Of all launches since the process began, in all its threads.
struct Statistics {
    uint64_t launches = 0;
    uint64_t blocks = 0;
    uint64_t collectives = 0; // of a warp; a barrier counts once a warp
    uint64_t multiply_adds = 0;
};

Statistics statistics();
void add_statistics(Statistics const& more);

// Bytes of shared memory that a block can have; 0 for an architecture that is not emulated.
int shared_memory_limit(int architecture);

// bfloat16, and copies that run beside the threads, came with 8.0.
constexpr int kFirstWithAsyncCopies = 80;
constexpr int kFirstWithBfloat16 = 80;

} // namespace ccdeploy::emulator
