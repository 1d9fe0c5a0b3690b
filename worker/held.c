#include "worker/held.h"

#include <stdlib.h>
#include <string.h>

void held_free(struct held *h)
{
    for (size_t i = 0; i < h->n_assets; i++) {
        free((char *)h->assets[i].role);
        free((char *)h->assets[i].name);
    }
    free(h->assets);
    free(h->task);
    free(h->meeting);
    picture_done(&h->picture);
    free(h);
}

void held_list_done(struct held_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        held_free(l->items[i]);
    free(l->items);
    *l = (struct held_list){0};
}

int held_add(struct held_list *l, struct held *h, struct err *e)
{
    struct held **grown;
    size_t room = l->room ? l->room * 2 : 8;

    if (l->n == l->room) {
        grown = realloc(l->items, room * sizeof *grown);
        if (!grown)
            return err_set(e, ERR_OOM, "out of memory for a lease");
        l->items = grown;
        l->room = room;
    }
    l->items[l->n++] = h;
    return 0;
}

bool held_settled(const struct held *h)
{
    return h->state == HELD_RENDERED || h->state == HELD_HELPED || h->state == HELD_FAILED;
}

size_t held_count(const struct held_list *l, bool want_settled)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += held_settled(l->items[i]) == want_settled;
    return n;
}

bool held_has_room(const struct held_list *l)
{
    size_t kept = 0, spilled = 0;

    for (size_t i = 0; i < l->n; i++) {
        kept += held_settled(l->items[i]) && !l->items[i]->spilled;
        spilled += l->items[i]->spilled;
    }
    return kept < SESSION_RESULTS_MAX && spilled < SESSION_SPILLED_MAX;
}

struct held *held_running(const struct held_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i]->state == HELD_RUNNING || l->items[i]->state == HELD_DROPPED)
            return l->items[i];
    return NULL;
}

struct held *held_find(const struct held_list *l, const struct attempt_ref *ref)
{
    for (size_t i = 0; i < l->n; i++)
        if (attempt_ref_equal(&l->items[i]->ref, ref))
            return l->items[i];
    return NULL;
}

void held_remove(struct held_list *l, struct held *h)
{
    size_t i = 0;

    while (l->items[i] != h)
        i++;
    memmove(l->items + i, l->items + i + 1, (l->n - i - 1) * sizeof *l->items);
    l->n--;
    if (h->state == HELD_RENDERED && !h->spilled)
        l->kept_bytes -= h->picture.png.size;
    if (h->spilled)
        l->spilled_bytes -= h->png_size;
    held_free(h);
}

bool held_wanted(const struct held_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i]->state == HELD_RUNNING)
            return true;
    return false;
}
