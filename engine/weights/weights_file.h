/*
 * One safetensors file, mapped and checked. Inside weights.h's room: callers outside use weights.h.
 *
 * The format: huggingface/safetensors README: u64 little-endian header length, JSON header, data.
 */
#ifndef ENGINE_WEIGHTS_WEIGHTS_FILE_H
#define ENGINE_WEIGHTS_WEIGHTS_FILE_H

#include "engine/ops/tensor.h"
#include "proto/json.h"

struct weights_file;

struct weights_entry {
    const struct weights_file *file;
    const char *name;   /* borrowed from the header's JSON */
    const char *format; /* the same; "F16" */
    size_t begin, end;  /* bytes from the start of the data */
    bool readable;      /* tensor is filled: a dtype and rank that struct tensor can hold */
    struct tensor tensor;
};

struct weights_file {
    char *path;
    int fd; /* -1 when not open */
    const unsigned char *map;
    size_t size;               /* bytes of the file and of the mapping */
    const unsigned char *data; /* first byte behind the header */
    size_t data_size;
    json_t *header;
    struct weights_entry *entries;  /* in order of data */
    struct weights_entry **by_name; /* [count] */
    size_t count;
};

/* Errors as weights_open. */
int weights_file_open(const char *path, struct weights_file **ret_f, struct err *e);
void weights_file_close(struct weights_file *f);

/* Maps the pages of bytes[size] at once; lets go of them. Nothing happens to what is not this
 * file's. */
void weights_file_map(const struct weights_file *f, const void *bytes, size_t size);
void weights_file_drop(const struct weights_file *f, const void *bytes, size_t size);

/* ERR_INPUT with the reason and the cure. */
int weights_refuse_pickle(const char *path, struct err *e);

/* NULL: no tensor of that name among sorted[n]. */
struct weights_entry *weights_entry_find(struct weights_entry *const *sorted, size_t n,
                                         const char *name);

/* For qsort of pointers to entries, as weights_entry_find needs them. */
int weights_entry_order(const void *a, const void *b);

#endif
