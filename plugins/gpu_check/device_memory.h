// Memory of the device, and waiting for it: for the programs here, which run on a GPU or on the emulator alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "launch_kernel.cuh"

#if !defined(__CUDACC__)
#include "fault.h"
#include "settings.h"
#endif

namespace ccdeploy::gpu_check {

#if defined(__CUDACC__)

inline void* allocate(size_t bytes)
{
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) != cudaSuccess)
        throw std::bad_alloc();
    return memory;
}

inline void release(void* memory)
{
    cudaFree(memory);
}

// Copies in either direction; empty if it worked, as with wait().
inline std::string copy(void* target, void const* source, size_t bytes)
{
    cudaError_t const error = cudaMemcpy(target, source, bytes, cudaMemcpyDefault);
    return error == cudaSuccess ? "" : std::string("cudaMemcpy: ") + cudaGetErrorString(error);
}

// Waits for all launches; what went wrong in one of them, or nothing.
inline std::string wait()
{
    cudaError_t const error = cudaDeviceSynchronize();
    return error == cudaSuccess ? "" : std::string("cudaDeviceSynchronize: ") + cudaGetErrorString(error);
}

// Why there is no device, or nothing.
inline std::string why_no_device()
{
    int devices = 0;
    cudaError_t const error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess)
        return std::string("cudaGetDeviceCount: ") + cudaGetErrorString(error);
    return devices > 0 ? "" : "CUDA sees no GPU";
}

// Compute capability, major * 10 + minor; 0 if it cannot be told.
inline int architecture()
{
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    return major * 10 + minor;
}

inline std::string device_name()
{
    cudaDeviceProp properties{};
    return cudaGetDeviceProperties(&properties, 0) == cudaSuccess ? properties.name : "unknown";
}

#else

inline void* allocate(size_t bytes)
{
    constexpr size_t kAlignment = 256; // as cudaMalloc
    void* const memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (memory == nullptr)
        throw std::bad_alloc();
    return memory;
}

inline void release(void* memory)
{
    std::free(memory);
}

inline std::string copy(void* target, void const* source, size_t bytes)
{
    std::memcpy(target, source, bytes);
    return "";
}

inline std::string wait()
{
    return ""; // launches run at once
}

inline std::string why_no_device()
{
    return "";
}

inline int architecture()
{
    return emulator::settings().architecture;
}

inline std::string device_name()
{
    return "emulator";
}

#endif

// A copy of the host's values on the device, for as long as this lives.
template <class T>
class DeviceArray {
public:
    explicit DeviceArray(std::vector<T> const& values)
        : count_(values.size())
        , memory_(allocate(count_ * sizeof(T)))
    {
        failed_ = copy(memory_, values.data(), count_ * sizeof(T));
    }

    DeviceArray(DeviceArray const&) = delete;
    DeviceArray& operator=(DeviceArray const&) = delete;

    ~DeviceArray()
    {
        release(memory_);
    }

    void* data() const
    {
        return memory_;
    }

    // Waits for the launches before.
    std::vector<T> read()
    {
        std::vector<T> values(count_);
        if (failed_.empty())
            failed_ = copy(values.data(), memory_, count_ * sizeof(T));
        return values;
    }

    // What went wrong in a copy, or nothing.
    std::string const& failed() const
    {
        return failed_;
    }

private:
    size_t count_;
    void* memory_;
    std::string failed_;
};

} // namespace ccdeploy::gpu_check
