#include "block.h"

#include <cstdlib>

namespace ccdeploy::emulator {

Block::Block(Settings const& settings, int threads, int shared_bytes, std::function<void()> const& kernel,
             uint64_t seed)
    : settings_(settings)
    , kernel_(kernel)
    , random_(seed)
    , memory_(shared_bytes)
    , stacks_(threads)
    , threads_(static_cast<size_t>(threads))
    , warps_(static_cast<size_t>(threads / kLanes))
{
}

void Block::run(int64_t index)
{
    index_ = index;
    memory_.begin_block();
    warps_at_barrier_ = 0;
    warps_ended_ = 0;
    for (size_t i = 0; i < threads_.size(); ++i) {
        threads_[i].copies.begin_block();
        threads_[i].fiber.prepare(stacks_.stack(static_cast<int>(i)), Stacks::kBytes, &Block::enter,
                                  settings_.portable_fibers);
    }
    for (size_t i = 0; i < warps_.size(); ++i) {
        warps_[i] = {};
        draw_ring(static_cast<int>(i));
        warps_[i].resume = static_cast<int>(i) * kLanes + static_cast<int>(random_.below(kLanes));
    }
    thread_ = warps_[static_cast<size_t>(random_.below(static_cast<int64_t>(warps_.size())))].resume;
    Block* const outer = current_;
    current_ = this;
    host_.switch_to(threads_[static_cast<size_t>(thread_)].fiber);
    current_ = outer;
    ++counted.blocks;
    if (failure_)
        std::rethrow_exception(failure_);
}

void Block::enter()
{
    Fiber::entered();
    current_->run_thread();
}

// The last act of a block is to go back to the host: from its last thread, or from the one that failed. All others stay
// where they stand, on stacks that are not looked at again.
void Block::run_thread()
{
    try {
        kernel_();
        end_thread();
    } catch (Fault const& fault) {
        failure_ = std::make_exception_ptr(Fault("block " + std::to_string(index_) + ", " + fault.what()));
    } catch (...) {
        failure_ = std::current_exception();
    }
    threads_[static_cast<size_t>(thread_)].fiber.leave_for(host_);
}

// Returns in the block's last thread only.
void Block::end_thread()
{
    Actor const mine = actor(Instruction::kExit, Site());
    if (size_t const left = copies().uncommitted(); left != 0)
        throw Fault(mine.text() + ": copy in flight: it exits with " + std::to_string(left) +
                    " copies that no commit_copies has closed; the first is of " + copies().oldest().text());
    if (size_t const left = copies().under_way(); left != 0)
        throw Fault(mine.text() + ": copy in flight: it exits with " + std::to_string(left) +
                    " copies that it has not waited for; the first is of " + copies().oldest().text());
    arrive(Instruction::kExit, Site(), nullptr);
    if (warps_at_barrier_ != 0)
        barrier_missed(mine, "it exits");
    warp().ended = true;
    if (++warps_ended_ < static_cast<int>(warps_.size()))
        go_on_with_any_warp();
}

// Returns true at once in the last lane to come, and false in the others when that one has done the work.
bool Block::arrive(Instruction instruction, Site site, void* operand)
{
    Warp& mine = warp();
    if (mine.arrived == 0) {
        mine.instruction = instruction;
        mine.site = site;
    } else if (mine.instruction != instruction || !(mine.site == site)) {
        divergent(mine, actor(instruction, site));
    }
    mine.operands[thread_ % kLanes] = operand;
    if (++mine.arrived == kLanes) {
        mine.arrived = 0;
        ++mine.meetings;
        ++counted.collectives;
        return true;
    }
    int const thread = thread_;
    uint32_t const before = mine.meetings;
    do
        go_on_with(threads_[static_cast<size_t>(thread)].next);
    while (mine.meetings == before);
    return false;
}

void Block::meet(Instruction instruction, Site site, void* operand, Work work)
{
    if (!arrive(instruction, site, operand))
        return;
    work(*this, thread_ / kLanes * kLanes, warp().operands);
    if (random_.happens(settings_.preemption)) {
        draw_ring(thread_ / kLanes);
        go_on_with_any_warp();
    }
}

void Block::synchronize(Site site)
{
    if (arrive(Instruction::kSynchronizeBlock, site, nullptr))
        wait_for_barrier(site);
}

void Block::wait_for_barrier(Site site)
{
    Actor const mine = actor(Instruction::kSynchronizeBlock, site);
    if (warps_ended_ != 0)
        barrier_missed(mine, "it waits");
    if (warps_at_barrier_ == 0)
        barrier_site_ = site;
    else if (!(barrier_site_ == site))
        throw Fault(mine.text() + ": divergent barrier: " + std::to_string(warps_at_barrier_ * kLanes) +
                    " threads of the block wait at another, " + barrier_site_.text());
    warp().at_barrier = true;
    if (++warps_at_barrier_ == static_cast<int>(warps_.size())) {
        warps_at_barrier_ = 0;
        for (Warp& each : warps_)
            each.at_barrier = false;
        memory_.barrier();
    }
    go_on_with_any_warp();
}

void Block::draw_ring(int warp)
{
    int lanes[kLanes];
    for (int i = 0; i < kLanes; ++i)
        lanes[i] = warp * kLanes + i;
    random_.shuffle(lanes, kLanes);
    for (int i = 0; i < kLanes; ++i)
        threads_[static_cast<size_t>(lanes[i])].next = lanes[(i + 1) % kLanes];
}

void Block::go_on_with_any_warp()
{
    warp().resume = thread_;
    int const count = static_cast<int>(warps_.size());
    int ready[kLanes]; // CUDA's 1024 threads a block are 32 warps
    int ready_count = 0;
    for (int i = 0; i < count; ++i)
        if (!warps_[static_cast<size_t>(i)].at_barrier && !warps_[static_cast<size_t>(i)].ended)
            ready[ready_count++] = i;
    if (ready_count == 0)
        std::abort(); // barrier_missed() comes before
    go_on_with(warps_[static_cast<size_t>(ready[random_.below(ready_count)])].resume);
}

void Block::go_on_with(int thread)
{
    if (thread == thread_)
        return;
    Fiber& mine = threads_[static_cast<size_t>(thread_)].fiber;
    thread_ = thread;
    mine.switch_to(threads_[static_cast<size_t>(thread)].fiber);
}

void Block::divergent(Warp const& warp, Actor const& mine) const
{
    std::string const others = std::to_string(warp.arrived) + " other lanes of its warp ";
    if (warp.instruction == Instruction::kExit)
        throw Fault(mine.text() + ": divergent collective: " + others + "have exited");
    throw Fault(mine.text() + ": divergent collective: " + others + "wait in " + name(warp.instruction) + " at " +
                warp.site.text());
}

void Block::barrier_missed(Actor const& mine, char const* what) const
{
    std::string text = mine.text() + ": threads missing at a barrier: " + what + ", but ";
    text += warps_ended_ != 0 ? std::to_string(warps_ended_ * kLanes) + " threads of the block have exited"
                              : std::to_string(warps_at_barrier_ * kLanes) +
                                    " threads of the block wait in synchronize_block at " + barrier_site_.text();
    throw Fault(text);
}

} // namespace ccdeploy::emulator
