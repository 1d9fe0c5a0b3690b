/* The output folder as its own two files see it: output.c keeps it, output_picture.c fills it. */
#ifndef COORDINATOR_OUTPUT_INNER_H
#define COORDINATOR_OUTPUT_INNER_H

#include "coordinator/folders.h"
#include "coordinator/output.h"

#include <sys/stat.h>

struct output {
    char *dir; /* absolute */
    int root;
    struct stat st; /* of the folder that root is */
    bool checked;   /* in this batch: it is still the one at dir */
    struct folders folders;
};

/*
 * The folder may vanish under us, or be made anew: then all goes on in the new one. Another file
 * system at its place (nothing mounted, say) is waited for, since pictures would be hidden there.
 */
int output_check(struct output *o, struct err *e);

/*
 * Writes a file whole or not at all. tag makes the temporary name; the same file gets the same one
 * again, so that what a crash left is overwritten. replace: a file at path is replaced, else it is
 * ERR_CONFLICT.
 */
int output_commit(struct output *o, const char *path, const char *tag, const void *data,
                  size_t size, bool replace, struct err *e);

#endif
