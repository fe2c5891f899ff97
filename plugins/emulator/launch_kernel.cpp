#include "launch_kernel.h"

#include <atomic>
#include <cstdio>
#include <numeric>
#include <vector>

#include "block.h"
#include "settings.h"

namespace ccdeploy {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int64_t kMaxBlocks = 0x7fffffff;

ccdeploy_status check_launch(int64_t blocks, int threads, int shared_bytes, int architecture)
{
    if (blocks < 1 || blocks > kMaxBlocks)
        return fail(CCDEPLOY_CUDA_ERROR, "the launch has %lld blocks, 1 to %lld were expected",
                    static_cast<long long>(blocks), static_cast<long long>(kMaxBlocks));
    if (threads < 1 || threads > kMaxThreads || threads % emulator::kLanes != 0)
        return fail(CCDEPLOY_CUDA_ERROR, "the launch has %d threads a block, a multiple of %d up to %d was expected",
                    threads, emulator::kLanes, kMaxThreads);
    int const limit = emulator::shared_memory_limit(architecture);
    if (shared_bytes < 0 || shared_bytes > limit)
        return fail(CCDEPLOY_CUDA_ERROR,
                    "the launch asks for %d bytes of shared memory a block, compute capability %d.%d has %d",
                    shared_bytes, architecture / 10, architecture % 10, limit);
    return CCDEPLOY_OK;
}

} // namespace

ccdeploy_status find_device(void const*, DeviceFacts& facts)
{
    emulator::Settings const& settings = emulator::settings();
    if (emulator::shared_memory_limit(settings.architecture) == 0)
        return fail(CCDEPLOY_NO_CODE, "the emulator knows no compute capability %d.%d", settings.architecture / 10,
                    settings.architecture % 10);
    facts = {settings.architecture, settings.multiprocessors};
    return CCDEPLOY_OK;
}

ccdeploy_status emulator::launch(int64_t blocks, int threads, int shared_bytes, std::function<void()> const& kernel)
{
    static std::atomic<uint64_t> launches{0};
    Settings const settings = emulator::settings();
    if (ccdeploy_status const status = check_launch(blocks, threads, shared_bytes, settings.architecture);
        status != CCDEPLOY_OK)
        return status;
    uint64_t const number = ++launches;
    Random random(settings.seed ^ number << 48);
    std::vector<int64_t> order(static_cast<size_t>(blocks));
    std::iota(order.begin(), order.end(), int64_t{0});
    random.shuffle(order.data(), blocks);
    Block block(settings, threads, shared_bytes, kernel, random.next());
    block.counted.launches = 1;
    try {
        for (int64_t const index : order)
            block.run(index);
    } catch (Fault const& fault) {
        std::string const text = "launch " + std::to_string(number) + " (" + std::to_string(blocks) + " blocks of " +
                                 std::to_string(threads) + " threads), " + fault.what();
        add_statistics(block.counted);
        if (settings.throw_faults)
            throw Fault(text);
        std::fprintf(stderr, "%s\n", text.c_str()); // the whole of it: last_error() keeps the beginning only
        return fail(CCDEPLOY_CUDA_ERROR, "%s", text.c_str());
    }
    add_statistics(block.counted);
    return CCDEPLOY_OK;
}

} // namespace ccdeploy
