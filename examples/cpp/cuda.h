// The CUDA runtime: every call checked, everything that is acquired released by its owner.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>

namespace ccdeploy {

// Throws MissingError, with the call's name, unless the status is success.
void check(cudaError_t status, char const* call);

// A failure to release is not reported: it is that of an earlier call, which was checked, or the process is ending.
template <auto Release>
struct Releaser {
    template <typename T>
    void operator()(T* resource) const noexcept
    {
        Release(resource);
    }
};
using Stream = std::unique_ptr<CUstream_st, Releaser<cudaStreamDestroy>>;
using Event = std::unique_ptr<CUevent_st, Releaser<cudaEventDestroy>>;
using DeviceMemory = std::unique_ptr<void, Releaser<cudaFree>>;
using PageLockedMemory = std::unique_ptr<void, Releaser<cudaFreeHost>>;

Stream make_stream();
Event make_event();
DeviceMemory allocate_on_device(size_t bytes);
PageLockedMemory allocate_page_locked(size_t bytes); // what the GPU copies from and to while the CPU goes on

struct Gpu {
    std::string name;
    std::string compute_capability; // "8.7"
};

// Makes the first GPU this thread's. Throws MissingError if there is none.
Gpu open_gpu();

} // namespace ccdeploy
