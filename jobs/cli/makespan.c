#include "jobs/cli/makespan.h"

/* Rounds of as many chains as there are renderers; the last round has the rest of them. */
double makespan_left(const struct makespan *m, uint64_t done)
{
    uint64_t rest = m->chains % m->renderers, whole = (m->chains - rest) * m->frames;
    double tasks = (double)m->chains * (double)m->frames, left = tasks - (double)done, even;

    if (left <= 0)
        return 0;
    if (m->frames == 1)
        return left / (double)m->renderers;
    even = done < whole ? (double)(whole - done) / (double)m->renderers : 0;
    if (rest > 0)
        even += done < whole ? (double)m->frames : left / (double)rest;
    return even > m->longest * left / tasks ? even : m->longest * left / tasks;
}
