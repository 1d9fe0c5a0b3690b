#include "proto/msg_plain.h"

#include "proto/msg_table.h"
#include "proto/plain.h"

#include <stddef.h>
#include <string.h>

static void plain_row(const struct fields *fields, void *row)
{
    for (size_t i = 0; i < fields->n; i++) {
        const struct field *f = &fields->at[i];
        void *member = (char *)row + f->offset;
        size_t n;
        char *p;

        if (f->kind == FIELD_MAP)
            plain_row(f->rows, member);
        if (f->kind != FIELD_STRING && f->kind != FIELD_LIST)
            continue;
        memcpy(&p, member, sizeof p);
        if (f->kind == FIELD_STRING && *p) /* an empty one may be nobody's */
            plain_text(p);
        if (f->kind != FIELD_LIST)
            continue;
        memcpy(&n, (char *)row + f->count_offset, sizeof n);
        for (size_t k = 0; k < n; k++)
            plain_row(f->rows, p + k * f->rows->size);
    }
}

void msg_plain(struct msg *m)
{
    plain_row(msg_fields(m->type), (char *)m + offsetof(struct msg, hello));
}
