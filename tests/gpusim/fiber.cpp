#include "fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

extern "C" {
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size)
    __attribute__((weak));
void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size)
    __attribute__((weak));
void *__tsan_get_current_fiber() __attribute__((weak));
void *__tsan_create_fiber(unsigned flags) __attribute__((weak));
void __tsan_switch_to_fiber(void *fiber, unsigned flags) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *p, size_t size) __attribute__((weak));
}

namespace gpusim
{

static const size_t stack_size = 256 << 10, guard_size = 4096;
static std::vector<fiber *> &spare = *new std::vector<fiber *>; /* outlives all destructors */
static const void *host_bottom; /* of the host's stack, as the sanitizer told */
static size_t host_size;
static fiber *entering, *leaving;

static void arrived()
{
    if (!__sanitizer_finish_switch_fiber)
        return;
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(entering->fake, &bottom, &size);
    if (!leaving->stack) {
        host_bottom = bottom;
        host_size = size;
    }
}

[[noreturn]] static void start()
{
    arrived();
    entering->entry();
    abort();
}

#if defined(__x86_64__)
/* What a called function keeps: rbx, rbp, r12 to r15. */
asm(".text\n"
    ".type gpusim_swap,@function\n"
    "gpusim_swap:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp,(%rdi)\n"
    "  movq %rsi,%rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size gpusim_swap,.-gpusim_swap\n");
extern "C" void gpusim_swap(void **save, void *to);

static void lay(fiber *f)
{
    void **top = (void **)(f->stack + stack_size);
    *--top = nullptr; /* in place of a return address: start() finds the stack as after a call */
    *--top = (void *)start;
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    f->sp = top;
}

static void swap(fiber *from, fiber *to)
{
    gpusim_swap(&from->sp, to->sp);
}
#else
static void lay(fiber *f)
{
    auto *c = (ucontext_t *)f->sp;
    if (!c)
        f->sp = c = new ucontext_t;
    getcontext(c);
    c->uc_stack.ss_sp = f->stack;
    c->uc_stack.ss_size = stack_size;
    c->uc_link = nullptr;
    makecontext(c, start, 0);
}

static void swap(fiber *from, fiber *to)
{
    if (!from->sp)
        from->sp = new ucontext_t;
    swapcontext((ucontext_t *)from->sp, (ucontext_t *)to->sp);
}
#endif

static fiber *make()
{
    auto *base = (char *)mmap(nullptr, guard_size + stack_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || mprotect(base, guard_size, PROT_NONE) != 0) {
        perror("gpusim: no stack for a thread");
        abort();
    }
    auto *f = new fiber;
    f->stack = base + guard_size;
    if (__tsan_create_fiber)
        f->thread = __tsan_create_fiber(0);
    return f;
}

fiber *fiber_take(void (*entry)())
{
    fiber *f;
    if (spare.empty()) {
        f = make();
    } else {
        f = spare.back();
        spare.pop_back();
    }
    f->entry = entry;
    f->fake = nullptr;
    lay(f);
    return f;
}

void fiber_release(fiber *f)
{
    spare.push_back(f);
}

void fiber_abandon(fiber *f)
{
    if (__asan_unpoison_memory_region)
        __asan_unpoison_memory_region(f->stack, stack_size);
    fiber_release(f);
}

void fiber_switch(fiber *from, fiber *to)
{
    leaving = from;
    entering = to;
    if (__sanitizer_start_switch_fiber) {
        const void *bottom = to->stack ? to->stack : host_bottom;
        __sanitizer_start_switch_fiber(&from->fake, bottom, to->stack ? stack_size : host_size);
    }
    if (__tsan_switch_to_fiber) {
        if (!from->stack)
            from->thread = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(to->thread, 0);
    }
    swap(from, to);
    arrived();
}

} // namespace gpusim
