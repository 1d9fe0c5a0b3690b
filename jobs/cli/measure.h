/*
 * What earlier runs into the same output folder took, as the base of plan's estimates:
 * OUT/.litho/measured.json holds, for each model, how much work a second did and how many bytes a
 * pixel took on disk. Nothing is estimated without a measurement.
 *
 * Work is counted in pixel steps: width x height x steps that run, of both passes if there are two,
 * twice that with guidance (cfg_scale > 1). A chain's frames follow each other: speed is that of
 * all workers when each has work, and a job's time follows from its makespan.
 */
#ifndef JOBS_CLI_MEASURE_H
#define JOBS_CLI_MEASURE_H

#include "jobs/cli/makespan.h"
#include "jobs/cli/state.h"
#include "jobs/job.h"

#include <stdbool.h>

/* Of one job: means over all its tasks, or over some hundred evenly spaced ones when it has more:
 * of 256 chains at most, of each up to 16 frames, the first among them. */
struct workload {
    double work;    /* pixel steps of a task */
    double pixels;  /* of a task */
    double longest; /* pixel steps of the chain that has most; without chains, of such a task */
};
int workload_of(const struct job *job, struct workload *ret_w, struct err *e);

/* A job's chains on so many workers; of a gang's shape, its members are one renderer. */
struct makespan workload_makespan(const struct workload *w, const struct job *job, int workers);

struct measure {
    double work_per_second; /* of all workers together, while each has work */
    double bytes_per_pixel; /* of the PNG files */
    uint64_t images;        /* that the measurement rests on */
    int workers, threads;   /* of that run; threads of each worker */
};

/* The time of what is left when `done` of the job's tasks are there, on the workers of m. */
double measure_seconds(const struct measure *m, const struct workload *w, const struct job *job,
                       uint64_t done);

/* false if no earlier run rendered with the job's models. */
bool measure_read(const struct state *s, const struct job *job, struct measure *ret_m);

/* Replaces the entry of the job's models. */
int measure_write(const struct state *s, const struct job *job, const struct measure *m,
                  struct err *e);

/* Mean bytes per pixel of up to 256 of the job's pictures under OUT; 0 if there is none. */
double measure_pictures(const struct state *s, const struct job *job);

#endif
