// One problem as the kernels see it: pointers to channels-last tensors, and sizes. The host has checked all of them.
#pragma once

#include <cstdint>

namespace ccdeploy {

// Where the softmax of a pixel stands after its column: the column pass leaves it for the row pass.
struct SoftmaxState {
    float maximum; // of the energies seen, times log2(e); within a few units, see kSlack in attention_pass.cuh
    float sum;     // of 2 ** (energy * log2(e) - maximum)
};

// T: Half, Bfloat16 or float. Channels of neighbouring pixels lie 2 * query_channels + channels apart in qkv.
template <class T>
struct Operands {
    T const* qkv;
    T const* residual;
    T* y;                // after the column pass: what the columns contribute, normalised by themselves
    SoftmaxState* state; // one a pixel
    int32_t batch;
    int32_t height;
    int32_t width;
    int32_t query_channels;
    int32_t channels;
};

enum class Direction { kColumn, kRow };

} // namespace ccdeploy
