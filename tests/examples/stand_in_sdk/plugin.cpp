// A stand-in for libccdeploy_plugins.so: one creator, which is looked up and never asked to create. A real TensorRT
// takes it too.
#include <NvInfer.h>

namespace nvinfer1 {

APILanguage IVersionedInterface::getAPILanguage() const noexcept
{
    return APILanguage::kCPP;
}

InterfaceInfo IPluginCreatorV3One::getInterfaceInfo() const noexcept
{
    return {"PLUGIN CREATOR_V3ONE", 1, 0};
}

} // namespace nvinfer1

namespace {

using namespace nvinfer1;

class Creator : public IPluginCreatorV3One {
public:
    IPluginV3* createPlugin(char const*, PluginFieldCollection const*, TensorRTPhase) noexcept override
    {
        return nullptr;
    }
    PluginFieldCollection const* getFieldNames() noexcept override
    {
        return nullptr;
    }
    char const* getPluginName() const noexcept override
    {
        return "CrissCrossAttention";
    }
    char const* getPluginVersion() const noexcept override
    {
        return "1";
    }
    char const* getPluginNamespace() const noexcept override
    {
        return "";
    }
};

} // namespace

extern "C" {

IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static Creator creator;
    static IPluginCreatorInterface* const all[] = {&creator};
    count = 1;
    return all;
}

void setLoggerFinder(ILoggerFinder*) {}
}
