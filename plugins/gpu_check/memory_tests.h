// What must come out of the golden kernels that move words: indices, barriers, shuffles, memory and copies.
#pragma once

#include <random>

#include "golden_test.h"

namespace ccdeploy::gpu_check {

using Words = std::vector<uint32_t>;

// Words that are all different and, read as floats, ordinary numbers.
inline Words different_words(size_t count, std::mt19937& random)
{
    uint32_t const start = bits_of(1.0f) + random() % 0x10000;
    Words words(count);
    for (size_t i = 0; i < count; ++i)
        words[i] = start + static_cast<uint32_t>(i) * 257;
    return words;
}

// `expected(i)` for i from 0 to count.
template <class Expected>
Words words_of(size_t count, Expected expected)
{
    Words words(count);
    for (size_t i = 0; i < count; ++i)
        words[i] = expected(i);
    return words;
}

inline void add_launch_tests(std::vector<GoldenTest>& tests, std::mt19937& random)
{
    constexpr size_t kLast = Indices::kBlocks * kThreads;
    GoldenTest indices{"thread_index and block_index", &golden_kernel<Indices>, Comparison::kBits, {}, {}};
    indices.blocks = Indices::kBlocks;
    indices.expected =
        words_of(kLast, [](size_t i) { return static_cast<uint32_t>(i / kThreads * 1000 + i % kThreads); });
    tests.push_back(indices);

    GoldenTest start{"shared_memory", &golden_kernel<SharedMemoryStart>, Comparison::kBits, {}, Words(kThreads, 0)};
    start.shared_bytes = 16;
    tests.push_back(start);

    GoldenTest barrier{
        "synchronize_block", &golden_kernel<Barrier>, Comparison::kBits, different_words(kThreads, random), {}};
    barrier.shared_bytes = kThreads * 4;
    barrier.expected = words_of(size_t{Barrier::kRounds} * kThreads, [&](size_t i) {
        return barrier.input[i % kThreads ^ 32] + static_cast<uint32_t>(i / kThreads);
    });
    tests.push_back(barrier);
}

inline void add_exchange_tests(std::vector<GoldenTest>& tests, std::mt19937& random)
{
    Words const input = different_words(kThreads, random);
    Words const expected =
        words_of(size_t{5} * kThreads, [&](size_t i) { return input[i % kThreads ^ size_t{1} << i / kThreads]; });
    tests.push_back({"exchange_with (word)", &golden_kernel<Exchange<uint32_t>>, Comparison::kBits, input, expected});
    tests.push_back({"exchange_with (float)", &golden_kernel<Exchange<float>>, Comparison::kBits, input, expected});

    // No lane, all lanes, each lane alone, and what chance brings; the warps never have the same.
    GoldenTest any{"any_lane", &golden_kernel<AnyLane>, Comparison::kBits, {0, 0xffffffffu, 0xffffffffu, 0}, {}};
    for (int lane = 0; lane < 32; ++lane) {
        any.input.insert(any.input.end(), {1u << lane, 0});
        any.input.insert(any.input.end(), {0, 1u << lane});
        any.input.insert(any.input.end(), {static_cast<uint32_t>(random()), static_cast<uint32_t>(random() | 1)});
    }
    any.count = static_cast<int>(any.input.size() / 2);
    any.expected = words_of(any.input.size() / 2 * kThreads,
                            [&](size_t i) { return any.input[i / kThreads * 2 + i % kThreads / 32] != 0 ? 1u : 0u; });
    tests.push_back(any);
}

inline void add_memory_tests(std::vector<GoldenTest>& tests, std::mt19937& random)
{
    constexpr size_t kWords = size_t{kThreads} * 4;
    Words const input = different_words(kWords, random);
    // Loads take four neighbours apart, stores put them together.
    Words const apart = words_of(kWords, [&](size_t i) { return input[i % kThreads * 4 + i / kThreads]; });
    Words const together = words_of(kWords, [&](size_t i) { return input[i % 4 * kThreads + i / 4]; });
    tests.push_back({"load_16_bytes", &golden_kernel<Load16Bytes>, Comparison::kBits, input, apart});
    tests.push_back({"store_16_bytes", &golden_kernel<Store16Bytes>, Comparison::kBits, input, together});
    tests.push_back({"load_float4", &golden_kernel<LoadFloat4>, Comparison::kBits, input, apart});
    tests.push_back({"store_float4", &golden_kernel<StoreFloat4>, Comparison::kBits, input, together});

    Words const one = different_words(kThreads, random);
    Words const moved = words_of(kThreads, [&](size_t i) { return one[(i * 7 + 3) % kThreads]; });
    GoldenTest words{"store_shared and load_shared_word", &golden_kernel<SharedValues<uint32_t>>, Comparison::kBits,
                     one, moved};
    GoldenTest floats{"store_shared and load_shared_float", &golden_kernel<SharedValues<float>>, Comparison::kBits, one,
                      moved};
    words.shared_bytes = floats.shared_bytes = kThreads * 4;
    tests.push_back(words);
    tests.push_back(floats);

    GoldenTest four{"load_shared_float4", &golden_kernel<SharedFloat4>, Comparison::kBits, input, {}};
    four.shared_bytes = kThreads * 16;
    four.expected = words_of(kWords, [&](size_t i) { return input[(i / 4 * 5 + 1) % kThreads * 4 + i % 4]; });
    tests.push_back(four);
    four.name = "load_shared_16_bytes";
    four.kernel = &golden_kernel<Shared16Bytes>;
    tests.push_back(four);
}

inline void add_copy_tests(std::vector<GoldenTest>& tests, std::mt19937& random)
{
    constexpr size_t kWords = size_t{kThreads} * 4;
    GoldenTest copies{
        "copy_16_bytes_async", &golden_kernel<Copies>, Comparison::kBits, different_words(kWords, random), {}};
    copies.shared_bytes = kThreads * 16;
    copies.expected = words_of(kWords, [&](size_t i) { return i / 4 % 3 != 0 ? copies.input[i] : 0u; });
    tests.push_back(copies);

    Words const rows = different_words(CopyGroups::kRows * kWords, random);
    GoldenTest groups{"commit_copies and wait_for_copies", &golden_kernel<CopyGroups>, Comparison::kBits, rows, rows};
    groups.shared_bytes = CopyGroups::kRows * kThreads * 16;
    tests.push_back(groups);
}

} // namespace ccdeploy::gpu_check
