/*
 * The weights files of a folder and all folders below it, for names that prompts use: what a file
 * is called, and what the program that trained it called it. Symbolic links are followed; a file
 * reached twice counts once. Any thread.
 *
 *     TRY(shelf_read("models/loras", &shelf, e));
 *     rc = shelf_find(&shelf, "ink", SHELF_STEM, &file, e);
 *     shelf_done(&shelf);
 */
#ifndef JOBS_SHELF_H
#define JOBS_SHELF_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SHELF_DEPTH_MAX 8     /* folders below the first */
#define SHELF_FILES_MAX 20000 /* more are an error */

struct shelf_file {
    char *path; /* owned */
    char *stem; /* its name without the ending; owned */
    bool pickle;
    dev_t device;
    ino_t inode;
};

struct shelf {
    struct shelf_file *files; /* [n], higher ones first, then by path; owned */
    size_t n;
};

/* .safetensors, and pickles (.pt, .ckpt, .bin), which are found only to be refused by their names.
 * A folder that does not exist or cannot be read is empty. Appends. */
int shelf_read(const char *folder, struct shelf *shelf, struct err *e);
void shelf_done(struct shelf *shelf);

enum shelf_key {
    SHELF_STEM,  /* the file's name */
    SHELF_ALIAS, /* ss_output_name in its metadata, as kohya's trainers write it */
};

/* The one .safetensors file of that name: borrowed; NULL: none. ERR_INPUT: two of them. */
int shelf_find(const struct shelf *shelf, const char *name, enum shelf_key key,
               const struct shelf_file **ret_file, struct err *e);

/* Appends ", did you mean 'x'?" for the nearest file, or what is wrong with a pickle of the name.
 */
void shelf_hint(const struct shelf *shelf, const char *name, struct buf *ret_text);

#endif
