/* The state folder: made if missing, locked for one coordinator, on a disk that keeps promises. */
#ifndef COORDINATOR_STATE_DIR_H
#define COORDINATOR_STATE_DIR_H

#include "proto/err.h"

/*
 * Makes state_dir (and its parents) and takes STATE/lock, which holds our pid as text.
 * ERR_CONFLICT: another process has it. ret_fd: state_unlock().
 */
int state_lock(const char *state_dir, int *ret_fd, struct err *e);
void state_unlock(int fd); /* -1 is legal */

/* mkdir -p. */
int folder_make(const char *path, struct err *e);

/* Writes STATE/name whole or not at all: temporary file, fsync, rename. */
int state_file_write(const char *state_dir, const char *name, const char *text, struct err *e);

#endif
