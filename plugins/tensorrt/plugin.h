// Criss-cross attention as a layer of TensorRT.
//
// inputs   qkv [batch, 2 * query_channels + channels, height, width] and residual [batch, channels, height, width]
// output   y, of the residual's shape and type
// formats  float16 and bfloat16: kHWC8; float32: kHWC or kLINEAR; the same for all three tensors
//
// A plugin holds nothing but its parameters: what a launch needs is worked out from the tensors of that very launch. So
// contexts, which have a clone each, share nothing and cannot disturb one another.
#pragma once

#include "abi.h"
#include "fields.h"

namespace ccdeploy::tensorrt {

constexpr char const* kPluginName = "CrissCrossAttention";
constexpr char const* kPluginVersion = "1";

class Plugin final : public abi::IPluginV3,
                     public abi::IPluginV3OneCore,
                     public abi::IPluginV3OneBuild,
                     public abi::IPluginV3OneRuntime {
public:
    // `plugin_namespace` is a literal.
    Plugin(int32_t query_channels, char const* plugin_namespace);

    // IPluginV3
    abi::IPluginCapability* getCapabilityInterface(abi::PluginCapabilityType type) noexcept override;
    abi::IPluginV3* clone() noexcept override;

    // IPluginV3OneCore
    char const* getPluginName() const noexcept override;
    char const* getPluginVersion() const noexcept override;
    char const* getPluginNamespace() const noexcept override;

    // IPluginV3OneBuild
    int32_t configurePlugin(abi::DynamicPluginTensorDesc const* in, int32_t nbInputs,
                            abi::DynamicPluginTensorDesc const* out, int32_t nbOutputs) noexcept override;
    int32_t getOutputDataTypes(abi::DataType* outputTypes, int32_t nbOutputs, abi::DataType const* inputTypes,
                               int32_t nbInputs) const noexcept override;
    int32_t getOutputShapes(abi::DimsExprs const* inputs, int32_t nbInputs, abi::DimsExprs const* shapeInputs,
                            int32_t nbShapeInputs, abi::DimsExprs* outputs, int32_t nbOutputs,
                            abi::IExprBuilder& exprBuilder) noexcept override;
    bool supportsFormatCombination(int32_t pos, abi::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                   int32_t nbOutputs) noexcept override;
    int32_t getNbOutputs() const noexcept override;
    size_t getWorkspaceSize(abi::DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
                            abi::DynamicPluginTensorDesc const* outputs, int32_t nbOutputs) const noexcept override;
    int32_t getValidTactics(int32_t* tactics, int32_t nbTactics) noexcept override;
    int32_t getNbTactics() noexcept override;
    char const* getTimingCacheID() noexcept override;
    int32_t getFormatCombinationLimit() noexcept override;
    char const* getMetadataString() noexcept override;

    // IPluginV3OneRuntime
    int32_t setTactic(int32_t tactic) noexcept override;
    int32_t onShapeChange(abi::PluginTensorDesc const* in, int32_t nbInputs, abi::PluginTensorDesc const* out,
                          int32_t nbOutputs) noexcept override;
    int32_t enqueue(abi::PluginTensorDesc const* inputDesc, abi::PluginTensorDesc const* outputDesc,
                    void const* const* inputs, void* const* outputs, void* workspace, void* stream) noexcept override;
    abi::IPluginV3* attachToContext(abi::IPluginResourceContext* context) noexcept override;
    abi::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

private:
    int32_t query_channels_;
    char const* plugin_namespace_;
    char description_[32];
    SerializedFields serialized_; // filled when asked for: a copied object must not point into the original
};

} // namespace ccdeploy::tensorrt
