/* Task i of a job: its index among the others, its fields, its path. */
#include "jobs/job_inner.h"
#include "jobs/param.h"
#include "jobs/variables.h"

#include <stdlib.h>
#include <string.h>

const char *job_name(const struct job *job)
{
    return job->name;
}

const char *job_hash(const struct job *job)
{
    return job->hash;
}

const char *job_bundle(const struct job *job, size_t *ret_size)
{
    *ret_size = job->bundle_size;
    return job->bundle;
}

const struct conduct *job_conduct(const struct job *job)
{
    return &job->conduct;
}

uint64_t job_span(const struct job *job)
{
    return job->axes.span;
}

uint64_t job_count(const struct job *job)
{
    return job->count;
}

uint64_t job_rank(const struct job *job, uint64_t index)
{
    return index >= job->axes.span ? job->count : index - exclude_below(&job->exclude, index);
}

bool job_excluded(const struct job *job, uint64_t index)
{
    return exclude_holds(&job->exclude, index);
}

uint64_t job_next(const struct job *job, uint64_t from)
{
    return exclude_next(&job->exclude, from);
}

/* Sets the parameters of one axis at an index; prompts come later, when all columns are known. */
static int apply_axis(const struct job *job, size_t number, uint64_t index, struct task *t,
                      struct err *e)
{
    const struct axis *axis = &job->axes.items[number];
    uint64_t at = axes_at(&job->axes, number, index);
    struct buf text = {0};
    int rc = 0;

    for (size_t c = 0; c < axis->n_columns && rc == 0; c++) {
        if (axis->columns[c].param < 0)
            continue;
        axis_text(axis, c, at, &text);
        rc = buf_check(&text, e);
        if (rc == 0)
            rc = param_set(t, (enum param)axis->columns[c].param, buf_text(&text), e);
        buf_done(&text);
    }
    return rc;
}

/* The styles of a task. NULL: none. */
static const struct style_set *styles_at(const struct job *job, uint64_t index)
{
    size_t axis, column;
    const struct axis *a;

    if (!axes_find_param(&job->axes, PARAM_STYLES, &axis, &column))
        return job->fixed_styles;
    a = &job->axes.items[axis];
    return styles_find(&job->styles,
                       a->cells[axes_at(&job->axes, axis, index) * a->n_columns + column]);
}

/* Replaces a prompt by its text at an index: variables put in, then styles. */
static int expand(const struct job *job, char **prompt, bool negative, uint64_t index,
                  struct err *e)
{
    const struct style_set *set = styles_at(job, index);
    struct buf text = {0}, styled = {0};
    char *expanded;

    variables_expand(*prompt, &job->axes, &job->fixed, index, &text);
    styled.failed = text.failed;
    if (set)
        style_apply(set, negative, buf_text(&text), &styled);
    expanded = buf_detach(set ? &styled : &text);
    buf_done(&text);
    if (!expanded)
        return err_set(e, ERR_OOM, "out of memory for a prompt");
    free(*prompt);
    *prompt = expanded;
    return 0;
}

int job_task(const struct job *job, uint64_t index, struct task *ret_task, struct err *e)
{
    struct task t = {0};
    int rc = 0;

    if (index >= job->axes.span)
        return err_set(e, ERR_ARG, "job '%s' has no such index", job->name);
    TRY(task_copy(&job->fixed, &t, e));
    for (size_t a = 0; a < job->axes.n; a++)
        TRY(apply_axis(job, a, index, &t, e));
    TRY(expand(job, &t.prompt, false, index, e));
    TRY(expand(job, &t.negative_prompt, true, index, e));
    TRY(bind_task(&t, &job->loras, &job->embeddings, e));
    TRY(chain_apply(&job->chain, job_frame(job, index), JOB_FRAME_BEFORE, &t, e));
    *ret_task = t;
    t = (struct task){0};
out:
    task_done(&t);
    return rc;
}

uint64_t job_frames(const struct job *job)
{
    return job->chain.frames;
}

uint64_t job_frame(const struct job *job, uint64_t index)
{
    return index % job->chain.frames; /* the last factor's stride is 1 */
}

int job_task_after(const struct job *job, uint64_t index, const char sha256[HASH_HEX_SIZE],
                   struct task *ret_task, struct err *e)
{
    int rc = job_task(job, index, ret_task, e);

    if (rc == 0 && (rc = task_start_from(ret_task, sha256, e)) != 0)
        task_done(ret_task);
    return rc;
}

int job_path(const struct job *job, uint64_t index, struct buf *ret_path, struct err *e)
{
    if (index >= job->axes.span)
        return err_set(e, ERR_ARG, "job '%s' has no such index", job->name);
    return path_render(&job->path, index, ret_path, e);
}

int job_path_in(const struct job *job, const char *folder, uint64_t index, struct buf *ret_path,
                struct err *e)
{
    struct path path = {0};
    int rc = 0;

    if (index >= job->axes.span)
        return err_set(e, ERR_ARG, "job '%s' has no such index", job->name);
    TRY(path_rename(job->path_template, folder, &job->axes, &job->fixed, &path, e));
    TRY(path_render(&path, index, ret_path, e));
out:
    path_done(&path);
    return rc;
}

int job_set_folder(struct job *job, const char *folder, struct err *e)
{
    struct path path = {0};
    char *copy;
    int rc = 0;

    if (strcmp(folder, job_folder(job)) == 0)
        return 0;
    copy = strdup(folder);
    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for a job's folder");
    TRY(path_compile(job->path_template, folder, &job->axes, &job->fixed, &path, e));
    path_done(&job->path);
    job->path = path;
    free(job->folder);
    job->folder = copy;
    copy = NULL;
out:
    free(copy);
    return rc;
}

const char *job_folder(const struct job *job)
{
    return job->folder ? job->folder : job->name;
}
