// A thread of execution with a stack of its own that gives way only when it says so: one of them plays one CUDA thread.
#pragma once

#include <cstddef>
#include <memory>

namespace ccdeploy::emulator {

// Fibers stay on the operating system's thread that made them.
class Fiber {
public:
    using Entry = void (*)();

    Fiber(); // what already runs: gets its content when it first gives way
    ~Fiber();
    Fiber(Fiber&&) noexcept;

    // Makes this a fiber that will begin with entry() on a stack. Entry calls entered() first and never returns. A
    // fiber may be prepared anew at any time while it does not run; what stood on its stack is then forgotten.
    void prepare(char* stack, size_t stack_bytes, Entry entry, bool portable);

    // Gives way to another fiber; returns when somebody gives way to this one.
    void switch_to(Fiber& other);

    // The same for good.
    [[noreturn]] void leave_for(Fiber& other);

    static void entered();

private:
    struct PortableContext;

    void give_way(Fiber& other, bool for_good);
    static void arrived(Fiber* fiber);

    void* saved_ = nullptr; // its stack pointer, behind its registers on the stack
    std::unique_ptr<PortableContext> portable_;
    // For the address sanitizer, which must know on which stack it is:
    void const* stack_ = nullptr;
    size_t stack_bytes_ = 0;
    void* fake_stack_ = nullptr;
};

// Stacks for many fibers, each with an inaccessible page below, where an overflow ends.
class Stacks {
public:
    static constexpr size_t kBytes = 64 * 1024;

    explicit Stacks(int count);
    ~Stacks();
    Stacks(Stacks const&) = delete;
    Stacks& operator=(Stacks const&) = delete;

    char* stack(int index) const;

private:
    char* memory_;
    int count_;
    size_t guard_bytes_;
};

} // namespace ccdeploy::emulator
