// How TensorRT finds the plugin.
//
// A host that knows plugin libraries (IPluginRegistry::loadLibrary, an engine with the library embedded) opens the
// library, calls getCreators() and registers what it gets. A tool that only opens it (Polygraphy's --plugins,
// Triton, DeepStream) expects it to register itself: the constructor below does so with every TensorRT that is already
// in the process.
//
// The constructor cannot know which of the two has opened the library, and a host that is handed creators which stand
// in its registry already takes them for duplicates and fails. So getCreators() takes back what the constructor
// registered: who asks for the creators is the one to register them.
#include <cstdlib>
#include <mutex>

#include <dlfcn.h>

#include "ccdeploy/criss_cross.h"
#include "creator.h"
#include "loaded_tensorrt.h"
#include "log.h"

namespace ccdeploy::tensorrt {
namespace {

// Parsers look for a node's plugin in the namespace of its attribute plugin_namespace (empty if it has none), newer
// ones also in that of the node's domain.
constexpr int32_t kCreators = 2;

// Never destroyed: TensorRT's registry may look at its creators until the process ends.
union Creators {
    constexpr Creators()
        : creator{Creator(""), Creator("ccdeploy")}
    {
    }
    ~Creators() {}
    Creator creator[kCreators];
};

Creators creators;
abi::IPluginCreatorInterface* const creator_list[kCreators] = {&creators.creator[0], &creators.creator[1]};

struct Registered {
    LoadedTensorRT tensorrt;
    bool creator[kCreators];
};

// The registries that this library has entered, and their number.
Registered registered[kMaxLoaded];
int registered_count = 0;
std::mutex registered_mutex;

// Calls a function with the registry as what it is.
template <class Function>
void with_registry(LoadedTensorRT const& tensorrt, Function const& function)
{
    if (tensorrt.generation == abi::Generation::kV10)
        function(*static_cast<abi::v10::IPluginRegistry*>(tensorrt.registry));
    else
        function(*static_cast<abi::v11::IPluginRegistry*>(tensorrt.registry));
}

void deregister()
{
    std::lock_guard<std::mutex> const lock(registered_mutex);
    for (int i = 0; i < registered_count; ++i) {
        with_registry(registered[i].tensorrt, [&](auto& registry) {
            for (int32_t c = 0; c < kCreators; ++c)
                if (registered[i].creator[c])
                    registry.deregisterCreator(creators.creator[c]);
        });
        dlclose(registered[i].tensorrt.handle);
    }
    registered_count = 0;
}

// Runs when the library has been opened. A registry that has such creators already, of another copy of this library,
// keeps those.
__attribute__((constructor)) void register_with_loaded_tensorrt()
{
    LoadedTensorRT found[kMaxLoaded];
    std::lock_guard<std::mutex> const lock(registered_mutex);
    registered_count = find_loaded(found);
    for (int i = 0; i < registered_count; ++i) {
        registered[i] = {found[i], {}};
        with_registry(found[i], [&](auto& registry) {
            for (int32_t c = 0; c < kCreators; ++c)
                registered[i].creator[c] =
                    registry.registerCreator(creators.creator[c], creators.creator[c].getPluginNamespace());
        });
    }
    // When the library is closed or the process ends. What is registered last runs first, so the registries, which
    // exist already, outlive this. A function marked as destructor would run after them at the end of the process.
    if (registered_count > 0)
        std::atexit(deregister);
}

} // namespace
} // namespace ccdeploy::tensorrt

extern "C" {

CCDEPLOY_PUBLIC ccdeploy::abi::IPluginCreatorInterface* const* getCreators(int32_t& nbCreators)
{
    ccdeploy::tensorrt::deregister();
    nbCreators = ccdeploy::tensorrt::kCreators;
    return ccdeploy::tensorrt::creator_list;
}

// The finder is an ILoggerFinder; its class depends on the host.
CCDEPLOY_PUBLIC void setLoggerFinder(void* finder)
{
    ccdeploy::tensorrt::set_logger_finder(finder);
}
}
