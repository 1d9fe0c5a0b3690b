/*
 * The manifest language: a YAML file (jobs/SPEC.md) becomes a bundle, or a list of mistakes, all of
 * them in one go, each with file:line:column and what to do. Reads the files that the manifest
 * names, and draws missing seeds; nothing else has an effect. Behind it: libyaml.
 *
 *     struct manifest_options o = {.path = "job.yaml"};
 *     rc = manifest_load(&o, &diagnostics, &bundle, source_hash, e);
 *     for (i = 0; i < diagnostics.n; i++) puts(diagnostics.items[i].text);
 */
#ifndef JOBS_MANIFEST_H
#define JOBS_MANIFEST_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_FILE_MAX     (16u << 20) /* bytes of the YAML file, and of each list or CSV file */
#define MANIFEST_MISTAKES_MAX 100

struct diagnostic {
    char *text;       /* "job.yaml:4:3: unknown key 'smapler', did you mean 'sampler'?"; owned */
    char *file;       /* that text starts with; "--set key=value" for an override; owned */
    int line, column; /* from 1; 0 for an override */
    bool warning;
};

/* At most MANIFEST_MISTAKES_MAX, and one that says there are more. Ordered by place. */
struct diagnostics {
    struct diagnostic *items;
    size_t n;
    size_t n_errors; /* mistakes, those not listed included */
};

void diagnostics_done(struct diagnostics *d);

struct manifest_options {
    const char *path; /* of the YAML file; "-" reads standard input */
    const char *const
        *sets; /* "key=value" overrides, value in YAML; dots reach inside: "output.path=x" */
    size_t n_sets;
    const char *model; /* overrides the manifest's model, or NULL */
    /* Draws one seed for a manifest without one (or with -1), 0..2^32-1. NULL: from the system. */
    int64_t (*draw_seed)(void *user);
    void *user;
};

/*
 * ERR_INPUT if there is any mistake (e says how many; diagnostics say which), ERR_IO/ERR_MISSING if
 * the manifest itself cannot be read. Warnings alone do not fail. ret_bundle: canonical JSON.
 *
 * ret_source_hash (may be NULL): SHA-256 of the bundle with undrawn seeds, equal for the same
 * manifest and files however seeds were drawn.
 */
int manifest_load(const struct manifest_options *o, struct diagnostics *ret_diagnostics,
                  struct buf *ret_bundle, char *ret_source_hash, struct err *e);

#endif
