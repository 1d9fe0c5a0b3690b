/*
 * The files that a task's prompts call, as the task itself has them: of the names that a job binds,
 * those that this task uses; and LoRAs that a prompt calls by path,
 * `<lora:/styles/ink.safetensors>`, which become a name bound to that path. The last step from an
 * index to its task. Pure.
 *
 *     TRY(bind_task(&task, &job->loras, &job->embeddings, e));
 */
#ifndef JOBS_BIND_H
#define JOBS_BIND_H

#include "jobs/task.h"

/*
 * Fills t->loras and t->embeddings. A path in the prompt is replaced by its last part without the
 * ending, with -2, -3, ... behind it where the prompt calls another file so. What cannot be bound
 * (a relative path, another ending) stays as it is, and no library has a LoRA of that name. The
 * prompts are final, t's own names empty. ERR_OOM.
 */
int bind_task(struct task *t, const struct names *loras, const struct names *embeddings,
              struct err *e);

#endif
