/*
 * The models that stay loaded between tasks. With a memory budget one model at a time, since the
 * budget is each engine's own and pictures must not depend on what else is loaded; without one, as
 * many as fit half of the machine's memory, the least recently used leaves first. One thread.
 */
#ifndef WORKER_RESIDENT_H
#define WORKER_RESIDENT_H

#include "engine/engine.h"

struct resident;

struct resident_options {
    enum backend backend;
    int device; /* of BACKEND_CUDA */
    int threads;
    uint64_t memory_bytes; /* budget of one engine, 0: no limit */
    const char *const *lora_folders, *const *embedding_folders; /* of every engine; borrowed */
    struct hash_memo *hashes;                                   /* the same; may be NULL */
    /* As engine_options has them; may be NULL. */
    int (*lora_path)(void *user, const char *name, char ret_path[PATH_MAX], struct err *e);
    void *lora_user;
};

/* What is loaded: paths as engine_options has them. */
struct resident_model {
    const char *model;
    const char *config, *vae; /* may be NULL */
    const char *identity;     /* of their bytes, if known; NULL: what the paths hold */
    enum precision precision;
    int shard, shards; /* as engine_options has them */
};

/* Holds no model yet. ret_resident: resident_free(), which closes them all. ERR_OOM. */
int resident_new(const struct resident_options *o, struct resident **ret_resident, struct err *e);
void resident_free(struct resident *r);

/*
 * The engine of a model, opened if need be: where the device computes two precisions that tasks ask
 * for alike, one engine serves both. ret_engine: borrowed until the next call. ret_seconds:
 * how long opening took, 0 when it was resident.
 */
int resident_get(struct resident *r, const struct resident_model *model, struct engine **ret_engine,
                 double *ret_seconds, struct err *e);

#endif
