/*
 * What the coordinator knows of files on its disk: their SHA-256 by path, size, time stamp and
 * inode, in STATE/files.db, so that each is read once. It can be deleted: everything in it is found
 * again. Behind it: SQLite. One thread, its own connection.
 *
 *     TRY(files_open("/var/lib/litho", &f, e));
 *     TRY(file_stamp(path, &stamp, e));
 *     TRY(files_get(f, path, &stamp, hex, e));      // "": not known, or it is another file by now
 *     TRY(files_put(f, path, &stamp, hex, e));
 */
#ifndef COORDINATOR_FILES_H
#define COORDINATOR_FILES_H

#include "proto/buf.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct files;

/* A file that changed differs in one of these. */
struct file_stamp {
    uint64_t bytes;
    int64_t mtime_ns;
    uint64_t inode;
};

struct file_stamp file_stamp_of(const struct stat *st);
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);
/* ERR_MISSING; ERR_INPUT: no regular file. */
int file_stamp(const char *path, struct file_stamp *ret_stamp, struct err *e);

/* A database that is damaged, or of another version, is begun anew; where the disk refuses it, all
 * is kept in memory. */
int files_open(const char *state_dir, struct files **ret_files, struct err *e);
void files_close(struct files *f);

/* ret_hex: "" if the path is unknown, or its stamp is another. ERR_IO and its like. */
int files_get(struct files *f, const char *path, const struct file_stamp *stamp,
              char ret_hex[HASH_HEX_SIZE], struct err *e);
int files_put(struct files *f, const char *path, const struct file_stamp *stamp, const char *hex,
              struct err *e);

/* A file with that hash whose stamp still holds. ERR_MISSING names those that have changed. */
int files_find(struct files *f, const char *hex, struct buf *ret_path, uint64_t *ret_bytes,
               struct err *e);

/* Folders' listings by their hash, and where the folder was seen last. */
int files_put_listing(struct files *f, const char *hex, const char *path, const struct buf *text,
                      struct err *e);
/* Either may be NULL. ERR_MISSING. */
int files_get_listing(struct files *f, const char *hex, struct buf *ret_path, struct buf *ret_text,
                      struct err *e);

#endif
