// The command line of the emulator's programs: options that choose the device, and words for the program itself.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace ccdeploy::emulator {

// What the C interface refused, or what is wrong with a file or the command line.
class Refusal : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Takes --architecture, --multiprocessors, --seed, --preempt and --portable-fibers into settings(); returns all other
// words in their order. Throws Refusal for a value that is no number.
std::vector<std::string> parse_device_options(int count, char const* const* arguments);

// Runs a program's body and reports what it throws: exit code 0 when it returns, 1 for a Fault, 2 for a Refusal.
int run_and_report(void (*body)(std::vector<std::string> const& words), int count, char const* const* arguments);

} // namespace ccdeploy::emulator
