/*
 * The memory of a render: an arena of the backend's memory, for activations and the scratch of ops,
 * and one of the host's, for the float32 numbers of those who call ops. Planned before step 1, then
 * taken at once; see arena.h.
 *
 *     struct workspace plan, w = {0};
 *     workspace_plan(&plan, o);             // o->planning
 *     ... the calls ...
 *     TRY(workspace_init(&w, o, &plan, e)); // of the peaks; not planning any more
 *     ... the calls ...
 *     workspace_done(&w, o);
 */
#ifndef ENGINE_OPS_WORKSPACE_H
#define ENGINE_OPS_WORKSPACE_H

#include "engine/ops/ops.h"

struct workspace {
    struct arena acts, host;
};

/* Two arenas that only measure, for a backend that now plans with them. */
void workspace_plan(struct workspace *w, struct ops *o);

/*
 * Memory of the plan's peaks, which the backend now works in. What w held before is kept if it is
 * of that size, else freed. ERR_OOM with the size; w is then empty.
 */
int workspace_init(struct workspace *w, struct ops *o, const struct workspace *plan, struct err *e);

/* Frees it; zeroed memory is legal. The backend has no arenas afterwards. */
void workspace_done(struct workspace *w, struct ops *o);

/* Bytes at the peak, of both. */
uint64_t workspace_peak(const struct workspace *w);

/*
 * n numbers of the backend's memory, until the caller releases its mark of o->arena. ERR_INTERNAL
 * if the plan was too small. While planning, they must not be touched.
 */
int scratch(struct ops *o, int64_t n, struct act **ret_values, struct err *e);

/* The same for n float32 numbers, and for n bytes, of the backend's memory. */
int latent_scratch(struct ops *o, int64_t n, struct latent **ret_values, struct err *e);
int scratch_bytes(struct ops *o, size_t n, void **ret_memory, struct err *e);

/* n float32 numbers of the host's memory, until the caller releases its mark of o->host. */
int host_scratch(struct ops *o, int64_t n, float **ret_values, struct err *e);

#endif
