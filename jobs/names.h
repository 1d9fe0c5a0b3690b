/*
 * Names of prompts bound to files: what `loras` and `embeddings` of a manifest, a bundle and a task
 * hold. A file is an absolute path that ends in .safetensors, or "sha256:" and 64 hex digits. A
 * name that is bound means that file, whatever the model library has under it. Plain data.
 *
 *     TRY(names_read(json_object_get(task, "loras"), NAMES_LORAS, "task", &names, e));
 *     file = names_find(&names, "ink");                   // "/styles/ink.safetensors"
 *     names_done(&names);
 */
#ifndef JOBS_NAMES_H
#define JOBS_NAMES_H

#include "proto/err.h"

#include <jansson.h>
#include <stddef.h>

#define NAMES_BOUND_MAX 256 /* of one kind */
#define NAME_SIZE_MAX   243 /* bytes; with the ending of its file it is a file's name */

enum names_kind { NAMES_LORAS, NAMES_EMBEDDINGS };

/* Zeroed memory is empty. */
struct names {
    struct name {
        char *name, *file; /* UTF-8; owned */
    } * at;                /* [n], by name, byte by byte; names differ; owned */
    size_t n;
};

/* "loras", "embeddings": the key of a manifest, a bundle and a task. Static. */
const char *names_key(enum names_kind kind);

/* "LoRA", "embedding": what messages call one. Static. */
const char *names_noun(enum names_kind kind);

/*
 * Whether prompts can call a file so: a part of a path, at most NAME_SIZE_MAX bytes; a LoRA's
 * without : < > =, which `<lora:NAME:1>` cannot hold. ERR_INPUT says what is wrong.
 */
int names_check_name(enum names_kind kind, const char *name, struct err *e);

/* Whether a name can be bound to that. ERR_INPUT says what is wrong. */
int names_check_file(enum names_kind kind, const char *file, struct err *e);

/* The file that the name is bound to; NULL: it is not. Borrowed. */
const char *names_find(const struct names *names, const char *name);

/* Binds it, to another file if it was bound. Copies both; nothing is checked. ERR_OOM. */
int names_put(struct names *names, const char *name, const char *file, struct err *e);

/* {"ink":"/styles/ink.safetensors"}, every name and file checked; not empty. NULL: no names.
 * ERR_INPUT begins with `where`. ret_names: names_done(). */
int names_read(const json_t *value, enum names_kind kind, const char *where,
               struct names *ret_names, struct err *e);

/* The same as JSON: a new reference, NULL when out of memory. */
json_t *names_json(const struct names *names);

/* A deep copy. ret_names: names_done(). ERR_OOM. */
int names_copy(const struct names *names, struct names *ret_names, struct err *e);
void names_done(struct names *names);

#endif
