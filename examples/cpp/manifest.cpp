#include "manifest.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "errors.h"
#include "files.h"

namespace ccdeploy {
namespace {

using Json = nlohmann::json;

constexpr int64_t kFormat = 1;
constexpr int64_t kLargestDimension = 65536;
constexpr char const* kBuildAgain = "Build the engine again with `ccdeploy build-engine`.";

// A value of the manifest and its place there, which the errors name.
class Field {
public:
    Field(Json const& value, std::string where)
        : value_(value)
        , where_(std::move(where))
    {
    }

    Field at(char const* name) const
    {
        require(value_.is_object(), "a table");
        auto const found = value_.find(name);
        if (found == value_.end())
            throw InputError("`" + where_ + "." + name + "` is missing.", kBuildAgain);
        return Field(*found, where_ + "." + name);
    }

    bool has(char const* name) const
    {
        require(value_.is_object(), "a table");
        auto const found = value_.find(name);
        return found != value_.end() && !found->is_null();
    }

    std::vector<Field> items() const
    {
        require(value_.is_array(), "a list");
        std::vector<Field> fields;
        for (size_t i = 0; i < value_.size(); ++i)
            fields.emplace_back(value_[i], where_ + "[" + std::to_string(i) + "]");
        return fields;
    }

    std::string text() const
    {
        require(value_.is_string(), "a text");
        return value_.get<std::string>();
    }

    bool flag() const
    {
        require(value_.is_boolean(), "true or false");
        return value_.get<bool>();
    }

    int64_t whole(int64_t smallest, int64_t largest) const
    {
        std::string const expected =
            "a whole number from " + std::to_string(smallest) + " to " + std::to_string(largest);
        require(value_.is_number_integer(), expected);
        // An unsigned number beyond int64_t would turn negative, and so leave the range as well.
        int64_t const number = value_.get<int64_t>();
        require(number >= smallest && number <= largest, expected);
        return number;
    }

    float number() const
    {
        require(value_.is_number() && std::isfinite(value_.get<float>()), "a number");
        return value_.get<float>();
    }

    bool is_text() const
    {
        return value_.is_string();
    }

    void require(bool holds, std::string const& expected) const
    {
        if (!holds)
            refuse(shortened(), expected);
    }

    [[noreturn]] void refuse(std::string const& seen, std::string const& expected) const
    {
        throw InputError("`" + where_ + "` is " + seen + ", " + expected + " was expected.", kBuildAgain);
    }

private:
    std::string shortened() const
    {
        constexpr size_t kLongest = 60;
        std::string const text = value_.dump(-1, ' ', true, Json::error_handler_t::replace);
        return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
    }

