// Takes the place of criss_cross/primitives.cuh where no CUDA compiler is at work: the same functions on the CPU, with
// every rule of the device checked. What a function means stands there; here stands only what is different.
//
// Not seen here: whether the PTX of primitives.cuh does what its functions promise, bank conflicts, what threads do to
// each other in global memory, and accesses to global memory outside a tensor (an address sanitizer sees those).
//
// The last argument of each function is the line of the kernel that calls it, for the reports. Kernels leave it out.
#pragma once

#include <math.h> // fmaf, fmaxf and the like, without std::, as CUDA offers them

#include <cstdint>

#include "block.h"
#include "matrices.h"
#include "rounding.h"
#include "values.h"

// CUDA's own words, which mean nothing to other compilers.
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace ccdeploy {

using SharedAddress = uint32_t;

inline int thread_index()
{
    return emulator::Block::current().thread();
}

inline int64_t block_index()
{
    return emulator::Block::current().index();
}

inline SharedAddress shared_memory()
{
    return emulator::SharedMemory::kBase;
}

inline void synchronize_block(emulator::Site site = emulator::Site::here())
{
    emulator::Block::current().synchronize(site);
}

uint32_t exchange_with(uint32_t value, int mask, emulator::Site site = emulator::Site::here());
float exchange_with(float value, int mask, emulator::Site site = emulator::Site::here());
bool any_lane(bool condition, emulator::Site site = emulator::Site::here());

inline float exp2_fast(float x)
{
    return emulator::exp2_flushed(x);
}

[[noreturn]] void trap(emulator::Site site = emulator::Site::here());

// ---- global memory -------------------------------------------------------------------------------------------------

Bytes16 load_16_bytes(void const* source, emulator::Site site = emulator::Site::here());
void store_16_bytes(void* target, Bytes16 value, emulator::Site site = emulator::Site::here());
Float4 load_float4(float const* source, emulator::Site site = emulator::Site::here());
void store_float4(float* target, Float4 value, emulator::Site site = emulator::Site::here());

// ---- shared memory -------------------------------------------------------------------------------------------------

void store_shared(SharedAddress target, uint32_t value, emulator::Site site = emulator::Site::here());
void store_shared(SharedAddress target, float value, emulator::Site site = emulator::Site::here());
float load_shared_float(SharedAddress source, emulator::Site site = emulator::Site::here());
uint32_t load_shared_word(SharedAddress source, emulator::Site site = emulator::Site::here());
Float4 load_shared_float4(SharedAddress source, emulator::Site site = emulator::Site::here());
Bytes16 load_shared_16_bytes(SharedAddress source, emulator::Site site = emulator::Site::here());

// On 7.5 a plain load and store, as there; then the two functions below do nothing.
void copy_16_bytes_async(SharedAddress target, void const* source, bool valid,
                         emulator::Site site = emulator::Site::here());
void commit_copies();

namespace emulator {

void wait_for_copy_groups(int groups);

} // namespace emulator

template <int kGroups>
inline void wait_for_copies()
{
    static_assert(kGroups >= 0, "a number of groups");
    emulator::wait_for_copy_groups(kGroups);
}

// ---- matrices ------------------------------------------------------------------------------------------------------

inline void load_matrices(uint32_t (&matrix)[4], SharedAddress row, emulator::Site site = emulator::Site::here())
{
    emulator::load_four_matrices(matrix, row, false, site);
}

inline void load_matrices_transposed(uint32_t (&matrix)[4], SharedAddress row,
                                     emulator::Site site = emulator::Site::here())
{
    emulator::load_four_matrices(matrix, row, true, site);
}

inline void multiply_add(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Half,
                         emulator::Site site = emulator::Site::here())
{
    emulator::multiply_add_half(c, a, b0, b1, site);
}

// A fault on 7.5.
void multiply_add(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Bfloat16,
                  emulator::Site site = emulator::Site::here());

// ---- pairs of 16-bit values ----------------------------------------------------------------------------------------

uint32_t pack(float first, float second, Half);
uint32_t pack(float first, float second, Bfloat16, emulator::Site site = emulator::Site::here()); // a fault on 7.5

inline void unpack(float& first, float& second, uint32_t pair, Half)
{
    first = emulator::float_of(Half{static_cast<uint16_t>(pair)});
    second = emulator::float_of(Half{static_cast<uint16_t>(pair >> 16)});
}

inline void unpack(float& first, float& second, uint32_t pair, Bfloat16)
{
    first = emulator::float_of_bits(pair << 16);
    second = emulator::float_of_bits(pair & 0xffff0000u);
}

} // namespace ccdeploy
