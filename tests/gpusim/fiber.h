/* Stacks to switch between, on one thread of the host; the sanitizers are told. */
#ifndef GPUSIM_FIBER_H
#define GPUSIM_FIBER_H

#include <cstddef>

namespace gpusim
{

struct fiber {
    void *sp = nullptr;
    char *stack = nullptr; /* null: the host's own */
    void (*entry)() = nullptr;
    void *fake = nullptr;   /* of AddressSanitizer */
    void *thread = nullptr; /* of ThreadSanitizer */
};

/* A fiber that starts with entry(), which never returns. Never fails: ends the process without
 * memory. */
fiber *fiber_take(void (*entry)());
/* To be taken again; the one that runs may release itself right before it switches for good. */
void fiber_release(fiber *f);
/* Releases one that stopped amid its functions. */
void fiber_abandon(fiber *f);
/* Suspends `from`, which is running, and goes on with `to`. */
void fiber_switch(fiber *from, fiber *to);

} // namespace gpusim

#endif
