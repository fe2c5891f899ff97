// Compares abi.h and abi_host.h, entry by entry, with the NvInfer.h of a TensorRT SDK: values, layouts, signatures and
// places in virtual tables. Prints what differs; the exit code is 0 if nothing does.
//
// A pointer to a virtual member function holds, in the Itanium C++ ABI that every Linux compiler follows, the place of
// the function in the table of its class. So two such pointers have the same bytes if the functions have the same place.
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

void differ(char const* entry, char const* what, long long ours, long long theirs)
{
    std::printf("%s: %s is %lld in our declaration, %lld in NvInfer.h\n", entry, what, ours, theirs);
    ++differences;
}

void equal(char const* entry, char const* what, long long ours, long long theirs)
{
    if (ours != theirs)
        differ(entry, what, ours, theirs);
}

template <class Ours, class Theirs>
void enumerator(char const* entry, Ours ours, Theirs theirs)
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

template <class Function>
struct Signature;

template <bool is_const, bool is_noexcept, class Result, class... Parameters>
struct SignatureOf {
    static constexpr std::array<int, sizeof...(Parameters) + 3> value{is_const, is_noexcept, passed_as<Result>(),
                                                                       passed_as<Parameters>()...};
};

template <class C, class R, class... P>
struct Signature<R (C::*)(P...)> : SignatureOf<false, false, R, P...> {
};
template <class C, class R, class... P>
struct Signature<R (C::*)(P...) const> : SignatureOf<true, false, R, P...> {
};
template <class C, class R, class... P>
struct Signature<R (C::*)(P...) noexcept> : SignatureOf<false, true, R, P...> {
};
template <class C, class R, class... P>
struct Signature<R (C::*)(P...) const noexcept> : SignatureOf<true, true, R, P...> {
};

template <class Ours, class Theirs>
void function(char const* entry, Ours ours, Theirs theirs)
{
    auto const &our_signature = Signature<Ours>::value;
    auto const &their_signature = Signature<Theirs>::value;
    equal(entry, "number of parameters", our_signature.size() - 3, their_signature.size() - 3);
    if (our_signature.size() == their_signature.size() &&
        std::memcmp(our_signature.data(), their_signature.data(), sizeof our_signature) != 0) {
        std::printf("%s: the signature in our declaration is not that in NvInfer.h\n", entry);
        ++differences;
    }
    static_assert(sizeof ours == sizeof theirs && sizeof ours == 2 * sizeof(long long));
    long long our_place[2], their_place[2];
    std::memcpy(our_place, &ours, sizeof ours);
    std::memcpy(their_place, &theirs, sizeof theirs);
    equal(entry, "place in the virtual table", our_place[0], their_place[0]);
    equal(entry, "offset of the base class", our_place[1], their_place[1]);
}

