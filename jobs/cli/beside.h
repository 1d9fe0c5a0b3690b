/* A picture by its hash, in the folder of another one. */
#ifndef JOBS_CLI_BESIDE_H
#define JOBS_CLI_BESIDE_H

#include "proto/err.h"

/*
 * The PNG file of that SHA-256 in the folder of `image`, absolute; NULL: there is none. Those next
 * to it by name are looked at first. ret_path: caller frees. ERR_IO, ERR_MISSING: the folder cannot
 * be read.
 */
int beside_find(const char *image, const char *sha256, char **ret_path, struct err *e);

#endif
