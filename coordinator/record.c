#include "coordinator/record.h"

/* Copies of the texts in one block, whose owner is r->path; NULL as "". */
static int texts_set(struct record *r, const char *const texts[6], struct err *e)
{
    char **const fields[6] = {&r->path,      &r->worker, &r->device_class,
                              &r->precision, &r->code,   &r->text};
    size_t sizes[6], whole = 0;
    char *block;

    for (int i = 0; i < 6; i++)
        whole += sizes[i] = (texts[i] ? strlen(texts[i]) : 0) + 1;
    block = malloc(whole);
    if (!block)
        return err_set(e, ERR_OOM, "no memory for a record");
    for (int i = 0; i < 6; i++) {
        memcpy(block, texts[i] ? texts[i] : "", sizes[i]);
        block += sizes[i];
    }
    free(r->path); /* only now: a text may be one of the record's */
    for (int i = 5; i >= 0; i--)
        *fields[i] = block -= sizes[i];
    return 0;
}

int record_picture(struct record *r, const char *path, const char *worker, const char *device_class,
                   const char *precision, struct err *e)
{
    return texts_set(r, (const char *const[]){path, worker, device_class, precision, "", ""}, e);
}

int record_failure(struct record *r, const char *worker, const char *code, const char *text,
                   struct err *e)
{
    r->failed = true;
    return texts_set(r, (const char *const[]){"", worker, "", "", code, text}, e);
}

void record_done(struct record *r)
{
    free(r->path);
    *r = (struct record){0};
}
