// TensorRT's plugin interface V3, declared anew: the library is built without a TensorRT SDK, and one file serves all.
//
// What a host and a plugin share is the order of virtual functions, the layout of a few structs and the values of a few
// enumerations. These are the same in every TensorRT from 10.0 on, 11 included, and in TensorRT-RTX from 1.7 on; they
// are written down here under TensorRT's own names, in a namespace of our own. checks/check_abi.cpp compares every
// entry with NvInfer.h wherever there is one. What the plugin calls of its host is in abi_host.h.
//
// A virtual function must not be added, moved or left out, even if nothing here calls it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ccdeploy::abi {

enum class APILanguage : int32_t { kCPP = 0, kPYTHON = 1 };

enum class DataType : int32_t {
    kFLOAT = 0,
    kHALF = 1,
    kINT8 = 2,
    kINT32 = 3,
    kBOOL = 4,
    kUINT8 = 5,
    kFP8 = 6,
    kBF16 = 7,
    kINT64 = 8
};

enum class TensorFormat : int32_t {
    kLINEAR = 0, // NCHW
    kCHW2 = 1,
    kHWC8 = 2, // NHWC, the channels padded to a multiple of 8
    kCHW4 = 3,
    kCHW16 = 4,
    kCHW32 = 5,
    kHWC = 8, // NHWC, not padded
    kHWC16 = 11
};

enum class PluginCapabilityType : int32_t { kCORE = 0, kBUILD = 1, kRUNTIME = 2 };

enum class PluginFieldType : int32_t {
    kFLOAT16 = 0,
    kFLOAT32 = 1,
    kFLOAT64 = 2,
    kINT8 = 3,
    kINT16 = 4,
    kINT32 = 5,
    kCHAR = 6,
    kDIMS = 7,
    kUNKNOWN = 8,
    kINT64 = 10
};

enum class TensorRTPhase : int32_t { kBUILD = 0, kRUNTIME = 1 };

struct InterfaceInfo {
    char const* kind;
    int32_t major;
    int32_t minor;
};

struct Dims {
    static constexpr int32_t kMaxDims = 8;

    int32_t nbDims;
    int64_t d[kMaxDims]; // -1: not known yet
};

struct PluginTensorDesc {
    Dims dims;
    DataType type;
    TensorFormat format;
    float scale; // of INT8 tensors
};

struct DynamicPluginTensorDesc {
    PluginTensorDesc desc;
    Dims min;
    Dims max;
    Dims opt;
};

// A symbolic size. Opaque: the plugin only passes them on.
class IDimensionExpr;
class IExprBuilder;

struct DimsExprs {
    int32_t nbDims;
    IDimensionExpr const* d[Dims::kMaxDims];
};

struct PluginField {
    char const* name;
    void const* data;
    PluginFieldType type;
    int32_t length; // in elements
};

struct PluginFieldCollection {
    int32_t nbFields;
    PluginField const* fields;
};

// x86-64 and aarch64 agree on all of these.
static_assert(sizeof(void*) == 8, "TensorRT's plugin interface is declared for 64-bit machines");
static_assert(sizeof(InterfaceInfo) == 16 && offsetof(InterfaceInfo, major) == 8 &&
              offsetof(InterfaceInfo, minor) == 12);
static_assert(sizeof(Dims) == 72 && offsetof(Dims, d) == 8);
static_assert(sizeof(PluginTensorDesc) == 88 && offsetof(PluginTensorDesc, type) == 72);
static_assert(offsetof(PluginTensorDesc, format) == 76 && offsetof(PluginTensorDesc, scale) == 80);
static_assert(sizeof(DynamicPluginTensorDesc) == 304 && offsetof(DynamicPluginTensorDesc, min) == 88);
static_assert(offsetof(DynamicPluginTensorDesc, max) == 160 && offsetof(DynamicPluginTensorDesc, opt) == 232);
static_assert(sizeof(DimsExprs) == 72 && offsetof(DimsExprs, d) == 8);
static_assert(sizeof(PluginField) == 24 && offsetof(PluginField, data) == 8);
static_assert(offsetof(PluginField, type) == 16 && offsetof(PluginField, length) == 20);
static_assert(sizeof(PluginFieldCollection) == 16 && offsetof(PluginFieldCollection, fields) == 8);

class IVersionedInterface {
public:
    virtual APILanguage getAPILanguage() const noexcept
    {
        return APILanguage::kCPP;
    }
    virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
    virtual ~IVersionedInterface() noexcept = default;
};

class IPluginCapability : public IVersionedInterface {};

class IPluginV3 : public IVersionedInterface {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN", 1, 0};
    }
    virtual IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept = 0;
    virtual IPluginV3* clone() noexcept = 0;
};

class IPluginV3OneCore : public IPluginCapability {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN_V3ONE_CORE", 1, 0};
    }
    virtual char const* getPluginName() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;
};

// All functions return 0 for success where they return int32_t and nothing else is said.
class IPluginV3OneBuild : public IPluginCapability {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN_V3ONE_BUILD", 1, 0};
    }
    virtual int32_t configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs,
                                    DynamicPluginTensorDesc const* out, int32_t nbOutputs) noexcept = 0;
    virtual int32_t getOutputDataTypes(DataType* outputTypes, int32_t nbOutputs, DataType const* inputTypes,
                                       int32_t nbInputs) const noexcept = 0;
    virtual int32_t getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const* shapeInputs,
                                    int32_t nbShapeInputs, DimsExprs* outputs, int32_t nbOutputs,
                                    IExprBuilder& exprBuilder) noexcept = 0;
    // Asked for one tensor after the other; what stands before `pos` has been accepted.
    virtual bool supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                           int32_t nbOutputs) noexcept = 0;
    virtual int32_t getNbOutputs() const noexcept = 0;
    virtual size_t getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
                                    DynamicPluginTensorDesc const* outputs, int32_t nbOutputs) const noexcept = 0;
    virtual int32_t getValidTactics(int32_t* tactics, int32_t nbTactics) noexcept = 0;
    virtual int32_t getNbTactics() noexcept = 0;
    virtual char const* getTimingCacheID() noexcept = 0;
    virtual int32_t getFormatCombinationLimit() noexcept = 0;
    virtual char const* getMetadataString() noexcept = 0;
};

class IPluginResourceContext;

class IPluginV3OneRuntime : public IPluginCapability {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN_V3ONE_RUNTIME", 1, 0};
    }
    virtual int32_t setTactic(int32_t tactic) noexcept = 0;
    virtual int32_t onShapeChange(PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const* out,
                                  int32_t nbOutputs) noexcept = 0;
    virtual int32_t enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
                            void const* const* inputs, void* const* outputs, void* workspace,
                            void* stream) noexcept = 0; // stream: a cudaStream_t
    virtual IPluginV3* attachToContext(IPluginResourceContext* context) noexcept = 0;
    virtual PluginFieldCollection const* getFieldsToSerialize() noexcept = 0;
};

class IPluginCreatorInterface : public IVersionedInterface {};

class IPluginCreatorV3One : public IPluginCreatorInterface {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN CREATOR_V3ONE", 1, 0};
    }
    virtual IPluginV3* createPlugin(char const* name, PluginFieldCollection const* fc,
                                    TensorRTPhase phase) noexcept = 0;
    virtual PluginFieldCollection const* getFieldNames() noexcept = 0;
    virtual char const* getPluginName() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;
};

} // namespace ccdeploy::abi
