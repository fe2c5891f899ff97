// A stand-in for TensorRT's header of this name, with what examples/cpp uses. The plugin interface and the registry are
// those of the plugin's tests; the runtime, the engine and the context are declared here, and are not TensorRT's ABI.
#pragma once

#include "NvInferVersion.h"

#include "../../../plugins/stand_in_tensorrt/NvInfer.h"

extern "C" {
void* createInferRuntime_INTERNAL(void* logger, int32_t version) noexcept;
nvinfer1::IPluginRegistry* getPluginRegistry() noexcept;
int32_t getInferLibMajorVersion() noexcept;
int32_t getInferLibMinorVersion() noexcept;
int32_t getInferLibPatchVersion() noexcept;
int32_t getInferLibBuildVersion() noexcept;
}

namespace nvinfer1 {

enum class TensorIOMode : int32_t { kNONE, kINPUT, kOUTPUT };

class IExecutionContext {
public:
    virtual ~IExecutionContext() = default;
    virtual bool setInputShape(char const* name, Dims const& dims) noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual bool setTensorAddress(char const* name, void* data) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};

class ICudaEngine {
public:
    virtual ~ICudaEngine() = default;
    virtual IExecutionContext* createExecutionContext() noexcept = 0;
    virtual int32_t getNbIOTensors() const noexcept = 0;
    virtual TensorIOMode getTensorIOMode(char const* name) const noexcept = 0;
    virtual DataType getTensorDataType(char const* name) const noexcept = 0;
};

class IRuntime {
public:
    virtual ~IRuntime() = default;
    virtual ICudaEngine* deserializeCudaEngine(void const* content, size_t size) noexcept = 0;
};

inline IRuntime* createInferRuntime(ILogger& logger) noexcept
{
    return static_cast<IRuntime*>(createInferRuntime_INTERNAL(&logger, NV_TENSORRT_MAJOR));
}

} // namespace nvinfer1
