// The C interface: every argument is checked here, once, before anything is launched.
#include "ccdeploy/criss_cross.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "errors.h"
#include "launch.h"

namespace ccdeploy {
namespace {

constexpr int32_t kMaxChannels = 2048;
constexpr int32_t kChannelStep = 32;
constexpr int32_t kMaxQueryChannels = 128;
constexpr int32_t kQueryChannelStep = 8;
constexpr int64_t kMaxPixels = int64_t{1} << 24; // of all images: numbers of blocks then fit CUDA's 31 bits
constexpr uintptr_t kPointerAlignment = 16;

thread_local char last_error[256] = "";

ccdeploy_status check_enumerators(ccdeploy_criss_cross const& problem)
{
    if (problem.type < CCDEPLOY_FLOAT32 || problem.type > CCDEPLOY_BFLOAT16)
        return fail(CCDEPLOY_BAD_ARGUMENT, "type is %d, a ccdeploy_type (0 to 2) was expected", problem.type);
    if (problem.layout < CCDEPLOY_NHWC || problem.layout > CCDEPLOY_NCHW)
        return fail(CCDEPLOY_BAD_ARGUMENT, "layout is %d, a ccdeploy_layout (0 or 1) was expected", problem.layout);
    if (problem.tile < CCDEPLOY_TILE_AUTO || problem.tile > CCDEPLOY_TILE_DEEP)
        return fail(CCDEPLOY_BAD_ARGUMENT, "tile is %d, a ccdeploy_tile (0 to 3) was expected", problem.tile);
    return CCDEPLOY_OK;
}

ccdeploy_status check_sizes(ccdeploy_criss_cross const& problem)
{
    struct {
        char const* name;
        int32_t value;
    } const sizes[] = {{"batch", problem.batch}, {"height", problem.height}, {"width", problem.width}};
    for (auto const& size : sizes)
        if (size.value < 1)
            return fail(CCDEPLOY_UNSUPPORTED, "%s is %d, 1 or more was expected", size.name, size.value);
    // Two steps, so that no product overflows.
    int64_t const plane = int64_t{problem.height} * problem.width;
    if (plane > kMaxPixels || plane * problem.batch > kMaxPixels)
        return fail(CCDEPLOY_UNSUPPORTED, "batch x height x width is %d x %d x %d, at most %lld pixels were expected",
                    problem.batch, problem.height, problem.width, static_cast<long long>(kMaxPixels));
    if (problem.channels < 1 || problem.channels > kMaxChannels || problem.channels % kChannelStep != 0)
        return fail(CCDEPLOY_UNSUPPORTED, "channels is %d, a multiple of %d from %d to %d was expected",
                    problem.channels, kChannelStep, kChannelStep, kMaxChannels);
    if (problem.query_channels < 1 || problem.query_channels > kMaxQueryChannels ||
        problem.query_channels % kQueryChannelStep != 0)
        return fail(CCDEPLOY_UNSUPPORTED, "query_channels is %d, a multiple of %d from %d to %d was expected",
                    problem.query_channels, kQueryChannelStep, kQueryChannelStep, kMaxQueryChannels);
    return CCDEPLOY_OK;
}

ccdeploy_status check_pointer(char const* name, void const* pointer)
{
    if (pointer == nullptr)
        return fail(CCDEPLOY_BAD_ARGUMENT, "%s is a null pointer", name);
    if (reinterpret_cast<uintptr_t>(pointer) % kPointerAlignment != 0)
        return fail(CCDEPLOY_BAD_ARGUMENT, "%s is %p, an address aligned to %d bytes was expected", name, pointer,
                    static_cast<int>(kPointerAlignment));
    return CCDEPLOY_OK;
}

bool overlap(void const* first, size_t first_bytes, void const* second, size_t second_bytes)
{
    uintptr_t const a = reinterpret_cast<uintptr_t>(first), b = reinterpret_cast<uintptr_t>(second);
    return a < b + second_bytes && b < a + first_bytes;
}

} // namespace

ccdeploy_status fail(ccdeploy_status status, char const* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}

} // namespace ccdeploy

using ccdeploy::fail;

int32_t ccdeploy_api_version(void)
{
    return CCDEPLOY_API_VERSION;
}

