/*
 * What a reader of a manifest is told: mistakes and warnings, each at a place in a file or on the
 * command line. The list itself is declared in jobs/manifest.h.
 *
 *     diagnose(d, node->at, "unknown key '%s'%s", key, suggestion);
 */
#ifndef JOBS_DIAGNOSTIC_H
#define JOBS_DIAGNOSTIC_H

#include "jobs/manifest.h"

struct place {
    const char *file; /* as the user wrote it; or "--set key=value" */
    int line, column; /* from 1, columns in characters; line 0: not in a file */
};

/* Adds a mistake. Past MANIFEST_MISTAKES_MAX it is only counted. */
void diagnose(struct diagnostics *d, struct place at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a warning: the manifest is still accepted. */
void diagnose_warning(struct diagnostics *d, struct place at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Orders by place, those of `first_file` before the others, and drops repetitions. */
void diagnostics_sort(struct diagnostics *d, const char *first_file);

/* "job.yaml:3:7", or the file alone when the place has no line. */
void place_text(struct place at, struct buf *ret_text);

#endif