void check_enumerators()
{
    enumerator("DataType::kFLOAT", abi::DataType::kFLOAT, trt::DataType::kFLOAT);
    enumerator("DataType::kHALF", abi::DataType::kHALF, trt::DataType::kHALF);
    enumerator("DataType::kINT8", abi::DataType::kINT8, trt::DataType::kINT8);
    enumerator("DataType::kINT32", abi::DataType::kINT32, trt::DataType::kINT32);
    enumerator("DataType::kBOOL", abi::DataType::kBOOL, trt::DataType::kBOOL);
    enumerator("DataType::kUINT8", abi::DataType::kUINT8, trt::DataType::kUINT8);
    enumerator("DataType::kFP8", abi::DataType::kFP8, trt::DataType::kFP8);
    enumerator("DataType::kBF16", abi::DataType::kBF16, trt::DataType::kBF16);
    enumerator("DataType::kINT64", abi::DataType::kINT64, trt::DataType::kINT64);
    enumerator("TensorFormat::kLINEAR", abi::TensorFormat::kLINEAR, trt::TensorFormat::kLINEAR);
    enumerator("TensorFormat::kCHW2", abi::TensorFormat::kCHW2, trt::TensorFormat::kCHW2);
    enumerator("TensorFormat::kHWC8", abi::TensorFormat::kHWC8, trt::TensorFormat::kHWC8);
    enumerator("TensorFormat::kCHW4", abi::TensorFormat::kCHW4, trt::TensorFormat::kCHW4);
    enumerator("TensorFormat::kCHW16", abi::TensorFormat::kCHW16, trt::TensorFormat::kCHW16);
    enumerator("TensorFormat::kCHW32", abi::TensorFormat::kCHW32, trt::TensorFormat::kCHW32);
    enumerator("TensorFormat::kHWC", abi::TensorFormat::kHWC, trt::TensorFormat::kHWC);
    enumerator("TensorFormat::kHWC16", abi::TensorFormat::kHWC16, trt::TensorFormat::kHWC16);
    enumerator("PluginCapabilityType::kCORE", abi::PluginCapabilityType::kCORE, trt::PluginCapabilityType::kCORE);
    enumerator("PluginCapabilityType::kBUILD", abi::PluginCapabilityType::kBUILD, trt::PluginCapabilityType::kBUILD);
    enumerator("PluginCapabilityType::kRUNTIME", abi::PluginCapabilityType::kRUNTIME,
               trt::PluginCapabilityType::kRUNTIME);
    enumerator("PluginFieldType::kFLOAT16", abi::PluginFieldType::kFLOAT16, trt::PluginFieldType::kFLOAT16);
    enumerator("PluginFieldType::kFLOAT32", abi::PluginFieldType::kFLOAT32, trt::PluginFieldType::kFLOAT32);
    enumerator("PluginFieldType::kFLOAT64", abi::PluginFieldType::kFLOAT64, trt::PluginFieldType::kFLOAT64);
    enumerator("PluginFieldType::kINT8", abi::PluginFieldType::kINT8, trt::PluginFieldType::kINT8);
    enumerator("PluginFieldType::kINT16", abi::PluginFieldType::kINT16, trt::PluginFieldType::kINT16);
    enumerator("PluginFieldType::kINT32", abi::PluginFieldType::kINT32, trt::PluginFieldType::kINT32);
    enumerator("PluginFieldType::kCHAR", abi::PluginFieldType::kCHAR, trt::PluginFieldType::kCHAR);
    enumerator("PluginFieldType::kDIMS", abi::PluginFieldType::kDIMS, trt::PluginFieldType::kDIMS);
    enumerator("PluginFieldType::kUNKNOWN", abi::PluginFieldType::kUNKNOWN, trt::PluginFieldType::kUNKNOWN);
    enumerator("PluginFieldType::kINT64", abi::PluginFieldType::kINT64, trt::PluginFieldType::kINT64);
    enumerator("TensorRTPhase::kBUILD", abi::TensorRTPhase::kBUILD, trt::TensorRTPhase::kBUILD);
    enumerator("TensorRTPhase::kRUNTIME", abi::TensorRTPhase::kRUNTIME, trt::TensorRTPhase::kRUNTIME);
    enumerator("APILanguage::kCPP", abi::APILanguage::kCPP, trt::APILanguage::kCPP);
    enumerator("APILanguage::kPYTHON", abi::APILanguage::kPYTHON, trt::APILanguage::kPYTHON);
    enumerator("Severity::kINTERNAL_ERROR", abi::Severity::kINTERNAL_ERROR, trt::ILogger::Severity::kINTERNAL_ERROR);
    enumerator("Severity::kERROR", abi::Severity::kERROR, trt::ILogger::Severity::kERROR);
    enumerator("Severity::kWARNING", abi::Severity::kWARNING, trt::ILogger::Severity::kWARNING);
    enumerator("Severity::kINFO", abi::Severity::kINFO, trt::ILogger::Severity::kINFO);
    enumerator("Severity::kVERBOSE", abi::Severity::kVERBOSE, trt::ILogger::Severity::kVERBOSE);
}

