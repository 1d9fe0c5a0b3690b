/*
 * The coordinator's answers as JSON (keys: jobs/cli/README.md) and as text for people.
 */
#ifndef JOBS_CLI_VIEWS_H
#define JOBS_CLI_VIEWS_H

#include "jobs/cli/cli.h"
#include "jobs/cli/progress.h"
#include "proto/msg.h"

/* New references. */
json_t *view_summary_json(const struct job_summary *s);
json_t *view_job_json(const struct msg_job *m); /* summary, running_tasks, failures */
json_t *view_worker_json(const struct worker_row *w);

/* true once nothing will change any more: done, failed or cancelled. */
bool view_settled(const struct job_summary *s);

/* What a job in this final state means for the exit code. */
int view_exit_code(const struct job_summary *s);

/* What the progress bar shows; strings are borrowed from m. */
struct progress view_progress(const struct msg_job *m);

/*
 * How its gangs are formed, as a line of `status`, and as far as it was measured in this job what a
 * step of theirs takes, against one worker's; nothing of a job without gangs.
 */
void view_gang(const struct terminal *t, const struct msg_job *m);

/* Why the job waits, as a line of `status`; nothing if it does not. */
void view_reason(const struct terminal *t, const struct msg_job *m);

/* The first failures, one a line, and how many more there are. */
void view_failures(const struct terminal *t, const struct msg_job *m);

#endif
