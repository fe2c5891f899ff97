// The plugin's parameters as TensorRT hands them over: from the ONNX node when an engine is built, from the engine's
// file when it is loaded. Both come from outside, and nothing in them is believed before it is checked.
#pragma once

#include "abi.h"

namespace ccdeploy::tensorrt {

constexpr char const* kQueryChannels = "query_channels"; // the ONNX attribute
constexpr char const* kFieldsVersion = "fields_version"; // only in engines

// What kFieldsVersion is written as. It grows when the fields of an engine change.
constexpr int32_t kFieldsVersionNow = 1;

// Reads the fields of a new layer: query_channels, as int32 or int64, and nothing else. False, and the reason logged,
// if that is not what they are.
bool read_attributes(abi::PluginFieldCollection const* fields, int32_t& query_channels);

// Reads the fields that SerializedFields wrote, of this version or an older one; nothing else is accepted.
bool read_serialized(abi::PluginFieldCollection const* fields, int32_t& query_channels);

// What an engine keeps of a plugin. The collection points into this object, which must stay where it is.
class SerializedFields {
public:
    abi::PluginFieldCollection const* collect(int32_t query_channels);

private:
    int32_t version_ = kFieldsVersionNow;
    int32_t query_channels_ = 0;
    abi::PluginField field_[2];
    abi::PluginFieldCollection collection_;
};

} // namespace ccdeploy::tensorrt
