/*
 * A job's indices in groups that share what is costly to change on a worker, or keeps pictures from
 * being rendered together: model, VAE, LoRA set, size; sampler, scheduler, steps. The product's
 * factors are sorted into costly and cheap ones, in the manifest's order; a group is one
 * combination of the costly ones, its members are in ascending order of index. O(axes) time and
 * memory for any number of tasks. Frames of one chain (job_frames) are in one group, next to each
 * other. Pure.
 *
 *     struct groups g;
 *     job_groups(job, &g);
 *     for (uint64_t k = 0; k < g.size; k++)
 *         index = groups_index(&g, group, k);        // may be excluded
 */
#ifndef JOBS_GROUPS_H
#define JOBS_GROUPS_H

#include "jobs/job.h"

#define GROUPS_MAX 4096 /* beyond, the innermost costly factors count as cheap */

struct groups {
    struct groups_factor {
        uint64_t length, stride; /* as in the product */
    } costly[JOB_AXES_MAX], cheap[JOB_AXES_MAX];
    struct groups_factor textual[JOB_AXES_MAX]; /* of either kind, that change the texts */
    size_t n_costly, n_cheap, n_textual;
    uint64_t n;    /* groups, 1..GROUPS_MAX */
    uint64_t size; /* indices of each, excluded ones too */
};

void job_groups(const struct job *job, struct groups *ret_groups);

/* Member k < size of a group < n. Ascending in k. */
uint64_t groups_index(const struct groups *g, uint64_t group, uint64_t k);

/* Which group an index is in. */
uint64_t groups_of(const struct groups *g, uint64_t index);

/* A number that indices with the same texts share. */
uint64_t groups_text(const struct groups *g, uint64_t index);

/* The first k of the group whose index is at least `from`; size if there is none. */
uint64_t groups_seek(const struct groups *g, uint64_t group, uint64_t from);

#endif
