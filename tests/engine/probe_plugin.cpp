// The smallest CrissCrossAttention plugin that TensorRT builds into an engine; it computes nothing.
// It lets the tests see a plugin library loaded, preferred to the model's own function, and embedded.
#include <cstddef>
#include <cstdint>

namespace {
// TensorRT's plugin ABI, the same from 10.0 to 11 and in TensorRT-RTX: only the order of virtual functions matters.
struct InterfaceInfo {
    char const* kind;
    int32_t major;
    int32_t minor;
};
struct Dims {
    int32_t nbDims;
    int64_t d[8];
};
struct TensorDesc {
    Dims dims;
    int32_t type;
    int32_t format;
    float scale;
};
struct DynamicTensorDesc {
    TensorDesc desc;
    Dims min;
    Dims max;
    Dims opt;
};
struct DimsExprs {
    int32_t nbDims;
    void const* d[8];
};
struct PluginField {
    char const* name;
    void const* data;
    int32_t type;
    int32_t length;
};
struct FieldCollection {
    int32_t nbFields;
    PluginField const* fields;
};

struct Versioned {
    virtual int32_t getAPILanguage() const noexcept
    {
        return 0;
    }
    virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
    virtual ~Versioned() noexcept = default;
};
struct Capability : Versioned {};
struct PluginV3 : Versioned {
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN", 1, 0};
    }
    virtual Capability* getCapabilityInterface(int32_t type) noexcept = 0;
    virtual PluginV3* clone() noexcept = 0;
};
struct Core : Capability {
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN_V3ONE_CORE", 1, 0};
    }
    virtual char const* getPluginName() const noexcept
    {
        return "CrissCrossAttention";
    }
    virtual char const* getPluginVersion() const noexcept
    {
        return "1";
    }
    virtual char const* getPluginNamespace() const noexcept
    {
        return "";
    }
};
struct Build : Capability {
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN_V3ONE_BUILD", 1, 0};
    }
    virtual int32_t configurePlugin(DynamicTensorDesc const*, int32_t, DynamicTensorDesc const*, int32_t) noexcept
    {
        return 0;
    }
    virtual int32_t getOutputDataTypes(int32_t* out, int32_t, int32_t const* in, int32_t) const noexcept
    {
        out[0] = in[1];
        return 0;
    }
    virtual int32_t getOutputShapes(DimsExprs const* in, int32_t, DimsExprs const*, int32_t, DimsExprs* out, int32_t,
                                    void*) noexcept
    {
        out[0] = in[1];
        return 0;
    }
    virtual bool supportsFormatCombination(int32_t pos, DynamicTensorDesc const* inOut, int32_t, int32_t) noexcept
    {
        return inOut[pos].desc.format == 0;
    }
    virtual int32_t getNbOutputs() const noexcept
    {
        return 1;
    }
    virtual size_t getWorkspaceSize(DynamicTensorDesc const*, int32_t, DynamicTensorDesc const*, int32_t) const noexcept
    {
        return 0;
    }
    virtual int32_t getValidTactics(int32_t*, int32_t) noexcept
    {
        return 0;
    }
    virtual int32_t getNbTactics() noexcept
    {
        return 0;
    }
    virtual char const* getTimingCacheID() noexcept
    {
        return nullptr;
    }
    virtual int32_t getFormatCombinationLimit() noexcept
    {
        return 100;
    }
    virtual char const* getMetadataString() noexcept
    {
        return nullptr;
    }
};
struct Runtime : Capability {
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN_V3ONE_RUNTIME", 1, 0};
    }
    virtual int32_t setTactic(int32_t) noexcept
    {
        return 0;
    }
    virtual int32_t onShapeChange(TensorDesc const*, int32_t, TensorDesc const*, int32_t) noexcept
    {
        return 0;
    }
    virtual int32_t enqueue(TensorDesc const*, TensorDesc const*, void const* const*, void* const*, void*,
                            void*) noexcept
    {
        return 0;
    }
    virtual PluginV3* attachToContext(void*) noexcept = 0;
    virtual FieldCollection const* getFieldsToSerialize() noexcept = 0;
};
struct CreatorInterface : Versioned {};
struct CreatorV3One : CreatorInterface {
    InterfaceInfo getInterfaceInfo() const noexcept override
    {
        return {"PLUGIN CREATOR_V3ONE", 1, 0};
    }
    virtual PluginV3* createPlugin(char const*, FieldCollection const*, int32_t) noexcept = 0;
    virtual FieldCollection const* getFieldNames() noexcept = 0;
    virtual char const* getPluginName() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;
};

struct Probe final : PluginV3, Core, Build, Runtime {
    Capability* getCapabilityInterface(int32_t type) noexcept override
    {
        switch (type) {
        case 0:
            return static_cast<Core*>(this);
        case 1:
            return static_cast<Build*>(this);
        default:
            return static_cast<Runtime*>(this);
        }
    }
    PluginV3* clone() noexcept override
    {
        return new Probe(*this);
    }
    PluginV3* attachToContext(void*) noexcept override
    {
        return clone();
    }
    FieldCollection const* getFieldsToSerialize() noexcept override
    {
        return &mFields;
    }
    FieldCollection mFields{0, nullptr};
};

struct Creator final : CreatorV3One {
    PluginV3* createPlugin(char const*, FieldCollection const*, int32_t) noexcept override
    {
        return new Probe;
    }
    FieldCollection const* getFieldNames() noexcept override
    {
        return &mFields;
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
    PluginField mField{"query_channels", nullptr, 5, 1};
    FieldCollection mFields{1, &mField};
};
} // namespace

extern "C" void* const* getCreators(int32_t& count)
{
    static Creator creator;
    static void* creators[] = {static_cast<CreatorInterface*>(&creator)};
    count = 1;
    return creators;
}
extern "C" void setLoggerFinder(void*) {}
