// What the two stand-ins share, in place of the driver: device memory, streams and a clock. It lives in the stand-in of
// the CUDA runtime.
//
// The environment says how the machine behaves:
//   STAND_IN_LOG         a file to which each call is added, a line a call
//   STAND_IN_FAIL        "NAME" or "NAME:3": that call fails, always or the third time
//   STAND_IN_CAPABILITY  of the GPU, "8.7"
//   STAND_IN_DEVICES     how many GPUs there are
//   STAND_IN_VERSION     of TensorRT, "10.16.1.11"
//   STAND_IN_MS          how long inferences take, "5 1 9": one after the other, then again from the first
//   STAND_IN_INPUTS      a file to which the engine's input is added at each inference
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>

namespace stand_in {

// Adds a line to the log. Returns whether the call is to fail.
bool enter(std::string const& call, std::string const& details = "");

// Work that is done when the stream is synchronised, and not before: a result that is read too early is not there.
void add(cudaStream_t stream, std::function<void()> work);

// What lies at an address on the device; null if fewer bytes are allocated there. The address itself cannot be read.
void* device_memory(void const* address, size_t bytes);

void pass_time(float milliseconds);

} // namespace stand_in
