// Every operation of the GPU that the kernels use beyond plain C++, and all of the project's PTX.
//
// A kernel that uses nothing but what stands here also runs on the CPU: there emulator/primitives.h takes this file's
// place, function by function. What the emulator cannot see is whether the PTX below means what its name says, so
// each function has a golden test that runs on a GPU (gpu_check/golden.cuh).
//
// Fragments, from the PTX manual (mma.m16n8k16, 16-bit types). Lane = 4 * group + member, group 0..7, member 0..3:
//   A, 16 x 16, 4 registers: {rows group, group + 8} x {columns 2 * member + 0..1, + 8}, rows vary first
//   B, 16 x  8, 2 registers: {rows 2 * member + 0..1, + 8}, column group
//   C, 16 x  8, 4 floats:    row group, columns 2 * member + 0..1; then the same of row group + 8
#pragma once

#include <cstdint>

#if !defined(__CUDACC__)
#include "../emulator/primitives.h"
#else

#include "values.h"

namespace ccdeploy {

// An address in the block's shared memory, in bytes.
using SharedAddress = uint32_t;

__device__ __forceinline__ int thread_index()
{
    return static_cast<int>(threadIdx.x);
}

__device__ __forceinline__ int64_t block_index()
{
    return blockIdx.x;
}

// Where the block's dynamic shared memory begins; aligned to 16 bytes.
__device__ __forceinline__ SharedAddress shared_memory()
{
    extern __shared__ Bytes16 dynamic_shared_memory[];
    return static_cast<SharedAddress>(__cvta_generic_to_shared(dynamic_shared_memory));
}

__device__ __forceinline__ void synchronize_block()
{
    __syncthreads();
}

// The value that lane (this lane ^ mask) passes; all 32 lanes of the warp must call it.
__device__ __forceinline__ uint32_t exchange_with(uint32_t value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

__device__ __forceinline__ float exchange_with(float value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

// Whether the condition holds in any of the warp's 32 lanes; all of them must call it.
__device__ __forceinline__ bool any_lane(bool condition)
{
    return __any_sync(0xffffffffu, condition);
}

// 2 to the power of x, to 2 units in the last place; 0 for -infinity; subnormal results are 0.
__device__ __forceinline__ float exp2_fast(float x)
{
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// Ends the whole launch with an error: for code that must never be reached.
__device__ __forceinline__ void trap()
{
    asm volatile("trap;");
}

// ---- global memory: 16 bytes at once, aligned to 16 -----------------------------------------------------------------

__device__ __forceinline__ Bytes16 load_16_bytes(void const* source)
{
    uint4 const words = *static_cast<uint4 const*>(source);
    return {{words.x, words.y, words.z, words.w}};
}

__device__ __forceinline__ void store_16_bytes(void* target, Bytes16 value)
{
    *static_cast<uint4*>(target) = make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]);
}

__device__ __forceinline__ Float4 load_float4(float const* source)
{
    float4 const value = *reinterpret_cast<float4 const*>(source);
    return {{value.x, value.y, value.z, value.w}};
}

__device__ __forceinline__ void store_float4(float* target, Float4 value)
{
    *reinterpret_cast<float4*>(target) = make_float4(value.x[0], value.x[1], value.x[2], value.x[3]);
}

// ---- shared memory ------------------------------------------------------------------------------------------------

__device__ __forceinline__ void store_shared(SharedAddress target, uint32_t value)
{
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(target), "r"(value) : "memory");
}

__device__ __forceinline__ void store_shared(SharedAddress target, float value)
{
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(target), "f"(value) : "memory");
}

__device__ __forceinline__ float load_shared_float(SharedAddress source)
{
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(source) : "memory");
    return value;
}

__device__ __forceinline__ uint32_t load_shared_word(SharedAddress source)
{
    uint32_t value;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(source) : "memory");
    return value;
}

// The address must be a multiple of 16.
__device__ __forceinline__ Float4 load_shared_float4(SharedAddress source)
{
    Float4 value;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(value.x[0]), "=f"(value.x[1]), "=f"(value.x[2]), "=f"(value.x[3])
                 : "r"(source)
                 : "memory");
    return value;
}

// The address must be a multiple of 16.
__device__ __forceinline__ Bytes16 load_shared_16_bytes(SharedAddress source)
{
    Bytes16 value;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.word[0]), "=r"(value.word[1]), "=r"(value.word[2]), "=r"(value.word[3])
                 : "r"(source)
                 : "memory");
    return value;
}

// Starts a copy of 16 bytes from global to shared memory, or of 16 zero bytes if !valid (then `source` is not read).
// It has landed for this thread after wait_for_copies, and for the others of the block after a barrier behind that.
// Compute capability 7.5 has no such copies: there it has landed at once.
__device__ __forceinline__ void copy_16_bytes_async(SharedAddress target, void const* source, bool valid)
{
#if __CUDA_ARCH__ >= 800
    int const bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(bytes) : "memory");
#else
    uint4 words = make_uint4(0, 0, 0, 0);
    if (valid)
        words = *static_cast<uint4 const*>(source);
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(words.x), "r"(words.y), "r"(words.z),
                 "r"(words.w)
                 : "memory");
#endif
}

// Closes a group of the copies that this thread has started since the last group; a group may be empty.
__device__ __forceinline__ void commit_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `kGroups` of this thread's youngest groups are still under way.
template <int kGroups>
__device__ __forceinline__ void wait_for_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

// ---- matrices: all 32 lanes of the warp must call these ------------------------------------------------------------

// Four 8 x 8 matrices of 16-bit values. Lane 8 * i + r passes the address of row r of matrix i (16 bytes, aligned);
// register i of lane 4 * g + m receives row g of matrix i, columns 2 * m and 2 * m + 1.
__device__ __forceinline__ void load_matrices(uint32_t (&matrix)[4], SharedAddress row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
                 : "r"(row)
                 : "memory");
}

// The same, each matrix transposed: lane 4 * g + m receives rows 2 * m and 2 * m + 1 of column g.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&matrix)[4], SharedAddress row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
                 : "r"(row)
                 : "memory");
}

// c += a b, with a 16 x 16, b 16 x 8, products and sums in float32. 7.5 knows the shape 16 x 8 x 8 only: two of those.
__device__ __forceinline__ void multiply_add(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Half)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

__device__ __forceinline__ void multiply_add(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Bfloat16)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    trap(); // bfloat16 needs 8.0; a launch on 7.5 is refused before
#endif
}

// ---- pairs of 16-bit values in one register, the first in the lower half -------------------------------------------

// Rounds to nearest, ties to even.
__device__ __forceinline__ uint32_t pack(float first, float second, Half)
{
    uint32_t pair;
    asm("{.reg .f16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2; mov.b32 %0, {low, high};}"
        : "=r"(pair)
        : "f"(first), "f"(second));
    return pair;
}

__device__ __forceinline__ uint32_t pack(float first, float second, Bfloat16)
{
#if __CUDA_ARCH__ >= 800
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(pair) : "f"(first), "f"(second));
    return pair;
#else
    trap();
    return 0;
#endif
}

__device__ __forceinline__ void unpack(float& first, float& second, uint32_t pair, Half)
{
    asm("{.reg .f16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(first), "=f"(second)
        : "r"(pair));
}

__device__ __forceinline__ void unpack(float& first, float& second, uint32_t pair, Bfloat16)
{
    first = __uint_as_float(pair << 16);
    second = __uint_as_float(pair & 0xffff0000u);
}

} // namespace ccdeploy

#endif
