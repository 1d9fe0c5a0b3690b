/*
 * Memory that goes to another thread through a library which ThreadSanitizer does not see into: the
 * library orders the two, and these say so to it. In other builds they are nothing.
 *
 *     handover_give(c);    // last touched here
 *     ...                  // the library calls back in a thread of its own
 *     handover_take(c);    // and now it is ours
 */
#ifndef PROTO_HANDOVER_H
#define PROTO_HANDOVER_H

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

static inline void handover_give(void *memory)
{
    __tsan_release(memory);
}

static inline void handover_take(void *memory)
{
    __tsan_acquire(memory);
}
#else
static inline void handover_give(void *memory)
{
    (void)memory;
}

static inline void handover_take(void *memory)
{
    (void)memory;
}
#endif

#endif
