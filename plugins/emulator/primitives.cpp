#include "primitives.h"

#include <cstdio>

namespace ccdeploy {
namespace {

using emulator::Actor;
using emulator::Block;
using emulator::Fault;
using emulator::Instruction;
using emulator::kLanes;
using emulator::Site;

struct Exchange {
    uint32_t value;
    int mask;
    uint32_t received;
};

void exchange_all(Block&, int, void* const (&operands)[kLanes])
{
    for (int i = 0; i < kLanes; ++i) {
        Exchange& lane = *static_cast<Exchange*>(operands[i]);
        lane.received = static_cast<Exchange const*>(operands[(i ^ lane.mask) % kLanes])->value;
    }
}

void find_any(Block&, int, void* const (&operands)[kLanes])
{
    bool any = false;
    for (void const* const operand : operands)
        any = any || *static_cast<bool const*>(operand);
    for (void* const operand : operands)
        *static_cast<bool*>(operand) = any;
}

// What moves 16 bytes at once wants an address that is a multiple of 16.
void check_global(void const* address, Instruction instruction, Site site)
{
    if (reinterpret_cast<uintptr_t>(address) % sizeof(Bytes16) == 0)
        return;
    char text[64];
    std::snprintf(text, sizeof text, "%p of global memory", address);
    throw Fault(Block::current().actor(instruction, site).text() + ": misaligned: address " + text +
                "; a multiple of 16 was expected");
}

template <class T>
T load_global(void const* source, Site site)
{
    check_global(source, Instruction::kLoadGlobal, site);
    return *static_cast<T const*>(source);
}

template <class T>
void store_global(void* target, T const& value, Site site)
{
    check_global(target, Instruction::kStoreGlobal, site);
    *static_cast<T*>(target) = value;
}

template <class T>
T load_shared(SharedAddress source, Site site)
{
    T value;
    Block& block = Block::current();
    block.shared_memory().read(&value, source, sizeof value, block.actor(Instruction::kLoadShared, site));
    return value;
}

template <class T>
void store_shared_value(SharedAddress target, T value, Site site)
{
    Block& block = Block::current();
    block.shared_memory().write(target, &value, sizeof value, block.actor(Instruction::kStoreShared, site));
}

bool has_async_copies(Block const& block)
{
    return block.architecture() >= emulator::kFirstWithAsyncCopies;
}

void check_bfloat16(Instruction instruction, Site site)
{
    Block const& block = Block::current();
    if (block.architecture() < emulator::kFirstWithBfloat16)
        throw Fault(block.actor(instruction, site).text() + ": trap: compute capability " +
                    std::to_string(block.architecture() / 10) + "." + std::to_string(block.architecture() % 10) +
                    " has no bfloat16");
}

} // namespace

uint32_t exchange_with(uint32_t value, int mask, Site site)
{
    Exchange exchange{value, mask, 0};
    Block::current().meet(Instruction::kExchange, site, &exchange, &exchange_all);
    return exchange.received;
}

float exchange_with(float value, int mask, Site site)
{
    return emulator::float_of_bits(exchange_with(emulator::bits_of_float(value), mask, site));
}

bool any_lane(bool condition, Site site)
{
    Block::current().meet(Instruction::kAnyLane, site, &condition, &find_any);
    return condition;
}

void trap(Site site)
{
    throw Fault(Block::current().actor(Instruction::kTrap, site).text() + ": trap: code that must never be reached");
}

Bytes16 load_16_bytes(void const* source, Site site)
{
    return load_global<Bytes16>(source, site);
}

void store_16_bytes(void* target, Bytes16 value, Site site)
{
    store_global(target, value, site);
}

Float4 load_float4(float const* source, Site site)
{
    return load_global<Float4>(source, site);
}

void store_float4(float* target, Float4 value, Site site)
{
    store_global(target, value, site);
}

void store_shared(SharedAddress target, uint32_t value, Site site)
{
    store_shared_value(target, value, site);
}

void store_shared(SharedAddress target, float value, Site site)
{
    store_shared_value(target, value, site);
}

float load_shared_float(SharedAddress source, Site site)
{
    return load_shared<float>(source, site);
}

uint32_t load_shared_word(SharedAddress source, Site site)
{
    return load_shared<uint32_t>(source, site);
}

Float4 load_shared_float4(SharedAddress source, Site site)
{
    return load_shared<Float4>(source, site);
}

Bytes16 load_shared_16_bytes(SharedAddress source, Site site)
{
    return load_shared<Bytes16>(source, site);
}

void copy_16_bytes_async(SharedAddress target, void const* source, bool valid, Site site)
{
    check_global(source, Instruction::kCopyAsync, site); // the device wants it also where it does not read
    Block& block = Block::current();
    Actor const actor = block.actor(Instruction::kCopyAsync, site);
    Bytes16 const value = valid ? *static_cast<Bytes16 const*>(source) : Bytes16{};
    if (has_async_copies(block))
        block.copies().start(block.shared_memory(), target, value, actor);
    else
        block.shared_memory().write(target, &value, sizeof value, actor);
}

void commit_copies()
{
    if (Block& block = Block::current(); has_async_copies(block))
        block.copies().commit();
}

void emulator::wait_for_copy_groups(int groups)
{
    if (Block& block = Block::current(); has_async_copies(block))
        block.copies().wait(block.shared_memory(), groups);
}

void multiply_add(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Bfloat16, Site site)
{
    check_bfloat16(Instruction::kMultiplyAddBfloat16, site);
    emulator::multiply_add_bfloat16(c, a, b0, b1, site);
}

uint32_t pack(float first, float second, Half)
{
    return emulator::round_to_half(first).bits | uint32_t{emulator::round_to_half(second).bits} << 16;
}

uint32_t pack(float first, float second, Bfloat16, Site site)
{
    check_bfloat16(Instruction::kPackBfloat16, site);
    return emulator::round_to_bfloat16(first).bits | uint32_t{emulator::round_to_bfloat16(second).bits} << 16;
}

} // namespace ccdeploy
