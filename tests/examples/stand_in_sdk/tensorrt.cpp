// A stand-in for TensorRT's runtime. Its engines are texts that describe a network of one layer: of each pixel (every
// `step`th in both directions) the dot product with the weights of each class plus a bias, and for "labels" the class
// of the largest. Words of an engine, in this order:
//
//   stand-in-engine  PLUGIN  IN TYPE RANK SIZES...  OUT TYPE  KIND STEP  CLASSES (W W W BIAS)...
//
// PLUGIN is the version of the plugin that it needs, or "none"; a SIZE of -1 is dynamic; TYPE is a DataType's number;
// KIND is "logits" ([N, 3, H, W] float -> [N, classes, h, w]) or "labels" ([N, H, W, 3] uint8 -> [N, h, w]).
#include <NvInfer.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gpu.h"

namespace {

using namespace nvinfer1;

class Registry : public IPluginRegistry {
public:
    void* loadLibrary(char const* path) noexcept override
    {
        using GetCreators = IPluginCreatorInterface* const* (*)(int32_t&);
        if (stand_in::enter("loadLibrary", path))
            return nullptr;
        void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr || dlsym(library, "setLoggerFinder") == nullptr)
            return nullptr;
        auto const get = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"));
        int32_t count = 0;
        auto const* const found = get == nullptr ? nullptr : get(count);
        for (int32_t i = 0; i < count; ++i)
            registerCreator(*found[i], "");
        return library;
    }

    IPluginCreatorInterface* getCreator(char const* name, char const* version, char const* space) noexcept override
    {
        for (IPluginCreatorInterface* const creator : creators_) {
            auto const* const known = static_cast<IPluginCreatorV3One const*>(creator);
            if (std::strcmp(known->getPluginName(), name) == 0 &&
                std::strcmp(known->getPluginVersion(), version) == 0 &&
                std::strcmp(known->getPluginNamespace(), space) == 0)
                return creator;
        }
        return nullptr;
    }

    bool registerCreator(IPluginCreatorInterface& creator, char const*) noexcept override
    {
        creators_.push_back(&creator);
        return true;
    }
    IPluginCreatorInterface* const* getAllCreators(int32_t* count) const noexcept override
    {
        *count = static_cast<int32_t>(creators_.size());
        return creators_.data();
    }
    bool deregisterCreator(IPluginCreatorInterface const&) noexcept override
    {
        return false;
    }
    void deregisterLibrary(void*) noexcept override {}
    bool registerCreator(IPluginCreator&, char const*) noexcept override
    {
        return false;
    }
    IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override
    {
        return nullptr;
    }
    IPluginCreator* getPluginCreator(char const*, char const*, char const*) noexcept override
    {
        return nullptr;
    }
    bool deregisterCreator(IPluginCreator const&) noexcept override
    {
        return false;
    }
    void setErrorRecorder(IErrorRecorder*) noexcept override {}
    IErrorRecorder* getErrorRecorder() const noexcept override
    {
        return nullptr;
    }
    bool isParentSearchEnabled() const override
    {
        return false;
    }
    void setParentSearchEnabled(bool) override {}

private:
    std::vector<IPluginCreatorInterface*> creators_;
};

struct Network {
    std::string plugin, input, output, kind;
    int input_type = 0, output_type = 0;
    Dims dims{};
    int64_t step = 1, classes = 0;
    std::vector<float> weights;

    bool read(std::istream& text)
    {
        std::string magic;
        text >> magic >> plugin >> input >> input_type >> dims.nbDims;
        for (int32_t i = 0; i < dims.nbDims && i < Dims::MAX_DIMS; ++i)
            text >> dims.d[i];
        text >> output >> output_type >> kind >> step >> classes;
        weights.resize(static_cast<size_t>(classes) * 4);
        for (float& weight : weights)
            text >> weight;
        return magic == "stand-in-engine" && !text.fail();
    }

