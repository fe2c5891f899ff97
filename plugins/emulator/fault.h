// What a kernel did wrong, in words, and how the words name a place in its source.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace ccdeploy::emulator {

// The kernel broke a rule of the device. The text says in which block, which thread, by which instruction, and why.
class Fault : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// A line of the kernel's source in 8 bytes, since shared memory has two of them for every 4 of its own. As a default
// argument, here() is the line of the caller.
class Site {
public:
    static Site here(char const* file = __builtin_FILE(), unsigned line = __builtin_LINE())
    {
        Site site;
        site.packed_ = reinterpret_cast<uintptr_t>(file) << 16 | (line & 0xffff); // addresses have 48 bits
        return site;
    }

    bool operator==(Site other) const
    {
        return packed_ == other.packed_;
    }

    std::string text() const; // "attention_pass.cuh:120"

private:
    uint64_t packed_ = 0;
};

// The functions of primitives.h that the checks tell apart, and the end of the kernel.
enum class Instruction : uint8_t {
    kExit,
    kSynchronizeBlock,
    kExchange,
    kAnyLane,
    kLoadMatrices,
    kLoadMatricesTransposed,
    kMultiplyAddHalf,
    kMultiplyAddBfloat16,
    kLoadShared,
    kStoreShared,
    kCopyAsync,
    kLoadGlobal,
    kStoreGlobal,
    kPackBfloat16,
    kTrap,
};

char const* name(Instruction instruction);

// Who does what, and where.
struct Actor {
    int thread;
    Instruction instruction;
    Site site;

    std::string text() const; // "thread 37 (warp 1, lane 5), load_shared at attention_pass.cuh:120"
};

} // namespace ccdeploy::emulator
