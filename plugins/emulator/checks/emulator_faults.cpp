// Runs one of the kernels that break a rule, or its twin that keeps it.
//
//   emulator_faults NAME [--corrected] [--architecture 86] [--seed 1] [--preempt 0.05] [--portable-fibers]
//   emulator_faults --list
//
// Exit codes: 0 nothing found; 1 a fault, reported on standard error; 2 a refused launch, or a wrong command line.
#include <algorithm>
#include <cstdio>

#include "command_line.h"
#include "fault_kernel.h"
#include "settings.h"

namespace ccdeploy::emulator {
namespace {

struct Trap {
    template <bool kFaulty>
    static void run(Global)
    {
        if (kFaulty && thread_index() == 40)
            trap();
    }
};

// These two break a rule on 7.5 only.
struct MultiplyBfloat16 {
    template <bool kFaulty>
    static void run(Global)
    {
        float c[4] = {};
        uint32_t const a[4] = {};
        if (kFaulty)
            multiply_add(c, a, 0, 0, Bfloat16{});
        else
            multiply_add(c, a, 0, 0, Half{});
    }
};

struct PackBfloat16 {
    template <bool kFaulty>
    static void run(Global global)
    {
        float const value = global.values[thread_index()];
        if (kFaulty)
            pack(value, value, Bfloat16{});
        else
            pack(value, value, Half{});
    }
};

struct Nothing {
    template <bool kFaulty>
    static void run(Global)
    {
    }
};

ccdeploy_status launch_with_too_much_shared_memory(bool faulty)
{
    int const limit = shared_memory_limit(settings().architecture);
    return launch_kernel(&fault_kernel<Nothing, false>, 1, kThreads, limit + (faulty ? 1 : 0), nullptr, Global{});
}

ccdeploy_status launch_with_odd_threads(bool faulty)
{
    return launch_kernel(&fault_kernel<Nothing, false>, 1, faulty ? 48 : 64, 0, nullptr, Global{});
}

std::vector<FaultCase> all_faults()
{
    std::vector<FaultCase> all;
    for (auto const& some : {shared_memory_faults(), copy_faults(), convergence_faults(), other_faults()})
        all.insert(all.end(), some.begin(), some.end());
    return all;
}

void run(std::vector<std::string> const& words)
{
    std::vector<FaultCase> const all = all_faults();
    if (words.size() == 1 && words[0] == "--list") {
        for (FaultCase const& each : all)
            std::printf("%s\n", each.name);
        return;
    }
    bool const corrected = words.size() == 2 && words[1] == "--corrected";
    if (words.size() != 1 && !corrected)
        throw Refusal("usage: emulator_faults NAME [--corrected], or emulator_faults --list");
    auto const chosen =
        std::find_if(all.begin(), all.end(), [&](FaultCase const& each) { return words[0] == each.name; });
    if (chosen == all.end())
        throw Refusal("no fault has the name " + words[0] + "; --list shows the names");
    if (ccdeploy_status const status = chosen->launch(!corrected); status != CCDEPLOY_OK)
        throw Refusal(ccdeploy_status_string(status) + std::string(": ") + ccdeploy_last_error());
}

} // namespace

std::vector<FaultCase> other_faults()
{
    return {
        {"trap", &launch_case<Trap>},
        {"multiply_bfloat16_on_75", &launch_case<MultiplyBfloat16>},
        {"pack_bfloat16_on_75", &launch_case<PackBfloat16>},
        {"too_much_shared_memory", &launch_with_too_much_shared_memory},
        {"odd_threads", &launch_with_odd_threads},
    };
}

} // namespace ccdeploy::emulator

int main(int count, char** arguments)
{
    return ccdeploy::emulator::run_and_report(&ccdeploy::emulator::run, count, arguments);
}
