/*
 * Assets: the files, beside the task's own text, that decide a picture's pixels. Which of them a
 * task names, what they are called on the wire (proto/PROTOCOL.md, "Assets"), and the hash of a
 * task with its files by content. Pure; any thread. Where files are is jobs/library.h's.
 *
 *     TRY(asset_needs_of(&task, &needs, e));
 *     for (size_t i = 0; i < needs.n; i++)
 *         ... asset_role_name(needs.at[i].role), needs.at[i].name
 *     asset_needs_done(&needs);
 */
#ifndef JOBS_ASSET_H
#define JOBS_ASSET_H

#include "jobs/task.h"
#include "proto/hash.h"

enum asset_role {
    ASSET_MODEL,
    ASSET_CONFIG, /* folder that describes a single-file model */
    ASSET_VAE,
    ASSET_INIT, /* init_image */
    ASSET_MASK,
    ASSET_LORA,
    ASSET_EMBEDDING,
    ASSET_ROLES
};

/* "model", "model_config", "vae", "init_image", "mask", "lora", "embedding"; static. */
const char *asset_role_name(enum asset_role role);
/* ASSET_ROLES: no such role. */
enum asset_role asset_role_from_name(const char *name);

struct asset_needs {
    struct asset_need {
        enum asset_role role;
        char *name;  /* as the task has it: library name, absolute path, sha256:HEX; owned */
        char *label; /* what prompts call a LoRA or an embedding; else NULL; owned */
    } * at;          /* owned */
    size_t n;
};

/*
 * What the task's fields name, the LoRAs of its prompt that have a weight, and the embeddings that
 * it binds. Others of the library are not among them: only who knows their names can tell
 * (asset_may_use). ERR_OOM; a prompt that cannot be read names nothing. ret_needs:
 * asset_needs_done(), also on failure.
 */
int asset_needs_of(const struct task *t, struct asset_needs *ret_needs, struct err *e);
/* label may be NULL. Copies both. */
int asset_needs_add(struct asset_needs *needs, enum asset_role role, const char *name,
                    const char *label, struct err *e);
void asset_needs_done(struct asset_needs *needs);

/*
 * Whether the embedding's name may stand in one of the task's prompts: surely not if false.
 * Capitals, spaces and letters beyond ASCII are left out of the comparison, since tokens decide in
 * the end.
 */
bool asset_may_use(const struct task *t, const char *embedding);

/* Whether the task binds this name, or one that a tokenizer takes for the same (capitals), to a
 * file: the library's embedding of that name is then not meant. */
bool asset_is_bound(const struct task *t, const char *embedding);

/* The 64 digits of "sha256:HEX", or NULL if the name is no such one. Borrowed from name. */
const char *asset_hash_of(const char *name);

/* A name that can stand between two slashes of a path and leads nowhere else: 1 to 255 bytes,
 * UTF-8, no '/', '\', control character, and no dot in front. */
bool asset_name_is_safe(const char *name, size_t size);

/* A file of a task as it is. */
struct asset_hash {
    enum asset_role role;
    const char *name;   /* of a LoRA or an embedding; else not looked at */
    const char *sha256; /* of the file, or of the folder's listing */
};

/*
 * A task's hash with its assets by content: SHA-256 of the canonical JSON of the task in which the
 * fields that name files hold "sha256:HEX", and "loras" and "embeddings" map names to such texts.
 * What is not among the n hashes stays as it is named. task: canonical JSON. ERR_INPUT: it is none.
 */
int asset_task_hash(const char *task, const struct asset_hash *hashes, size_t n,
                    char ret_hex[HASH_HEX_SIZE], struct err *e);

#endif
