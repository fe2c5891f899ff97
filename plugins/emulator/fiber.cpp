#include "fiber.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define CCDEPLOY_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CCDEPLOY_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef CCDEPLOY_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what the System V calling convention says a call preserves, changes stacks, and returns there. The control
// words of the floating-point units are preserved too by that convention, but no kernel changes them.
extern "C" void ccdeploy_emulator_switch_stacks(void** saved, void* next);
asm(R"(
    .text
    .hidden ccdeploy_emulator_switch_stacks
    .globl ccdeploy_emulator_switch_stacks
    .type ccdeploy_emulator_switch_stacks, @function
    .p2align 4
ccdeploy_emulator_switch_stacks:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size ccdeploy_emulator_switch_stacks, . - ccdeploy_emulator_switch_stacks
)");
#endif

namespace ccdeploy::emulator {
namespace {

#if defined(__x86_64__)
constexpr bool kHasOwnSwitch = true;
constexpr int kSavedRegisters = 6;

// A stack as switch_stacks leaves one, which "returns" into the entry.
void* stack_that_enters(char* end, Fiber::Entry entry)
{
    void** top = reinterpret_cast<void**>(end);
    *--top = nullptr; // where a debugger ends its walk; it also gives entry() the alignment of a called function
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < kSavedRegisters; ++i)
        *--top = nullptr;
    return top;
}

void switch_stacks(void** saved, void* next)
{
    ccdeploy_emulator_switch_stacks(saved, next);
}
#else
constexpr bool kHasOwnSwitch = false;

void* stack_that_enters(char*, Fiber::Entry)
{
    return nullptr;
}

void switch_stacks(void**, void*)
{
    std::abort(); // never reached: every fiber is portable here
}
#endif

#ifdef CCDEPLOY_ADDRESS_SANITIZER
thread_local Fiber* coming_from = nullptr;
#endif

} // namespace

struct Fiber::PortableContext {
    ucontext_t context;
};

Fiber::Fiber() = default;
Fiber::~Fiber() = default;
Fiber::Fiber(Fiber&&) noexcept = default;

void Fiber::prepare(char* stack, size_t stack_bytes, Entry entry, bool portable)
{
    stack_ = stack;
    stack_bytes_ = stack_bytes;
    fake_stack_ = nullptr;
#ifdef CCDEPLOY_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(stack, stack_bytes); // the red zones of frames that were left for good
#endif
    if (kHasOwnSwitch && !portable) {
        portable_.reset();
        saved_ = stack_that_enters(stack + stack_bytes, entry);
        return;
    }
    if (!portable_)
        portable_ = std::make_unique<PortableContext>();
    ucontext_t& context = portable_->context;
    if (getcontext(&context) != 0)
        std::abort(); // documented never to fail
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = stack_bytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}

void Fiber::give_way(Fiber& other, bool for_good)
{
#ifdef CCDEPLOY_ADDRESS_SANITIZER
    coming_from = this;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, other.stack_, other.stack_bytes_);
#else
    static_cast<void>(for_good);
#endif
    if (other.portable_ || portable_) { // all fibers of a launch are of one kind; what ran before them follows
        if (!portable_)
            portable_ = std::make_unique<PortableContext>();
        swapcontext(&portable_->context, &other.portable_->context);
    } else {
        switch_stacks(&saved_, other.saved_);
    }
    arrived(this);
}

void Fiber::arrived([[maybe_unused]] Fiber* fiber)
{
#ifdef CCDEPLOY_ADDRESS_SANITIZER
    Fiber* const from = coming_from;
    __sanitizer_finish_switch_fiber(fiber == nullptr ? nullptr : fiber->fake_stack_, &from->stack_,
                                    &from->stack_bytes_);
#endif
}

void Fiber::switch_to(Fiber& other)
{
    give_way(other, false);
}

void Fiber::leave_for(Fiber& other)
{
    give_way(other, true);
    std::abort(); // somebody gave way to a fiber that had left for good
}

void Fiber::entered()
{
    arrived(nullptr);
}

Stacks::Stacks(int count)
    : count_(count)
    , guard_bytes_(static_cast<size_t>(sysconf(_SC_PAGESIZE)))
{
    size_t const bytes = static_cast<size_t>(count) * (kBytes + guard_bytes_);
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        throw std::bad_alloc();
    memory_ = static_cast<char*>(memory);
    for (int i = 0; i < count; ++i)
        if (mprotect(stack(i) - guard_bytes_, guard_bytes_, PROT_NONE) != 0)
            throw std::bad_alloc();
}

Stacks::~Stacks()
{
    size_t const bytes = static_cast<size_t>(count_) * (kBytes + guard_bytes_);
#ifdef CCDEPLOY_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(memory_, bytes); // the address range may serve somebody else next
#endif
    munmap(memory_, bytes);
}

char* Stacks::stack(int index) const
{
    return memory_ + static_cast<size_t>(index) * (kBytes + guard_bytes_) + guard_bytes_;
}

} // namespace ccdeploy::emulator