    Json const& value_;
    std::string where_;
};

Tensor read_tensor(Field const& field)
{
    Tensor tensor{field.at("name").text(), field.at("dtype").text(), field.at("layout").text(), {}};
    for (Field const& size : field.at("shape").items())
        tensor.shape.push_back(size.is_text() ? kDynamic : size.whole(1, kLargestDimension));
    field.at("shape").require(tensor.shape.size() == tensor.layout.size(), "a size for each of " + tensor.layout);
    return tensor;
}

Tensor read_only_tensor(Field const& list, std::string const& dtype, std::string const& layout)
{
    std::vector<Field> const tensors = list.items();
    list.require(tensors.size() == 1, "one tensor");
    Tensor tensor = read_tensor(tensors[0]);
    if (tensor.dtype != dtype || tensor.layout != layout)
        tensors[0].refuse(tensor.dtype + " " + tensor.layout, dtype + " " + layout);
    return tensor;
}

// Where the input is dynamic, the smallest batch and the size that the engine was made fastest for.
void choose_dynamic_sizes(Tensor& input, Field const& profiles)
{
    if (std::count(input.shape.begin(), input.shape.end(), kDynamic) == 0)
        return;
    for (Field const& profile : profiles.items()) {
        if (profile.at("input").text() != input.name)
            continue;
        std::vector<Field> const smallest = profile.at("min").items(), best = profile.at("opt").items();
        profile.require(smallest.size() == input.shape.size() && best.size() == input.shape.size(),
                        "a profile of " + std::to_string(input.shape.size()) + " dimensions");
        for (size_t i = 0; i < input.shape.size(); ++i)
            if (input.shape[i] == kDynamic)
                input.shape[i] = (input.layout[i] == 'N' ? smallest : best)[i].whole(1, kLargestDimension);
        return;
    }
    profiles.require(false, "a profile of the input " + input.name);
}

std::array<float, 3> read_statistics(Field const& field)
{
    std::vector<Field> const values = field.items();
    field.require(values.size() == 3, "a number for each of 3 channels");
    return {values[0].number(), values[1].number(), values[2].number()};
}

void read_card(Field const& card, Manifest& manifest)
{
    if (!card.has("input") || !card.at("input").has("mean") || card.at("input").at("mean").items().empty())
        throw InputError("The manifest does not say how pictures are normalised.",
                         "Export from a model card with [input] mean and std.");
    Field const input = card.at("input"), output = card.at("output");
    std::string const order = input.at("channel_order").text();
    input.at("channel_order").require(order == "rgb" || order == "bgr", "\"rgb\" or \"bgr\"");
    manifest.bgr = order == "bgr";
    manifest.mean = read_statistics(input.at("mean"));
    manifest.deviation = read_statistics(input.at("std"));
    for (float const deviation : manifest.deviation)
        input.at("std").require(deviation > 0, "a list of numbers above 0");
    manifest.align_corners = output.at("align_corners").flag();
    if (output.has("classes"))
        for (Field const& info : output.at("classes").items()) {
            std::vector<Field> const color = info.at("color").items();
            info.at("color").require(color.size() == 3, "a list of red, green and blue");
            ClassInfo entry{info.at("name").text(), {}};
            std::transform(color.begin(), color.end(), entry.color.begin(),
                           [](Field const& level) { return static_cast<uint8_t>(level.whole(0, 255)); });
            manifest.classes.push_back(entry);
        }
    manifest.windows = card.has("evaluation") && card.at("evaluation").has("mode") &&
                       card.at("evaluation").at("mode").text() == "slide";
}

void read_engine(Field const& engine, Manifest& manifest)
{
    manifest.flavour = engine.at("flavour").text();
    manifest.version = engine.at("version").text();
    for (Field const& capability : engine.at("compute_capabilities").items())
        manifest.compute_capabilities.push_back(capability.text());
    if (engine.has("plugin")) {
        Field const plugin = engine.at("plugin");
        manifest.plugin = Plugin{plugin.at("file").text(), plugin.at("sha256").text(), plugin.at("version").text(),
                                 plugin.has("embedded") && plugin.at("embedded").flag()};
    }
}

Json parse(std::filesystem::path const& path)
{
    Bytes const text = read_file(path, "Keep the manifest that `ccdeploy build-engine` writes beside its engine.");
    Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded())
        throw InputError(path.string() + " is not JSON.", kBuildAgain);
    return json;
}

} // namespace

int64_t Tensor::size(char axis) const
{
    return shape.at(layout.find(axis));
}

Manifest read_manifest(std::filesystem::path const& engine)
{
    std::filesystem::path path = engine;
    path += ".json";
    Json const json = parse(path);
    if (!json.is_object() || !json.contains("format"))
        throw InputError(path.string() + " is no manifest of ccdeploy: the field `format` is missing.", kBuildAgain);
    Field const root(json, "manifest");
    if (int64_t const format = root.at("format").whole(0, INT32_MAX); format != kFormat)
        throw InputError(path.string() + " is of format " + std::to_string(format) + ", this program reads format " +
                             std::to_string(kFormat) + ".",
                         "Use this program of the ccdeploy that built the engine, or build the engine again.");
    std::string const kind = root.at("kind").text(), io = root.at("io").text();
    root.at("kind").require(kind == "engine", "\"engine\"");
    root.at("io").require(io == "tensor" || io == "image", "\"tensor\" or \"image\"");

    Manifest manifest{};
    manifest.model = root.at("model").text();
    manifest.types = root.at("precision").text();
    if (root.has("quantization"))
        manifest.types = root.at("quantization").at("type").text() + "+" + manifest.types;
    manifest.sha256 = root.at("sha256").text();
    manifest.takes_image = io == "image";
    manifest.input = manifest.takes_image ? read_only_tensor(root.at("inputs"), "uint8", "NHWC")
                                          : read_only_tensor(root.at("inputs"), "float32", "NCHW");
    manifest.output = manifest.takes_image ? read_only_tensor(root.at("outputs"), "uint8", "NHW")
                                           : read_only_tensor(root.at("outputs"), "float32", "NCHW");
    choose_dynamic_sizes(manifest.input, root.at("engine").at("profiles"));
    if (manifest.input.size('C') != 3)
        throw InputError("The network takes " + std::to_string(manifest.input.size('C')) +
                             " channels, 3 (red, green and blue) were expected.",
                         "Pictures do not go into this network.");
    read_card(root.at("card"), manifest);
    read_engine(root.at("engine"), manifest);
    return manifest;
}

} // namespace ccdeploy
