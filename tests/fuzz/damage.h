/* Damaged copies of a text: cut, spliced with itself, and with bytes that mean something in it. */
#ifndef TESTS_FUZZ_DAMAGE_H
#define TESTS_FUZZ_DAMAGE_H

#include "proto/buf.h"

#define DAMAGE_SEED UINT64_C(88172645463325252)

struct damage {
    const char *const *tokens; /* what means something; borrowed */
    size_t n_tokens;
    uint64_t random; /* DAMAGE_SEED, or any but 0 */
};

static inline uint32_t damage_draw(struct damage *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return (uint32_t)(d->random >> 32);
}

/* One place of the text, another one at each call. */
static inline void damage(struct damage *d, struct buf *text)
{
    struct buf copy = {0};
    size_t at = text->size ? damage_draw(d) % text->size : 0;
    size_t cut = damage_draw(d) % 3 ? damage_draw(d) % 4 : damage_draw(d) % 40;
    size_t rest = at + cut < text->size ? at + cut : text->size;

    buf_append(&copy, text->data, at);
    if (damage_draw(d) % 4)
        buf_puts(&copy, d->tokens[damage_draw(d) % d->n_tokens]);
    else if (text->size)
        buf_append(&copy, text->data + damage_draw(d) % text->size / 2, text->size / 8);
    buf_append(&copy, text->data + rest, text->size - rest);
    buf_done(text);
    *text = copy;
}

#endif
