// The element types of the kernels as they lie in memory. No arithmetic: that is in primitives.cuh.
#pragma once

#include <cstdint>

namespace ccdeploy {

// IEEE 754 binary16.
struct Half {
    uint16_t bits;
};

// The upper half of a float32.
struct Bfloat16 {
    uint16_t bits;
};

// What one memory instruction moves at most.
struct alignas(16) Bytes16 {
    uint32_t word[4];
};

struct alignas(16) Float4 {
    float x[4];
};

} // namespace ccdeploy
