// The copies to shared memory that one thread has under way. They land when the thread waits, and not before: the
// device may land them at any time in between, and nobody may look in between. What they copy is read at their start.
#pragma once

#include <cstddef>
#include <vector>

#include "shared_memory.h"

namespace ccdeploy::emulator {

class AsyncCopies {
public:
    void begin_block()
    {
        copies_.clear();
        group_ends_.clear();
    }

    void start(SharedMemory& memory, uint32_t target, Bytes16 const& value, Actor const& actor)
    {
        memory.start_copy(target, actor);
        copies_.push_back({target, value, actor});
    }

    // Closes a group, which may be empty.
    void commit()
    {
        group_ends_.push_back(copies_.size());
    }

    // Lands all groups but the youngest `groups`.
    void wait(SharedMemory& memory, int groups)
    {
        if (group_ends_.size() <= static_cast<size_t>(groups))
            return;
        auto const landed = group_ends_.end() - groups;
        size_t const count = *(landed - 1);
        for (size_t i = 0; i < count; ++i)
            memory.land_copy(copies_[i].target, copies_[i].value, copies_[i].actor);
        copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(count));
        group_ends_.erase(group_ends_.begin(), landed);
        for (size_t& end : group_ends_)
            end -= count;
    }

    size_t under_way() const
    {
        return copies_.size();
    }

    size_t uncommitted() const
    {
        return copies_.size() - (group_ends_.empty() ? 0 : group_ends_.back());
    }

    Actor const& oldest() const
    {
        return copies_.front().actor;
    }

private:
    struct Copy {
        uint32_t target;
        Bytes16 value;
        Actor actor;
    };

    std::vector<Copy> copies_;       // the oldest first
    std::vector<size_t> group_ends_; // of each committed group: one behind its last copy
};

} // namespace ccdeploy::emulator