    bool gives_labels() const
    {
        return kind == "labels";
    }
};

size_t volume(Dims const& dims)
{
    size_t product = 1;
    for (int32_t i = 0; i < dims.nbDims; ++i)
        product *= static_cast<size_t>(dims.d[i]);
    return product;
}

class Context : public IExecutionContext {
public:
    explicit Context(Network const& network)
        : network_(network)
        , dims_(network.dims)
    {
    }
    ~Context() override
    {
        stand_in::enter("~IExecutionContext");
    }

    bool setInputShape(char const* name, Dims const& dims) noexcept override
    {
        bool fits = name == network_.input && dims.nbDims == network_.dims.nbDims;
        for (int32_t i = 0; fits && i < dims.nbDims; ++i)
            fits = network_.dims.d[i] == -1 || network_.dims.d[i] == dims.d[i];
        dims_ = dims;
        return fits && !stand_in::enter("setInputShape");
    }

    Dims getTensorShape(char const* name) const noexcept override
    {
        if (name == network_.input)
            return dims_;
        if (name != network_.output)
            return {-1, {}};
        int64_t const height = network_.gives_labels() ? dims_.d[1] : dims_.d[2];
        int64_t const width = network_.gives_labels() ? dims_.d[2] : dims_.d[3];
        int64_t const h = (height + network_.step - 1) / network_.step, w = (width + network_.step - 1) / network_.step;
        return network_.gives_labels() ? Dims{3, {dims_.d[0], h, w}} : Dims{4, {dims_.d[0], network_.classes, h, w}};
    }

    bool setTensorAddress(char const* name, void* data) noexcept override
    {
        (name == network_.input ? input_ : output_) = data;
        return !stand_in::enter("setTensorAddress", name);
    }

    bool enqueueV3(cudaStream_t stream) noexcept override
    {
        bool const labels = network_.gives_labels();
        Dims const out = getTensorShape(network_.output.c_str());
        size_t const in_bytes = volume(dims_) * (labels ? 1 : sizeof(float));
        void const* const input = stand_in::device_memory(input_, in_bytes);
        void* const output = stand_in::device_memory(output_, volume(out) * (labels ? 1 : sizeof(float)));
        if (stand_in::enter("enqueueV3") || input == nullptr || output == nullptr || stream == nullptr)
            return false;
        stand_in::add(stream, [=] {
            stand_in::pass_time(next_duration());
            if (char const* const file = std::getenv("STAND_IN_INPUTS"))
                std::ofstream(file, std::ios::app | std::ios::binary)
                    .write(static_cast<char const*>(input), static_cast<std::streamsize>(in_bytes));
            for (int64_t n = 0; n < dims_.d[0]; ++n)
                compute(n, out, input, output);
        });
        return true;
    }

private:
    static float next_duration()
    {
        static size_t calls = 0;
        std::vector<float> durations;
        std::istringstream text(std::getenv("STAND_IN_MS") ? std::getenv("STAND_IN_MS") : "1");
        for (float duration = 0; text >> duration;)
            durations.push_back(duration);
        return durations[calls++ % durations.size()];
    }

    void compute(int64_t n, Dims const& out, void const* input, void* output) const
    {
        bool const labels = network_.gives_labels();
        int64_t const height = labels ? dims_.d[1] : dims_.d[2], width = labels ? dims_.d[2] : dims_.d[3];
        int64_t const h = out.d[out.nbDims - 2], w = out.d[out.nbDims - 1];
        auto const value = [&](int64_t channel, int64_t y, int64_t x) {
            return labels ? float{static_cast<uint8_t const*>(input)[((n * height + y) * width + x) * 3 + channel]}
                          : static_cast<float const*>(input)[((n * 3 + channel) * height + y) * width + x];
        };
        for (int64_t y = 0; y < h; ++y)
            for (int64_t x = 0; x < w; ++x) {
                float best = 0;
                for (int64_t c = 0; c < network_.classes; ++c) {
                    float const* const weights = network_.weights.data() + 4 * c;
                    float sum = weights[3];
                    for (int64_t channel = 0; channel < 3; ++channel)
                        sum += weights[channel] * value(channel, y * network_.step, x * network_.step);
                    if (!labels)
                        static_cast<float*>(output)[((n * network_.classes + c) * h + y) * w + x] = sum;
                    else if (c == 0 || sum > best) {
                        best = sum;
                        static_cast<uint8_t*>(output)[(n * h + y) * w + x] = static_cast<uint8_t>(c);
                    }
                }
            }
    }

