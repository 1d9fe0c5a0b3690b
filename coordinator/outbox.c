#include "coordinator/outbox.h"

#include <stdarg.h>

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
    *ret_out = &o->items[o->n++];
    return 0;
}

int outbox_send(struct outbox *o, const struct peer *peer, const struct msg *m, struct err *e)
{
    struct err why;
    struct out *out = NULL;
    int rc;

    TRY(outbox_add(o, OUT_SEND, &out, e));
    out->peer = *peer;
    out->message = m->type;
    rc = msg_encode(m, &out->frame, &why);
    if (rc == ERR_ARG) { /* over a limit of the wire: the peer asks again, and gets no answer */
        buf_done(&out->frame);
        o->n--;
        return outbox_log(o, LOG_ERROR, e, "message_not_sent", "type=%s why=\"%s\"",
                          msg_type_name(m->type), why.text);
    }
    TRY(rc ? err_set(e, rc, "%s", why.text) : 0);
out:
    return rc;
}

int outbox_log(struct outbox *o, enum log_level level, struct err *e, const char *event,
               const char *format, ...)
{
    struct buf text = {0};
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
    buf_puts(&text, line);
    TRY(buf_check(&text, e));
    out->text = buf_detach(&text);
out:
    buf_done(&text);
    return rc;
}

static void out_done(struct out *out)
{
    buf_done(&out->frame);
    free(out->path);
    free(out->task);
    free(out->text);
    listing_done(&out->files);
    delivery_free(out->delivery);
    free(out->row.folder);
    free(out->row.sheet);
    free(out->row.worker);
    free(out->row.token);
    free(out->row.reason);
    free(out->row.text);
    record_done(&out->row.record);
}

void outbox_clear(struct outbox *o)
{
    for (size_t i = 0; i < o->n; i++)
        out_done(&o->items[i]);
    o->n = 0;
}

void outbox_done(struct outbox *o)
{
    outbox_clear(o);
    free(o->items);
    *o = (struct outbox){0};
}
