// The host's side of a launch: the current device, and the launch. The emulator puts its own launch_kernel.h here.
#pragma once

#include <cstdint>

#include "ccdeploy/criss_cross.h"

#if !defined(__CUDACC__)
#include "../emulator/launch_kernel.h"
#else

#include <cuda_runtime_api.h>

#include <atomic>

#include "errors.h"

namespace ccdeploy {

// What the choice of a tile needs to know of the current device.
struct DeviceFacts {
    int architecture; // of the code that runs there, major * 10 + minor: at most the device's own
    int multiprocessors;
};

inline ccdeploy_status cuda_failed(cudaError_t error, char const* call)
{
    return fail(CCDEPLOY_CUDA_ERROR, "%s: %s (%s)", call, cudaGetErrorString(error), cudaGetErrorName(error));
}

constexpr int kRememberedDevices = 64; // devices beyond are asked anew at every launch

// The facts of the current device; `kernel` is any kernel of the library.
inline ccdeploy_status find_device(void const* kernel, DeviceFacts& facts)
{
    // multiprocessors << 8 | architecture; 0: not asked yet
    static std::atomic<uint32_t> remembered[kRememberedDevices];
    int device = 0;
    if (cudaError_t const error = cudaGetDevice(&device); error != cudaSuccess)
        return cuda_failed(error, "cudaGetDevice");
    uint32_t known = device < kRememberedDevices ? remembered[device].load(std::memory_order_relaxed) : 0;
    if (known == 0) {
        int multiprocessors = 0;
        if (cudaError_t const error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
            error != cudaSuccess)
            return cuda_failed(error, "cudaDeviceGetAttribute");
        // Not the device's own compute capability: code of an older one may run there (a cubin of 8.0 on 8.6, or PTX),
        // and the tiles that it holds are those of the architecture for which its PTX was made.
        cudaFuncAttributes attributes{};
        cudaError_t const error = cudaFuncGetAttributes(&attributes, kernel);
        if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
            cudaGetLastError();
            int major = 0, minor = 0;
            cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
            cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
            return fail(CCDEPLOY_NO_CODE, "the library holds code for " CCDEPLOY_ARCHITECTURES ", the GPU needs %d%d",
                        major, minor);
        }
        if (error != cudaSuccess)
            return cuda_failed(error, "cudaFuncGetAttributes");
        known = static_cast<uint32_t>(multiprocessors) << 8 | static_cast<uint32_t>(attributes.ptxVersion);
        if (device < kRememberedDevices)
            remembered[device].store(known, std::memory_order_relaxed);
    }
    facts = {static_cast<int>(known & 0xff), static_cast<int>(known >> 8)};
    return CCDEPLOY_OK;
}

// Launches kernel(parameters) with dynamic shared memory; never waits for it.
template <class Parameters>
ccdeploy_status launch_kernel(void (*kernel)(Parameters), int64_t blocks, int threads, int shared_bytes, void* stream,
                              Parameters parameters)
{
    constexpr int kWithoutAsking = 48 * 1024; // more dynamic shared memory than this must be allowed for each kernel
    void const* const function = reinterpret_cast<void const*>(kernel);
    if (shared_bytes > kWithoutAsking) {
        cudaError_t const error =
            cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
        if (error != cudaSuccess)
            return cuda_failed(error, "cudaFuncSetAttribute");
    }
    void* arguments[] = {&parameters};
    cudaError_t const error =
        cudaLaunchKernel(function, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), arguments,
                         static_cast<size_t>(shared_bytes), static_cast<cudaStream_t>(stream));
    return error == cudaSuccess ? CCDEPLOY_OK : cuda_failed(error, "cudaLaunchKernel");
}

} // namespace ccdeploy

#endif
