/* A job's axes and their values as text, and the contact sheet that two of them span. */
#include "jobs/job_inner.h"
#include "jobs/param.h"

#include <string.h>

size_t job_axis_count(const struct job *job)
{
    return job->axes.n;
}

const char *job_axis_name(const struct job *job, size_t axis)
{
    return job->axes.items[axis].name;
}

uint64_t job_axis_length(const struct job *job, size_t axis)
{
    return job->axes.items[axis].length;
}

uint64_t job_axis_stride(const struct job *job, size_t axis)
{
    return job->axes.factors[job->axes.items[axis].factor].stride;
}

bool job_axis_chained(const struct job *job, size_t axis)
{
    return job->chain.frames > 1 && job->axes.items[axis].factor == job->axes.n_factors - 1;
}

static bool param_costly(int p)
{
    return p == PARAM_MODEL || p == PARAM_MODEL_CONFIG || p == PARAM_VAE || p == PARAM_PRECISION ||
           p == PARAM_WIDTH || p == PARAM_HEIGHT || p == PARAM_SIZE || p == PARAM_STYLES ||
           p == PARAM_SAMPLER || p == PARAM_SCHEDULER || p == PARAM_STEPS;
}

bool job_axis_costly(const struct job *job, size_t axis)
{
    const struct axis *a = &job->axes.items[axis];

    for (size_t c = 0; c < a->n_columns; c++) {
        if (param_costly(a->columns[c].param))
            return true;
        for (uint64_t at = 0; a->cells && at < a->length; at++)
            if (strstr(a->cells[at * a->n_columns + c], "<lora:"))
                return true;
    }
    return false;
}

bool job_axis_textual(const struct job *job, size_t axis)
{
    const struct axis *a = &job->axes.items[axis];

    for (size_t c = 0; c < a->n_columns; c++)
        if (a->columns[c].param < 0 || a->columns[c].param == PARAM_PROMPT ||
            a->columns[c].param == PARAM_NEGATIVE_PROMPT)
            return true;
    return false;
}

bool job_axes_zipped(const struct job *job, size_t a, size_t b)
{
    return job->axes.items[a].factor == job->axes.items[b].factor;
}

uint64_t job_axis_at(const struct job *job, size_t axis, uint64_t index)
{
    return axes_at(&job->axes, axis, index);
}

void job_axis_value(const struct job *job, size_t axis, uint64_t at, struct buf *ret_text)
{
    for (size_t c = 0; c < job->axes.items[axis].n_columns; c++) {
        if (c)
            buf_puts(ret_text, ", ");
        axis_text(&job->axes.items[axis], c, at, ret_text);
    }
}

bool job_sheet(const struct job *job, struct job_sheet *ret_sheet)
{
    if (job->has_sheet)
        *ret_sheet = job->sheet;
    return job->has_sheet;
}

uint64_t job_sheet_index(const struct job *job, const struct job_sheet *sheet, uint32_t column,
                         uint32_t row)
{
    uint64_t index = 0;

    if (sheet->x_axis >= 0)
        index += column * job->axes.factors[job->axes.items[sheet->x_axis].factor].stride;
    if (sheet->y_axis >= 0)
        index += row * job->axes.factors[job->axes.items[sheet->y_axis].factor].stride;
    return job_excluded(job, index) ? job->axes.span : index;
}

size_t job_models(const struct job *job, const char **ret_models, size_t max)
{
    for (size_t i = 0; i < job->n_models && i < max; i++)
        ret_models[i] = job->models[i];
    return job->n_models;
}
