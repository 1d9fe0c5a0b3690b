/* Inside checkpoint.h's room: what the readers of the layouts fill. */
#ifndef ENGINE_CHECKPOINT_LAYOUT_H
#define ENGINE_CHECKPOINT_LAYOUT_H

#include "engine/checkpoint.h"

#define CHECKPOINT_TOKENIZERS 2

struct checkpoint {
    char *path; /* owned, as everything here */
    struct checkpoint_kind kind;
    struct part parts[CHECKPOINT_PARTS];     /* without where: the model has none */
    char *tokenizers[CHECKPOINT_TOKENIZERS]; /* folders, or NULL */
    char *schedule;                          /* file */
    struct checkpoint_file *files;           /* [n_files] */
    size_t n_files;
};

/* A diffusers folder. */
int checkpoint_open_folder(struct checkpoint *c, struct err *e);

/* Takes note of a file. folder: what name is relative to. */
int checkpoint_add_file(struct checkpoint *c, const char *folder, const char *name, bool denoiser,
                        struct err *e);

#endif
