/*
 * Texts as parts of file names that every file system takes. See jobs/SPEC.md, "Output".
 */
#ifndef JOBS_FILENAME_H
#define JOBS_FILENAME_H

#include "proto/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILENAME_PART_MAX 100 /* bytes of a substituted value */

/*
 * Appends a value (UTF-8) as a part of a file name, never empty: control and direction characters
 * and / \ : * ? " < > | become _, so do dots and spaces at the start and the end; a name that
 * Windows reserves (con, com1, ...) gets a _; more than FILENAME_PART_MAX bytes are cut, and end in
 * ~ and 8 hex digits of the whole value's SHA-256.
 */
int filename_part(const char *text, size_t size, struct buf *ret_part, struct err *e);

/* True for a character that filename_part replaces anywhere. */
bool filename_forbidden(uint32_t code);

/* True for the size bytes that Windows takes for a device, whatever follows a dot. */
bool filename_reserved(const char *text, size_t size);

/* Appends the form in which file systems that ignore case compare names. */
void filename_fold(const char *text, size_t size, struct buf *ret_text);

#endif
