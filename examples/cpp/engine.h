// An engine in TensorRT: checked against this machine, loaded with its plugin, and run.
#pragma once

#include <NvInfer.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "cuda.h"
#include "files.h"
#include "manifest.h"

namespace ccdeploy {

// Throws MissingError if the engine was built for other GPUs or by another TensorRT. TensorRT does not see the file.
void check_runs_here(Manifest const& manifest, Gpu const& gpu);

// Reads the engine's file, and throws InputError if it is not the one that the manifest is of.
Bytes read_engine_file(std::filesystem::path const& path, Manifest const& manifest);

// Gives TensorRT the plugin library that the engine was built with: `given`, or if that is empty the one beside the
// engine. Returns its path; an empty one if the engine needs none.
std::filesystem::path load_plugin(Manifest const& manifest, std::filesystem::path const& engine,
                                  std::filesystem::path const& given);

std::string tensorrt_version(); // of the library that is loaded: "10.3.0.26"

// Medians over the runs, in milliseconds.
struct Times {
    double host_to_host; // from page-locked memory to page-locked memory
    double on_device;    // the inference alone, between two events
};

class Engine {
public:
    // Throws InputError if TensorRT refuses the engine or its tensors are not the manifest's.
    Engine(Manifest const& manifest, Bytes const& content);

    // The engine's input, [N, H, W, C] or [N, C, H, W] as the manifest says; to be filled before a run.
    void* input() const
    {
        return input_.host.get();
    }
    // The engine's output after a run.
    void const* output() const
    {
        return output_.host.get();
    }
    // The output's dimensions.
    std::vector<int64_t> const& output_shape() const
    {
        return output_shape_;
    }

    // One inference: returns when the output is there.
    void run();

    // Runs `warm_up` times, then `runs` times with a clock.
    Times measure(int warm_up, int runs);

private:
    struct Buffer {
        std::string name;
        size_t bytes = 0;
        PageLockedMemory host;
        DeviceMemory device;
    };

    void check_tensors(Manifest const& manifest) const;
    Buffer make_buffer(Tensor const& tensor, std::vector<int64_t> const& shape);

    // In this order: what comes later uses what comes before, and is freed first.
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Stream stream_;
    Event before_, after_; // the inference
    Buffer input_, output_;
    std::vector<int64_t> output_shape_;
};

} // namespace ccdeploy
