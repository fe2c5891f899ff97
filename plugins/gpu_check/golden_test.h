// A golden test as the host sees it, and how what came out is compared with what must come out.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "float_formats.h"
#include "golden.cuh"

namespace ccdeploy::gpu_check {

enum class Comparison {
    kBits,      // of 32-bit words
    kHalves,    // two in a word, bit for bit, but one NaN is as good as another
    kBfloat16s, // the same
    kFloats,    // within a bound for each; NaN where NaN is expected
};

struct GoldenTest {
    std::string name;
    void (*kernel)(Buffers);
    Comparison comparison;
    std::vector<uint32_t> input = {};
    std::vector<uint32_t> expected = {};
    int count = 0; // of Buffers
    int shared_bytes = 0;
    int blocks = 1;
    int oldest = 75;                // compute capability
    std::vector<double> bound = {}; // of kFloats, one for each value; empty: none
};

struct Outcome {
    std::string failed; // what CUDA said, or nothing
    size_t values = 0;
    size_t wrong = 0;
    size_t first = 0; // index of the first wrong value
    std::string seen; // that value
    std::string expected;

    bool ok() const
    {
        return failed.empty() && wrong == 0;
    }
};

template <class Format>
bool same_pair(uint32_t seen, uint32_t expected)
{
    for (int shift = 0; shift <= 16; shift += 16) {
        uint32_t const a = seen >> shift & 0xffff, b = expected >> shift & 0xffff;
        if (a != b && !(Format::is_nan(a) && Format::is_nan(b)))
            return false;
    }
    return true;
}

inline bool same_float(float seen, float expected, double bound)
{
    if (std::isnan(seen) || std::isnan(expected))
        return std::isnan(seen) && std::isnan(expected);
    if (seen == expected)
        return true;
    return std::fabs(static_cast<double>(seen) - static_cast<double>(expected)) <= bound;
}

inline bool same(GoldenTest const& test, size_t index, uint32_t seen)
{
    uint32_t const expected = test.expected[index];
    switch (test.comparison) {
    case Comparison::kHalves:
        return same_pair<FormatOf<Half>>(seen, expected);
    case Comparison::kBfloat16s:
        return same_pair<FormatOf<Bfloat16>>(seen, expected);
    case Comparison::kFloats:
        return same_float(float_of(seen), float_of(expected), test.bound.empty() ? 0.0 : test.bound[index]);
    default:
        return seen == expected;
    }
}

inline std::string in_words(GoldenTest const& test, uint32_t bits)
{
    char text[64];
    if (test.comparison == Comparison::kFloats)
        std::snprintf(text, sizeof text, "%.9g (0x%08x)", static_cast<double>(float_of(bits)), bits);
    else
        std::snprintf(text, sizeof text, "0x%08x", bits);
    return text;
}

inline Outcome compare(GoldenTest const& test, std::vector<uint32_t> const& seen)
{
    Outcome outcome;
    outcome.values = test.expected.size();
    for (size_t i = test.expected.size(); i-- > 0;)
        if (!same(test, i, seen[i])) {
            ++outcome.wrong;
            outcome.first = i;
            outcome.seen = in_words(test, seen[i]);
            outcome.expected = in_words(test, test.expected[i]);
        }
    return outcome;
}

} // namespace ccdeploy::gpu_check