void check_layouts()
{
    using abi::DimsExprs, abi::DynamicPluginTensorDesc, abi::InterfaceInfo, abi::PluginField,
        abi::PluginFieldCollection, abi::PluginTensorDesc;
    equal("InterfaceInfo", "size", sizeof(InterfaceInfo), sizeof(trt::InterfaceInfo));
    equal("InterfaceInfo::kind", "offset", offsetof(InterfaceInfo, kind), offsetof(trt::InterfaceInfo, kind));
    equal("InterfaceInfo::major", "offset", offsetof(InterfaceInfo, major), offsetof(trt::InterfaceInfo, major));
    equal("InterfaceInfo::minor", "offset", offsetof(InterfaceInfo, minor), offsetof(trt::InterfaceInfo, minor));
    equal("Dims", "size", sizeof(abi::Dims), sizeof(trt::Dims));
    equal("Dims", "maximum", abi::Dims::kMaxDims, trt::Dims::MAX_DIMS);
    equal("Dims::nbDims", "offset", offsetof(abi::Dims, nbDims), offsetof(trt::Dims, nbDims));
    equal("Dims::d", "offset", offsetof(abi::Dims, d), offsetof(trt::Dims, d));
    equal("Dims::d", "size of an element", sizeof abi::Dims{}.d[0], sizeof trt::Dims{}.d[0]);
    equal("PluginTensorDesc", "size", sizeof(PluginTensorDesc), sizeof(trt::PluginTensorDesc));
    equal("PluginTensorDesc::dims", "offset", offsetof(PluginTensorDesc, dims), offsetof(trt::PluginTensorDesc, dims));
    equal("PluginTensorDesc::type", "offset", offsetof(PluginTensorDesc, type), offsetof(trt::PluginTensorDesc, type));
    equal("PluginTensorDesc::format", "offset", offsetof(PluginTensorDesc, format),
          offsetof(trt::PluginTensorDesc, format));
    equal("PluginTensorDesc::scale", "offset", offsetof(PluginTensorDesc, scale),
          offsetof(trt::PluginTensorDesc, scale));
    equal("DynamicPluginTensorDesc", "size", sizeof(DynamicPluginTensorDesc), sizeof(trt::DynamicPluginTensorDesc));
    equal("DynamicPluginTensorDesc::desc", "offset", offsetof(DynamicPluginTensorDesc, desc),
          offsetof(trt::DynamicPluginTensorDesc, desc));
    equal("DynamicPluginTensorDesc::min", "offset", offsetof(DynamicPluginTensorDesc, min),
          offsetof(trt::DynamicPluginTensorDesc, min));
    equal("DynamicPluginTensorDesc::max", "offset", offsetof(DynamicPluginTensorDesc, max),
          offsetof(trt::DynamicPluginTensorDesc, max));
    equal("DynamicPluginTensorDesc::opt", "offset", offsetof(DynamicPluginTensorDesc, opt),
          offsetof(trt::DynamicPluginTensorDesc, opt));
    equal("DimsExprs", "size", sizeof(DimsExprs), sizeof(trt::DimsExprs));
    equal("DimsExprs::nbDims", "offset", offsetof(DimsExprs, nbDims), offsetof(trt::DimsExprs, nbDims));
    equal("DimsExprs::d", "offset", offsetof(DimsExprs, d), offsetof(trt::DimsExprs, d));
    equal("PluginField", "size", sizeof(PluginField), sizeof(trt::PluginField));
    equal("PluginField::name", "offset", offsetof(PluginField, name), offsetof(trt::PluginField, name));
    equal("PluginField::data", "offset", offsetof(PluginField, data), offsetof(trt::PluginField, data));
    equal("PluginField::type", "offset", offsetof(PluginField, type), offsetof(trt::PluginField, type));
    equal("PluginField::length", "offset", offsetof(PluginField, length), offsetof(trt::PluginField, length));
    equal("PluginFieldCollection", "size", sizeof(PluginFieldCollection), sizeof(trt::PluginFieldCollection));
    equal("PluginFieldCollection::nbFields", "offset", offsetof(PluginFieldCollection, nbFields),
          offsetof(trt::PluginFieldCollection, nbFields));
    equal("PluginFieldCollection::fields", "offset", offsetof(PluginFieldCollection, fields),
          offsetof(trt::PluginFieldCollection, fields));
}

// Our class and theirs, of which every function below is compared.
#define CCDEPLOY_SLOT(CLASS, FUNCTION) function(#CLASS "::" #FUNCTION, &abi::CLASS::FUNCTION, &trt::CLASS::FUNCTION)

} // namespace
#endif
