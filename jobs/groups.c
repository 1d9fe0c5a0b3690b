#include "jobs/groups.h"

static bool factor_seen(const struct job *job, size_t axis)
{
    for (size_t a = 0; a < axis; a++)
        if (job_axes_zipped(job, a, axis))
            return true;
    return false;
}

/* Whether an axis of the factor is so. */
static bool factor_is(const struct job *job, size_t axis,
                      bool (*so)(const struct job *job, size_t axis))
{
    for (size_t a = axis; a < job_axis_count(job); a++)
        if (job_axes_zipped(job, a, axis) && so(job, a))
            return true;
    return false;
}

/* Outermost first, as their strides fall; equal strides are factors of one value. */
static void insert(struct groups_factor *list, size_t *n, struct groups_factor f)
{
    size_t at = *n;

    while (at > 0 && list[at - 1].stride < f.stride) {
        list[at] = list[at - 1];
        at--;
    }
    list[at] = f;
    ++*n;
}

void job_groups(const struct job *job, struct groups *ret_groups)
{
    struct groups g = {.n = 1, .size = 1};

    for (size_t a = 0; a < job_axis_count(job); a++) {
        struct groups_factor f = {job_axis_length(job, a), job_axis_stride(job, a)};

        if (factor_seen(job, a))
            continue;
        if (f.length > 1 && factor_is(job, a, job_axis_textual))
            insert(g.textual, &g.n_textual, f);
        if (!job_axis_chained(job, a) && factor_is(job, a, job_axis_costly))
            insert(g.costly, &g.n_costly, f);
        else
            insert(g.cheap, &g.n_cheap, f);
    }
    for (size_t i = 0; i < g.n_costly; i++) {
        if (g.costly[i].length <= GROUPS_MAX / g.n) {
            g.n *= g.costly[i].length;
            continue;
        }
        for (size_t k = i; k < g.n_costly; k++)
            insert(g.cheap, &g.n_cheap, g.costly[k]);
        g.n_costly = i;
    }
    for (size_t i = 0; i < g.n_cheap; i++)
        g.size *= g.cheap[i].length;
    *ret_groups = g;
}

/* Position `at` of a mixed radix number, as a sum of strides. */
static uint64_t place(const struct groups_factor *list, size_t n, uint64_t at)
{
    uint64_t index = 0;

    for (size_t i = n; i-- > 0;) {
        index += at % list[i].length * list[i].stride;
        at /= list[i].length;
    }
    return index;
}

uint64_t groups_index(const struct groups *g, uint64_t group, uint64_t k)
{
    return place(g->costly, g->n_costly, group) + place(g->cheap, g->n_cheap, k);
}

uint64_t groups_of(const struct groups *g, uint64_t index)
{
    uint64_t group = 0;

    for (size_t i = 0; i < g->n_costly; i++)
        group = group * g->costly[i].length + index / g->costly[i].stride % g->costly[i].length;
    return group;
}

uint64_t groups_text(const struct groups *g, uint64_t index)
{
    uint64_t text = 0;

    for (size_t i = 0; i < g->n_textual; i++)
        text += index / g->textual[i].stride % g->textual[i].length * g->textual[i].stride;
    return text;
}

uint64_t groups_seek(const struct groups *g, uint64_t group, uint64_t from)
{
    uint64_t low = 0, high = g->size;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (groups_index(g, group, middle) < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
