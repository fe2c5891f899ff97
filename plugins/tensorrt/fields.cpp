// Reads a collection against a list of what must be in it: each once, of its type, one element long.
#include "fields.h"

#include <cctype>
#include <cstring>

#include "ccdeploy/criss_cross.h"
#include "log.h"

namespace ccdeploy::tensorrt {
namespace {

struct Expected {
    char const* name;
    bool or_int64; // int32 otherwise
    bool found;
    int64_t value;
};

// A foreign name for a log: a few characters, whatever they are and wherever they end.
struct Shown {
    char text[33];
};

Shown shown(char const* name)
{
    Shown result{};
    for (size_t i = 0; i + 1 < sizeof result.text && name[i] != '\0'; ++i)
        result.text[i] = std::isprint(static_cast<unsigned char>(name[i])) ? name[i] : '?';
    return result;
}

bool read_value(abi::PluginField const& field, Expected& expected)
{
    bool const is_int64 = field.type == abi::PluginFieldType::kINT64;
    if (field.type != abi::PluginFieldType::kINT32 && !(is_int64 && expected.or_int64))
        return refuse("field %s has type %d, %d (kINT32)%s was expected", expected.name, static_cast<int>(field.type),
                      static_cast<int>(abi::PluginFieldType::kINT32), expected.or_int64 ? " or 10 (kINT64)" : "");
    if (field.length != 1)
        return refuse("field %s has %d elements, 1 was expected", expected.name, field.length);
    if (field.data == nullptr)
        return refuse("field %s has no data", expected.name);
    // Copied: the data of an engine's field need not be aligned.
    if (is_int64) {
        std::memcpy(&expected.value, field.data, sizeof expected.value);
    } else {
        int32_t value = 0;
        std::memcpy(&value, field.data, sizeof value);
        expected.value = value;
    }
    expected.found = true;
    return true;
}

bool read_field(abi::PluginField const& field, Expected* expected, int32_t count)
{
    if (field.name == nullptr)
        return refuse("a field has no name");
    for (int32_t i = 0; i < count; ++i) {
        if (std::strcmp(field.name, expected[i].name) != 0)
            continue;
        if (expected[i].found)
            return refuse("field %s is given twice", expected[i].name);
        return read_value(field, expected[i]);
    }
    return refuse("field \"%s\" is unknown", shown(field.name).text);
}

// With as many fields as are expected, none unknown and none twice, none is missing. The number is looked at first: a
// wrong one must not lead beyond the end of the collection.
bool read_fields(abi::PluginFieldCollection const* fields, Expected* expected, int32_t count)
{
    if (fields == nullptr)
        return refuse("no collection of fields was given");
    if (fields->nbFields != count)
        return refuse("%d fields were given, %d expected (%s%s%s)", fields->nbFields, count, expected[0].name,
                      count > 1 ? ", " : "", count > 1 ? expected[1].name : "");
    if (fields->fields == nullptr)
        return refuse("the collection of fields is empty, %d were expected", count);
    for (int32_t i = 0; i < count; ++i)
        if (!read_field(fields->fields[i], expected, count))
            return false;
    return true;
}

// The limits of the kernel, asked of the C interface for the smallest problem that has these query channels.
bool within_limits(int64_t value, int32_t& query_channels)
{
    if (value < INT32_MIN || value > INT32_MAX)
        return refuse("field %s is %lld, a number of 32 bits was expected", kQueryChannels,
                      static_cast<long long>(value));
    ccdeploy_criss_cross problem{};
    problem.type = CCDEPLOY_FLOAT32;
    problem.layout = CCDEPLOY_NHWC;
    problem.tile = CCDEPLOY_TILE_AUTO;
    problem.batch = problem.height = problem.width = 1;
    problem.channels = 32;
    problem.query_channels = static_cast<int32_t>(value);
    if (ccdeploy_criss_cross_supported(&problem, 0) != CCDEPLOY_OK)
        return refuse("%s", ccdeploy_last_error());
    query_channels = problem.query_channels;
    return true;
}

} // namespace

bool read_attributes(abi::PluginFieldCollection const* fields, int32_t& query_channels)
{
    Expected expected[] = {{kQueryChannels, true, false, 0}};
    return read_fields(fields, expected, 1) && within_limits(expected[0].value, query_channels);
}

bool read_serialized(abi::PluginFieldCollection const* fields, int32_t& query_channels)
{
    Expected expected[] = {{kFieldsVersion, false, false, 0}, {kQueryChannels, false, false, 0}};
    if (!read_fields(fields, expected, 2))
        return false;
    int64_t const version = expected[0].value;
    if (version > kFieldsVersionNow)
        return refuse("field %s is %lld, at most %d was expected: the engine was built with a newer plugin",
                      kFieldsVersion, static_cast<long long>(version), kFieldsVersionNow);
    if (version < 1)
        return refuse("field %s is %lld, 1 or more was expected", kFieldsVersion, static_cast<long long>(version));
    return within_limits(expected[1].value, query_channels);
}

abi::PluginFieldCollection const* SerializedFields::collect(int32_t query_channels)
{
    query_channels_ = query_channels;
    field_[0] = {kFieldsVersion, &version_, abi::PluginFieldType::kINT32, 1};
    field_[1] = {kQueryChannels, &query_channels_, abi::PluginFieldType::kINT32, 1};
    collection_ = {2, field_};
    return &collection_;
}

} // namespace ccdeploy::tensorrt
