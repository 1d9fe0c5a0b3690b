/*
 * Files written whole or not at all. Any thread.
 *
 *     TRY(file_replace("out/.litho/plan.json", text.data, text.size, e));
 */
#ifndef PROTO_FILE_H
#define PROTO_FILE_H

#include "proto/err.h"

#include <stddef.h>

/* Writes all bytes to an open file and syncs it. path: for the error's text. ERR_IO and its like.
 */
int file_write(int fd, const char *path, const void *data, size_t size, struct err *e);

/*
 * Writes a file by way of a temporary one beside it (PATH.PID.new), synced and renamed: a reader
 * sees the old bytes or the new ones, also after a crash. On failure the old file stays, and
 * nothing is left beside it. A symbolic link at path is replaced, not followed.
 */
int file_replace(const char *path, const void *data, size_t size, struct err *e);

#endif
