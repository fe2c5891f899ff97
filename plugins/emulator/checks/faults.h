// Small kernels that each break one rule of the device, with a twin that keeps it. The emulator must find every fault
// and must not find one in the twins: tests/plugins/test_emulator_faults.py says in which words.
#pragma once

#include <vector>

#include "ccdeploy/criss_cross.h"

namespace ccdeploy::emulator {

struct FaultCase {
    char const* name;
    ccdeploy_status (*launch)(bool faulty);
};

std::vector<FaultCase> shared_memory_faults();
std::vector<FaultCase> copy_faults();
std::vector<FaultCase> convergence_faults();
std::vector<FaultCase> other_faults();

} // namespace ccdeploy::emulator
