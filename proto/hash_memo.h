/*
 * SHA-256 of files, each read once: a hash is remembered with the file's device, inode, size, and
 * times of change of bytes and of inode. Whatever is written to a file, put in its place, or done
 * to its times changes one of these, and it is read again. A file that changed in the last
 * HASH_MEMO_YOUNG_S seconds is not remembered: on some file systems a second change would not show.
 *
 * A memo may have a file behind it, to which processes of one user on one machine add what they
 * read, a line each; it can be removed at any time. Any thread.
 *
 *     TRY(hash_memo_new(NULL, &memo, e));
 *     TRY(hash_memo_file(memo, path, hex, e));
 */
#ifndef PROTO_HASH_MEMO_H
#define PROTO_HASH_MEMO_H

#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define HASH_MEMO_YOUNG_S 2
#define HASH_MEMO_MAX     4096 /* files in memory; beyond, the first remembered are forgotten */

struct hash_memo;

/*
 * file: where it is shared, made if need be; NULL: nowhere. A disk that refuses it costs only that.
 * ERR_CONFLICT: others than this user could write it. ret_memo: hash_memo_free().
 */
int hash_memo_new(const char *file, struct hash_memo **ret_memo, struct err *e);
void hash_memo_free(struct hash_memo *m);

/* The hash of a file's bytes, read unless they are known. m NULL: always read. ERR_MISSING and its
 * like; ERR_INPUT: no regular file, or it changed while it was read. */
int hash_memo_file(struct hash_memo *m, const char *path, char ret_hex[HASH_HEX_SIZE],
                   struct err *e);

/* Bytes that hash_memo_file has read, of all files. */
uint64_t hash_memo_read_bytes(struct hash_memo *m);

/* The caller has read the file, whose stat was `st` before and after. m NULL: nothing happens. */
void hash_memo_note(struct hash_memo *m, const struct stat *st, const char *hex);
/* The same for other processes too. Only what was settled before it was read. */
void hash_memo_share(struct hash_memo *m, const struct stat *st, const char *hex);
/* Whether it last changed so long ago that another change would show. Ask before reading. */
bool hash_memo_settled(const struct stat *st);

#endif
