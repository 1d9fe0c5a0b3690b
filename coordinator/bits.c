#include "coordinator/bits.h"

/* Position of the first page whose number is not below `number`. */
static size_t position(const struct bits *b, uint64_t number)
{
    size_t low = 0, high = b->n_pages;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (b->pages[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int page_insert(struct bits *b, size_t at, uint64_t number, struct err *e)
{
    struct bits_page *page = calloc(1, sizeof *page);

    if (!page)
        return err_set(e, ERR_OOM, "no memory for a page of settled tasks");
    if (b->n_pages == b->room) {
        size_t room = b->room ? b->room * 2 : 8;
        struct bits_page **pages = realloc(b->pages, room * sizeof *pages);

        if (!pages) {
            free(page);
            return err_set(e, ERR_OOM, "no memory for the list of settled tasks");
        }
        b->pages = pages;
        b->room = room;
    }
    page->number = number;
    memmove(b->pages + at + 1, b->pages + at, (b->n_pages - at) * sizeof *b->pages);
    b->pages[at] = page;
    b->n_pages++;
    return 0;
}

int bits_add(struct bits *b, uint64_t index, struct err *e)
{
    uint64_t number = index / BITS_PAGE, bit = index % BITS_PAGE;
    size_t at;
    int rc;

    if (index < b->floor)
        return 0;
    at = position(b, number);
    if (at == b->n_pages || b->pages[at]->number != number)
        if ((rc = page_insert(b, at, number, e)) != 0)
            return rc;
    b->pages[at]->words[bit / 64] |= UINT64_C(1) << bit % 64;
    return 0;
}

bool bits_has(const struct bits *b, uint64_t index)
{
    uint64_t number = index / BITS_PAGE, bit = index % BITS_PAGE;
    size_t at;

    if (index < b->floor)
        return true;
    at = position(b, number);
    if (at == b->n_pages || b->pages[at]->number != number)
        return false;
    return b->pages[at]->words[bit / 64] >> bit % 64 & 1;
}

int bits_put_page(struct bits *b, uint64_t number, const uint64_t words[BITS_PAGE / 64],
                  struct err *e)
{
    size_t at = position(b, number);
    int rc;

    if (number < b->floor / BITS_PAGE)
        return 0;
    if (at == b->n_pages || b->pages[at]->number != number)
        if ((rc = page_insert(b, at, number, e)) != 0)
            return rc;
    for (size_t i = 0; i < BITS_PAGE / 64; i++)
        b->pages[at]->words[i] |= words[i];
    return 0;
}

uint64_t bits_gap(const struct bits *b, uint64_t from)
{
    size_t at;

    if (from < b->floor)
        from = b->floor;
    for (at = position(b, from / BITS_PAGE);
         at < b->n_pages && b->pages[at]->number == from / BITS_PAGE; at++) {
        const uint64_t *words = b->pages[at]->words;

        for (size_t i = from % BITS_PAGE / 64; i < BITS_PAGE / 64; i++) {
            uint64_t missing = ~words[i] >> from % 64;

            if (missing)
                return from + (uint64_t)__builtin_ctzll(missing);
            from = (from / 64 + 1) * 64;
        }
    }
    return from;
}

void bits_raise(struct bits *b, uint64_t floor)
{
    size_t n = 0;

    if (floor <= b->floor)
        return;
    b->floor = floor;
    while (n < b->n_pages && b->pages[n]->number < floor / BITS_PAGE)
        free(b->pages[n++]);
    if (n == 0)
        return;
    memmove(b->pages, b->pages + n, (b->n_pages - n) * sizeof *b->pages);
    b->n_pages -= n;
}

void bits_done(struct bits *b)
{
    for (size_t i = 0; i < b->n_pages; i++)
        free(b->pages[i]);
    free(b->pages);
    *b = (struct bits){0};
}