char const* ccdeploy_build_info(void)
{
    return "{\"version\": \"" CCDEPLOY_VERSION "\", \"architectures\": \"" CCDEPLOY_ARCHITECTURES
           "\", \"compiler\": \"" CCDEPLOY_COMPILER "\", \"source\": \"" CCDEPLOY_SOURCE_SHA256 "\"}";
}

char const* ccdeploy_status_string(ccdeploy_status status)
{
    switch (status) {
    case CCDEPLOY_OK:
        return "no error";
    case CCDEPLOY_BAD_ARGUMENT:
        return "bad argument";
    case CCDEPLOY_UNSUPPORTED:
        return "outside the limits of the kernel";
    case CCDEPLOY_NO_CODE:
        return "the library was not built for this GPU";
    case CCDEPLOY_WORKSPACE_TOO_SMALL:
        return "the workspace is too small";
    case CCDEPLOY_CUDA_ERROR:
        return "CUDA refused the launch";
    }
    return "unknown status";
}

char const* ccdeploy_last_error(void)
{
    return ccdeploy::last_error;
}

ccdeploy_status ccdeploy_criss_cross_supported(ccdeploy_criss_cross const* problem, int32_t compute_capability)
{
    constexpr int32_t kOldest = 75, kOldestForBfloat16 = 80;
    if (problem == nullptr)
        return fail(CCDEPLOY_BAD_ARGUMENT, "problem is a null pointer");
    if (ccdeploy_status const status = ccdeploy::check_enumerators(*problem); status != CCDEPLOY_OK)
        return status;
    int32_t const oldest = problem->type == CCDEPLOY_BFLOAT16 ? kOldestForBfloat16 : kOldest;
    if (compute_capability != 0 && compute_capability < oldest)
        return fail(CCDEPLOY_UNSUPPORTED, "compute capability is %d.%d, %d.%d or newer was expected%s",
                    compute_capability / 10, compute_capability % 10, oldest / 10, oldest % 10,
                    problem->type == CCDEPLOY_BFLOAT16 ? " for bfloat16" : "");
    return ccdeploy::check_sizes(*problem);
}

ccdeploy_status ccdeploy_criss_cross_workspace(ccdeploy_criss_cross const* problem, size_t* bytes)
{
    if (bytes == nullptr)
        return fail(CCDEPLOY_BAD_ARGUMENT, "bytes is a null pointer");
    ccdeploy_status const status = ccdeploy_criss_cross_supported(problem, 0);
    if (status == CCDEPLOY_OK)
        *bytes = ccdeploy::workspace_bytes(*problem);
    return status;
}

ccdeploy_status ccdeploy_criss_cross_launch(ccdeploy_criss_cross const* problem, void const* qkv, void const* residual,
                                            void* y, void* workspace, size_t workspace_bytes, void* stream)
{
    size_t needed = 0;
    if (ccdeploy_status const status = ccdeploy_criss_cross_workspace(problem, &needed); status != CCDEPLOY_OK)
        return status;
    struct {
        char const* name;
        void const* pointer;
    } const pointers[] = {{"qkv", qkv}, {"residual", residual}, {"y", y}, {"workspace", workspace}};
    for (auto const& each : pointers)
        if (ccdeploy_status const status = ccdeploy::check_pointer(each.name, each.pointer); status != CCDEPLOY_OK)
            return status;
    if (workspace_bytes < needed)
        return fail(CCDEPLOY_WORKSPACE_TOO_SMALL, "the workspace has %zu bytes, %zu were expected", workspace_bytes,
                    needed);
    size_t const pixels = static_cast<size_t>(problem->batch) * static_cast<size_t>(problem->height) *
                          static_cast<size_t>(problem->width);
    size_t const plane = pixels * (problem->type == CCDEPLOY_FLOAT32 ? 4 : 2);
    size_t const y_bytes = plane * static_cast<size_t>(problem->channels);
    size_t const qkv_bytes = y_bytes + plane * 2 * static_cast<size_t>(problem->query_channels);
    // The column pass writes into y what the row pass reads, while both read the inputs.
    if (ccdeploy::overlap(y, y_bytes, qkv, qkv_bytes) || ccdeploy::overlap(y, y_bytes, residual, y_bytes))
        return fail(CCDEPLOY_BAD_ARGUMENT, "y overlaps an input, memory of its own was expected");
    return ccdeploy::launch(*problem, qkv, residual, y, workspace, stream);
}
