#include "coordinator/abilities.h"

#include "coordinator/queue.h"

#include <stdlib.h>
#include <string.h>

/* The first word on a precision counts. */
static int add(struct abilities *a, int asked, int computed, const char *device_class,
               struct err *e)
{
    struct ability *x;

    if (asked < 0 || asked >= PRECISION_COUNT) /* of a newer worker: no task asks for it */
        return 0;
    x = &a->at[asked];
    if (x->device_class)
        return 0;
    x->device_class = strdup(device_class);
    x->computed = computed;
    return x->device_class ? 0 : err_set(e, ERR_OOM, "no memory for another worker");
}

int abilities_of(const struct msg_hello *hello, struct abilities *ret_a, struct err *e)
{
    int rc = 0;

    *ret_a = (struct abilities){0};
    for (size_t i = 0; i < hello->n_precisions; i++) {
        const struct hello_precision *p = &hello->precisions[i];

        TRY(add(ret_a, precision_from_name(p->asked), precision_from_name(p->computed),
                p->device_class, e));
    }
    for (int i = 0; i < PRECISION_COUNT && hello->n_precisions == 0; i++)
        TRY(add(ret_a, i, i == PRECISION_AUTO ? -1 : i, hello->device_class, e));
out:
    return rc;
}

void abilities_done(struct abilities *a)
{
    for (int i = 0; i < PRECISION_COUNT; i++)
        free(a->at[i].device_class);
    *a = (struct abilities){0};
}

bool abilities_render(const struct abilities *a, enum precision asked)
{
    return a->at[asked].device_class != NULL;
}

bool abilities_suit(const struct abilities *a, const struct needs *n)
{
    return n->model_key == 0 || abilities_render(a, n->precision);
}

static bool equal(const struct ability *a, const struct ability *b)
{
    if (!a->device_class || !b->device_class)
        return a->device_class == b->device_class;
    return a->computed == b->computed && strcmp(a->device_class, b->device_class) == 0;
}

bool abilities_equal(const struct abilities *a, const struct abilities *b, unsigned precisions)
{
    for (int i = 0; i < PRECISION_COUNT; i++)
        if (precisions >> i & 1 && !equal(&a->at[i], &b->at[i]))
            return false;
    return true;
}

bool abilities_same_model(const struct abilities *a, const struct needs *x, const struct needs *y)
{
    if (x->files_key != y->files_key || x->files_key == 0)
        return false;
    if (x->precision == y->precision)
        return true;
    return abilities_render(a, x->precision) && abilities_render(a, y->precision) &&
           a->at[x->precision].computed >= 0 &&
           a->at[x->precision].computed == a->at[y->precision].computed;
}

bool abilities_same_all(const struct abilities *a, const struct needs *x, const struct needs *y)
{
    return x->shape_key == y->shape_key && abilities_same_model(a, x, y);
}
