// A stand-in for the CUDA runtime, compiled against its real header: memory that only copies reach, streams that work
// when they are waited for, events on a clock that inferences move.
#include "gpu.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <vector>

struct CUstream_st {
    std::vector<std::function<void()>> work;
};

struct CUevent_st {
    bool recorded = false;
    float time = 0;
};

namespace stand_in {
namespace {

std::map<void const*, std::vector<char>> device, page_locked; // by address; `device` holds what lies there
float now = 0;

char const* setting(char const* name, char const* otherwise)
{
    char const* const value = std::getenv(name);
    return value == nullptr ? otherwise : value;
}

cudaError_t status(char const* call, std::string const& details = "", cudaError_t failure = cudaErrorUnknown)
{
    return enter(call, details) ? failure : cudaSuccess;
}

bool holds(std::map<void const*, std::vector<char>> const& memory, void const* address, size_t bytes)
{
    auto const found = memory.find(address);
    return found != memory.end() && found->second.size() >= bytes;
}

} // namespace

bool enter(std::string const& call, std::string const& details)
{
    static std::map<std::string, int> calls;
    if (char const* const log = std::getenv("STAND_IN_LOG"))
        std::ofstream(log, std::ios::app) << call << (details.empty() ? "" : " ") << details << '\n';
    std::string const failing = setting("STAND_IN_FAIL", "");
    std::string const numbered = call + ":" + std::to_string(++calls[call]);
    return failing == call || failing == numbered;
}

void add(cudaStream_t stream, std::function<void()> work)
{
    stream->work.push_back(std::move(work));
}

void* device_memory(void const* address, size_t bytes)
{
    return holds(device, address, bytes) ? device[address].data() : nullptr;
}

void pass_time(float milliseconds)
{
    now += milliseconds;
}

} // namespace stand_in

using namespace stand_in;

extern "C" {

char const* cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory"
           : error == cudaErrorNoDevice       ? "no CUDA-capable device is detected"
                                              : "unknown error";
}

char const* cudaGetErrorName(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorUnknown";
}

cudaError_t cudaGetDeviceCount(int* count)
{
    *count = std::atoi(setting("STAND_IN_DEVICES", "1"));
    return status("cudaGetDeviceCount", "", cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int number)
{
    return status("cudaSetDevice", std::to_string(number));
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int)
{
    int major = 0, minor = 0;
    std::sscanf(setting("STAND_IN_CAPABILITY", "8.7"), "%d.%d", &major, &minor);
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? major : minor;
    return status("cudaDeviceGetAttribute");
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int)
{
    std::strcpy(properties->name, "Stand-in");
    return status("cudaGetDeviceProperties");
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned)
{
    cudaError_t const result = status("cudaStreamCreateWithFlags");
    *stream = result == cudaSuccess ? new CUstream_st : nullptr;
    return result;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return status("cudaStreamDestroy");
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    cudaError_t const result = status("cudaStreamSynchronize");
    for (auto const& work : stream->work)
        work();
    stream->work.clear();
    return result;
}

cudaError_t cudaEventCreate(cudaEvent_t* event)
{
    cudaError_t const result = status("cudaEventCreate");
    *event = result == cudaSuccess ? new CUevent_st : nullptr;
    return result;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return status("cudaEventDestroy");
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->recorded = false;
    add(stream, [event] { *event = {true, now}; });
    return status("cudaEventRecord");
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    if (!start->recorded || !end->recorded)
        return cudaErrorNotReady;
    *milliseconds = end->time - start->time;
    return status("cudaEventElapsedTime");
}

cudaError_t cudaMalloc(void** address, size_t bytes)
{
    cudaError_t const result = status("cudaMalloc", std::to_string(bytes), cudaErrorMemoryAllocation);
    if (result == cudaSuccess) {
        *address = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        device[*address].resize(bytes);
    }
    return result;
}

cudaError_t cudaFree(void* address)
{
    cudaError_t const result = status("cudaFree");
    if (auto const found = device.find(address); found != device.end()) {
        munmap(address, found->second.size());
        device.erase(found);
        return result;
    }
    return cudaErrorInvalidValue;
}

cudaError_t cudaMallocHost(void** address, size_t bytes)
{
    cudaError_t const result = status("cudaMallocHost", std::to_string(bytes), cudaErrorMemoryAllocation);
    if (result == cudaSuccess) {
        std::vector<char> memory(bytes, char(0x7f));
        *address = memory.data();
        page_locked[*address] = std::move(memory); // which keeps its address
    }
    return result;
}

cudaError_t cudaFreeHost(void* address)
{
    return page_locked.erase(address) == 1 ? status("cudaFreeHost") : cudaErrorInvalidValue;
}

cudaError_t cudaMemcpyAsync(void* target, void const* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    bool const to_device = kind == cudaMemcpyHostToDevice;
    void const* const on_device = to_device ? target : source;
    void const* const on_host = to_device ? source : target;
    if (!holds(page_locked, on_host, bytes) || !holds(device, on_device, bytes))
        return cudaErrorInvalidValue;
    char* const memory = device[on_device].data();
    add(stream, [=] { to_device ? std::memcpy(memory, source, bytes) : std::memcpy(target, memory, bytes); });
    return status("cudaMemcpyAsync", to_device ? "to the device" : "to the host");
}
}
