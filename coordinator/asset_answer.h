/* What a look for one asset of a task came to: from the depot's thread to the reactor. Plain data.
 */
#ifndef COORDINATOR_ASSET_ANSWER_H
#define COORDINATOR_ASSET_ANSWER_H

#include "jobs/asset.h"
#include "jobs/listing.h"

/* The names of all embeddings in the library are asked for like an asset of this role, named "". */
#define ASSET_NAMES ASSET_ROLES

struct asset_answer {
    enum asset_role role;
    char *name;                 /* as the task has it; owned, as all strings here */
    struct err failure;         /* ERR_MISSING: it is not here; code 0: the rest holds */
    char *label;                /* the last part of its path; the library's name of an embedding
                                   or a LoRA */
    char sha256[HASH_HEX_SIZE]; /* of the file, or of the folder's listing */
    bool folder;
    uint64_t bytes;
    struct listing files; /* of a folder; of a file itself, by its label; ASSET_NAMES: the names */
};

void asset_answer_done(struct asset_answer *a);

#endif
