// Looks through the loaded libraries by what their file names contain: the names themselves differ by product, version
// and packager (libnvinfer.so.10, libnvinfer_lean.so.11, libtensorrt_rtx.so.1, libnvinfer-1a2b3c.so.10).
#include "loaded_tensorrt.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstring>

namespace ccdeploy::tensorrt {
namespace {

constexpr int kMaxCandidates = 16;
constexpr size_t kMaxPath = 1024;

struct Candidates {
    int count = 0;
    char path[kMaxCandidates][kMaxPath];
};

// For dl_iterate_phdr: remembers what may be a TensorRT. It must not open libraries, the loader is at work.
int remember(dl_phdr_info* info, size_t, void* data)
{
    auto& candidates = *static_cast<Candidates*>(data);
    char const* const slash = std::strrchr(info->dlpi_name, '/');
    char const* const file = slash == nullptr ? info->dlpi_name : slash + 1;
    bool const fits = std::strlen(info->dlpi_name) < kMaxPath;
    if (fits && (std::strstr(file, "nvinfer") != nullptr || std::strstr(file, "tensorrt") != nullptr))
        std::strcpy(candidates.path[candidates.count++], info->dlpi_name);
    return candidates.count == kMaxCandidates;
}

// Adds the registry that a library, or one that it needs, exports. Keeps the handle if it is a new one.
void add(void* handle, LoadedTensorRT (&found)[kMaxLoaded], int& count)
{
    using GetRegistry = void* (*)() noexcept;
    if (handle == nullptr)
        return;
    auto const get_registry = reinterpret_cast<GetRegistry>(dlsym(handle, "getPluginRegistry"));
    abi::Generation const generation = generation_of_library(handle);
    void* const registry =
        get_registry == nullptr || generation == abi::Generation::kUNKNOWN ? nullptr : get_registry();
    bool is_new = registry != nullptr && count < kMaxLoaded;
    for (int i = 0; i < count; ++i)
        is_new = is_new && found[i].registry != registry;
    if (is_new)
        found[count++] = {handle, registry, generation};
    else
        dlclose(handle);
}

} // namespace

abi::Generation generation_of_library(void* handle)
{
    using GetVersion = int32_t (*)() noexcept;
    auto const get_version = reinterpret_cast<GetVersion>(dlsym(handle, "getInferLibVersion"));
    return get_version == nullptr ? abi::Generation::kUNKNOWN : abi::generation_of(get_version());
}

int find_loaded(LoadedTensorRT (&found)[kMaxLoaded])
{
    static Candidates candidates; // 16 KiB that a small stack may not have; called once, by the library's constructor
    candidates.count = 0;
    dl_iterate_phdr(remember, &candidates);
    int count = 0;
    for (int i = 0; i < candidates.count; ++i)
        add(dlopen(candidates.path[i], RTLD_LAZY | RTLD_NOLOAD), found, count);
    add(dlopen(nullptr, RTLD_LAZY), found, count); // a TensorRT linked into the program
    return count;
}

} // namespace ccdeploy::tensorrt
