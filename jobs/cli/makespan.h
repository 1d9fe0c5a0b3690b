/*
 * How many pictures have to be rendered one after another until a job is done, however many workers
 * there are. Pictures of their own are dealt to all; the frames of a chain follow each other, so a
 * chain keeps one worker (or one gang) from its first frame to its last, and a job takes no less
 * than its longest chain. Chains that were begun go before new ones (coordinator/chains.h), so that
 * W workers render them W at a time. Pure arithmetic on means: the base of plan's estimates.
 *
 *     makespan = {.frames = 24, .chains = 3, .renderers = 2, .longest = 24};
 *     makespan_left(&m, 0)                // 48: two chains side by side, then the third
 */
#ifndef JOBS_CLI_MAKESPAN_H
#define JOBS_CLI_MAKESPAN_H

#include <stdint.h>

struct makespan {
    uint64_t chains;    /* that the job has; of 1 frame: pictures */
    uint64_t frames;    /* of each, at least 1 */
    uint64_t renderers; /* workers, or gangs, that render a picture each at one time; at least 1 */
    double longest;     /* the longest chain's work, in mean pictures of the job */
};

/* In mean pictures of the job, when `done` of its chains * frames pictures are there: 0 when all
 * are. Chains that are begun are taken for equally far. */
double makespan_left(const struct makespan *m, uint64_t done);

#endif
