// The manifest that ccdeploy writes beside an engine: what goes in and comes out, and where the engine runs.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ccdeploy {

// One input or output. A dynamic dimension is kDynamic.
struct Tensor {
    std::string name;
    std::string dtype;  // "float32" or "uint8"
    std::string layout; // a letter a dimension: "NCHW"
    std::vector<int64_t> shape;

    int64_t size(char axis) const; // the layout must have that axis
};
constexpr int64_t kDynamic = -1;

struct ClassInfo {
    std::string name;
    std::array<uint8_t, 3> color;
};

struct Plugin {
    std::string file;
    std::string sha256;
    std::string version; // as TensorRT's registry knows it
    bool embedded;
};

struct Manifest {
    std::string model;
    std::string types;  // what it computes in: "int8+fp16"
    std::string sha256; // of the engine's file
    bool takes_image;   // uint8 pictures to labels; otherwise normalised float32 to logits
    bool windows;       // the network's published figures are of windows, not of whole pictures
    Tensor input;       // its dimensions are those to run with: chosen from the profile where they are dynamic
    Tensor output;

    bool bgr;
    std::array<float, 3> mean; // of the channels in the network's order, on pictures of 0 to 255
    std::array<float, 3> deviation;
    bool align_corners; // how the network's logits are enlarged
    std::vector<ClassInfo> classes;

    std::string flavour; // "tensorrt" or "tensorrt-rtx"
    std::string version; // of TensorRT
    std::vector<std::string> compute_capabilities;
    std::optional<Plugin> plugin;
};

// Reads `FILE.json` beside an engine. Throws InputError if it is missing, damaged, of a newer format, or of an engine
// that this program does not run.
Manifest read_manifest(std::filesystem::path const& engine);

} // namespace ccdeploy
