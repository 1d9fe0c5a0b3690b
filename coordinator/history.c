#include "coordinator/history.h"

#define HISTORY_TEXT_MAX 1000 /* bytes */

int history_note(const struct coord *c, const struct task_entry *t, uint32_t attempt,
                 const char *worker, const char *code, const char *text, int64_t since_ms,
                 int64_t now_ms, struct outbox *o, struct err *e)
{
    char cut[HISTORY_TEXT_MAX];
    struct out *out;
    int rc;

    text_cut(cut, sizeof cut, text);
    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_HISTORY;
    out->row.job = t->job->number;
    out->row.index = t->index;
    out->row.attempts = attempt;
    out->row.started_ms = since_ms ? since_ms + c->wall_offset_ms : 0;
    out->row.finished_ms = now_ms + c->wall_offset_ms;
    out->row.code = code;
    TRY(outbox_text(o, worker, &out->row.worker, e));
    TRY(outbox_text(o, cut, &out->row.text, e));
out:
    return rc;
}
