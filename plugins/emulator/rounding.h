// Between float32 and the 16-bit types, bit for bit as the device converts.
#pragma once

#include <cstdint>
#include <cstring>

#include "values.h"

namespace ccdeploy::emulator {

inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of_bits(uint32_t bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

extern float const* const kFloatOfHalf; // of every half, by its bits

inline float float_of(Half value)
{
    return kFloatOfHalf[value.bits];
}

inline float float_of(Bfloat16 value)
{
    return float_of_bits(uint32_t{value.bits} << 16);
}

// To nearest, ties to even; overflow gives infinity; any NaN becomes the device's own: 0x7fff.
Half round_to_half(float value);
Bfloat16 round_to_bfloat16(float value);

// 2 to the power of x, with subnormal results and operands taken for 0. The device's result may be 2 units in the last
// place away from this one.
float exp2_flushed(float x);

} // namespace ccdeploy::emulator
