// From TensorRT's tensors to the problem that the C interface takes. The limits of the kernel are checked there; here
// only what TensorRT alone can get wrong: how many tensors there are, and that they fit together.
#include "plugin.h"

#include <cstdio>
#include <initializer_list>
#include <new>

#include "ccdeploy/criss_cross.h"
#include "log.h"

namespace ccdeploy::tensorrt {
namespace {

constexpr int32_t kInputs = 2, kOutputs = 1, kTensors = kInputs + kOutputs;
constexpr int32_t kQkv = 0, kResidual = 1; // inputs
constexpr int32_t kDone = 0, kFailed = 1;

enum Axis : int32_t { kBatch, kChannels, kHeight, kWidth, kAxes };
constexpr char const* kAxisName[kAxes] = {"batch", "channels", "height", "width"};

bool check_count(char const* function, int32_t inputs, int32_t outputs)
{
    return (inputs == kInputs && outputs == kOutputs) ||
           refuse("%s: %d inputs and %d outputs, %d (qkv, residual) and %d were expected", function, inputs, outputs,
                  kInputs, kOutputs);
}

// The types and formats that the kernel reads, as the C interface calls them.
bool find_type_and_layout(abi::DataType type, abi::TensorFormat format, ccdeploy_criss_cross& problem)
{
    using abi::DataType, abi::TensorFormat;
    problem.layout = format == TensorFormat::kLINEAR ? CCDEPLOY_NCHW : CCDEPLOY_NHWC;
    switch (type) {
    case DataType::kFLOAT:
        problem.type = CCDEPLOY_FLOAT32;
        return format == TensorFormat::kLINEAR || format == TensorFormat::kHWC;
    // kHWC8 pads the channels to a multiple of 8. Those of the kernel are one already: the tensors are dense.
    case DataType::kHALF:
        problem.type = CCDEPLOY_FLOAT16;
        return format == TensorFormat::kHWC8;
    case DataType::kBF16:
        problem.type = CCDEPLOY_BFLOAT16;
        return format == TensorFormat::kHWC8;
    default:
        return false;
    }
}

bool check_dims(char const* name, abi::Dims const& dims)
{
    if (dims.nbDims != kAxes)
        return refuse("%s has %d dimensions, %d (batch, channels, height, width) were expected", name, dims.nbDims,
                      kAxes);
    for (int32_t axis = 0; axis < kAxes; ++axis)
        if (dims.d[axis] < 0 || dims.d[axis] > INT32_MAX)
            return refuse("%s has %s %lld, a size was expected", name, kAxisName[axis],
                          static_cast<long long>(dims.d[axis]));
    return true;
}

// Sets the sizes of the problem.
bool read_sizes(abi::Dims const& qkv, abi::Dims const& residual, int32_t query_channels, ccdeploy_criss_cross& problem)
{
    if (!check_dims("qkv", qkv) || !check_dims("residual", residual))
        return false;
    for (int32_t const axis : {kBatch, kHeight, kWidth})
        if (qkv.d[axis] != residual.d[axis])
            return refuse("qkv has %s %lld, residual %lld: the same was expected", kAxisName[axis],
                          static_cast<long long>(qkv.d[axis]), static_cast<long long>(residual.d[axis]));
    int64_t const expected = 2 * int64_t{query_channels} + residual.d[kChannels];
    if (qkv.d[kChannels] != expected)
        return refuse("qkv has %lld channels, %lld (2 x %d query channels + %lld) were expected",
                      static_cast<long long>(qkv.d[kChannels]), static_cast<long long>(expected), query_channels,
                      static_cast<long long>(residual.d[kChannels]));
    problem.tile = CCDEPLOY_TILE_AUTO;
    problem.batch = static_cast<int32_t>(residual.d[kBatch]);
    problem.channels = static_cast<int32_t>(residual.d[kChannels]);
    problem.query_channels = query_channels;
    problem.height = static_cast<int32_t>(residual.d[kHeight]);
    problem.width = static_cast<int32_t>(residual.d[kWidth]);
    return true;
}

bool check_supported(char const* function, ccdeploy_criss_cross const& problem)
{
    return ccdeploy_criss_cross_supported(&problem, 0) == CCDEPLOY_OK ||
           refuse("%s: %s", function, ccdeploy_last_error());
}

// Sets type and layout of the problem; all tensors must have the same.
bool read_formats(char const* function, abi::PluginTensorDesc const& qkv, abi::PluginTensorDesc const& residual,
                  abi::PluginTensorDesc const& y, ccdeploy_criss_cross& problem)
{
    bool alike = true;
    for (auto const* other : {&residual, &y})
        alike = alike && other->type == qkv.type && other->format == qkv.format;
    return (alike && find_type_and_layout(qkv.type, qkv.format, problem)) ||
           refuse("%s: types %d, %d, %d in formats %d, %d, %d of qkv, residual, y; the same for all was expected: "
                  "kHALF or kBF16 in kHWC8, kFLOAT in kHWC or kLINEAR",
                  function, static_cast<int>(qkv.type), static_cast<int>(residual.type), static_cast<int>(y.type),
                  static_cast<int>(qkv.format), static_cast<int>(residual.format), static_cast<int>(y.format));
}

// The problem of tensors whose shapes are known.
bool read_problem(char const* function, abi::PluginTensorDesc const* in, abi::PluginTensorDesc const& y,
                  int32_t query_channels, ccdeploy_criss_cross& problem)
{
    return read_formats(function, in[kQkv], in[kResidual], y, problem) &&
           read_sizes(in[kQkv].dims, in[kResidual].dims, query_channels, problem) && check_supported(function, problem);
}

} // namespace

Plugin::Plugin(int32_t query_channels, char const* plugin_namespace)
    : query_channels_(query_channels)
    , plugin_namespace_(plugin_namespace)
    , serialized_{}
{
    std::snprintf(description_, sizeof description_, "%s=%d", kQueryChannels, query_channels);
}

abi::IPluginCapability* Plugin::getCapabilityInterface(abi::PluginCapabilityType type) noexcept
{
    switch (type) {
    case abi::PluginCapabilityType::kCORE:
        return static_cast<abi::IPluginV3OneCore*>(this);
    case abi::PluginCapabilityType::kBUILD:
        return static_cast<abi::IPluginV3OneBuild*>(this);
    case abi::PluginCapabilityType::kRUNTIME:
        return static_cast<abi::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

abi::IPluginV3* Plugin::clone() noexcept
{
    auto* const copy = new (std::nothrow) Plugin(query_channels_, plugin_namespace_);
    if (copy == nullptr)
        refuse("clone: no memory");
    return copy;
}

char const* Plugin::getPluginName() const noexcept
{
    return kPluginName;
}

char const* Plugin::getPluginVersion() const noexcept
{
    return kPluginVersion;
}

char const* Plugin::getPluginNamespace() const noexcept
{
    return plugin_namespace_;
}

int32_t Plugin::configurePlugin(abi::DynamicPluginTensorDesc const* in, int32_t nbInputs,
                                abi::DynamicPluginTensorDesc const*, int32_t nbOutputs) noexcept
{
    // The largest shapes of the profile are within the limits, or it is told now. Type and format may not be chosen
    // yet; no limit depends on them.
    ccdeploy_criss_cross problem{};
    return check_count("configurePlugin", nbInputs, nbOutputs) &&
                   read_sizes(in[kQkv].max, in[kResidual].max, query_channels_, problem) &&
                   check_supported("configurePlugin", problem)
               ? kDone
               : kFailed;
}

int32_t Plugin::getOutputDataTypes(abi::DataType* outputTypes, int32_t nbOutputs, abi::DataType const* inputTypes,
                                   int32_t nbInputs) const noexcept
{
    if (!check_count("getOutputDataTypes", nbInputs, nbOutputs))
        return kFailed;
    outputTypes[0] = inputTypes[kResidual];
    return kDone;
}

int32_t Plugin::getOutputShapes(abi::DimsExprs const* inputs, int32_t nbInputs, abi::DimsExprs const*, int32_t,
                                abi::DimsExprs* outputs, int32_t nbOutputs, abi::IExprBuilder&) noexcept
{
    if (!check_count("getOutputShapes", nbInputs, nbOutputs))
        return kFailed;
    for (int32_t const input : {kQkv, kResidual})
        if (inputs[input].nbDims != kAxes) {
            refuse("input %d has %d dimensions, %d (batch, channels, height, width) were expected", input,
                   inputs[input].nbDims, kAxes);
            return kFailed;
        }
    outputs[0] = inputs[kResidual];
    return kDone;
}

bool Plugin::supportsFormatCombination(int32_t pos, abi::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                       int32_t nbOutputs) noexcept
{
    if (!check_count("supportsFormatCombination", nbInputs, nbOutputs) || pos < 0 || pos >= kTensors)
        return false;
    abi::PluginTensorDesc const &first = inOut[0].desc, &asked = inOut[pos].desc;
    ccdeploy_criss_cross unused{};
    return asked.type == first.type && asked.format == first.format &&
           find_type_and_layout(asked.type, asked.format, unused);
}

int32_t Plugin::getNbOutputs() const noexcept
{
    return kOutputs;
}

size_t Plugin::getWorkspaceSize(abi::DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
                                abi::DynamicPluginTensorDesc const* outputs, int32_t nbOutputs) const noexcept
{
    ccdeploy_criss_cross problem{};
    size_t bytes = 0;
    if (!check_count("getWorkspaceSize", nbInputs, nbOutputs) ||
        !read_formats("getWorkspaceSize", inputs[kQkv].desc, inputs[kResidual].desc, outputs[0].desc, problem) ||
        !read_sizes(inputs[kQkv].max, inputs[kResidual].max, query_channels_, problem))
        return 0; // an enqueue without workspace fails
    if (ccdeploy_criss_cross_workspace(&problem, &bytes) != CCDEPLOY_OK)
        refuse("getWorkspaceSize: %s", ccdeploy_last_error());
    return bytes;
}

int32_t Plugin::getValidTactics(int32_t*, int32_t) noexcept
{
    return kDone;
}

int32_t Plugin::getNbTactics() noexcept
{
    return 0;
}

// TensorRT adds shapes, types and formats by itself: equal layers share their timings.
char const* Plugin::getTimingCacheID() noexcept
{
    return description_;
}

int32_t Plugin::getFormatCombinationLimit() noexcept
{
    constexpr int32_t kTensorRTDefault = 100;
    return kTensorRTDefault;
}

char const* Plugin::getMetadataString() noexcept
{
    return description_;
}

int32_t Plugin::setTactic(int32_t) noexcept
{
    return kDone;
}

int32_t Plugin::onShapeChange(abi::PluginTensorDesc const* in, int32_t nbInputs, abi::PluginTensorDesc const* out,
                              int32_t nbOutputs) noexcept
{
    ccdeploy_criss_cross problem{};
    return check_count("onShapeChange", nbInputs, nbOutputs) &&
                   read_problem("onShapeChange", in, out[0], query_channels_, problem)
               ? kDone
               : kFailed;
}

int32_t Plugin::enqueue(abi::PluginTensorDesc const* inputDesc, abi::PluginTensorDesc const* outputDesc,
                        void const* const* inputs, void* const* outputs, void* workspace, void* stream) noexcept
{
    ccdeploy_criss_cross problem{};
    if (!read_problem("enqueue", inputDesc, outputDesc[0], query_channels_, problem))
        return kFailed;
    // TensorRT does not say how large the workspace is: it is what getWorkspaceSize() asked for, and that grows with
    // every size, so it suffices for this problem.
    size_t bytes = 0;
    if (ccdeploy_criss_cross_workspace(&problem, &bytes) == CCDEPLOY_OK &&
        ccdeploy_criss_cross_launch(&problem, inputs[kQkv], inputs[kResidual], outputs[0], workspace, bytes, stream) ==
            CCDEPLOY_OK)
        return kDone;
    refuse("enqueue: %s", ccdeploy_last_error());
    return kFailed;
}

abi::IPluginV3* Plugin::attachToContext(abi::IPluginResourceContext*) noexcept
{
    return clone();
}

abi::PluginFieldCollection const* Plugin::getFieldsToSerialize() noexcept
{
    return serialized_.collect(query_channels_);
}

} // namespace ccdeploy::tensorrt
