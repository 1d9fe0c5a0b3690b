/*
 * How a job wants to be treated, beside what it renders: its place among other jobs, its preview,
 * and when it gives up. The optional key "conduct" of a bundle (jobs/SPEC.md). No pixel depends on
 * it.
 *
 *     TRY(conduct_read(json_object_get(root, "conduct"), &job->conduct, e));
 *     if (j->failed > conduct_failures(&job->conduct, job_count(job))) ...
 */
#ifndef JOBS_CONDUCT_H
#define JOBS_CONDUCT_H

#include "proto/err.h"
#include "proto/json.h"

#include <stdbool.h>
#include <stdint.h>

#define CONDUCT_PRIORITY_DEFAULT 50
#define CONDUCT_PRIORITY_MAX     100 /* from 1; larger goes first */
#define CONDUCT_FIRST_MAX        1000
#define CONDUCT_DEADLINE_MAX_S   (366 * 86400)
#define CONDUCT_TENSOR_MAX       8
#define CONDUCT_GANG_TEXT        40 /* bytes of "guidance 2, tensor 8" */

/* Workers that share one picture: the halves of guidance, and parts of each layer within a half. */
struct gang_shape {
    uint32_t guidance; /* 1 or 2 */
    uint32_t tensor;   /* 1, 2, 4 or CONDUCT_TENSOR_MAX */
};

enum gang_wish {
    GANG_NONE,
    GANG_AUTO, /* where it pays */
    GANG_SHAPE /* every task, in the shape given */
};

struct conduct {
    uint32_t priority;   /* 1..CONDUCT_PRIORITY_MAX */
    uint32_t first;      /* tasks rendered ahead of every job's rest; 0: none */
    bool stops;          /* the next two say when failures end the job */
    uint64_t max_tasks;  /* failed tasks that are borne; UINT64_MAX: by share */
    double max_share;    /* of all tasks, 0..1 */
    uint32_t deadline_s; /* from the submission; 0: none */
    enum gang_wish gang;
    struct gang_shape shape; /* of GANG_SHAPE; else 1, 1 */
};

/* value: NULL stands for the defaults. ERR_INPUT names the key and its bound. */
int conduct_read(const json_t *value, struct conduct *ret_conduct, struct err *e);

/* Failed tasks that a job of `count` tasks bears; UINT64_MAX: any number. */
uint64_t conduct_failures(const struct conduct *c, uint64_t count);

/* "1%", "0.5 %" or "20": ERR_INPUT for anything else. Percent are 0 to 100. */
int conduct_failures_parse(const char *text, struct conduct *ret_conduct, struct err *e);

/* "none", "auto" or "guidance 2, tensor 2". */
void conduct_gang_text(const struct conduct *c, char ret_text[CONDUCT_GANG_TEXT]);

/* "none", "auto", or how many members: 2 halves of guidance, from 4 on with tensor parallel in
 * each. ERR_INPUT. */
int conduct_gang_parse(const char *text, struct conduct *ret_conduct, struct err *e);

/* ERR_INPUT for a shape that cannot be: of one member, or with other parts than powers of 2. */
int gang_shape_check(const struct gang_shape *shape, struct err *e);

/* "90s", "30m", "2h", "1d" or seconds: 1..CONDUCT_DEADLINE_MAX_S. */
int conduct_duration_parse(const char *text, uint32_t *ret_seconds, struct err *e);

#endif
