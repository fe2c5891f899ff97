// The golden tests of every function of primitives.cuh, on the current device: one JSON document on standard output.
//
//   golden [--seed N] [--without-trap]
//
// {"device": "...", "architecture": 90, "seed": 1, "tests": {"load_matrices": {"ok": true, "values": 256}, ...}}
// A test that fails says {"ok": false, "values": 256, "wrong": 8, "index": 3, "seen": "0x...", "expected": "0x..."};
// one that the device is too old for says {"ok": null, "why": "..."}.
// Exit codes: 0 all as expected; 1 something is not; 2 a wrong command line; 3 no device, or no code for it.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "arithmetic_tests.h"
#include "device_memory.h"

namespace ccdeploy {

// Launches report refusals through it; in the library api.cpp does this.
ccdeploy_status fail(ccdeploy_status status, char const* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fputc('\n', stderr);
    return status;
}

namespace gpu_check {
namespace {

Outcome run(GoldenTest const& test)
{
    // One word more in both, so that no buffer is empty and a write behind the end is seen.
    std::vector<uint32_t> input = test.input;
    input.push_back(0);
    DeviceArray<uint32_t> const in(input);
    DeviceArray<uint32_t> out(std::vector<uint32_t>(test.expected.size() + 1, kStale));
    ccdeploy_status const status = launch_kernel(test.kernel, test.blocks, kThreads, test.shared_bytes, nullptr,
                                                 Buffers{in.data(), out.data(), test.count});
    Outcome outcome;
    std::string const failed = status == CCDEPLOY_OK ? wait() : "the launch was refused";
    if (failed.empty()) {
        std::vector<uint32_t> const seen = out.read();
        outcome = compare(test, seen);
        if (seen.back() != kStale)
            outcome.failed = "something was written behind the end of the output";
    }
    for (std::string const& each : {failed, in.failed(), out.failed()})
        if (outcome.failed.empty())
            outcome.failed = each;
    return outcome;
}

// A trap must end the launch with an error. It ends the use of the device too, so this comes last.
Outcome run_trap()
{
    Outcome outcome;
    outcome.values = 1;
    ccdeploy_status const status = launch_kernel(&golden_kernel<Trap>, 1, kThreads, 0, nullptr, Buffers{});
    if (std::string const failed = wait(); status == CCDEPLOY_OK && failed.empty()) {
        outcome.wrong = 1;
        outcome.seen = "the launch succeeded";
        outcome.expected = "an error";
    }
    return outcome;
}

void print(std::string const& name, Outcome const& outcome, bool first)
{
    std::printf("%s\n  \"%s\": {\"ok\": %s, \"values\": %zu", first ? "" : ",", name.c_str(),
                outcome.ok() ? "true" : "false", outcome.values);
    if (!outcome.failed.empty())
        std::printf(", \"failed\": \"%s\"", outcome.failed.c_str());
    if (outcome.wrong != 0)
        std::printf(", \"wrong\": %zu, \"index\": %zu, \"seen\": \"%s\", \"expected\": \"%s\"", outcome.wrong,
                    outcome.first, outcome.seen.c_str(), outcome.expected.c_str());
    std::printf("}");
}

int run_all(uint32_t seed, bool with_trap)
{
    if (std::string const why = why_no_device(); !why.empty()) {
        std::fprintf(stderr, "no device: %s\n", why.c_str());
        return 3;
    }
#if !defined(__CUDACC__)
    emulator::settings().throw_faults = false; // as on a GPU, a fault is an error of the launch
#endif
    DeviceFacts device{};
    if (find_device(reinterpret_cast<void const*>(&golden_kernel<Indices>), device) != CCDEPLOY_OK)
        return 3;
    std::printf("{\"device\": \"%s\", \"architecture\": %d, \"seed\": %u, \"tests\": {", device_name().c_str(),
                device.architecture, seed);
    bool all_ok = true, first = true;
    for (GoldenTest const& test : golden_tests(seed)) {
        if (device.architecture < test.oldest) {
            std::printf("%s\n  \"%s\": {\"ok\": null, \"why\": \"compute capability %d.%d is needed\"}",
                        first ? "" : ",", test.name.c_str(), test.oldest / 10, test.oldest % 10);
        } else {
            Outcome const outcome = run(test);
            all_ok = all_ok && outcome.ok();
            print(test.name, outcome, first);
        }
        first = false;
    }
    if (with_trap) {
        Outcome const outcome = run_trap();
        all_ok = all_ok && outcome.ok();
        print("trap", outcome, first);
    }
    std::printf("\n}}\n");
    return all_ok ? 0 : 1;
}

} // namespace
} // namespace gpu_check
} // namespace ccdeploy

int main(int count, char** arguments)
{
    uint32_t seed = 1;
    bool with_trap = true;
    for (int i = 1; i < count; ++i) {
        if (std::strcmp(arguments[i], "--seed") == 0 && i + 1 < count) {
            seed = static_cast<uint32_t>(std::strtoul(arguments[++i], nullptr, 10));
        } else if (std::strcmp(arguments[i], "--without-trap") == 0) {
            with_trap = false;
        } else {
            std::fprintf(stderr, "usage: %s [--seed N] [--without-trap]; seen: %s\n", arguments[0], arguments[i]);
            return 2;
        }
    }
    return ccdeploy::gpu_check::run_all(seed, with_trap);
}
