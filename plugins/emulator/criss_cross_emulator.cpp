// Computes one problem on the emulated device, through the C interface alone.
//
//   criss_cross_emulator REQUEST RESULT [--architecture 86] [--multiprocessors 16] [--seed 1] [--preempt 0.05]
//                        [--portable-fibers]
//
// REQUEST holds the 8 int32 of a ccdeploy_criss_cross, then qkv, then residual; RESULT receives y. Statistics go to
// standard output as one line of JSON. Exit codes: 0 done; 1 the emulator found a fault; 2 the C interface refused, or
// the request or the command line is wrong.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ccdeploy/criss_cross.h"
#include "command_line.h"
#include "settings.h"

namespace {

using ccdeploy::emulator::Refusal;
using ccdeploy::emulator::settings;

constexpr size_t kAlignment = 16; // all that the C interface asks for
constexpr int kNotANumber = 0xff; // of every byte: NaN in every type

// Device memory: exactly as many bytes as asked for, so that an address sanitizer sees the first one beyond.
class DeviceMemory {
public:
    explicit DeviceMemory(size_t bytes)
        : bytes_(bytes)
    {
        void* memory = nullptr;
        if (posix_memalign(&memory, kAlignment, bytes) != 0)
            throw Refusal("no memory for " + std::to_string(bytes) + " bytes");
        memory_.reset(memory);
        std::memset(memory, kNotANumber, bytes);
    }

    void* get() const
    {
        return memory_.get();
    }

    size_t bytes() const
    {
        return bytes_;
    }

private:
    struct Free {
        void operator()(void* memory) const
        {
            std::free(memory);
        }
    };

    std::unique_ptr<void, Free> memory_;
    size_t bytes_;
};

void check(ccdeploy_status status)
{
    if (status != CCDEPLOY_OK)
        throw Refusal(ccdeploy_status_string(status) + std::string(": ") + ccdeploy_last_error());
}

void read(std::ifstream& file, void* target, size_t bytes, char const* what)
{
    file.read(static_cast<char*>(target), static_cast<std::streamsize>(bytes));
    if (static_cast<size_t>(file.gcount()) != bytes)
        throw Refusal(std::string("the request ends within ") + what + ": " + std::to_string(bytes) +
                      " bytes were expected, " + std::to_string(file.gcount()) + " are there");
}

void compute(std::vector<std::string> const& words)
{
    if (words.size() != 2)
        throw Refusal("usage: criss_cross_emulator REQUEST RESULT [--architecture 86] [--multiprocessors 16] "
                      "[--seed 1] [--preempt 0.05] [--portable-fibers]");
    std::ifstream request(words[0], std::ios::binary);
    if (!request)
        throw Refusal("cannot open " + words[0]);
    ccdeploy_criss_cross problem{};
    read(request, &problem, sizeof problem, "the problem");
    check(ccdeploy_criss_cross_supported(&problem, settings().architecture));
    size_t workspace_bytes = 0;
    check(ccdeploy_criss_cross_workspace(&problem, &workspace_bytes));

    size_t const plane = static_cast<size_t>(problem.batch) * static_cast<size_t>(problem.height) *
                         static_cast<size_t>(problem.width) * (problem.type == CCDEPLOY_FLOAT32 ? 4 : 2);
    size_t const channels = static_cast<size_t>(problem.channels);
    DeviceMemory const qkv(plane * (2 * static_cast<size_t>(problem.query_channels) + channels));
    DeviceMemory const residual(plane * channels), y(plane * channels), workspace(workspace_bytes);
    read(request, qkv.get(), qkv.bytes(), "qkv");
    read(request, residual.get(), residual.bytes(), "residual");
    if (request.peek() != std::ifstream::traits_type::eof())
        throw Refusal("the request goes on behind residual");

    auto const before = std::chrono::steady_clock::now();
    check(ccdeploy_criss_cross_launch(&problem, qkv.get(), residual.get(), y.get(), workspace.get(), workspace.bytes(),
                                      nullptr));
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - before;

    std::ofstream result(words[1], std::ios::binary);
    result.write(static_cast<char const*>(y.get()), static_cast<std::streamsize>(y.bytes()));
    result.close();
    if (!result)
        throw Refusal("cannot write " + words[1]);
    auto const counted = ccdeploy::emulator::statistics();
    std::printf("{\"launches\": %llu, \"blocks\": %llu, \"collectives\": %llu, \"multiply_adds\": %llu, "
                "\"seconds\": %.3f}\n",
                static_cast<unsigned long long>(counted.launches), static_cast<unsigned long long>(counted.blocks),
                static_cast<unsigned long long>(counted.collectives),
                static_cast<unsigned long long>(counted.multiply_adds), seconds.count());
}

} // namespace

int main(int count, char** arguments)
{
    return ccdeploy::emulator::run_and_report(&compute, count, arguments);
}
