/*
 * A job compiled from its bundle: counts, and task i in O(axes) time without the tasks before it.
 *
 * A bundle is the resolved manifest as canonical JSON (jobs/SPEC.md, "The bundle"): files inlined,
 * seeds drawn, defaults filled in. Its SHA-256 is the job's identity. job_load checks all of it,
 * since bundles come over the wire. A loaded job is read-only and may be shared by threads. Memory
 * follows the bundle's size, never the number of tasks.
 *
 *     TRY(job_load(bundle, size, &job, e));
 *     for (uint64_t i = job_next(job, 0); i < job_span(job); i = job_next(job, i + 1)) {
 *         TRY(job_task(job, i, &task, e));
 *         TRY(job_path(job, i, &path, e));
 *     }
 */
#ifndef JOBS_JOB_H
#define JOBS_JOB_H

#include "jobs/conduct.h"
#include "jobs/task.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOB_BUNDLE_MAX  (32u << 20) /* bytes */
#define JOB_AXES_MAX    32
#define JOB_EXCLUDE_MAX 12
#define JOB_SPAN_MAX    (UINT64_C(1) << 53) /* indices */
#define JOB_NAME_MAX    100                 /* bytes: letters, digits, and . _ - inside */
#define JOB_PATH_MAX    1024                /* bytes of an output path; a component at most 255 */

struct job;

/*
 * Checks and compiles a bundle; the bytes are copied. ret_job: job_free(). ERR_INPUT says what is
 * wrong with it, the first mistake only; ERR_OOM.
 */
int job_load(const void *bundle, size_t size, struct job **ret_job, struct err *e);
void job_free(struct job *job);

/* Borrowed from the job. */
const char *job_name(const struct job *job);
const char *job_hash(const struct job *job);                     /* 64 hex digits */
const char *job_bundle(const struct job *job, size_t *ret_size); /* as given to job_load */

/* How the job wants to be treated. Borrowed. */
const struct conduct *job_conduct(const struct job *job);

/* Indices are 0..span-1, first axis of `combine` outermost; excluded ones keep their index. */
uint64_t job_span(const struct job *job);

/* Exactly how many indices are not excluded (inclusion-exclusion over at most 12 rules). */
uint64_t job_count(const struct job *job);

/* How many of them are below `index`; job_rank(job, job_span(job)) == job_count(job). */
uint64_t job_rank(const struct job *job, uint64_t index);

/* Whether a rule excludes that index, below the span: it is no task, and is never rendered. */
bool job_excluded(const struct job *job, uint64_t index);

/* The first index >= from that is not excluded, or job_span. Jumps over excluded runs. */
uint64_t job_next(const struct job *job, uint64_t from);

/* The task of an index that is not excluded. ret_task: task_done(). */
int job_task(const struct job *job, uint64_t index, struct task *ret_task, struct err *e);

/*
 * Chains: each run of job_frames indices, one combination of the axes but those in the last factor,
 * are frames of which each starts from the picture of the one before it. 1: no task starts from
 * another. Rules exclude whole chains only.
 */
#define JOB_FRAMES_MAX 100000
uint64_t job_frames(const struct job *job);
/* Which frame of its chain an index is, from 0. */
uint64_t job_frame(const struct job *job, uint64_t index);
/* What job_task gives a later frame as init_image, since no bundle knows that picture. */
#define JOB_FRAME_BEFORE "the frame before"
/* The task of a later frame, from a picture named by its SHA-256. ret_task: task_done(). */
int job_task_after(const struct job *job, uint64_t index, const char sha256[HASH_HEX_SIZE],
                   struct task *ret_task, struct err *e);

/* Appends the output path, relative, checked to stay inside the output folder, ending in ".png". */
int job_path(const struct job *job, uint64_t index, struct buf *ret_path, struct err *e);

/*
 * The job's folder below the output folder, which {job} stands for in paths: its name, unless
 * another job of that name was there first (coordinator/job_folder.h). job_set_folder comes before
 * the job is shared; ERR_INPUT: paths would become too long. job_path_in: the path that the task
 * would have in another folder; the same one, if the template has no {job}. Borrowed.
 */
const char *job_folder(const struct job *job);
int job_set_folder(struct job *job, const char *folder, struct err *e);
int job_path_in(const struct job *job, const char *folder, uint64_t index, struct buf *ret_path,
                struct err *e);

/* Axes and their values as text, for index.jsonl, sheets and plans. */
size_t job_axis_count(const struct job *job);
const char *job_axis_name(const struct job *job, size_t axis);
uint64_t job_axis_length(const struct job *job, size_t axis);
/* Whether the two are zipped: they take their first values together, their second ones, ... */
bool job_axes_zipped(const struct job *job, size_t a, size_t b);
/* Indices from one value of the axis to the next. */
uint64_t job_axis_stride(const struct job *job, size_t axis);
/* Whether it runs along a chain's frames. */
bool job_axis_chained(const struct job *job, size_t axis);
/* Whether a change of the axis is dear to a worker: it sets a model, a VAE, a precision or a size,
 * or a text of it names a LoRA. */
bool job_axis_costly(const struct job *job, size_t axis);
/* Whether it may change the texts: it sets a prompt, or a variable of one. */
bool job_axis_textual(const struct job *job, size_t axis);
/* Which value of the axis an index has, and that value as text. */
uint64_t job_axis_at(const struct job *job, size_t axis, uint64_t index);
void job_axis_value(const struct job *job, size_t axis, uint64_t at, struct buf *ret_text);

/* The contact sheet: at most JOB_SHEET_CELLS cells; axes not on it at their first value. */
#define JOB_SHEET_CELLS 400
struct job_sheet {
    int x_axis, y_axis;     /* axis numbers, -1: none */
    uint32_t columns, rows; /* after the limit of cells */
};
/* false if the manifest turned the sheet off. */
bool job_sheet(const struct job *job, struct job_sheet *ret_sheet);
/* The index in cell (column, row); job_span if that combination is excluded. */
uint64_t job_sheet_index(const struct job *job, const struct job_sheet *sheet, uint32_t column,
                         uint32_t row);

/* Distinct models over all axes, at most `max` written; returns how many there are. Borrowed. */
size_t job_models(const struct job *job, const char **ret_models, size_t max);

#endif
