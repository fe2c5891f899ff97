// The C face of the plugin's interface, and a host's logger for it to find.
#include "driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>

#include "../abi_host.h"

namespace abi = ccdeploy::abi;

struct ccdeploy_driver_library {
    abi::IPluginCreatorInterface* const* (*get_creators)(int32_t& count);
    void (*set_logger_finder)(void* finder);
};

namespace {

std::mutex log_mutex;
std::string log_text;
int32_t pretended_version = 0;

void append(std::string const& line)
{
    std::lock_guard<std::mutex> const lock(log_mutex);
    log_text += line + "\n";
}

// A logger, and the finder that finds it, as one generation of TensorRT has them.
template <class LoggerInterface, class FinderInterface>
struct Host final : FinderInterface {
    struct Logger final : LoggerInterface {
        void log(abi::Severity severity, char const* message) noexcept override
        {
            append(std::to_string(static_cast<int>(severity)) + " " + message);
        }
    };
    LoggerInterface* findLogger() override
    {
        return &logger;
    }
    Logger logger;
};

Host<abi::v10::ILogger, abi::v10::ILoggerFinder> host_v10;
Host<abi::v11::ILogger, abi::v11::ILoggerFinder> host_v11;

abi::IPluginV3* plugin_of(ccdeploy_driver_plugin* handle)
{
    return reinterpret_cast<abi::IPluginV3*>(handle);
}

ccdeploy_driver_plugin* handle_of(abi::IPluginV3* plugin)
{
    return reinterpret_cast<ccdeploy_driver_plugin*>(plugin);
}

abi::IPluginCreatorV3One* creator_of(ccdeploy_driver_creator* handle)
{
    return reinterpret_cast<abi::IPluginCreatorV3One*>(handle);
}

abi::IPluginV3OneCore* core_of(ccdeploy_driver_plugin* handle)
{
    return static_cast<abi::IPluginV3OneCore*>(
        plugin_of(handle)->getCapabilityInterface(abi::PluginCapabilityType::kCORE));
}

abi::IPluginV3OneBuild* build_of(ccdeploy_driver_plugin* handle)
{
    return static_cast<abi::IPluginV3OneBuild*>(
        plugin_of(handle)->getCapabilityInterface(abi::PluginCapabilityType::kBUILD));
}

abi::IPluginV3OneRuntime* runtime_of(ccdeploy_driver_plugin* handle)
{
    return static_cast<abi::IPluginV3OneRuntime*>(
        plugin_of(handle)->getCapabilityInterface(abi::PluginCapabilityType::kRUNTIME));
}

} // namespace

extern "C" {

// By this function the plugin finds out of which generation its host, and so its host's logger, is.
CCDEPLOY_DRIVER_PUBLIC int32_t getInferLibVersion() noexcept
{
    return pretended_version;
}

ccdeploy_driver_library* driver_open(char const* path)
{
    void* const handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        append(dlerror());
        return nullptr;
    }
    ccdeploy_driver_library library{};
    library.get_creators = reinterpret_cast<decltype(library.get_creators)>(dlsym(handle, "getCreators"));
    library.set_logger_finder = reinterpret_cast<decltype(library.set_logger_finder)>(dlsym(handle, "setLoggerFinder"));
    if (library.get_creators == nullptr || library.set_logger_finder == nullptr) {
        append(std::string(path) + " does not export getCreators and setLoggerFinder");
        dlclose(handle);
        return nullptr;
    }
    return new ccdeploy_driver_library(library); // for the rest of the process, like the library itself
}

void driver_listen(ccdeploy_driver_library* library, int32_t version)
{
    pretended_version = version;
    void* finder = nullptr;
    if (version != 0)
        finder = abi::generation_of(version) == abi::Generation::kV10 ? static_cast<void*>(&host_v10) : &host_v11;
    library->set_logger_finder(finder);
}

size_t driver_log(char* text, size_t bytes)
{
    std::lock_guard<std::mutex> const lock(log_mutex);
    size_t const length = log_text.size();
    if (bytes > 0) {
        size_t const copied = std::min(length, bytes - 1);
        std::memcpy(text, log_text.data(), copied);
        text[copied] = '\0';
    }
    log_text.clear();
    return length;
}

