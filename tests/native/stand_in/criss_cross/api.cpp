// The C interface with the sums written out, on the CPU: it shows whether a caller passes the right pointers, sizes,
// layout and workspace. Pointers are dereferenced where the real library hands them to the GPU.
#include "ccdeploy/criss_cross.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

char last_error[256] = "";

ccdeploy_status refuse(ccdeploy_status status, char const* what)
{
    std::snprintf(last_error, sizeof last_error, "%s", what);
    return status;
}

struct Bfloat16 {
    uint16_t bits;
    operator float() const
    {
        uint32_t const wide = uint32_t{bits} << 16;
        float value;
        std::memcpy(&value, &wide, sizeof value);
        return value;
    }
    static Bfloat16 of(float value)
    {
        uint32_t wide;
        std::memcpy(&wide, &value, sizeof wide);
        return {static_cast<uint16_t>((wide + 0x7fff + (wide >> 16 & 1)) >> 16)};
    }
};

template <class T>
T narrow(float value)
{
    return static_cast<T>(value);
}
template <>
Bfloat16 narrow<Bfloat16>(float value)
{
    return Bfloat16::of(value);
}

// A tensor [batch, channels, height, width] in either layout.
template <class T>
struct Tensor {
    T* data;
    ccdeploy_criss_cross const& problem;
    int channels;
    T& at(int b, int c, int h, int w) const
    {
        int64_t const height = problem.height, width = problem.width;
        return problem.layout == CCDEPLOY_NHWC ? data[((b * height + h) * width + w) * channels + c]
                                               : data[((b * int64_t{channels} + c) * height + h) * width + w];
    }
};

template <class T>
void compute(ccdeploy_criss_cross const& p, void const* qkv_data, void const* residual_data, void* y_data)
{
    Tensor<T const> const qkv{static_cast<T const*>(qkv_data), p, 2 * p.query_channels + p.channels};
    Tensor<T const> const residual{static_cast<T const*>(residual_data), p, p.channels};
    Tensor<T> const y{static_cast<T*>(y_data), p, p.channels};
    for (int b = 0; b < p.batch; ++b)
        for (int h = 0; h < p.height; ++h)
            for (int w = 0; w < p.width; ++w) {
                std::vector<std::pair<int, int>> cross;
                for (int g = 0; g < p.height; ++g)
                    if (g != h)
                        cross.push_back({g, w});
                for (int g = 0; g < p.width; ++g)
                    cross.push_back({h, g});
                std::vector<float> weight;
                float largest = -INFINITY, total = 0;
                for (auto [row, column] : cross) {
                    double energy = 0;
                    for (int c = 0; c < p.query_channels; ++c)
                        energy +=
                            double{1} * float(qkv.at(b, c, h, w)) * float(qkv.at(b, p.query_channels + c, row, column));
                    weight.push_back(static_cast<float>(energy));
                    largest = std::max(largest, weight.back());
                }
                for (float& each : weight)
                    total += each = std::exp(each - largest);
                for (int c = 0; c < p.channels; ++c) {
                    float sum = 0;
                    for (size_t n = 0; n < cross.size(); ++n)
                        sum += weight[n] * float(qkv.at(b, 2 * p.query_channels + c, cross[n].first, cross[n].second));
                    y.at(b, c, h, w) = narrow<T>(sum / total + float(residual.at(b, c, h, w)));
                }
            }
}

bool misaligned(void const* pointer)
{
    return reinterpret_cast<uintptr_t>(pointer) % 16 != 0;
}

} // namespace

extern "C" {

#ifndef STAND_IN_API_VERSION
#define STAND_IN_API_VERSION CCDEPLOY_API_VERSION
#endif

int32_t ccdeploy_api_version(void)
{
    return STAND_IN_API_VERSION;
}

char const* ccdeploy_build_info(void)
{
    return "{\"version\": \"" CCDEPLOY_VERSION "\", \"architectures\": \"" CCDEPLOY_ARCHITECTURES
           "\", \"compiler\": \"" CCDEPLOY_COMPILER "\", \"source\": \"" CCDEPLOY_SOURCE_SHA256 "\"}";
}

char const* ccdeploy_last_error(void)
{
    return last_error;
}

ccdeploy_status ccdeploy_criss_cross_workspace(ccdeploy_criss_cross const* problem, size_t* bytes)
{
    if (problem->channels % 32 != 0)
        return refuse(CCDEPLOY_UNSUPPORTED, "channels is no multiple of 32");
    *bytes = size_t{8} * problem->batch * problem->height * problem->width;
    return CCDEPLOY_OK;
}

ccdeploy_status ccdeploy_criss_cross_launch(ccdeploy_criss_cross const* problem, void const* qkv, void const* residual,
                                            void* y, void* workspace, size_t workspace_bytes, void*)
{
    size_t needed = 0;
    if (ccdeploy_status const status = ccdeploy_criss_cross_workspace(problem, &needed); status != CCDEPLOY_OK)
        return status;
    if (workspace_bytes < needed)
        return refuse(CCDEPLOY_WORKSPACE_TOO_SMALL, "the workspace is too small");
    if (misaligned(qkv) || misaligned(residual) || misaligned(y) || misaligned(workspace))
        return refuse(CCDEPLOY_BAD_ARGUMENT, "a pointer is misaligned");
    std::memset(workspace, 0xff, workspace_bytes);
    switch (problem->type) {
    case CCDEPLOY_FLOAT32:
        compute<float>(*problem, qkv, residual, y);
        return CCDEPLOY_OK;
    case CCDEPLOY_FLOAT16:
        compute<_Float16>(*problem, qkv, residual, y);
        return CCDEPLOY_OK;
    case CCDEPLOY_BFLOAT16:
        compute<Bfloat16>(*problem, qkv, residual, y);
        return CCDEPLOY_OK;
    default:
        return refuse(CCDEPLOY_BAD_ARGUMENT, "type is none");
    }
}
}
