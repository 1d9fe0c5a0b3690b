#include "coordinator/answers.h"

#define PAGE_BYTES (8u << 20) /* a page ends early beyond this, so that it fits a frame */

struct page {
    struct record_row *rows;
    struct record *records; /* own the rows' strings */
    size_t n, limit, bytes;
    uint64_t next;
};

static int page_add(void *user, const struct record *r, struct err *e)
{
    struct page *p = user;
    struct record *copy = &p->records[p->n];
    int rc;

    if (p->n == p->limit || p->bytes > PAGE_BYTES) {
        p->next = r->index;
        return 1;
    }
    TRY(record_picture(copy, r->path, r->worker, r->device_class, r->precision, e));
    if (r->failed)
        TRY(record_failure(copy, r->worker, r->code, r->text, e));
    p->rows[p->n++] = (struct record_row){
        .index = r->index,
        .state = r->failed ? "failed" : "done",
        .path = copy->path,
        .bytes = r->bytes,
        .attempt = r->attempt,
        .worker = copy->worker,
        .device_class = copy->device_class,
        .precision = copy->precision,
        .render_seconds = r->render_seconds,
        .code = copy->code,
        .text = copy->text,
    };
    memcpy(copy->sha256, r->sha256, sizeof copy->sha256);
    p->rows[p->n - 1].sha256 = copy->sha256;
    p->bytes += strlen(copy->path) + strlen(copy->text) + 512;
out:
    return rc;
}

static int answer_records(struct store *s, const struct out *out, struct msg *m, struct page *p,
                          struct err *e)
{
    int rc;

    p->limit = out->limit && out->limit < MSG_PAGE_MAX ? out->limit : MSG_PAGE_MAX;
    p->rows = calloc(p->limit, sizeof *p->rows);
    p->records = calloc(p->limit, sizeof *p->records);
    if (!p->rows || !p->records)
        return err_set(e, ERR_OOM, "no memory for a page of records");
    rc = store_records(s, out->job, out->from, page_add, p, e);
    *m = (struct msg){
        .type = MSG_PAGE,
        .page = {.request = out->request, .records = p->rows, .n_records = p->n, .next = p->next}};
    return rc < 0 ? rc : 0;
}

static int answer_fetch(struct store *s, struct output *o, const struct out *out, struct msg *m,
                        struct record *record, struct buf *png, struct err *e)
{
    int rc;

    TRY(store_record(s, out->job, out->index, record, e));
    if (record->failed)
        TRY(err_set(e, ERR_MISSING, "task %llu has no picture: %s", (unsigned long long)out->index,
                    record->text));
    TRY(output_read(o, record->path, MSG_PNG_MAX, png, e));
    *m = (struct msg){.type = MSG_PICTURE,
                      .picture = {.request = out->request,
                                  .index = out->index,
                                  .path = record->path,
                                  .sha256 = record->sha256,
                                  .png = png->data,
                                  .png_size = png->size}};
out:
    return rc;
}

int answer_frame(struct coord *c, struct store *s, struct output *o, const struct out *out,
                 struct buf *ret_frame, struct err *e)
{
    struct record record = {0};
    struct page page = {0};
    struct buf png = {0};
    struct err why = {0};
    struct msg m;
    int rc;

    if (!coord_job(c, out->job))
        rc = err_set(&why, ERR_MISSING, "the job is gone");
    else if (out->answer == MSG_FETCH)
        rc = answer_fetch(s, o, out, &m, &record, &png, &why);
    else
        rc = answer_records(s, out, &m, &page, &why);
    if (rc != 0)
        m = (struct msg){
            .type = MSG_ERROR,
            .error = {.request = out->request, .code = err_name(rc), .text = why.text}};
    rc = msg_encode(&m, ret_frame, e);
    for (size_t i = 0; i < page.n; i++)
        record_done(&page.records[i]);
    free(page.rows);
    free(page.records);
    record_done(&record);
    buf_done(&png);
    return rc;
}
