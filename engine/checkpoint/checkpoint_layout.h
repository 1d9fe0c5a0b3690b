/* Inside checkpoint.h's room: what the readers of the layouts fill. */
#ifndef ENGINE_CHECKPOINT_CHECKPOINT_LAYOUT_H
#define ENGINE_CHECKPOINT_CHECKPOINT_LAYOUT_H

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/ldm_names.h"

#define CHECKPOINT_TOKENIZERS 2

struct checkpoint {
    char *path; /* owned, as everything here but pads */
    struct checkpoint_kind kind;
    struct part parts[CHECKPOINT_PARTS];     /* without where: the model has none */
    char *tokenizers[CHECKPOINT_TOKENIZERS]; /* folders; NULL: CLIP's published one */
    const char *pads[CHECKPOINT_TOKENIZERS]; /* of the published one; static */
    char *schedule;                          /* file, or what stands for it in errors */
    json_t *schedule_root;                   /* what it holds; NULL: read the file */
    json_t *vae_base;              /* the model's VAE's configuration, for a VAE in one file */
    struct checkpoint_file *files; /* [n_files] */
    size_t n_files;
    /* Below the views that parts of single files are. */
    struct weights *file, *vae_file;
    struct ldm_unet_names unet_names;
    struct ldm_clip_names text_names[2];
    struct ldm_vae_names vae_names;
};

/* A diffusers folder. */
int checkpoint_open_folder(struct checkpoint *c, const struct checkpoint_options *o, struct err *e);

/* One file with the names of the original checkpoints. */
int checkpoint_open_file(struct checkpoint *c, const struct checkpoint_options *o, struct err *e);

/* Another VAE in the place of the model's own: a folder or a file. */
int checkpoint_open_vae(struct checkpoint *c, const char *path, struct err *e);

/* ---- shared by them. FOLDER: where to read; as: put before the names of files, "" or "config:" */

/* model_index.json: the pipeline's kind. */
int checkpoint_read_index(struct checkpoint *c, const char *folder, const char *as, struct err *e);

/* tokenizer/ or tokenizer_2/. */
int checkpoint_use_tokenizer(struct checkpoint *c, int i, const char *folder, const char *as,
                             struct err *e);

/* scheduler/scheduler_config.json. */
int checkpoint_use_schedule(struct checkpoint *c, const char *folder, const char *as,
                            struct err *e);

/* "unet" and so on. */
const char *checkpoint_part_name(enum checkpoint_part part);

/* Takes note of a file of a folder. */
int checkpoint_add_file(struct checkpoint *c, const char *as, const char *folder, const char *name,
                        bool denoiser, struct err *e);

/* FOLDER/NAME/FILE, if it is there or needed. */
int checkpoint_add_part_file(struct checkpoint *c, const char *as, const char *folder,
                             const char *name, const char *file, bool needed, bool denoiser,
                             struct err *e);

/* The files of a part's weights: one, or an index and its shards. name: the part's folder. */
int checkpoint_add_weights(struct checkpoint *c, const char *as, const char *folder,
                           const char *name, const struct weights *w, bool denoiser, struct err *e);

/* A formatted text on the heap; NULL if memory ran out. */
char *checkpoint_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
