// Finds the host's logger. Its layout is that of the TensorRT in whose library the finder's code lies.
#include "log.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "abi_host.h"
#include "loaded_tensorrt.h"

namespace ccdeploy::tensorrt {
namespace {

// Finder and generation change together: the generation is found out before the finder is published.
std::atomic<void*> finder_v10{nullptr};
std::atomic<void*> finder_v11{nullptr};

abi::Generation generation_of_object(void const* object)
{
    void const* const vtable = *static_cast<void const* const*>(object);
    Dl_info library{};
    if (dladdr(vtable, &library) == 0 || library.dli_fname == nullptr)
        return abi::Generation::kUNKNOWN;
    void* const handle = dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr)
        return abi::Generation::kUNKNOWN;
    abi::Generation const generation = generation_of_library(handle);
    dlclose(handle);
    return generation;
}

template <class Finder>
bool tell(std::atomic<void*> const& finder, char const* sentence)
{
    void* const object = finder.load(std::memory_order_acquire);
    auto* const logger = object == nullptr ? nullptr : static_cast<Finder*>(object)->findLogger();
    if (logger != nullptr)
        logger->log(abi::Severity::kERROR, sentence);
    return logger != nullptr;
}

} // namespace

void set_logger_finder(void* finder)
{
    abi::Generation const generation = finder == nullptr ? abi::Generation::kUNKNOWN : generation_of_object(finder);
    finder_v10.store(generation == abi::Generation::kV10 ? finder : nullptr, std::memory_order_release);
    finder_v11.store(generation == abi::Generation::kV11 ? finder : nullptr, std::memory_order_release);
}

bool refuse(char const* format, ...)
{
    char sentence[512];
    int const prefix = std::snprintf(sentence, sizeof sentence, "CrissCrossAttention: ");
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(sentence + prefix, sizeof sentence - static_cast<size_t>(prefix), format, arguments);
    va_end(arguments);
    if (!tell<abi::v10::ILoggerFinder>(finder_v10, sentence) && !tell<abi::v11::ILoggerFinder>(finder_v11, sentence))
        std::fprintf(stderr, "%s\n", sentence);
    return false;
}

} // namespace ccdeploy::tensorrt
