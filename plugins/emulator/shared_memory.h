// The shared memory of a block, and the rules for its use: every access is checked before it happens.
//
// For every 4 bytes it remembers the last write and the last read, each with its thread, source line and epoch: the
// time between two barriers of the block. Two accesses of different threads in one epoch, one of them a write, are a
// race, whichever came first this time: so a missing barrier is found under any schedule. Shuffles and the other
// collectives of a warp order nothing here, as on the device: they exchange registers.
//
// A copy that runs beside the threads makes its target inaccessible until its thread has waited for it. Then it counts
// as a write by that thread: the thread itself may read, others after a barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fault.h"
#include "values.h"

namespace ccdeploy::emulator {

class SharedMemory {
public:
    // The device keeps the first kilobyte for itself on newer architectures: an address is not an offset.
    static constexpr uint32_t kBase = 1024;

    explicit SharedMemory(int bytes);

    // New contents: garbage, which nobody may read.
    void begin_block();

    void barrier()
    {
        ++epoch_;
    }

    // `bytes` is 4 or 16; the address must be a multiple of it. A read for a whole warp (a matrix) hands bytes to other
    // threads than the one that names the address: then its own write must be published by a barrier too.
    void read(void* target, uint32_t source, int bytes, Actor const& actor, bool for_whole_warp = false);
    void write(uint32_t target, void const* source, int bytes, Actor const& actor);

    void start_copy(uint32_t target, Actor const& actor);                      // 16 bytes
    void land_copy(uint32_t target, Bytes16 const& value, Actor const& actor); // started by the same thread

private:
    struct Access {
        Site site;
        uint32_t epoch = 0;
        uint16_t thread = 0;
        Instruction instruction = Instruction::kExit;
        bool flag = false; // of a write: a copy in flight; of a read: several threads in this epoch

        Actor actor() const
        {
            return {thread, instruction, site};
        }
    };

    struct Word {
        Access write;
        Access read;
    };

    void check_range(uint32_t address, int bytes, Actor const& actor) const;
    void check_write(size_t word, Actor const& actor) const;
    Word* words(uint32_t address);

    std::vector<unsigned char> bytes_;
    std::vector<Word> words_;
    uint32_t epoch_ = 0;
    uint32_t first_epoch_ = 0; // of this block: what was written before is not there
};

} // namespace ccdeploy::emulator