    Network const& network_;
    Dims dims_;
    void *input_ = nullptr, *output_ = nullptr;
};

class Engine : public ICudaEngine {
public:
    explicit Engine(Network network)
        : network_(std::move(network))
    {
    }
    ~Engine() override
    {
        stand_in::enter("~ICudaEngine");
    }

    IExecutionContext* createExecutionContext() noexcept override
    {
        return stand_in::enter("createExecutionContext") ? nullptr : new Context(network_);
    }
    int32_t getNbIOTensors() const noexcept override
    {
        return 2;
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override
    {
        return name == network_.input    ? TensorIOMode::kINPUT
               : name == network_.output ? TensorIOMode::kOUTPUT
                                         : TensorIOMode::kNONE;
    }
    DataType getTensorDataType(char const* name) const noexcept override
    {
        return static_cast<DataType>(name == network_.input ? network_.input_type : network_.output_type);
    }

private:
    Network network_;
};

class Runtime : public IRuntime {
public:
    explicit Runtime(ILogger& logger)
        : logger_(logger)
    {
    }
    ~Runtime() override
    {
        stand_in::enter("~IRuntime");
    }

    ICudaEngine* deserializeCudaEngine(void const* content, size_t size) noexcept override
    {
        std::istringstream text(std::string(static_cast<char const*>(content), size));
        Network network;
        logger_.log(ILogger::Severity::kINFO, "an engine is read");
        if (stand_in::enter("deserializeCudaEngine", std::to_string(size)) || !network.read(text)) {
            logger_.log(ILogger::Severity::kERROR, "this is not an engine");
            return nullptr;
        }
        bool const found =
            network.plugin == "none" ||
            getPluginRegistry()->getCreator("CrissCrossAttention", network.plugin.c_str(), "") != nullptr;
        if (!found)
            logger_.log(ILogger::Severity::kERROR, "the engine needs a plugin that is not registered");
        return found ? new Engine(network) : nullptr;
    }

private:
    ILogger& logger_;
};

int32_t version(size_t part)
{
    int32_t numbers[4] = {10, 16, 1, 11};
    if (char const* const text = std::getenv("STAND_IN_VERSION"))
        std::sscanf(text, "%d.%d.%d.%d", &numbers[0], &numbers[1], &numbers[2], &numbers[3]);
    return numbers[part];
}

} // namespace

extern "C" {

void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept
{
    constexpr uintptr_t kNotAnObject = 0x228; // what the lean runtimes of 10.16 and 11.4 return where CUDA fails
    auto& log = *static_cast<ILogger*>(logger);
    if (!stand_in::enter("createInferRuntime"))
        return new Runtime(log);
    log.log(ILogger::Severity::kERROR, "CUDA does not start");
    return reinterpret_cast<void*>(kNotAnObject);
}

IPluginRegistry* getPluginRegistry() noexcept
{
    static Registry registry;
    return &registry;
}

int32_t getInferLibMajorVersion() noexcept
{
    return version(0);
}
int32_t getInferLibMinorVersion() noexcept
{
    return version(1);
}
int32_t getInferLibPatchVersion() noexcept
{
    return version(2);
}
int32_t getInferLibBuildVersion() noexcept
{
    return version(3);
}
}
