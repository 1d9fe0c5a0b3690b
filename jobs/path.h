/*
 * The output path template, "{job}/{thing}/{seed:04}.png": compiled once, checked so that every
 * index has its own path inside the output folder, rendered per index. See jobs/SPEC.md, "Output".
 */
#ifndef JOBS_PATH_H
#define JOBS_PATH_H

#include "jobs/axis.h"

#define PATH_TEMPLATE_MAX 2048 /* bytes */

enum path_kind { PATH_TEXT, PATH_SLASH, PATH_COLUMN, PATH_INDEX };

struct path_part {
    enum path_kind kind;
    char *text;          /* PATH_TEXT: as it stands in every path; owned */
    size_t axis, column; /* PATH_COLUMN */
    int pad;             /* at least so many digits, 0: as they are */
};

struct path {
    const struct axes *axes; /* borrowed */
    struct path_part *parts;
    size_t n;
};

/*
 * Reads and checks a template (jobs/distinct.h does what concerns names that collide). ERR_INPUT
 * says what to change.
 *   job_name  what {job} stands for
 *   fixed     the parameters that no column sets, for {steps} and its like
 */
int path_compile(const char *text, const char *job_name, const struct axes *axes,
                 const struct task *fixed, struct path *ret_path, struct err *e);
void path_done(struct path *path);

/* The same for a template that was read before, {job} standing for another name: nothing is
 * checked but its characters. */
int path_rename(const char *text, const char *job_name, const struct axes *axes,
                const struct task *fixed, struct path *ret_path, struct err *e);

/* Appends the path of an index: relative, at most JOB_PATH_MAX bytes. */
int path_render(const struct path *path, uint64_t index, struct buf *ret_text, struct err *e);

/* Appends what a part (no PATH_SLASH) becomes for a position of its axis, or for an index. */
int path_part_text(const struct path *path, const struct path_part *part, uint64_t at,
                   struct buf *ret_text, struct err *e);

/* "{thing}" for messages: appends a part as it stands in the template. */
void path_part_name(const struct path *path, const struct path_part *part, struct buf *ret_text);

#endif
