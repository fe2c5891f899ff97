// What the plugin calls of TensorRT itself: logger, logger finder and plugin registry.
//
// Unlike the plugin's own interface (abi.h) these have changed: TensorRT 11 put three functions before those of the
// logger and its finder, and took the functions for plugins of older interfaces out of the registry. So whoever calls
// one must know which generation the object is of. TensorRT-RTX 1.7 has the generation of TensorRT 11.
#pragma once

#include "abi.h"

namespace ccdeploy::abi {

enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };

class IErrorRecorder;
class IPluginCreator; // of plugins V1 and V2

namespace v10 {

class ILogger {
public:
    virtual void log(Severity severity, char const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

class ILoggerFinder {
public:
    virtual ILogger* findLogger() = 0;

protected:
    virtual ~ILoggerFinder() = default;
};

class IPluginRegistry {
public:
    virtual bool registerCreator(IPluginCreator& creator, char const* pluginNamespace) noexcept = 0;
    virtual IPluginCreator* const* getPluginCreatorList(int32_t* numCreators) const noexcept = 0;
    virtual IPluginCreator* getPluginCreator(char const* name, char const* version, char const* nameSpace) noexcept = 0;

protected:
    virtual ~IPluginRegistry() noexcept = default;

public:
    virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;
    virtual IErrorRecorder* getErrorRecorder() const noexcept = 0;
    virtual bool deregisterCreator(IPluginCreator const& creator) noexcept = 0;
    virtual bool isParentSearchEnabled() const = 0;
    virtual void setParentSearchEnabled(bool enabled) = 0;
    virtual void* loadLibrary(char const* pluginPath) noexcept = 0;
    virtual void deregisterLibrary(void* handle) noexcept = 0;
    virtual bool registerCreator(IPluginCreatorInterface& creator, char const* pluginNamespace) noexcept = 0;
    virtual IPluginCreatorInterface* const* getAllCreators(int32_t* numCreators) const noexcept = 0;
    virtual IPluginCreatorInterface* getCreator(char const* name, char const* version,
                                                char const* nameSpace) noexcept = 0;
    virtual bool deregisterCreator(IPluginCreatorInterface const& creator) noexcept = 0;
};

} // namespace v10

namespace v11 {

class ILogger : public IVersionedInterface {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"ILogger", 1, 0};
    }
    virtual void log(Severity severity, char const* message) noexcept = 0;
};

class ILoggerFinder : public IVersionedInterface {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"ILoggerFinder", 1, 0};
    }
    virtual ILogger* findLogger() = 0;
};

class IPluginRegistry {
protected:
    virtual ~IPluginRegistry() noexcept = default;

public:
    virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;
    virtual IErrorRecorder* getErrorRecorder() const noexcept = 0;
    virtual bool isParentSearchEnabled() const = 0;
    virtual void setParentSearchEnabled(bool enabled) = 0;
    virtual void* loadLibrary(char const* pluginPath) noexcept = 0;
    virtual void deregisterLibrary(void* handle) noexcept = 0;
    virtual bool registerCreator(IPluginCreatorInterface& creator, char const* pluginNamespace) noexcept = 0;
    virtual IPluginCreatorInterface* const* getAllCreators(int32_t* numCreators) const noexcept = 0;
    virtual IPluginCreatorInterface* getCreator(char const* name, char const* version,
                                                char const* nameSpace) noexcept = 0;
    virtual bool deregisterCreator(IPluginCreatorInterface const& creator) noexcept = 0;
};

} // namespace v11

enum class Generation { kUNKNOWN, kV10, kV11 };

// The generation of a host by what its getInferLibVersion() returns: major * 10000 + minor * 100 + patch.
constexpr Generation generation_of(int32_t version)
{
    constexpr int32_t kMajor = 10000, kRtxWithPlugins = 1 * kMajor + 7 * 100;
    switch (version / kMajor) {
    case 10:
        return Generation::kV10;
    case 11:
        return Generation::kV11;
    case 1: // TensorRT-RTX
        return version >= kRtxWithPlugins ? Generation::kV11 : Generation::kUNKNOWN;
    default:
        return Generation::kUNKNOWN;
    }
}

} // namespace ccdeploy::abi
