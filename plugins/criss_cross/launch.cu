#include "launch.h"

#include "launch_kernel.cuh"
#include "passes.h"
#include "transpose.cuh"

namespace ccdeploy {
namespace {

constexpr size_t kAlignment = 256; // of each part of the workspace, as of the allocations of CUDA

constexpr size_t aligned(size_t bytes)
{
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t pixels_of(ccdeploy_criss_cross const& problem)
{
    return int64_t{problem.batch} * problem.height * problem.width;
}

size_t element_bytes(ccdeploy_criss_cross const& problem)
{
    return problem.type == CCDEPLOY_FLOAT32 ? 4 : 2;
}

// Where everything lies in the workspace, in bytes; `end` is its size.
struct Plan {
    size_t state = 0;
    size_t qkv, residual, y; // channels-last copies for NCHW tensors; of no size for NHWC
    size_t end;
};

Plan plan_of(ccdeploy_criss_cross const& problem)
{
    size_t const pixels = static_cast<size_t>(pixels_of(problem));
    size_t const plane = problem.layout == CCDEPLOY_NCHW ? pixels * element_bytes(problem) : 0;
    size_t const channels = static_cast<size_t>(problem.channels);
    Plan plan{};
    plan.qkv = plan.state + aligned(pixels * sizeof(SoftmaxState));
    plan.residual = plan.qkv + aligned(plane * (2 * static_cast<size_t>(problem.query_channels) + channels));
    plan.y = plan.residual + aligned(plane * channels);
    plan.end = plan.y + aligned(plane * channels);
    return plan;
}

template <class T>
ccdeploy_status transpose(void const* source, void* target, int64_t images, int64_t rows, int64_t columns, void* stream)
{
    Matrices<T> const matrices{static_cast<T const*>(source), static_cast<T*>(target), images, rows, columns};
    return launch_kernel(&transpose_kernel<T>, TransposeTile::blocks(images, rows, columns), TransposeTile::kThreads,
                         TransposeTile::kBytes, stream, matrices);
}

ccdeploy_status transpose(ccdeploy_criss_cross const& problem, void const* source, void* target, int64_t rows,
                          int64_t columns, void* stream)
{
    return problem.type == CCDEPLOY_FLOAT32 ? transpose<uint32_t>(source, target, problem.batch, rows, columns, stream)
                                            : transpose<Half>(source, target, problem.batch, rows, columns, stream);
}

template <class T>
ccdeploy_status launch_passes(ccdeploy_criss_cross const& problem, void const* qkv, void const* residual, void* y,
                              void* state, void* stream)
{
    Operands<T> const operands{static_cast<T const*>(qkv),
                               static_cast<T const*>(residual),
                               static_cast<T*>(y),
                               static_cast<SoftmaxState*>(state),
                               problem.batch,
                               problem.height,
                               problem.width,
                               problem.query_channels,
                               problem.channels};
    return launch_passes(operands, static_cast<ccdeploy_tile>(problem.tile), stream);
}

ccdeploy_status launch_channels_last(ccdeploy_criss_cross const& problem, void const* qkv, void const* residual,
                                     void* y, void* state, void* stream)
{
    switch (problem.type) {
    case CCDEPLOY_FLOAT16:
        return launch_passes<Half>(problem, qkv, residual, y, state, stream);
    case CCDEPLOY_BFLOAT16:
        return launch_passes<Bfloat16>(problem, qkv, residual, y, state, stream);
    default:
        return launch_passes<float>(problem, qkv, residual, y, state, stream);
    }
}

} // namespace

size_t workspace_bytes(ccdeploy_criss_cross const& problem)
{
    return plan_of(problem).end;
}

ccdeploy_status launch(ccdeploy_criss_cross const& problem, void const* qkv, void const* residual, void* y,
                       void* workspace, void* stream)
{
    Plan const plan = plan_of(problem);
    char* const scratch = static_cast<char*>(workspace);
    if (problem.layout == CCDEPLOY_NHWC)
        return launch_channels_last(problem, qkv, residual, y, scratch + plan.state, stream);
    int64_t const pixels = int64_t{problem.height} * problem.width; // of an image
    int64_t const packed = 2 * int64_t{problem.query_channels} + problem.channels;
    ccdeploy_status status = transpose(problem, qkv, scratch + plan.qkv, packed, pixels, stream);
    if (status == CCDEPLOY_OK)
        status = transpose(problem, residual, scratch + plan.residual, problem.channels, pixels, stream);
    if (status == CCDEPLOY_OK)
        status = launch_channels_last(problem, scratch + plan.qkv, scratch + plan.residual, scratch + plan.y,
                                      scratch + plan.state, stream);
    if (status == CCDEPLOY_OK)
        status = transpose(problem, scratch + plan.y, y, pixels, problem.channels, stream);
    return status;
}

} // namespace ccdeploy
