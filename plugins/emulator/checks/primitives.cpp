// The primitives one by one, in C linkage: arrays in, arrays out, each call one launch of one warp. Element types are
// those of ccdeploy_type. tests/plugins/test_emulator_primitives.py compares them with numpy.
#include "primitives.h"

#include <cstdint>
#include <functional>

#include "launch_kernel.h"

namespace {

using namespace ccdeploy;
using emulator::kLanes;

constexpr int kMatrixBytes = kLanes * 16;

// In the threads of one warp.
int32_t run(std::function<void()> const& body)
{
    return emulator::launch(1, kLanes, kMatrixBytes, body);
}

// Calls body(i) for i from 0 to count, once each.
template <class Body>
int32_t run_for_each(int64_t count, Body body)
{
    return run([&] {
        for (int64_t i = thread_index(); i < count; i += kLanes)
            body(i);
    });
}

} // namespace

extern "C" {

CCDEPLOY_PUBLIC int32_t emulated_pack(int32_t type, float const* first, float const* second, uint32_t* pairs,
                                      int64_t count)
{
    return run_for_each(count, [=](int64_t i) {
        pairs[i] = type == CCDEPLOY_FLOAT16 ? pack(first[i], second[i], Half{}) : pack(first[i], second[i], Bfloat16{});
    });
}

CCDEPLOY_PUBLIC int32_t emulated_unpack(int32_t type, uint32_t const* pairs, float* first, float* second, int64_t count)
{
    return run_for_each(count, [=](int64_t i) {
        if (type == CCDEPLOY_FLOAT16)
            unpack(first[i], second[i], pairs[i], Half{});
        else
            unpack(first[i], second[i], pairs[i], Bfloat16{});
    });
}

CCDEPLOY_PUBLIC int32_t emulated_exp2(float const* x, float* result, int64_t count)
{
    return run_for_each(count, [=](int64_t i) { result[i] = exp2_fast(x[i]); });
}

// [lane] each.
CCDEPLOY_PUBLIC int32_t emulated_exchange(uint32_t const* values, int32_t mask, uint32_t* received,
                                          float* received_as_float)
{
    return run([=] {
        int const lane = thread_index();
        received[lane] = exchange_with(values[lane], mask);
        received_as_float[lane] = exchange_with(static_cast<float>(values[lane]), mask);
    });
}

CCDEPLOY_PUBLIC int32_t emulated_any_lane(uint8_t const* conditions, uint8_t* results)
{
    return run([=] { results[thread_index()] = any_lane(conditions[thread_index()] != 0) ? 1 : 0; });
}

// values: 4 matrices [8][8] of 16 bits, one behind the other; registers: [lane][4].
CCDEPLOY_PUBLIC int32_t emulated_load_matrices(void const* values, int32_t transposed, uint32_t* registers)
{
    return run([=] {
        int const lane = thread_index();
        SharedAddress const row = shared_memory() + static_cast<SharedAddress>(lane) * 16;
        copy_16_bytes_async(row, static_cast<Bytes16 const*>(values) + lane, true);
        commit_copies();
        wait_for_copies<0>();
        synchronize_block();
        uint32_t matrix[4];
        if (transposed != 0)
            load_matrices_transposed(matrix, row);
        else
            load_matrices(matrix, row);
        for (int i = 0; i < 4; ++i)
            registers[lane * 4 + i] = matrix[i];
    });
}

// Fragments: a [lane][4], b [lane][2], c [lane][4], which receives the result.
CCDEPLOY_PUBLIC int32_t emulated_multiply_add(int32_t type, uint32_t const* a, uint32_t const* b, float* c)
{
    return run([=] {
        int const lane = thread_index();
        uint32_t const mine[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
        float sums[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
        if (type == CCDEPLOY_FLOAT16)
            multiply_add(sums, mine, b[lane * 2], b[lane * 2 + 1], Half{});
        else
            multiply_add(sums, mine, b[lane * 2], b[lane * 2 + 1], Bfloat16{});
        for (int i = 0; i < 4; ++i)
            c[lane * 4 + i] = sums[i];
    });
}

// 16 bytes a lane through every kind of load and store of memory; with `valid` 0 the copy fills with zeros.
CCDEPLOY_PUBLIC int32_t emulated_move(void const* source, int32_t valid, void* target)
{
    return run([=] {
        int const lane = thread_index();
        SharedAddress const row = shared_memory() + static_cast<SharedAddress>(lane) * 16;
        copy_16_bytes_async(row, static_cast<Bytes16 const*>(source) + lane, valid != 0);
        commit_copies();
        wait_for_copies<0>();
        store_shared(row, load_shared_word(row));
        store_shared(row + 4, load_shared_float(row + 4));
        Float4 const value = load_shared_float4(row);
        float* const mine = static_cast<float*>(target) + lane * 4;
        store_float4(mine, value);
        store_16_bytes(mine, load_16_bytes(mine));
        store_float4(mine, load_float4(mine));
    });
}
}
