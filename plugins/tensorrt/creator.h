// Makes plugins for TensorRT's parser, builder and runtime. There is one creator for each namespace.
#pragma once

#include "abi.h"

namespace ccdeploy::tensorrt {

class Creator final : public abi::IPluginCreatorV3One {
public:
    // `plugin_namespace` is a literal.
    constexpr explicit Creator(char const* plugin_namespace)
        : plugin_namespace_(plugin_namespace)
    {
    }

    // Null, and the reason logged, unless the fields are those of the phase; see fields.h.
    abi::IPluginV3* createPlugin(char const* name, abi::PluginFieldCollection const* fc,
                                 abi::TensorRTPhase phase) noexcept override;
    abi::PluginFieldCollection const* getFieldNames() noexcept override;
    char const* getPluginName() const noexcept override;
    char const* getPluginVersion() const noexcept override;
    char const* getPluginNamespace() const noexcept override;

private:
    char const* plugin_namespace_;
};

} // namespace ccdeploy::tensorrt
