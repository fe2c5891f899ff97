// The instructions on matrices that are spread over the registers of a warp; fragments as in primitives.cuh.
#pragma once

#include <cstdint>

#include "fault.h"

namespace ccdeploy::emulator {

void load_four_matrices(uint32_t (&matrix)[4], uint32_t row, bool transposed, Site site);

// c += a b. Products are exact and sums are float32, one product after the other from the first k to the last.
// The hardware differs in the last bits: it adds several products and c at once, in an order of its own, each aligned
// to the largest and cut off (not rounded) a few bits below float32's last. And a bfloat16 product that exceeds float32
// is infinite here.
void multiply_add_half(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Site site);
void multiply_add_bfloat16(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Site site);

} // namespace ccdeploy::emulator
