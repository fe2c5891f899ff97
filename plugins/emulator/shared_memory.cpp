#include "shared_memory.h"

#include <cstring>

namespace ccdeploy::emulator {
namespace {

constexpr int kWordBytes = 4;
constexpr int kPoison = 0xff; // not a number, in every float type

std::string byte_of(size_t word)
{
    return "byte " + std::to_string(word * kWordBytes) + " of shared memory";
}

[[noreturn]] void race(Actor const& actor, char const* does, size_t word, Actor const& other, char const* did)
{
    throw Fault(actor.text() + ": data race: it " + does + " " + byte_of(word) + ", which " + other.text() + ", " +
                did + "; no synchronize_block lies between");
}

} // namespace

SharedMemory::SharedMemory(int bytes)
    : bytes_(static_cast<size_t>(bytes))
    , words_((static_cast<size_t>(bytes) + kWordBytes - 1) / kWordBytes)
{
}

void SharedMemory::begin_block()
{
    if (!bytes_.empty())
        std::memset(bytes_.data(), kPoison, bytes_.size());
    first_epoch_ = ++epoch_;
}

SharedMemory::Word* SharedMemory::words(uint32_t address)
{
    return &words_[(address - kBase) / kWordBytes];
}

void SharedMemory::check_range(uint32_t address, int bytes, Actor const& actor) const
{
    int64_t const offset = int64_t{address} - kBase;
    if (offset < 0 || offset + bytes > static_cast<int64_t>(bytes_.size()))
        throw Fault(actor.text() + ": out of bounds: " + std::to_string(bytes) + " bytes at byte " +
                    std::to_string(offset) + " of shared memory; the block has " + std::to_string(bytes_.size()) +
                    " bytes");
    if (offset % bytes != 0)
        throw Fault(actor.text() + ": misaligned: byte " + std::to_string(offset) +
                    " of shared memory; a multiple of " + std::to_string(bytes) + " was expected");
}

void SharedMemory::read(void* target, uint32_t source, int bytes, Actor const& actor, bool for_whole_warp)
{
    check_range(source, bytes, actor);
    Word* const first = words(source);
    for (Word* word = first; word < first + bytes / kWordBytes; ++word) {
        size_t const index = static_cast<size_t>(word - words_.data());
        Access const& write = word->write;
        if (write.epoch < first_epoch_)
            throw Fault(actor.text() + ": uninitialised: it reads " + byte_of(index) +
                        ", which nothing has written in this block");
        if (write.flag)
            throw Fault(actor.text() + ": copy in flight: it reads " + byte_of(index) + ", the target of " +
                        write.actor().text() + ", which has not waited for that copy (a wait covers committed groups)");
        if (write.epoch == epoch_ && (write.thread != actor.thread || for_whole_warp))
            race(actor, "reads", index, write.actor(), "has written");
        Access& read = word->read;
        bool const others = read.epoch == epoch_ && (read.flag || read.thread != actor.thread);
        read = {actor.site, epoch_, static_cast<uint16_t>(actor.thread), actor.instruction, others || for_whole_warp};
    }
    std::memcpy(target, &bytes_[source - kBase], static_cast<size_t>(bytes));
}

void SharedMemory::check_write(size_t index, Actor const& actor) const
{
    Access const& write = words_[index].write;
    Access const& read = words_[index].read;
    if (write.flag && write.epoch >= first_epoch_)
        throw Fault(actor.text() + ": copy in flight: it overwrites " + byte_of(index) + ", the target of " +
                    write.actor().text() + ", which has not waited for that copy");
    if (write.epoch == epoch_ && write.thread != actor.thread)
        race(actor, "writes", index, write.actor(), "has written");
    if (read.epoch == epoch_ && (read.flag || read.thread != actor.thread))
        race(actor, "writes", index, read.actor(), read.flag ? "and others have read" : "has read");
}

void SharedMemory::write(uint32_t target, void const* source, int bytes, Actor const& actor)
{
    check_range(target, bytes, actor);
    Word* const first = words(target);
    for (Word* word = first; word < first + bytes / kWordBytes; ++word) {
        check_write(static_cast<size_t>(word - words_.data()), actor);
        word->write = {actor.site, epoch_, static_cast<uint16_t>(actor.thread), actor.instruction, false};
    }
    std::memcpy(&bytes_[target - kBase], source, static_cast<size_t>(bytes));
}

void SharedMemory::start_copy(uint32_t target, Actor const& actor)
{
    constexpr int kBytes = sizeof(Bytes16);
    check_range(target, kBytes, actor);
    Word* const first = words(target);
    for (Word* word = first; word < first + kBytes / kWordBytes; ++word) {
        check_write(static_cast<size_t>(word - words_.data()), actor);
        word->write = {actor.site, epoch_, static_cast<uint16_t>(actor.thread), actor.instruction, true};
    }
}

void SharedMemory::land_copy(uint32_t target, Bytes16 const& value, Actor const& actor)
{
    // Nobody else can have touched the target: it has been inaccessible since the start.
    Word* const first = words(target);
    for (Word* word = first; word < first + sizeof value / kWordBytes; ++word)
        word->write = {actor.site, epoch_, static_cast<uint16_t>(actor.thread), actor.instruction, false};
    std::memcpy(&bytes_[target - kBase], &value, sizeof value);
}

} // namespace ccdeploy::emulator
