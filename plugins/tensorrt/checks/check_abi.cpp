// Compares abi.h and abi_host.h, entry by entry, with the NvInfer.h of a TensorRT SDK: values, layouts, signatures and
// places in virtual tables. Prints what differs; the exit code is 0 if nothing does.
//
// A pointer to a virtual member function holds, in the Itanium C++ ABI that every Linux compiler follows, the place of
// the function in the table of its class. So two such pointers have the same bytes if the functions have the same
// place.
#include <NvInfer.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "../abi.h"
#include "../abi_host.h"

#if NV_TENSORRT_MAJOR == 8 || NV_TENSORRT_MAJOR == 9

int main()
{
    std::printf("NvInfer.h is of TensorRT %d.%d, which has no plugin interface V3: nothing to compare\n",
                NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR);
}

#else

namespace {

namespace abi = ccdeploy::abi;
namespace trt = nvinfer1;

constexpr abi::Generation kGeneration = abi::generation_of(NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100);
#if NV_TENSORRT_MAJOR == 10
namespace host = abi::v10;
static_assert(kGeneration == abi::Generation::kV10);
#else
namespace host = abi::v11;
#endif

int differences = 0;

void equal(char const* entry, char const* what, long long ours, long long theirs)
{
    if (ours == theirs)
        return;
    std::printf("%s: %s is %lld in our declaration, %lld in NvInfer.h\n", entry, what, ours, theirs);
    ++differences;
}

template <class Ours, class Theirs>
void value(char const* entry, Ours ours, Theirs theirs)
{
    static_assert(std::is_enum_v<Ours> && std::is_enum_v<Theirs>);
    equal(entry, "size", sizeof ours, sizeof theirs);
    equal(entry, "value", static_cast<long long>(ours), static_cast<long long>(theirs));
}

// A parameter or result as far as a caller can tell: how many bytes, and in which kind of register.
template <class T>
constexpr int passed_as()
{
    using Value = std::remove_reference_t<T>;
    if constexpr (std::is_void_v<T>)
        return 0;
    else if constexpr (std::is_reference_v<T> || std::is_pointer_v<T>)
        return 1000;
    else
        return static_cast<int>(sizeof(Value)) + (std::is_floating_point_v<Value> ? 2000 : 0);
}

constexpr size_t kBeforeParameters = 3;

template <class Function>
struct Signature;

template <bool is_const, bool is_noexcept, class Result, class... Parameters>
struct SignatureOf {
    static constexpr std::array<int, kBeforeParameters + sizeof...(Parameters)> value{
        is_const, is_noexcept, passed_as<Result>(), passed_as<Parameters>()...};
};

template <class C, class R, class... P>
struct Signature<R (C::*)(P...)> : SignatureOf<false, false, R, P...> {};
template <class C, class R, class... P>
struct Signature<R (C::*)(P...) const> : SignatureOf<true, false, R, P...> {};
template <class C, class R, class... P>
struct Signature<R (C::*)(P...) noexcept> : SignatureOf<false, true, R, P...> {};
template <class C, class R, class... P>
struct Signature<R (C::*)(P...) const noexcept> : SignatureOf<true, true, R, P...> {};

template <class Ours, class Theirs>
void function(char const* entry, Ours ours, Theirs theirs)
{
    auto const& our_signature = Signature<Ours>::value;
    auto const& their_signature = Signature<Theirs>::value;
    equal(entry, "number of parameters", our_signature.size() - kBeforeParameters,
          their_signature.size() - kBeforeParameters);
    for (size_t i = 0; i < our_signature.size() && i < their_signature.size(); ++i) {
        constexpr char const* kWhat[] = {"constness", "noexcept", "kind of result"};
        equal(entry, i < kBeforeParameters ? kWhat[i] : "kind of parameter", our_signature[i], their_signature[i]);
    }
    static_assert(sizeof ours == sizeof theirs && sizeof ours == 2 * sizeof(long long));
    long long our_place[2], their_place[2];
    std::memcpy(our_place, &ours, sizeof ours);
    std::memcpy(their_place, &theirs, sizeof theirs);
    equal(entry, "place in the virtual table", our_place[0], their_place[0]);
    equal(entry, "offset of the base class", our_place[1], their_place[1]);
}

// A macro writes each name once; three times by hand, and one day the wrong two are compared.
#define VALUE(TYPE, NAME) value(#TYPE "::" #NAME, abi::TYPE::NAME, trt::TYPE::NAME)
#define SIZE(TYPE) equal(#TYPE, "size", sizeof(abi::TYPE), sizeof(trt::TYPE))
#define MEMBER(TYPE, NAME)                                                                    \
    (equal(#TYPE "::" #NAME, "offset", offsetof(abi::TYPE, NAME), offsetof(trt::TYPE, NAME)), \
     equal(#TYPE "::" #NAME, "size", sizeof(abi::TYPE::NAME), sizeof(trt::TYPE::NAME)))
#define FUNCTION(NAMESPACE, TYPE, NAME) function(#TYPE "::" #NAME, &NAMESPACE::TYPE::NAME, &trt::TYPE::NAME)

void check_values()
{
    VALUE(APILanguage, kCPP);
    VALUE(APILanguage, kPYTHON);
    VALUE(DataType, kFLOAT);
    VALUE(DataType, kHALF);
    VALUE(DataType, kINT8);
    VALUE(DataType, kINT32);
    VALUE(DataType, kBOOL);
    VALUE(DataType, kUINT8);
    VALUE(DataType, kFP8);
    VALUE(DataType, kBF16);
    VALUE(DataType, kINT64);
    VALUE(TensorFormat, kLINEAR);
    VALUE(TensorFormat, kCHW2);
    VALUE(TensorFormat, kHWC8);
    VALUE(TensorFormat, kCHW4);
    VALUE(TensorFormat, kCHW16);
    VALUE(TensorFormat, kCHW32);
    VALUE(TensorFormat, kHWC);
    VALUE(TensorFormat, kHWC16);
    VALUE(PluginCapabilityType, kCORE);
    VALUE(PluginCapabilityType, kBUILD);
    VALUE(PluginCapabilityType, kRUNTIME);
    VALUE(PluginFieldType, kFLOAT16);
    VALUE(PluginFieldType, kFLOAT32);
    VALUE(PluginFieldType, kFLOAT64);
    VALUE(PluginFieldType, kINT8);
    VALUE(PluginFieldType, kINT16);
    VALUE(PluginFieldType, kINT32);
    VALUE(PluginFieldType, kCHAR);
    VALUE(PluginFieldType, kDIMS);
    VALUE(PluginFieldType, kUNKNOWN);
    VALUE(PluginFieldType, kINT64);
    VALUE(TensorRTPhase, kBUILD);
    VALUE(TensorRTPhase, kRUNTIME);
    value("Severity::kINTERNAL_ERROR", abi::Severity::kINTERNAL_ERROR, trt::ILogger::Severity::kINTERNAL_ERROR);
    value("Severity::kERROR", abi::Severity::kERROR, trt::ILogger::Severity::kERROR);
    value("Severity::kWARNING", abi::Severity::kWARNING, trt::ILogger::Severity::kWARNING);
    value("Severity::kINFO", abi::Severity::kINFO, trt::ILogger::Severity::kINFO);
    value("Severity::kVERBOSE", abi::Severity::kVERBOSE, trt::ILogger::Severity::kVERBOSE);
}

void check_layouts()
{
    SIZE(InterfaceInfo);
    MEMBER(InterfaceInfo, kind);
    MEMBER(InterfaceInfo, major);
    MEMBER(InterfaceInfo, minor);
    SIZE(Dims);
    MEMBER(Dims, nbDims);
    MEMBER(Dims, d);
    SIZE(PluginTensorDesc);
    MEMBER(PluginTensorDesc, dims);
    MEMBER(PluginTensorDesc, type);
    MEMBER(PluginTensorDesc, format);
    MEMBER(PluginTensorDesc, scale);
    SIZE(DynamicPluginTensorDesc);
    MEMBER(DynamicPluginTensorDesc, desc);
    MEMBER(DynamicPluginTensorDesc, min);
    MEMBER(DynamicPluginTensorDesc, max);
    MEMBER(DynamicPluginTensorDesc, opt);
    SIZE(DimsExprs);
    MEMBER(DimsExprs, nbDims);
    MEMBER(DimsExprs, d);
    SIZE(PluginField);
    MEMBER(PluginField, name);
    MEMBER(PluginField, data);
    MEMBER(PluginField, type);
    MEMBER(PluginField, length);
    SIZE(PluginFieldCollection);
    MEMBER(PluginFieldCollection, nbFields);
    MEMBER(PluginFieldCollection, fields);
    equal("Dims", "number of sizes", abi::Dims::kMaxDims, trt::Dims::MAX_DIMS);
}

void check_plugin_functions()
{
    FUNCTION(abi, IVersionedInterface, getAPILanguage);
    FUNCTION(abi, IVersionedInterface, getInterfaceInfo);
    FUNCTION(abi, IPluginV3, getInterfaceInfo);
    FUNCTION(abi, IPluginV3, getCapabilityInterface);
    FUNCTION(abi, IPluginV3, clone);
    FUNCTION(abi, IPluginV3OneCore, getInterfaceInfo);
    FUNCTION(abi, IPluginV3OneCore, getPluginName);
    FUNCTION(abi, IPluginV3OneCore, getPluginVersion);
    FUNCTION(abi, IPluginV3OneCore, getPluginNamespace);
    FUNCTION(abi, IPluginV3OneBuild, getInterfaceInfo);
    FUNCTION(abi, IPluginV3OneBuild, configurePlugin);
    FUNCTION(abi, IPluginV3OneBuild, getOutputDataTypes);
    FUNCTION(abi, IPluginV3OneBuild, getOutputShapes);
    FUNCTION(abi, IPluginV3OneBuild, supportsFormatCombination);
    FUNCTION(abi, IPluginV3OneBuild, getNbOutputs);
    FUNCTION(abi, IPluginV3OneBuild, getWorkspaceSize);
    FUNCTION(abi, IPluginV3OneBuild, getValidTactics);
    FUNCTION(abi, IPluginV3OneBuild, getNbTactics);
    FUNCTION(abi, IPluginV3OneBuild, getTimingCacheID);
    FUNCTION(abi, IPluginV3OneBuild, getFormatCombinationLimit);
    FUNCTION(abi, IPluginV3OneBuild, getMetadataString);
    FUNCTION(abi, IPluginV3OneRuntime, getInterfaceInfo);
    FUNCTION(abi, IPluginV3OneRuntime, setTactic);
    FUNCTION(abi, IPluginV3OneRuntime, onShapeChange);
    FUNCTION(abi, IPluginV3OneRuntime, enqueue);
    FUNCTION(abi, IPluginV3OneRuntime, attachToContext);
    FUNCTION(abi, IPluginV3OneRuntime, getFieldsToSerialize);
    FUNCTION(abi, IPluginCreatorV3One, getInterfaceInfo);
    FUNCTION(abi, IPluginCreatorV3One, createPlugin);
    FUNCTION(abi, IPluginCreatorV3One, getFieldNames);
    FUNCTION(abi, IPluginCreatorV3One, getPluginName);
    FUNCTION(abi, IPluginCreatorV3One, getPluginVersion);
    FUNCTION(abi, IPluginCreatorV3One, getPluginNamespace);
}

void check_host_functions()
{
    FUNCTION(host, ILogger, log);
    FUNCTION(host, ILoggerFinder, findLogger);
    FUNCTION(host, IPluginRegistry, setErrorRecorder);
    FUNCTION(host, IPluginRegistry, getErrorRecorder);
    FUNCTION(host, IPluginRegistry, isParentSearchEnabled);
    FUNCTION(host, IPluginRegistry, setParentSearchEnabled);
    FUNCTION(host, IPluginRegistry, loadLibrary);
    FUNCTION(host, IPluginRegistry, deregisterLibrary);
    FUNCTION(host, IPluginRegistry, getAllCreators);
    FUNCTION(host, IPluginRegistry, getCreator);
    // Each has an overload for older plugins in TensorRT 10.
    function("IPluginRegistry::registerCreator",
             static_cast<bool (host::IPluginRegistry::*)(abi::IPluginCreatorInterface&, char const*) noexcept>(
                 &host::IPluginRegistry::registerCreator),
             static_cast<bool (trt::IPluginRegistry::*)(trt::IPluginCreatorInterface&, char const*) noexcept>(
                 &trt::IPluginRegistry::registerCreator));
    function("IPluginRegistry::deregisterCreator",
             static_cast<bool (host::IPluginRegistry::*)(abi::IPluginCreatorInterface const&) noexcept>(
                 &host::IPluginRegistry::deregisterCreator),
             static_cast<bool (trt::IPluginRegistry::*)(trt::IPluginCreatorInterface const&) noexcept>(
                 &trt::IPluginRegistry::deregisterCreator));
}

} // namespace

int main()
{
    check_values();
    check_layouts();
    check_plugin_functions();
    check_host_functions();
    std::printf("%d differences from NvInfer.h of TensorRT %d.%d.%d\n", differences, NV_TENSORRT_MAJOR,
                NV_TENSORRT_MINOR, NV_TENSORRT_PATCH);
    return differences == 0 ? 0 : 1;
}

#endif
