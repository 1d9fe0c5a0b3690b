#include "engine/ops/workspace.h"

static void use(struct workspace *w, struct ops *o, bool planning)
{
    o->arena = &w->acts;
    o->host = &w->host;
    o->planning = planning;
}

void workspace_plan(struct workspace *w, struct ops *o)
{
    arena_plan(&w->acts);
    arena_plan(&w->host);
    use(w, o, true);
}

static int init_acts(struct workspace *w, struct ops *o, size_t n_bytes, struct err *e)
{
    void *memory = NULL;
    int rc = 0;

    if (w->acts.base != NULL && w->acts.capacity == n_bytes)
        return 0;
    o->memory_free(o, w->acts.base);
    w->acts = (struct arena){0};
    TRY(o->memory_new(o, n_bytes, &memory, e));
    arena_over(&w->acts, memory, n_bytes);
out:
    return rc;
}

int workspace_init(struct workspace *w, struct ops *o, const struct workspace *plan, struct err *e)
{
    int rc = 0;

    TRY(init_acts(w, o, plan->acts.peak, e));
    if (w->host.base == NULL || w->host.capacity != plan->host.peak) {
        arena_done(&w->host);
        TRY(arena_init(&w->host, plan->host.peak, e));
    }
    use(w, o, false);
out:
    if (rc != 0)
        workspace_done(w, o);
    return rc;
}

void workspace_done(struct workspace *w, struct ops *o)
{
    o->memory_free(o, w->acts.base);
    arena_done(&w->host);
    *w = (struct workspace){0};
    o->arena = o->host = NULL;
    o->planning = false;
}

uint64_t workspace_peak(const struct workspace *w)
{
    return (uint64_t)w->acts.peak + w->host.peak;
}

static int no_room(struct arena *a, int64_t n, struct err *e)
{
    if (arena_check(a, e) != 0)
        return ERR_INTERNAL;
    return err_set(e, ERR_INTERNAL, "the arena has no room for %lld numbers", (long long)n);
}

int scratch(struct ops *o, int64_t n, struct act **ret_values, struct err *e)
{
    *ret_values = arena_bytes(o->arena, (size_t)n * o->act_bytes);
    return *ret_values != NULL ? 0 : no_room(o->arena, n, e);
}

int latent_scratch(struct ops *o, int64_t n, struct latent **ret_values, struct err *e)
{
    *ret_values = arena_bytes(o->arena, (size_t)n * sizeof(float));
    return *ret_values != NULL ? 0 : no_room(o->arena, n, e);
}

int scratch_bytes(struct ops *o, size_t n, void **ret_memory, struct err *e)
{
    *ret_memory = arena_bytes(o->arena, n);
    return *ret_memory != NULL ? 0 : no_room(o->arena, (int64_t)n, e);
}

int host_scratch(struct ops *o, int64_t n, float **ret_values, struct err *e)
{
    *ret_values = arena_floats(o->host, (size_t)n);
    return *ret_values != NULL ? 0 : no_room(o->host, n, e);
}