ccdeploy_driver_creator* driver_creator(ccdeploy_driver_library* library, char const* name, char const* version,
                                        char const* plugin_namespace)
{
    int32_t count = 0;
    abi::IPluginCreatorInterface* const* const creators = library->get_creators(count);
    for (int32_t i = 0; i < count; ++i) {
        abi::InterfaceInfo const info = creators[i]->getInterfaceInfo();
        if (std::strcmp(info.kind, "PLUGIN CREATOR_V3ONE") != 0 || info.major != 1)
            continue;
        auto* const creator = static_cast<abi::IPluginCreatorV3One*>(creators[i]);
        if (std::strcmp(creator->getPluginName(), name) == 0 &&
            std::strcmp(creator->getPluginVersion(), version) == 0 &&
            std::strcmp(creator->getPluginNamespace(), plugin_namespace) == 0)
            return reinterpret_cast<ccdeploy_driver_creator*>(creator);
    }
    return nullptr;
}

abi::PluginFieldCollection const* driver_field_names(ccdeploy_driver_creator* creator)
{
    return creator_of(creator)->getFieldNames();
}

ccdeploy_driver_plugin* driver_create(ccdeploy_driver_creator* creator, abi::PluginFieldCollection const* fields,
                                      int32_t phase)
{
    return handle_of(creator_of(creator)->createPlugin("driven", fields, static_cast<abi::TensorRTPhase>(phase)));
}

ccdeploy_driver_plugin* driver_clone(ccdeploy_driver_plugin* plugin)
{
    return handle_of(plugin_of(plugin)->clone());
}

void driver_destroy(ccdeploy_driver_plugin* plugin)
{
    delete plugin_of(plugin);
}

void driver_identity(ccdeploy_driver_plugin* plugin, char const* (*identity)[3])
{
    abi::IPluginV3OneCore* const core = core_of(plugin);
    (*identity)[0] = core->getPluginName();
    (*identity)[1] = core->getPluginVersion();
    (*identity)[2] = core->getPluginNamespace();
}

bool driver_supports_format(ccdeploy_driver_plugin* plugin, int32_t position,
                            abi::DynamicPluginTensorDesc const* tensors, int32_t inputs, int32_t outputs)
{
    return build_of(plugin)->supportsFormatCombination(position, tensors, inputs, outputs);
}

int32_t driver_configure(ccdeploy_driver_plugin* plugin, abi::DynamicPluginTensorDesc const* in, int32_t inputs,
                         abi::DynamicPluginTensorDesc const* out, int32_t outputs)
{
    return build_of(plugin)->configurePlugin(in, inputs, out, outputs);
}

int32_t driver_output_types(ccdeploy_driver_plugin* plugin, abi::DataType* out, int32_t outputs,
                            abi::DataType const* in, int32_t inputs)
{
    return build_of(plugin)->getOutputDataTypes(out, outputs, in, inputs);
}

int32_t driver_output_shapes(ccdeploy_driver_plugin* plugin, abi::DimsExprs const* in, int32_t inputs,
                             abi::DimsExprs* out, int32_t outputs)
{
    static void* no_builder[1]; // a plugin that needs one crashes here
    return build_of(plugin)->getOutputShapes(in, inputs, nullptr, 0, out, outputs,
                                             reinterpret_cast<abi::IExprBuilder&>(no_builder));
}

int32_t driver_outputs(ccdeploy_driver_plugin* plugin)
{
    return build_of(plugin)->getNbOutputs();
}

size_t driver_workspace(ccdeploy_driver_plugin* plugin, abi::DynamicPluginTensorDesc const* in, int32_t inputs,
                        abi::DynamicPluginTensorDesc const* out, int32_t outputs)
{
    return build_of(plugin)->getWorkspaceSize(in, inputs, out, outputs);
}

char const* driver_timing_cache_id(ccdeploy_driver_plugin* plugin)
{
    return build_of(plugin)->getTimingCacheID();
}

char const* driver_metadata(ccdeploy_driver_plugin* plugin)
{
    return build_of(plugin)->getMetadataString();
}

abi::PluginFieldCollection const* driver_fields(ccdeploy_driver_plugin* plugin)
{
    return runtime_of(plugin)->getFieldsToSerialize();
}

ccdeploy_driver_plugin* driver_attach(ccdeploy_driver_plugin* plugin)
{
    return handle_of(runtime_of(plugin)->attachToContext(nullptr));
}

int32_t driver_shape_change(ccdeploy_driver_plugin* plugin, abi::PluginTensorDesc const* in, int32_t inputs,
                            abi::PluginTensorDesc const* out, int32_t outputs)
{
    return runtime_of(plugin)->onShapeChange(in, inputs, out, outputs);
}

int32_t driver_enqueue(ccdeploy_driver_plugin* plugin, abi::PluginTensorDesc const* in,
                       abi::PluginTensorDesc const* out, void const* const* inputs, void* const* outputs,
                       void* workspace, void* stream)
{
    return runtime_of(plugin)->enqueue(in, out, inputs, outputs, workspace, stream);
}
}
