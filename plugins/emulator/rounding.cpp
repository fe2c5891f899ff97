#include "rounding.h"

#include <cmath>
#include <limits>
#include <vector>

namespace ccdeploy::emulator {
namespace {

constexpr uint16_t kNotANumber = 0x7fff;
constexpr uint32_t kSignOfFloat = 0x80000000u, kInfiniteFloat = 0x7f800000u;

float decode(uint32_t bits)
{
    int const exponent = static_cast<int>(bits >> 10 & 31);
    float const fraction = static_cast<float>(bits & 0x3ff);
    float magnitude;
    if (exponent == 31)
        magnitude = fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    else if (exponent == 0)
        magnitude = std::ldexp(fraction, -24);
    else
        magnitude = std::ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

float const* table_of_halves()
{
    static std::vector<float> const table = [] {
        std::vector<float> values(0x10000);
        for (uint32_t bits = 0; bits < values.size(); ++bits)
            values[bits] = decode(bits);
        return values;
    }();
    return table.data();
}

} // namespace

float const* const kFloatOfHalf = table_of_halves();

Half round_to_half(float value)
{
    constexpr uint32_t kSmallestNormal = 0x38800000u; // 2 ** -14
    constexpr uint32_t kOverflow = 0x477ff000u;       // 65520, half way from the largest half to the next power of two
    uint32_t const bits = bits_of_float(value);
    uint32_t const magnitude = bits & ~kSignOfFloat;
    uint16_t const sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    if (magnitude > kInfiniteFloat)
        return {kNotANumber};
    if (magnitude >= kOverflow)
        return {static_cast<uint16_t>(sign | 0x7c00)};
    if (magnitude < kSmallestNormal) {
        // Adding 0.5 lets float32's own rounding drop the bits below 2 ** -24, the unit of subnormal halves.
        constexpr uint32_t kOneHalf = 0x3f000000u;
        return {static_cast<uint16_t>(sign | (bits_of_float(float_of_bits(magnitude) + 0.5f) - kOneHalf))};
    }
    // 13 bits go; a carry out of the fraction rightly raises the exponent. Exponents differ in bias by 112.
    uint32_t const rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return {static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)))};
}

Bfloat16 round_to_bfloat16(float value)
{
    uint32_t const bits = bits_of_float(value);
    if ((bits & ~kSignOfFloat) > kInfiniteFloat)
        return {kNotANumber};
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

float exp2_flushed(float x)
{
    float const result = std::exp2(x);
    return result < std::numeric_limits<float>::min() ? 0.0f : result;
}

} // namespace ccdeploy::emulator
