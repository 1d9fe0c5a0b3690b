#include "coordinator/outbox.h"

#include <stdarg.h>

#define KEPT_ITEMS 16384     /* entries whose room stays from batch to batch */
#define KEPT_BYTES (4 << 20) /* and of texts and frames */

void delivery_free(struct delivery *d)
{
    if (!d)
        return;
    free(d->path);
    free(d->task);
    free(d->png);
    record_done(&d->record);
    free(d);
}

int outbox_add(struct outbox *o, enum out_type type, struct out **ret_out, struct err *e)
{
    if (o->n == o->room) {
        size_t room = o->room ? o->room * 2 : 32;
        struct out *items = realloc(o->items, room * sizeof *items);

        if (!items)
            return err_set(e, ERR_OOM, "no memory for the outbox");
        o->items = items;
        o->room = room;
    }
    o->items[o->n] = (struct out){.type = type};
    o->n_rows += type == OUT_STORE;
    *ret_out = &o->items[o->n++];
    return 0;
}

int outbox_text(struct outbox *o, const char *text, const char **ret_copy, struct err *e)
{
    const char *copy = text ? pool_text(&o->pool, text, strlen(text)) : NULL;

    if (text && !copy)
        return err_set(e, ERR_OOM, "no memory for the outbox");
    *ret_copy = copy;
    return 0;
}

int outbox_send(struct outbox *o, const struct peer *peer, const struct msg *m, struct err *e)
{
    struct err why;
    struct out *out = NULL;
    char *frame;
    int rc;

    o->scratch.size = 0;
    rc = msg_encode(m, &o->scratch, &why);
    if (rc == ERR_ARG) /* over a limit of the wire: the peer asks again, and gets no answer */
        return outbox_log(o, LOG_ERROR, e, "message_not_sent", "type=%s why=\"%s\"",
                          msg_type_name(m->type), why.text);
    TRY(rc ? err_set(e, rc, "%s", why.text) : 0);
    TRY(outbox_add(o, OUT_SEND, &out, e));
    frame = pool_text(&o->pool, o->scratch.data, o->scratch.size);
    if (!frame)
        TRY(err_set(e, ERR_OOM, "no memory for a message"));
    out->peer = *peer;
    out->message = m->type;
    out->frame = (struct buf){.data = frame, .size = o->scratch.size};
out:
    return rc;
}

int outbox_log(struct outbox *o, enum log_level level, struct err *e, const char *event,
               const char *format, ...)
{
    struct out *out = NULL;
    char line[1500];
    va_list ap;
    int rc;

    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    TRY(outbox_add(o, OUT_LOG, &out, e));
    out->level = level;
    out->event = event;
    TRY(outbox_text(o, line, &out->text, e));
out:
    return rc;
}

/* What an entry holds that is not in the pool. */
static void out_done(struct out *out)
{
    if (out->type == OUT_PROBE)
        listing_done(&out->files);
    else if (out->type == OUT_WRITE)
        delivery_free(out->delivery);
    else if (out->type == OUT_STORE && out->row.op == STORE_RECORD)
        record_done(&out->row.record);
}

void outbox_clear(struct outbox *o)
{
    for (size_t i = 0; i < o->n; i++)
        out_done(&o->items[i]);
    if (o->room > KEPT_ITEMS && o->n < o->room / 4) { /* one large batch made it so */
        free(o->items);
        o->items = NULL;
        o->room = 0;
    }
    o->n = o->n_rows = 0;
    pool_clear(&o->pool, KEPT_BYTES);
}

void outbox_done(struct outbox *o)
{
    outbox_clear(o);
    pool_done(&o->pool);
    buf_done(&o->scratch);
    free(o->items);
    *o = (struct outbox){0};
}
