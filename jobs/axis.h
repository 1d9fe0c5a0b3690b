/*
 * The axes of a job: lists of rows (one text per column) or ranges of numbers, and the product of
 * zips that orders them. Part of jobs/job.c; checked completely when read. See jobs/SPEC.md, "The
 * bundle".
 */
#ifndef JOBS_AXIS_H
#define JOBS_AXIS_H

#include "jobs/param.h"
#include "proto/buf.h"
#include "proto/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AXIS_COLUMNS_MAX 256 /* of all axes together */
#define AXIS_NAME_MAX    64  /* bytes of an axis' or a column's name */

struct column {
    char *name;      /* owned */
    int param;       /* the task parameter it sets, or -1: a variable of the prompt */
    size_t max_size; /* bytes of its longest value */
};

/* Value k is first + k * step, rounded to `decimals` places. */
struct range {
    double first, step;
    bool whole; /* first_n + k * step_n, exactly */
    int64_t first_n, step_n;
    int decimals;
};

struct axis {
    char *name; /* owned */
    uint64_t length;
    struct column *columns; /* [n_columns], owned */
    size_t n_columns;
    const char **cells; /* [length * n_columns], row by row; NULL for a range */
    char *texts;        /* what cells point into, owned */
    struct range range;
    size_t factor; /* which factor of the product it belongs to */
};

/* One factor of the product: axes that advance together. */
struct factor {
    uint64_t length;
    uint64_t stride; /* indices from one of its positions to the next */
};

struct axes {
    struct axis *items; /* [n], owned */
    size_t n;
    struct factor *factors; /* [n_factors], outermost first, owned */
    size_t n_factors;
    uint64_t span;
};

/* Reads "axes" and "combine" of a bundle. ret_axes: axes_done(). */
int axes_read(const json_t *axes, const json_t *combine, struct axes *ret_axes, struct err *e);
void axes_done(struct axes *axes);

/* The column of that name; false if there is none. */
bool axes_find(const struct axes *axes, const char *name, size_t name_size, size_t *ret_axis,
               size_t *ret_column);

/* The column that sets a parameter; false if none does. */
bool axes_find_param(const struct axes *axes, enum param p, size_t *ret_axis, size_t *ret_column);

/*
 * The parameter of that name if no column sets it, or a part of it: `width` does not stand by
 * itself beside a column `size`. False otherwise.
 */
bool axes_fixed(const struct axes *axes, const char *name, size_t name_size, enum param *ret_param);

/* Position of an axis at an index. */
uint64_t axes_at(const struct axes *axes, size_t axis, uint64_t index);

/* Appends value `at` (< length) of a column as text. */
void axis_text(const struct axis *axis, size_t column, uint64_t at, struct buf *ret_text);

/* "text" as a number of a rule or a cell: the value, or its shortest decimal text. */
int axis_cell_text(const json_t *cell, struct buf *ret_text, struct err *e);

/* True if a name can be used for columns, variables and axes. */
bool axis_name_valid(const char *name);

#endif
