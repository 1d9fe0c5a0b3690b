/* The command line of litho-worker. Pure but for the environment it reads and getopt's globals. */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include "engine/engine.h"
#include "proto/err.h"
#include "proto/log.h"

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_NAME_MAX     200 /* bytes of a worker's name */
#define OPTIONS_THREADS_MAX  1024
#define OPTIONS_CREDITS_MAX  32
#define OPTIONS_BATCH_MAX    32
#define OPTIONS_BATCH        4               /* more than that gains little on a CPU */
#define OPTIONS_BATCH_PIXELS UINT64_C(65536) /* pixels: four pictures of 128x128 */

struct options {
    const char *connect;      /* endpoint; borrowed from argv or the environment */
    char *name;               /* owned */
    const char **directories; /* of models; owned array of borrowed strings */
    size_t n_directories;
    int threads;
    uint64_t memory_bytes; /* 0: no limit */
    enum backend backend;
    int device;               /* of BACKEND_CUDA */
    const char *gang_address; /* gang.h; NULL: gangs on this machine only; borrowed */
    uint32_t credits;
    uint32_t batch;        /* pictures rendered together, at most */
    uint64_t batch_pixels; /* of all of them; 0: no limit */
    enum log_level log_level;
    uint32_t time_limit_s; /* leaves then; 0: never */
    uint64_t keep_bytes;   /* of results in memory */
    uint64_t spill_bytes;  /* of results on disk; 0: none */
    char *cache_folder;    /* owned */
    bool cache_chosen;     /* by --cache-dir: then it must be of use from the start */
    uint64_t cache_bytes;
    const char *hashes;       /* file of hashes shared with other processes; NULL: none; borrowed */
    bool own_files;           /* of the library serve where they are those of the coordinator */
    const char *spill_folder; /* NULL: TMPDIR, else /tmp; borrowed */
    bool help, version, list_devices; /* asked for: nothing else is checked */
    /* --plan: what tasks would take, instead of work */
    bool plan, json;
    const char *tasks; /* file of one task a line, "-": standard input; NULL: from the sets */
    const char **sets; /* "key=value" of a task; owned array of borrowed strings */
    size_t n_sets;
    const char *model, *size; /* the same for two of them; NULL: not given */
};

/* ERR_ARG with what is wrong. ret_o: options_done(), also on failure. */
int options_parse(int argc, char **argv, struct options *ret_o, struct err *e);
void options_done(struct options *o);

/* "4G", "512M", "100k" or bytes. ERR_ARG. */
int size_parse(const char *text, uint64_t *ret_bytes, struct err *e);

extern const char *const options_help;

#endif
