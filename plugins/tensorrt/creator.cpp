// A creator holds nothing that changes: any number of threads may use it.
#include "creator.h"

#include <new>

#include "fields.h"
#include "log.h"
#include "plugin.h"

namespace ccdeploy::tensorrt {
namespace {

// A parser reads the attributes of these names from the ONNX node.
constexpr abi::PluginField kAttributes[] = {{kQueryChannels, nullptr, abi::PluginFieldType::kINT32, 1}};
constexpr abi::PluginFieldCollection kAttributeNames{1, kAttributes};

} // namespace

abi::IPluginV3* Creator::createPlugin(char const*, abi::PluginFieldCollection const* fc,
                                      abi::TensorRTPhase phase) noexcept
{
    int32_t query_channels = 0;
    bool valid = false;
    switch (phase) {
    case abi::TensorRTPhase::kBUILD:
        valid = read_attributes(fc, query_channels);
        break;
    case abi::TensorRTPhase::kRUNTIME:
        valid = read_serialized(fc, query_channels);
        break;
    default:
        refuse("createPlugin: phase %d, 0 (kBUILD) or 1 (kRUNTIME) was expected", static_cast<int>(phase));
    }
    if (!valid)
        return nullptr;
    auto* const plugin = new (std::nothrow) Plugin(query_channels, plugin_namespace_);
    if (plugin == nullptr)
        refuse("createPlugin: no memory");
    return plugin;
}

abi::PluginFieldCollection const* Creator::getFieldNames() noexcept
{
    return &kAttributeNames;
}

char const* Creator::getPluginName() const noexcept
{
    return kPluginName;
}

char const* Creator::getPluginVersion() const noexcept
{
    return kPluginVersion;
}

char const* Creator::getPluginNamespace() const noexcept
{
    return plugin_namespace_;
}

} // namespace ccdeploy::tensorrt
