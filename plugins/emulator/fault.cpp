#include "fault.h"

#include <cstring>

namespace ccdeploy::emulator {

std::string Site::text() const
{
    char const* const file = reinterpret_cast<char const*>(static_cast<uintptr_t>(packed_ >> 16));
    if (file == nullptr)
        return "its end";
    char const* const slash = std::strrchr(file, '/');
    return std::string(slash == nullptr ? file : slash + 1) + ":" + std::to_string(packed_ & 0xffff);
}

char const* name(Instruction instruction)
{
    switch (instruction) {
    case Instruction::kExit:
        return "exit";
    case Instruction::kSynchronizeBlock:
        return "synchronize_block";
    case Instruction::kExchange:
        return "exchange_with";
    case Instruction::kAnyLane:
        return "any_lane";
    case Instruction::kLoadMatrices:
        return "load_matrices";
    case Instruction::kLoadMatricesTransposed:
        return "load_matrices_transposed";
    case Instruction::kMultiplyAddHalf:
        return "multiply_add (half)";
    case Instruction::kMultiplyAddBfloat16:
        return "multiply_add (bfloat16)";
    case Instruction::kLoadShared:
        return "load_shared";
    case Instruction::kStoreShared:
        return "store_shared";
    case Instruction::kCopyAsync:
        return "copy_16_bytes_async";
    case Instruction::kLoadGlobal:
        return "load from global memory";
    case Instruction::kStoreGlobal:
        return "store to global memory";
    case Instruction::kPackBfloat16:
        return "pack (bfloat16)";
    case Instruction::kTrap:
        return "trap";
    }
    return "unknown instruction";
}

std::string Actor::text() const
{
    return "thread " + std::to_string(thread) + " (warp " + std::to_string(thread / 32) + ", lane " +
           std::to_string(thread % 32) + "), " + name(instruction) + " at " + site.text();
}

} // namespace ccdeploy::emulator
