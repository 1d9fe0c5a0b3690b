#include "engine/networks/shard.h"

#include "engine/gang/gang.h"
#include "engine/ops/workspace.h"

#define PIECE ((int64_t)1 << 20) /* numbers that travel at a time */

struct range shard_range(const struct ops *o, int64_t n, int64_t unit)
{
    int64_t size = o->shard.size > 1 ? o->shard.size : 1, rank = o->shard.rank;
    int64_t units = n / unit, each = units / size, more = units % size;

    return (struct range){.begin = (rank * each + (rank < more ? rank : more)) * unit,
                          .n = (each + (rank < more)) * unit};
}

static enum gang_number number_of(const struct ops *o)
{
    if (o->act_bytes == sizeof(float))
        return GANG_F32;
    return o->precision == PRECISION_F16 ? GANG_F16 : GANG_BF16;
}

/* Of a device whose gang works on the host's memory: through float32, in pieces. */
static int sum_by_host(struct ops *o, struct act *y, int64_t n, struct err *e)
{
    size_t mark = arena_mark(o->host);
    float *piece;
    int rc = 0;

    TRY(host_scratch(o, n < PIECE ? n : PIECE, &piece, e));
    for (int64_t at = 0; at < n && !o->planning; at += PIECE) {
        int64_t part = n - at < PIECE ? n - at : PIECE;

        TRY(o->get(o, piece, act_at(o, y, at), part, e));
        TRY(o->shard.gang->all_reduce(o->shard.gang, piece, part, GANG_F32, e));
        TRY(o->put(o, act_at(o, y, at), piece, part, e));
    }
out:
    arena_release(o->host, mark);
    return rc;
}

static int sum(struct ops *o, struct act *y, int64_t n, struct err *e)
{
    struct gang *g = o->shard.gang;

    if (!o->planning && g == NULL)
        return err_set(e, ERR_ARG, "a part of a model was called without its gang");
    if (o->device && (o->planning || !g->device))
        return sum_by_host(o, y, n, e);
    return o->planning ? 0 : g->all_reduce(g, y, n, number_of(o), e);
}

int shard_add(struct ops *o, struct act *y, const struct act *x, struct act *part, int64_t n,
              struct err *e)
{
    int rc = sum(o, part, n, e);

    return rc != 0 ? rc : o->add(o, y, x, part, n, e);
}

int shard_zero(struct ops *o, struct act *y, int64_t n, struct err *e)
{
    static const float zeros[4096];
    const int64_t step = sizeof zeros / sizeof *zeros;
    int rc = 0;

    if (o->zero != NULL)
        return o->zero(o, y, n, e);
    for (int64_t at = 0; at < n && !o->planning; at += step)
        TRY(o->put(o, act_at(o, y, at), zeros, n - at < step ? n - at : step, e));
out:
    return rc;
}
