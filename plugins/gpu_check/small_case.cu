// A few small problems through the C interface, in memory of exactly their size: what compute-sanitizer is run on.
//
//   small_case
//
// The values of a channel are the same in all pixels. Whatever the weights of the softmax are, their sum is 1, so the
// result must be that value plus the residual.
// Exit codes: 0 every result is as expected; 1 one is not, or a call failed; 3 no device.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "ccdeploy/criss_cross.h"
#include "device_memory.h"
#include "float_formats.h"

namespace ccdeploy::gpu_check {
namespace {

// An element of any type as the bits of its lowest bytes.
uint32_t encode(int32_t type, float value)
{
    switch (type) {
    case CCDEPLOY_FLOAT16:
        return FormatOf<Half>::nearest(static_cast<double>(value));
    case CCDEPLOY_BFLOAT16:
        return FormatOf<Bfloat16>::nearest(static_cast<double>(value));
    default:
        return bits_of(value);
    }
}

double decode(int32_t type, uint32_t bits)
{
    switch (type) {
    case CCDEPLOY_FLOAT16:
        return FormatOf<Half>::value(bits);
    case CCDEPLOY_BFLOAT16:
        return FormatOf<Bfloat16>::value(bits);
    default:
        return static_cast<double>(float_of(bits));
    }
}

size_t element_bytes(int32_t type)
{
    return type == CCDEPLOY_FLOAT32 ? 4 : 2;
}

// A dense tensor [batch, channels, pixels] or [batch, pixels, channels], filled by value(channel).
template <class Value>
std::vector<unsigned char> tensor(ccdeploy_criss_cross const& problem, int channels, Value value)
{
    size_t const bytes = element_bytes(problem.type);
    size_t const pixels = static_cast<size_t>(problem.height) * static_cast<size_t>(problem.width);
    size_t const count = static_cast<size_t>(problem.batch) * static_cast<size_t>(channels) * pixels;
    std::vector<unsigned char> data(count * bytes);
    for (size_t i = 0; i < count; ++i) {
        size_t const wide = static_cast<size_t>(channels);
        size_t const channel = problem.layout == CCDEPLOY_NHWC ? i % wide : i / pixels % wide;
        uint32_t const bits = encode(problem.type, value(static_cast<int>(channel)));
        std::memcpy(&data[i * bytes], &bits, bytes); // little-endian, as every host of a GPU
    }
    return data;
}

// Small multiples of a quarter: every type holds them, and the sum of two of them.
float value_of(int channel)
{
    return static_cast<float>(channel % 13 - 6) / 4;
}

float residual_of(int channel)
{
    return static_cast<float>(channel % 7 - 3) / 2;
}

// What is wrong with the result of one problem, or nothing.
std::string run(ccdeploy_criss_cross const& problem)
{
    size_t workspace_bytes = 0;
    if (ccdeploy_criss_cross_workspace(&problem, &workspace_bytes) != CCDEPLOY_OK)
        return ccdeploy_last_error();
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    int const keys_end = 2 * problem.query_channels;
    DeviceArray<unsigned char> const qkv(tensor(problem, keys_end + problem.channels, [&](int channel) {
        return channel < keys_end ? normal(random) : value_of(channel - keys_end);
    }));
    DeviceArray<unsigned char> const residual(tensor(problem, problem.channels, residual_of));
    size_t const bytes = element_bytes(problem.type);
    std::vector<unsigned char> result(tensor(problem, problem.channels, [](int) { return 0.0f; }).size());
    // Not initialised: compute-sanitizer then sees a read of what nobody has written.
    void* const y = allocate(result.size());
    void* const workspace = allocate(workspace_bytes);
    std::string failed;
    if (ccdeploy_criss_cross_launch(&problem, qkv.data(), residual.data(), y, workspace, workspace_bytes, nullptr) !=
        CCDEPLOY_OK)
        failed = ccdeploy_last_error();
    if (failed.empty())
        failed = wait();
    if (failed.empty())
        failed = copy(result.data(), y, result.size());
    release(workspace);
    release(y);
    if (!failed.empty())
        return failed;
    double const tolerance = problem.type == CCDEPLOY_FLOAT32 ? 1e-5 : problem.type == CCDEPLOY_FLOAT16 ? 3e-3 : 2e-2;
    size_t const pixels = static_cast<size_t>(problem.height) * static_cast<size_t>(problem.width);
    for (size_t i = 0; i < result.size() / bytes; ++i) {
        size_t const wide = static_cast<size_t>(problem.channels);
        int const channel = static_cast<int>(problem.layout == CCDEPLOY_NHWC ? i % wide : i / pixels % wide);
        uint32_t bits = 0;
        std::memcpy(&bits, &result[i * bytes], bytes);
        double const seen = decode(problem.type, bits);
        double const expected = static_cast<double>(value_of(channel) + residual_of(channel));
        if (!(std::fabs(seen - expected) <= tolerance)) {
            char text[128];
            std::snprintf(text, sizeof text, "element %zu is %g, %g was expected", i, seen, expected);
            return text;
        }
    }
    return "";
}

int run_all()
{
    if (std::string const why = why_no_device(); !why.empty()) {
        std::fprintf(stderr, "no device: %s\n", why.c_str());
        return 3;
    }
    struct {
        int32_t batch, channels, query_channels, height, width;
    } const sizes[] = {{1, 32, 8, 1, 1}, {2, 160, 24, 5, 33}, {1, 288, 64, 67, 18}, {1, 64, 104, 3, 35}};
    int wrong = 0, count = 0;
    for (int32_t type = CCDEPLOY_FLOAT32; type <= CCDEPLOY_BFLOAT16; ++type)
        for (int32_t layout = CCDEPLOY_NHWC; layout <= CCDEPLOY_NCHW; ++layout)
            for (auto const& size : sizes) {
                ccdeploy_criss_cross const problem{type,        layout,        CCDEPLOY_TILE_AUTO,
                                                   size.batch,  size.channels, size.query_channels,
                                                   size.height, size.width};
                if (ccdeploy_criss_cross_supported(&problem, architecture()) != CCDEPLOY_OK) {
                    std::printf("type %d: not run: %s\n", type, ccdeploy_last_error());
                    continue;
                }
                ++count;
                std::string const failed = run(problem);
                if (failed.empty())
                    continue;
                ++wrong;
                std::printf("type %d, layout %d, %dx%dx%dx%d, cq %d: %s\n", type, layout, size.batch, size.channels,
                            size.height, size.width, size.query_channels, failed.c_str());
            }
    std::printf("%d problems, %d wrong\n", count, wrong);
    return wrong == 0 ? 0 : 1;
}

} // namespace
} // namespace ccdeploy::gpu_check

int main()
{
    return ccdeploy::gpu_check::run_all();
}
