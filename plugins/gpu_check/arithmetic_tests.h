// What must come out of the golden kernels that compute or rearrange: exp2, matrices, products and conversions. The
// places of elements in registers are those of the PTX manual, element by element as its tables give them.
#pragma once

#include <random>
#include <type_traits>

#include "memory_tests.h"

namespace ccdeploy::gpu_check {

constexpr int kLanes = 32;

// What ex2.approx.ftz may be off: 2 units in the last place of a result.
inline double two_units(float result)
{
    return 2 * (std::nextafter(result, std::numeric_limits<float>::infinity()) - result);
}

inline void add_exp2_test(std::vector<GoldenTest>& tests, std::mt19937& random)
{
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    std::vector<float> x = {0.0f,    -0.0f,   kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(),
                            128.0f,  129.5f,  1e30f,     -126.5f,    -127.0f,
                            -140.0f, -150.0f, -1e30f,    1e-40f,     -1e-40f};
    for (int integer = -125; integer < 128; ++integer)
        x.push_back(static_cast<float>(integer));
    for (int i = 0; i < 4096; ++i)
        x.push_back(std::uniform_real_distribution<float>(-125.9f, 127.9f)(random));
    for (int i = 0; i < 1024; ++i) // where a softmax has most of its energies
        x.push_back(std::uniform_real_distribution<float>(-30.0f, 0.0f)(random));
    GoldenTest test{"exp2_fast", &golden_kernel<Exp2>, Comparison::kFloats, {}, {}};
    test.count = static_cast<int>(x.size());
    for (float const each : x) {
        double const exact = std::exp2(static_cast<double>(each));
        bool const subnormal = exact < static_cast<double>(std::numeric_limits<float>::min());
        float const result = subnormal ? 0.0f : static_cast<float>(exact);
        test.input.push_back(bits_of(each));
        test.expected.push_back(bits_of(result));
        test.bound.push_back(result > 0 && std::isfinite(result) ? two_units(result) : 0.0);
    }
    tests.push_back(test);
}

// PTX manual, ldmatrix: thread 8 * i + r gives the address of row r of matrix i. Thread T gets, of each matrix, row
// T / 4 and columns 2 * (T % 4) and the next; with .trans those are the column and the rows.
template <bool kTransposed>
GoldenTest matrices_test(char const* name, std::mt19937& random)
{
    GoldenTest test{name, &golden_kernel<Matrices<kTransposed>>, Comparison::kBits, Words(kThreads * 4), {}};
    test.shared_bytes = Matrices<kTransposed>::kBytes;
    uint32_t const start = random() % 0x8000;
    auto const element = [&](int warp, int matrix, int row, int column) {
        return (start + static_cast<uint32_t>(((warp * 4 + matrix) * 8 + row) * 8 + column)) & 0xffff;
    };
    for (int thread = 0; thread < kThreads; ++thread)
        for (int i = 0; i < 4; ++i) {
            int const warp = thread / kLanes, matrix = thread % kLanes / 8, row = thread % 8;
            test.input[static_cast<size_t>(thread * 4 + i)] =
                element(warp, matrix, row, 2 * i) | element(warp, matrix, row, 2 * i + 1) << 16;
        }
    for (int thread = 0; thread < kThreads; ++thread)
        for (int matrix = 0; matrix < 4; ++matrix) {
            int const warp = thread / kLanes, line = thread % kLanes / 4, first = thread % 4 * 2;
            uint32_t const low = kTransposed ? element(warp, matrix, first, line) : element(warp, matrix, line, first);
            uint32_t const high =
                kTransposed ? element(warp, matrix, first + 1, line) : element(warp, matrix, line, first + 1);
            test.expected.push_back(low | high << 16);
        }
    return test;
}

// ---- products -----------------------------------------------------------------------------------------------------

struct Product {
    double a[16][16];
    double b[16][8];
    double c[16][8];
};

// PTX manual, mma.m16n8k16 for 16-bit types: where element i of a thread's operand lies in the matrix. The manual
// counts a0..a7, b0..b3 and c0..c3; two 16-bit elements share a register, the first in its lower half.
struct Element {
    int row;
    int column;
};

inline Element a_element(int lane, int i)
{
    int const group = lane >> 2, in_group = lane % 4;
    int const row = (i < 2 || (4 <= i && i < 6)) ? group : group + 8;
    return {row, in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}

inline Element b_element(int lane, int i)
{
    return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2};
}

inline Element c_element(int lane, int i)
{
    return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

// Whole numbers, whose products and sums float32 holds exactly; a sum beyond the largest half, so that a float16
// accumulator would show.
template <class T>
Product whole_numbers(std::mt19937& random)
{
    int const most = std::is_same_v<T, Half> ? 300 : 250;
    std::uniform_int_distribution<int> factor(-most, most), summand(-9999, 9999);
    Product product;
    for (auto& row : product.a)
        for (double& value : row)
            value = factor(random);
    for (auto& row : product.b)
        for (double& value : row)
            value = factor(random);
    for (auto& row : product.c)
        for (double& value : row)
            value = summand(random);
    return product;
}

// Numbers with full fractions and of many sizes.
template <class T>
Product fractions(std::mt19937& random)
{
    std::normal_distribution<double> normal;
    auto const draw = [&] {
        return FormatOf<T>::value(FormatOf<T>::nearest(std::ldexp(normal(random), static_cast<int>(random() % 8) - 4)));
    };
    Product product;
    for (auto& row : product.a)
        for (double& value : row)
            value = draw();
    for (auto& row : product.b)
        for (double& value : row)
            value = draw();
    for (auto& row : product.c)
        for (double& value : row)
            value = static_cast<float>(normal(random));
    return product;
}

template <class T>
GoldenTest multiply_test(std::mt19937& random)
{
    constexpr int kProducts = 8; // of each kind, for each warp
    GoldenTest test{std::string("multiply_add (") + FormatOf<T>::kName + ")",
                    &golden_kernel<MultiplyAdd<T>>,
                    Comparison::kFloats,
                    {},
                    {}};
    test.count = 2 * kProducts;
    test.oldest = std::is_same_v<T, Half> ? 75 : 80;
    for (int index = 0; index < test.count; ++index)
        for (int warp = 0; warp < kThreads / kLanes; ++warp) {
            bool const exact = index < kProducts;
            Product const product = exact ? whole_numbers<T>(random) : fractions<T>(random);
            auto const bits = [](double value) { return FormatOf<T>::nearest(value); };
            for (int lane = 0; lane < kLanes; ++lane) {
                uint32_t a[8], b[4];
                for (int i = 0; i < 8; ++i)
                    a[i] = bits(product.a[a_element(lane, i).row][a_element(lane, i).column]);
                for (int i = 0; i < 4; ++i)
                    b[i] = bits(product.b[b_element(lane, i).row][b_element(lane, i).column]);
                for (int i = 0; i < 8; i += 2)
                    test.input.push_back(a[i] | a[i + 1] << 16);
                for (int i = 0; i < 4; i += 2)
                    test.input.push_back(b[i] | b[i + 1] << 16);
                for (int i = 0; i < 4; ++i) {
                    auto const [row, column] = c_element(lane, i);
                    double const c = product.c[row][column];
                    test.input.push_back(bits_of(static_cast<float>(c)));
                    double sum = c, size = std::fabs(c);
                    for (int k = 0; k < 16; ++k) {
                        double const term = 2 * product.a[row][k] * product.b[k][column]; // it is added twice
                        sum += term;
                        size += std::fabs(term);
                    }
                    test.expected.push_back(bits_of(static_cast<float>(sum)));
                    // The tensor cores cut the low bits of aligned terms off instead of rounding: up to a unit of the
                    // largest term for each of them.
                    test.bound.push_back(exact ? 0.0 : std::ldexp(size, -18));
                }
            }
        }
    return test;
}

// ---- conversions --------------------------------------------------------------------------------------------------

template <class T>
GoldenTest pack_test(std::mt19937& random)
{
    using Format = FormatOf<T>;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    std::vector<float> x = {0.0f,
                            -0.0f,
                            kInfinity,
                            -kInfinity,
                            std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::min(),
                            1e-45f,
                            -1e-45f};
    // Every value of the format, the tie above it, and both neighbours of the tie; with both signs in turn.
    for (uint32_t bits = 0; bits < Format::kInfinity; ++bits) {
        double const here = Format::magnitude(bits), next = Format::magnitude(bits + 1);
        float const tie = static_cast<float>((here + next) / 2);
        float const sign = bits % 2 == 0 ? 1.0f : -1.0f;
        float const below = std::nextafter(tie, 0.0f), above = std::nextafter(tie, kInfinity);
        for (float const value : {static_cast<float>(here), tie, below, above})
            x.push_back(sign * value);
    }
    for (int i = 0; i < 4096; ++i)
        x.push_back(float_of(static_cast<uint32_t>(random())));
    if (x.size() % 2 != 0)
        x.push_back(1.0f);
    GoldenTest test{std::string("pack (") + Format::kName + ")",
                    &golden_kernel<Pack<T>>,
                    std::is_same_v<T, Half> ? Comparison::kHalves : Comparison::kBfloat16s,
                    {},
                    {}};
    test.count = static_cast<int>(x.size() / 2);
    test.oldest = std::is_same_v<T, Half> ? 75 : 80;
    for (float const value : x)
        test.input.push_back(bits_of(value));
    for (size_t i = 0; i < x.size(); i += 2)
        test.expected.push_back(Format::nearest(static_cast<double>(x[i])) |
                                Format::nearest(static_cast<double>(x[i + 1])) << 16);
    return test;
}

template <class T>
GoldenTest unpack_test()
{
    using Format = FormatOf<T>;
    constexpr uint32_t kPatterns = 0x10000;
    GoldenTest test{
        std::string("unpack (") + Format::kName + ")", &golden_kernel<Unpack<T>>, Comparison::kFloats, {}, {}};
    test.count = kPatterns / 2;
    for (uint32_t low = 0; low < kPatterns / 2; ++low) {
        uint32_t const high = kPatterns - 1 - low;
        test.input.push_back(low | high << 16);
        for (uint32_t const bits : {low, high})
            test.expected.push_back(bits_of(static_cast<float>(Format::value(bits))));
    }
    return test;
}

inline std::vector<GoldenTest> golden_tests(uint32_t seed)
{
    std::mt19937 random(seed);
    std::vector<GoldenTest> tests;
    add_launch_tests(tests, random);
    add_exchange_tests(tests, random);
    add_memory_tests(tests, random);
    add_copy_tests(tests, random);
    add_exp2_test(tests, random);
    tests.push_back(matrices_test<false>("load_matrices", random));
    tests.push_back(matrices_test<true>("load_matrices_transposed", random));
    tests.push_back(multiply_test<Half>(random));
    tests.push_back(multiply_test<Bfloat16>(random));
    tests.push_back(pack_test<Half>(random));
    tests.push_back(pack_test<Bfloat16>(random));
    tests.push_back(unpack_test<Half>());
    tests.push_back(unpack_test<Bfloat16>());
    return tests;
}

} // namespace ccdeploy::gpu_check
