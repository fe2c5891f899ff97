#include "command_line.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fault.h"
#include "settings.h"

namespace ccdeploy::emulator {
namespace {

constexpr int kDone = 0, kFault = 1, kRefused = 2;

// A number within limits; a whole one if need be.
double number(std::string const& option, char const* text, double smallest, double largest, bool whole)
{
    char* end = nullptr;
    double const value = std::strtod(text, &end);
    bool const in_range = value >= smallest && value <= largest; // false for NaN
    bool const fits = in_range && (!whole || value == std::floor(value));
    if (end == text || *end != '\0' || !fits)
        throw Refusal(option + " is '" + text + "', a" + (whole ? " whole" : "") + " number from " +
                      std::to_string(static_cast<int64_t>(smallest)) + " to " +
                      std::to_string(static_cast<int64_t>(largest)) + " was expected");
    return value;
}

} // namespace

std::vector<std::string> parse_device_options(int count, char const* const* arguments)
{
    constexpr double kLargest = 0x7fffffff;
    std::vector<std::string> words;
    for (int i = 1; i < count; ++i) {
        std::string const argument = arguments[i];
        char const* const value = i + 1 < count ? arguments[i + 1] : "";
        if (argument == "--portable-fibers") {
            settings().portable_fibers = true;
            continue;
        }
        if (argument == "--architecture")
            settings().architecture = static_cast<int>(number(argument, value, 0, kLargest, true));
        else if (argument == "--multiprocessors")
            settings().multiprocessors = static_cast<int>(number(argument, value, 1, kLargest, true));
        else if (argument == "--seed")
            settings().seed = static_cast<uint64_t>(number(argument, value, 0, kLargest, true));
        else if (argument == "--preempt")
            settings().preemption = number(argument, value, 0, 1, false);
        else {
            words.push_back(argument);
            continue;
        }
        ++i;
    }
    return words;
}

int run_and_report(void (*body)(std::vector<std::string> const& words), int count, char const* const* arguments)
{
    try {
        body(parse_device_options(count, arguments));
        return kDone;
    } catch (Fault const& fault) {
        std::fprintf(stderr, "fault: %s\n", fault.what());
        return kFault;
    } catch (Refusal const& refusal) {
        std::fprintf(stderr, "refused: %s\n", refusal.what());
        return kRefused;
    }
}

} // namespace ccdeploy::emulator
