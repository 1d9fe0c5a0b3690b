#include "worker/fetch.h"

#include <stdlib.h>
#include <string.h>

void fetch_begin(struct fetch *f, const char *sha256, uint64_t have, uint64_t total,
                 uint64_t total_max, uint32_t part)
{
    fetch_end(f);
    *f = (struct fetch){
        .total = total, .total_max = total_max, .next = have, .asked = have, .part = part};
    memcpy(f->sha256, sha256, HASH_HEX_SIZE);
}

void fetch_end(struct fetch *f)
{
    for (int i = 0; i < FETCH_WINDOW; i++)
        free(f->slots[i].data);
    *f = (struct fetch){0};
}

/* While the size is unknown one want is out; the parts behind it follow from its answer. */
static bool more_to_ask(const struct fetch *f)
{
    return f->total ? f->asked < f->total : f->asked == f->next;
}

static struct fetch_slot *due(struct fetch *f, int64_t now_ms)
{
    struct fetch_slot *slot = NULL;

    for (int i = 0; i < FETCH_WINDOW; i++) {
        struct fetch_slot *s = &f->slots[i];

        if (s->used && !s->data && (!s->sent || now_ms - s->sent_ms >= FETCH_REPEAT_MS))
            return s;
        if (!s->used && !slot)
            slot = s;
    }
    if (!slot || !more_to_ask(f))
        return NULL;
    *slot = (struct fetch_slot){.used = true, .offset = f->asked, .bytes = f->part};
    if (f->total && f->total - f->asked < f->part)
        slot->bytes = (uint32_t)(f->total - f->asked);
    f->asked += slot->bytes;
    return slot;
}

bool fetch_want(struct fetch *f, int64_t now_ms, struct msg_want *ret_want)
{
    struct fetch_slot *s = f->sha256[0] ? due(f, now_ms) : NULL;

    if (!s)
        return false;
    s->sent = true;
    s->sent_ms = now_ms;
    *ret_want = (struct msg_want){.offset = s->offset, .bytes = s->bytes};
    memcpy(ret_want->sha256, f->sha256, HASH_HEX_SIZE);
    return true;
}

void fetch_again(struct fetch *f)
{
    for (int i = 0; i < FETCH_WINDOW; i++)
        f->slots[i].sent = false;
}

static struct fetch_slot *slot_of(struct fetch *f, const struct msg_chunk *chunk)
{
    if (!f->sha256[0] || strcmp(f->sha256, chunk->sha256) != 0)
        return NULL;
    for (int i = 0; i < FETCH_WINDOW; i++)
        if (f->slots[i].used && !f->slots[i].data && f->slots[i].offset == chunk->offset)
            return &f->slots[i];
    return NULL;
}

/* The bytes that the want comes to in a file of that size. */
static uint64_t expected(const struct fetch_slot *s, uint64_t total)
{
    uint64_t left = total > s->offset ? total - s->offset : 0;

    return left < s->bytes ? left : s->bytes;
}

int fetch_chunk(struct fetch *f, const struct msg_chunk *chunk, struct err *e)
{
    struct fetch_slot *s = slot_of(f, chunk);

    if (!s)
        return 0;
    if (f->total ? chunk->total != f->total : chunk->total == 0 || chunk->total > f->total_max)
        return err_set(e, ERR_INPUT, "a file of %llu bytes, expected %s%llu",
                       (unsigned long long)chunk->total, f->total ? "" : "at most ",
                       (unsigned long long)(f->total ? f->total : f->total_max));
    if (chunk->data_size != expected(s, chunk->total))
        return err_set(e, ERR_INPUT, "%zu bytes from byte %llu on, expected %llu", chunk->data_size,
                       (unsigned long long)chunk->offset,
                       (unsigned long long)expected(s, chunk->total));
    s->data = malloc(chunk->data_size ? chunk->data_size : 1);
    if (!s->data)
        return err_set(e, ERR_OOM, "no memory for a part of a file");
    memcpy(s->data, chunk->data, chunk->data_size);
    s->size = chunk->data_size;
    f->total = chunk->total;
    if (f->asked > f->total)
        f->asked = f->total;
    return 0;
}

bool fetch_take(struct fetch *f, void **ret_data, size_t *ret_size)
{
    for (int i = 0; i < FETCH_WINDOW; i++) {
        struct fetch_slot *s = &f->slots[i];

        if (!s->used || !s->data || s->offset != f->next)
            continue;
        *ret_data = s->data;
        *ret_size = s->size;
        f->next += s->size;
        *s = (struct fetch_slot){0};
        return true;
    }
    return false;
}

bool fetch_over(const struct fetch *f)
{
    return f->sha256[0] && f->total && f->next == f->total;
}
