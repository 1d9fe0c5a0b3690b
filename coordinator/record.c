#include "coordinator/record.h"

static int text_set(char **text, const char *value, struct err *e)
{
    char *copy = strdup(value ? value : "");

    if (!copy)
        return err_set(e, ERR_OOM, "no memory for a record");
    free(*text);
    *text = copy;
    return 0;
}

int record_picture(struct record *r, const char *path, const char *worker, const char *device_class,
                   const char *precision, struct err *e)
{
    int rc;

    TRY(text_set(&r->path, path, e));
    TRY(text_set(&r->worker, worker, e));
    TRY(text_set(&r->device_class, device_class, e));
    TRY(text_set(&r->precision, precision, e));
    TRY(text_set(&r->code, "", e));
    TRY(text_set(&r->text, "", e));
out:
    return rc;
}

int record_failure(struct record *r, const char *worker, const char *code, const char *text,
                   struct err *e)
{
    int rc;

    r->failed = true;
    TRY(text_set(&r->path, "", e));
    TRY(text_set(&r->worker, worker, e));
    TRY(text_set(&r->device_class, "", e));
    TRY(text_set(&r->precision, "", e));
    TRY(text_set(&r->code, code, e));
    TRY(text_set(&r->text, text, e));
out:
    return rc;
}

void record_done(struct record *r)
{
    free(r->path);
    free(r->worker);
    free(r->device_class);
    free(r->precision);
    free(r->code);
    free(r->text);
    *r = (struct record){0};
}
