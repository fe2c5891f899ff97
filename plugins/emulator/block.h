// A thread block on the CPU: its fibers, who of them runs, and where they meet.
//
// One fiber runs at a time, until it comes to a collective of its warp. There the lanes wait for each other; the last
// to come does the work for all and goes on. Now and then another warp goes on instead. At a barrier whole warps wait.
//
//   lane 0  ----*            *---- . . .        * arrives       The order of the lanes, of the warps and of the blocks
//   lane 5       ----*        . . .             . waits         is drawn from the seed.
//   lane 3            ----*=----                = works for all
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <vector>

#include "async_copies.h"
#include "fault.h"
#include "fiber.h"
#include "random.h"
#include "settings.h"
#include "shared_memory.h"

namespace ccdeploy::emulator {

constexpr int kLanes = 32;

class Block {
public:
    // The work of a collective: operands[i] is what lane i passed to meet().
    using Work = void (*)(Block& block, int first_thread, void* const (&operands)[kLanes]);

    // `threads` is a multiple of 32.
    Block(Settings const& settings, int threads, int shared_bytes, std::function<void()> const& kernel, uint64_t seed);

    // Runs all threads of a block to their end. Throws Fault, or what the kernel throws; the object is then of no use.
    void run(int64_t index);

    static Block& current() // of the fiber that asks
    {
        return *current_;
    }

    int64_t index() const
    {
        return index_;
    }

    int thread() const // the one that runs
    {
        return thread_;
    }

    int architecture() const
    {
        return settings_.architecture;
    }

    SharedMemory& shared_memory()
    {
        return memory_;
    }

    AsyncCopies& copies() // of the running thread
    {
        return threads_[static_cast<size_t>(thread_)].copies;
    }

    Actor actor(Instruction instruction, Site site) const
    {
        return {thread_, instruction, site};
    }

    // Waits until all lanes of the warp are here with the same instruction of the same line; `work` is done once.
    void meet(Instruction instruction, Site site, void* operand, Work work);

    // Waits until all threads of the block are here.
    void synchronize(Site site);

    Statistics counted;

private:
    struct Thread {
        Fiber fiber;
        AsyncCopies copies;
        int next = 0; // of the warp's ring, in which its lanes give way to each other
    };

    struct Warp {
        void* operands[kLanes];
        int arrived;
        Instruction instruction; // of those that have arrived
        Site site;
        uint32_t meetings; // so far
        int resume;        // the thread that goes on when the warp does
        bool at_barrier;
        bool ended;
    };

    static void enter();
    void run_thread();
    void end_thread();
    bool arrive(Instruction instruction, Site site, void* operand);
    void wait_for_barrier(Site site);
    void draw_ring(int warp);
    void go_on_with_any_warp();
    void go_on_with(int thread);

    [[noreturn]] void divergent(Warp const& warp, Actor const& mine) const;
    [[noreturn]] void barrier_missed(Actor const& mine, char const* what) const;

    Warp& warp()
    {
        return warps_[static_cast<size_t>(thread_ / kLanes)];
    }

    // Every primitive reads it. Initial-exec makes that one instruction also in a shared library, and static TLS has 8
    // bytes to spare for a library that is loaded late.
    __attribute__((tls_model("initial-exec"))) static inline thread_local Block* current_ = nullptr;

    Settings const settings_;
    std::function<void()> const& kernel_;
    Random random_;
    SharedMemory memory_;
    Stacks stacks_;
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    Fiber host_;
    int64_t index_ = 0;
    int thread_ = 0;
    int warps_at_barrier_ = 0;
    Site barrier_site_;
    int warps_ended_ = 0;
    std::exception_ptr failure_;
};

} // namespace ccdeploy::emulator
