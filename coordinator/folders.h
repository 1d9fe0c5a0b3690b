/*
 * Folders below one root, reached component by component without following symbolic links, and kept
 * open until the end of a batch, when those that got new names are synced. One thread.
 */
#ifndef COORDINATOR_FOLDERS_H
#define COORDINATOR_FOLDERS_H

#include "proto/err.h"

#include <stdbool.h>

#define FOLDERS_OPEN_MAX 64

struct folders {
    int root; /* descriptor; borrowed */
    struct folder {
        char *path; /* relative to the root, "" is the root itself; owned */
        int fd;
        bool dirty; /* has names that are not synced */
    } open[FOLDERS_OPEN_MAX];
    int n;
};

/*
 * The folder of a file path. make: missing folders are made, else they are ERR_MISSING. ret_folder
 * is good until the next call of folders_sync; ret_name borrows from path. ERR_CONFLICT: a
 * component is no folder; ERR_ARG: the path is not inside.
 */
int folders_of(struct folders *f, const char *path, bool make, struct folder **ret_folder,
               const char **ret_name, struct err *e);

/* Closes all as they are. */
void folders_drop(struct folders *f);

/* Syncs the dirty ones and closes all. */
int folders_sync(struct folders *f, struct err *e);

#endif
