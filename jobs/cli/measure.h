/*
 * What earlier runs into the same output folder took, as the base of plan's estimates:
 * OUT/.litho/measured.json holds, for each model, how much work a second did and how many bytes a
 * pixel took on disk. Nothing is estimated without a measurement.
 *
 * Work is counted in pixel steps: width x height x steps that run, of both passes if there are two,
 * twice that with guidance (cfg_scale > 1).
 */
#ifndef JOBS_CLI_MEASURE_H
#define JOBS_CLI_MEASURE_H

#include "jobs/cli/state.h"
#include "jobs/job.h"

#include <stdbool.h>

/* Of one job: means over all its tasks, or over 256 evenly spaced ones when it has more. */
struct workload {
    double work;   /* pixel steps of a task */
    double pixels; /* of a task */
};
int workload_of(const struct job *job, struct workload *ret_w, struct err *e);

struct measure {
    double work_per_second; /* of the whole run, all workers together */
    double bytes_per_pixel; /* of the PNG files */
    uint64_t images;        /* that the measurement rests on */
    int workers, threads;   /* of that run; threads of each worker */
};

/* false if no earlier run rendered with the job's models. */
bool measure_read(const struct state *s, const struct job *job, struct measure *ret_m);

/* Replaces the entry of the job's models. */
int measure_write(const struct state *s, const struct job *job, const struct measure *m,
                  struct err *e);

/* Mean bytes per pixel of up to 256 of the job's pictures under OUT; 0 if there is none. */
double measure_pictures(const struct state *s, const struct job *job);

#endif
