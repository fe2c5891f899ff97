#include "engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <numeric>

#include "errors.h"

namespace ccdeploy {
namespace {

using nvinfer1::DataType;
using nvinfer1::TensorIOMode;

constexpr char const* kCreator = "CrissCrossAttention"; // the plugin's name in TensorRT's registry
constexpr char const* kFlavour = CCDEPLOY_TENSORRT_FLAVOUR;
constexpr char const* kBuildAgain = "Build the engine again with `ccdeploy build-engine` on this machine.";

// What TensorRT says while it works: its errors and warnings, on the error stream.
class Logger : public nvinfer1::ILogger {
public:
    void log(Severity severity, char const* message) noexcept override
    {
        if (severity <= Severity::kERROR)
            ++errors_;
        if (severity <= Severity::kWARNING)
            std::cerr << "TensorRT: " << message << '\n';
    }

    int errors() const
    {
        return errors_;
    }

private:
    std::atomic<int> errors_ = 0; // TensorRT may call from any thread
};

// TensorRT keeps the first logger that it is given, for as long as the process lives.
Logger& logger()
{
    static Logger instance;
    return instance;
}

std::unique_ptr<nvinfer1::IRuntime> create_runtime()
{
    int const errors = logger().errors();
    nvinfer1::IRuntime* const runtime = nvinfer1::createInferRuntime(logger());
    // Where its CUDA does not start, TensorRT logs that and may return a pointer that is neither null nor an object
    // (seen in the lean runtimes of 10.16 and 11.4): the log decides.
    if (runtime == nullptr || logger().errors() != errors)
        throw MissingError("TensorRT " + tensorrt_version() + " does not start: its reason stands above.",
                           "`ccdeploy doctor` shows what this machine lacks.");
    return std::unique_ptr<nvinfer1::IRuntime>(runtime);
}

std::string join(std::vector<std::string> const& texts)
{
    return std::accumulate(texts.begin(), texts.end(), std::string(),
                           [](std::string const& a, std::string const& b) { return a.empty() ? b : a + ", " + b; });
}

// Whether a version is the other, or its beginning: packages call TensorRT 10.3.0.26 "10.3.0" too.
bool is_version(std::string const& version, std::string const& whole)
{
    return !version.empty() && (whole + ".").compare(0, version.size() + 1, version + ".") == 0;
}

DataType data_type(Tensor const& tensor)
{
    return tensor.dtype == "uint8" ? DataType::kUINT8 : DataType::kFLOAT;
}

size_t element_size(Tensor const& tensor)
{
    return tensor.dtype == "uint8" ? sizeof(uint8_t) : sizeof(float);
}

nvinfer1::Dims to_dims(std::vector<int64_t> const& shape)
{
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    size_t const half = values.size() / 2;
    return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

} // namespace

std::string tensorrt_version()
{
    std::string version;
    for (int32_t const number :
         {getInferLibMajorVersion(), getInferLibMinorVersion(), getInferLibPatchVersion(), getInferLibBuildVersion()})
        version += (version.empty() ? "" : ".") + std::to_string(number);
    return version;
}

void check_runs_here(Manifest const& manifest, Gpu const& gpu)
{
    auto const& capabilities = manifest.compute_capabilities;
    if (std::find(capabilities.begin(), capabilities.end(), gpu.compute_capability) == capabilities.end())
        throw MissingError("The engine was built for compute capability " + join(capabilities) + ", " + gpu.name +
                               " has " + gpu.compute_capability + ".",
                           "Build the engine for this GPU with `ccdeploy build-engine`.");
    if (manifest.flavour != kFlavour)
        throw MissingError("The engine was built by " + manifest.flavour + ", this program is linked with " + kFlavour +
                               ".",
                           "Configure this program with -DTENSORRT_FLAVOUR=" + manifest.flavour + ".");
    if (!is_version(manifest.version, tensorrt_version()))
        throw MissingError("The engine was built by " + manifest.flavour + " " + manifest.version + ", version " +
                               tensorrt_version() + " is loaded.",
                           kBuildAgain);
}

Bytes read_engine_file(std::filesystem::path const& path, Manifest const& manifest)
{
    Bytes content = read_file(path, "Name an engine that `ccdeploy build-engine` wrote.");
    if (std::string const digest = sha256(content); digest != manifest.sha256)
        throw InputError(path.string() + " has sha256 " + digest + ", its manifest says " + manifest.sha256 + ".",
                         "Copy the engine again together with its manifest, or build it again.");
    return content;
}

std::filesystem::path load_plugin(Manifest const& manifest, std::filesystem::path const& engine,
                                  std::filesystem::path const& given)
{
    if (!manifest.plugin) {
        if (!given.empty())
            throw InputError("--plugin " + given.string() + " was given, but the engine has no plugin layer.",
                             "Leave --plugin out.");
        return {};
    }
    Plugin const& plugin = *manifest.plugin;
    if (plugin.embedded)
        throw MissingError("The engine carries native code (an embedded plugin), which this program does not run.",
                           "Build the engine without --embed-plugin.");
    std::filesystem::path path = given;
    if (path.empty()) {
        path = std::filesystem::absolute(engine).parent_path() / std::filesystem::path(plugin.file).filename();
        if (!std::filesystem::is_regular_file(path))
            throw MissingError("The engine's plugin " + plugin.file + " is not beside it.",
                               "Copy it there, or name it with --plugin FILE.");
    }
    std::string const digest = sha256(read_file(path, "Name the library that the engine was built with."));
    if (digest != plugin.sha256)
        throw InputError("The plugin " + path.string() + " has sha256 " + digest + ", the engine was built with " +
                             plugin.sha256 + ".",
                         "Take the library that the engine was built with, or build the engine again.");
    // loadLibrary opens what it is given as dlopen does: a bare name would be searched for elsewhere. It returns null
    // without a word where it fails, and also for a library that is loaded already: only the registry knows.
    path = std::filesystem::absolute(path);
    getPluginRegistry()->loadLibrary(path.c_str());
    if (getPluginRegistry()->getCreator(kCreator, plugin.version.c_str(), "") == nullptr)
        throw MissingError("TensorRT found no plugin " + std::string(kCreator) + ", version " + plugin.version +
                               ", in " + path.string() + ".",
                           "Build it on this machine with `ccdeploy build-plugin`, and the engine with it.");
    return path;
}

Engine::Engine(Manifest const& manifest, Bytes const& content)
    : runtime_(create_runtime())
{
    engine_.reset(runtime_->deserializeCudaEngine(content.data(), content.size()));
    if (!engine_)
        throw InputError("TensorRT refuses the engine: its reason stands above.", kBuildAgain);
    check_tensors(manifest);
    context_.reset(engine_->createExecutionContext());
    if (!context_)
        throw MissingError("TensorRT makes no execution context: its reason stands above.",
                           "Free memory of the GPU, or use a smaller engine.");
    stream_ = make_stream();
    before_ = make_event();
    after_ = make_event();

    if (!context_->setInputShape(manifest.input.name.c_str(), to_dims(manifest.input.shape)))
        throw InputError("The engine does not take the shape that its manifest states.", kBuildAgain);
    nvinfer1::Dims const dims = context_->getTensorShape(manifest.output.name.c_str());
    output_shape_.assign(dims.d, dims.d + std::max(dims.nbDims, 0)); // -1 dimensions: TensorRT does not know
    bool const expected = output_shape_.size() == manifest.output.shape.size() &&
                          std::all_of(output_shape_.begin(), output_shape_.end(), [](int64_t n) { return n > 0; }) &&
                          output_shape_.front() == manifest.input.size('N');
    if (!expected)
        throw InputError("The engine's output is not " + manifest.output.layout + " as its manifest states.",
                         kBuildAgain);
    input_ = make_buffer(manifest.input, manifest.input.shape);
    output_ = make_buffer(manifest.output, output_shape_);
}

void Engine::check_tensors(Manifest const& manifest) const
{
    bool equal = engine_->getNbIOTensors() == 2;
    for (Tensor const* tensor : {&manifest.input, &manifest.output}) {
        TensorIOMode const mode = tensor == &manifest.input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
        equal = equal && engine_->getTensorIOMode(tensor->name.c_str()) == mode &&
                engine_->getTensorDataType(tensor->name.c_str()) == data_type(*tensor);
    }
    if (!equal)
        throw InputError("The engine's tensors are not " + manifest.input.name + " and " + manifest.output.name +
                             " as its manifest states.",
                         kBuildAgain);
}

Engine::Buffer Engine::make_buffer(Tensor const& tensor, std::vector<int64_t> const& shape)
{
    auto const elements = std::accumulate(shape.begin(), shape.end(), size_t{1},
                                          [](size_t product, int64_t n) { return product * static_cast<size_t>(n); });
    Buffer buffer;
    buffer.name = tensor.name;
    buffer.bytes = elements * element_size(tensor);
    buffer.host = allocate_page_locked(buffer.bytes);
    buffer.device = allocate_on_device(buffer.bytes);
    if (!context_->setTensorAddress(buffer.name.c_str(), buffer.device.get()))
        throw InputError("TensorRT refuses the buffer of " + buffer.name + ": its reason stands above.", kBuildAgain);
    return buffer;
}

void Engine::run()
{
    cudaStream_t const stream = stream_.get();
    check(cudaMemcpyAsync(input_.device.get(), input_.host.get(), input_.bytes, cudaMemcpyHostToDevice, stream),
          "cudaMemcpyAsync");
    check(cudaEventRecord(before_.get(), stream), "cudaEventRecord");
    if (!context_->enqueueV3(stream))
        throw MissingError("TensorRT does not run the engine: its reason stands above.",
                           "`ccdeploy verify` shows whether the engine runs there.");
    check(cudaEventRecord(after_.get(), stream), "cudaEventRecord");
    check(cudaMemcpyAsync(output_.host.get(), output_.device.get(), output_.bytes, cudaMemcpyDeviceToHost, stream),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

Times Engine::measure(int warm_up, int runs)
{
    for (int i = 0; i < warm_up; ++i)
        run();
    std::vector<double> host_to_host, on_device;
    for (int i = 0; i < runs; ++i) {
        auto const start = std::chrono::steady_clock::now();
        run();
        std::chrono::duration<double, std::milli> const passed = std::chrono::steady_clock::now() - start;
        host_to_host.push_back(passed.count());
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, before_.get(), after_.get()), "cudaEventElapsedTime");
        on_device.push_back(milliseconds);
    }
    return {median(host_to_host), median(on_device)};
}

} // namespace ccdeploy
