/* SHA-256 (FIPS 180-4) of bytes and files, as lower-case hex. Behind it: OpenSSL's libcrypto. */
#ifndef PROTO_HASH_H
#define PROTO_HASH_H

#include "proto/err.h"

#include <stddef.h>

#define HASH_HEX_SIZE 65 /* 64 hex digits and NUL */

/* SHA-256 as 64 lower-case hex digits and NUL. Any thread. ERR_INTERNAL: the library refused. */
int hash_bytes(const void *data, size_t size_bytes, char ret_hex[HASH_HEX_SIZE], struct err *e);

/* The same of a whole file; 1-2 GB/s on current machines. ERR_MISSING, ERR_IO name it; ERR_INPUT:
 * no regular file. */
int hash_file(const char *path, char ret_hex[HASH_HEX_SIZE], struct err *e);

/* A hash of bytes that come one part after the other. ret_run: hash_run_free(). ERR_OOM. */
struct hash_run;
int hash_run_new(struct hash_run **ret_run, struct err *e);
int hash_run_add(struct hash_run *run, const void *data, size_t size_bytes, struct err *e);
/* Of all parts. The run can only be freed then. */
int hash_run_end(struct hash_run *run, char ret_hex[HASH_HEX_SIZE], struct err *e);
void hash_run_free(struct hash_run *run);

#endif
