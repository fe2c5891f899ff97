// The 16-bit types by their definition, slowly and surely: values from the fields of the format, and rounding by a
// search among all values that there are. Nothing here is shared with the kernels or with the emulator.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "values.h"

namespace ccdeploy::gpu_check {

inline uint32_t bits_of(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// IEEE 754, section 3.4: a sign, an exponent with a bias, a fraction.
template <int kExponentBits, int kFractionBits>
struct BinaryFormat {
    static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
    static constexpr uint32_t kSign = 1u << (kExponentBits + kFractionBits);
    static constexpr uint32_t kInfinity = ((1u << kExponentBits) - 1) << kFractionBits;

    static bool is_nan(uint32_t bits)
    {
        return (bits & (kSign - 1)) > kInfinity;
    }

    // Of a magnitude, infinity taken for the power of two that would come next: what rounding to nearest compares with.
    static double magnitude(uint32_t bits)
    {
        int const exponent = static_cast<int>(bits >> kFractionBits);
        double const fraction = std::ldexp(static_cast<double>(bits & ((1u << kFractionBits) - 1)), -kFractionBits);
        return exponent == 0 ? std::ldexp(fraction, 1 - kBias) : std::ldexp(1 + fraction, exponent - kBias);
    }

    static double value(uint32_t bits)
    {
        uint32_t const positive = bits & (kSign - 1);
        double const size = is_nan(bits)            ? std::numeric_limits<double>::quiet_NaN()
                            : positive == kInfinity ? std::numeric_limits<double>::infinity()
                                                    : magnitude(positive);
        return (bits & kSign) != 0 ? -size : size;
    }

    // The nearest value; of two equally near ones that with an even last bit.
    static uint32_t nearest(double exact)
    {
        uint32_t const sign = std::signbit(exact) ? kSign : 0;
        double const size = std::fabs(exact);
        if (std::isnan(size))
            return kInfinity + 1;
        if (size >= magnitude(kInfinity))
            return sign | kInfinity;
        uint32_t low = 0, high = kInfinity; // magnitude(low) <= size < magnitude(high)
        while (high - low > 1) {
            uint32_t const middle = low + (high - low) / 2;
            (magnitude(middle) <= size ? low : high) = middle;
        }
        double const below = size - magnitude(low), above = magnitude(high) - size;
        return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
    }
};

template <class T>
struct FormatOf;

template <>
struct FormatOf<Half> : BinaryFormat<5, 10> {
    static constexpr char const* kName = "half";
};

template <>
struct FormatOf<Bfloat16> : BinaryFormat<8, 7> {
    static constexpr char const* kName = "bfloat16";
};

} // namespace ccdeploy::gpu_check
