// A stand-in for TensorRT's header of this name, with what check_abi.cpp looks at and nothing else: the tests change
// single lines of it and expect the check to name them. NV_TENSORRT_MAJOR chooses the generation, 10 or 11.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef NV_TENSORRT_MAJOR
#define NV_TENSORRT_MAJOR 11
#endif
#define NV_TENSORRT_MINOR 2
#define NV_TENSORRT_PATCH 3

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace nvinfer1 {

enum class APILanguage : int32_t { kCPP, kPYTHON };
enum class DataType : int32_t { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kFP8, kBF16, kINT64, kINT4 };
enum class TensorFormat : int32_t {
    kLINEAR,
    kCHW2,
    kHWC8,
    kCHW4,
    kCHW16,
    kCHW32,
    kDHWC8,
    kCDHW32,
    kHWC,
    kDLA_LINEAR,
    kDLA_HWC4,
    kHWC16
};
enum class PluginCapabilityType : int32_t { kCORE, kBUILD, kRUNTIME };
enum class PluginFieldType : int32_t {
    kFLOAT16,
    kFLOAT32,
    kFLOAT64,
    kINT8,
    kINT16,
    kINT32,
    kCHAR,
    kDIMS,
    kUNKNOWN,
    kBF16,
    kINT64
};
enum class TensorRTPhase : int32_t { kBUILD, kRUNTIME };

struct InterfaceInfo {
    char const* kind;
    int32_t major;
    int32_t minor;
};

struct Dims {
    static constexpr int32_t MAX_DIMS = 8;
    int32_t nbDims;
    int64_t d[MAX_DIMS];
};

struct PluginTensorDesc {
    Dims dims;
    DataType type;
    TensorFormat format;
    float scale;
};

struct DynamicPluginTensorDesc {
    PluginTensorDesc desc;
    Dims min;
    Dims max;
    Dims opt;
};

class IDimensionExpr;
class IExprBuilder;

struct DimsExprs {
    int32_t nbDims;
    IDimensionExpr const* d[Dims::MAX_DIMS];
};

struct PluginField {
    char const* name;
    void const* data;
    PluginFieldType type;
    int32_t length;
};

struct PluginFieldCollection {
    int32_t nbFields;
    PluginField const* fields;
};

class IVersionedInterface {
public:
    virtual APILanguage getAPILanguage() const noexcept;
    virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
    virtual ~IVersionedInterface() noexcept = default;
};

class IPluginCapability : public IVersionedInterface {};

class IPluginV3 : public IVersionedInterface {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override;
    virtual IPluginCapability* getCapabilityInterface(PluginCapabilityType) noexcept = 0;
    virtual IPluginV3* clone() noexcept = 0;
};

class IPluginV3OneCore : public IPluginCapability {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override;
    virtual char const* getPluginName() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;
};

class IPluginV3OneBuild : public IPluginCapability {
    using Tensors = DynamicPluginTensorDesc const*;

public:
    InterfaceInfo getInterfaceInfo() const noexcept override;
    virtual int32_t configurePlugin(Tensors, int32_t, Tensors, int32_t) noexcept = 0;
    virtual int32_t getOutputDataTypes(DataType*, int32_t, DataType const*, int32_t) const noexcept = 0;
    virtual int32_t getOutputShapes(DimsExprs const*, int32_t, DimsExprs const*, int32_t, DimsExprs*, int32_t,
                                    IExprBuilder&) noexcept = 0;
    virtual bool supportsFormatCombination(int32_t, Tensors, int32_t, int32_t) noexcept = 0;
    virtual int32_t getNbOutputs() const noexcept = 0;
    virtual size_t getWorkspaceSize(Tensors, int32_t, Tensors, int32_t) const noexcept = 0;
    virtual int32_t getValidTactics(int32_t*, int32_t) noexcept = 0;
    virtual int32_t getNbTactics() noexcept = 0;
    virtual char const* getTimingCacheID() noexcept = 0;
    virtual int32_t getFormatCombinationLimit() noexcept = 0;
    virtual char const* getMetadataString() noexcept = 0;
};

class IPluginResourceContext;

class IPluginV3OneRuntime : public IPluginCapability {
    using Tensors = PluginTensorDesc const*;

public:
    InterfaceInfo getInterfaceInfo() const noexcept override;
    virtual int32_t setTactic(int32_t) noexcept = 0;
    virtual int32_t onShapeChange(Tensors, int32_t, Tensors, int32_t) noexcept = 0;
    virtual int32_t enqueue(Tensors, Tensors, void const* const*, void* const*, void*, cudaStream_t) noexcept = 0;
    virtual IPluginV3* attachToContext(IPluginResourceContext*) noexcept = 0;
    virtual PluginFieldCollection const* getFieldsToSerialize() noexcept = 0;
};

class IPluginCreatorInterface : public IVersionedInterface {};

class IPluginCreatorV3One : public IPluginCreatorInterface {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override;
    virtual IPluginV3* createPlugin(char const*, PluginFieldCollection const*, TensorRTPhase) noexcept = 0;
    virtual PluginFieldCollection const* getFieldNames() noexcept = 0;
    virtual char const* getPluginName() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;
};

#if NV_TENSORRT_MAJOR == 10
struct LoggerBase {};
struct FinderBase {};
#else
struct LoggerBase : IVersionedInterface {};
struct FinderBase : IVersionedInterface {};
#endif

class ILogger : public LoggerBase {
public:
    enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity, char const*) noexcept = 0;
    virtual ~ILogger() = default;
};

class ILoggerFinder : public FinderBase {
public:
    virtual ILogger* findLogger() = 0;

protected:
    virtual ~ILoggerFinder() = default;
};

class IErrorRecorder;
class IPluginCreator;

class IPluginRegistry {
public:
#if NV_TENSORRT_MAJOR == 10
    virtual bool registerCreator(IPluginCreator&, char const*) noexcept = 0;
    virtual IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept = 0;
    virtual IPluginCreator* getPluginCreator(char const*, char const*, char const*) noexcept = 0;
#endif

protected:
    virtual ~IPluginRegistry() noexcept = default;

public:
    virtual void setErrorRecorder(IErrorRecorder*) noexcept = 0;
    virtual IErrorRecorder* getErrorRecorder() const noexcept = 0;
#if NV_TENSORRT_MAJOR == 10
    virtual bool deregisterCreator(IPluginCreator const&) noexcept = 0;
#endif
    virtual bool isParentSearchEnabled() const = 0;
    virtual void setParentSearchEnabled(bool) = 0;
    virtual void* loadLibrary(char const*) noexcept = 0;
    virtual void deregisterLibrary(void*) noexcept = 0;
    virtual bool registerCreator(IPluginCreatorInterface&, char const*) noexcept = 0;
    virtual IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept = 0;
    virtual IPluginCreatorInterface* getCreator(char const*, char const*, char const*) noexcept = 0;
    virtual bool deregisterCreator(IPluginCreatorInterface const&) noexcept = 0;
};

} // namespace nvinfer1
