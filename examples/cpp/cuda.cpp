#include "cuda.h"

#include "errors.h"

namespace ccdeploy {

void check(cudaError_t status, char const* call)
{
    if (status != cudaSuccess)
        throw MissingError(std::string(call) + " failed: " + cudaGetErrorString(status) + " (" +
                               cudaGetErrorName(status) + ").",
                           status == cudaErrorMemoryAllocation ? "Free memory of the GPU, or use a smaller engine."
                                                               : "`ccdeploy doctor` shows what this machine lacks.");
}

Stream make_stream()
{
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return Stream(stream);
}

Event make_event()
{
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "cudaEventCreate");
    return Event(event);
}

DeviceMemory allocate_on_device(size_t bytes)
{
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "cudaMalloc");
    return DeviceMemory(memory);
}

PageLockedMemory allocate_page_locked(size_t bytes)
{
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes), "cudaMallocHost");
    return PageLockedMemory(memory);
}

Gpu open_gpu()
{
    int count = 0, major = 0, minor = 0;
    cudaDeviceProp properties{};
    // Without a GPU this call itself fails, with a reason.
    if (cudaError_t const status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0)
        throw MissingError("There is no GPU that CUDA can use: " +
                               std::string(cudaGetErrorString(status == cudaSuccess ? cudaErrorNoDevice : status)) +
                               ".",
                           "`ccdeploy doctor` shows what this machine lacks.");
    check(cudaSetDevice(0), "cudaSetDevice");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "cudaDeviceGetAttribute");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "cudaDeviceGetAttribute");
    check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    return {properties.name, std::to_string(major) + "." + std::to_string(minor)};
}

} // namespace ccdeploy
