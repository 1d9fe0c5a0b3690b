/*
 * One LoRA file, fitted to a model: every tensor of it belongs to a layer that the model has, in a
 * shape that fits it. The file is mapped; nothing is added to any layer here.
 *
 *     TRY(lora_target_init(&t, m, e));
 *     TRY(lora_file_open("loras/style.safetensors", "style", &t, &f, e));
 *     f->changes[LORA_UNET][i].rank ...            // of t.layers[LORA_UNET]->items[i]; 0: none
 *     lora_file_close(f);
 */
#ifndef ENGINE_LORA_LORA_FILE_H
#define ENGINE_LORA_LORA_FILE_H

#include "engine/checkpoint/model.h"
#include "engine/lora/lora_names.h"
#include "proto/hash.h"

#include <sys/stat.h>

/* The layers that files may change. */
struct lora_target {
    const struct layer_list *layers[LORA_PARTS]; /* borrowed; NULL: the model has no such part */
    struct lora_index index[LORA_PARTS];
    int text_width; /* of the U-Net; tells families apart in errors */
};
int lora_target_init(struct lora_target *t, const struct model *m, struct err *e);
void lora_target_done(struct lora_target *t);

struct lora_change {
    int64_t rank; /* 0: the file does not change this layer */
    double scale; /* of up(down(x)): alpha / rank */
    struct lora_tensor {
        const char *name; /* NULL: not there */
        struct tensor tensor;
    } down, up, alpha; /* [rank, in, ...], [out, rank, ...], one number; borrowed from weights */
};

struct lora_file {
    char *name, *path; /* owned */
    struct weights *weights;
    struct stat status;                      /* when it was opened */
    struct lora_change *changes[LORA_PARTS]; /* [layers of the part], owned */
    size_t n_changes[LORA_PARTS];            /* layers that are changed */
    char sha256[HASH_HEX_SIZE];              /* of the file */
    /* What AUTOMATIC1111 takes its "Lora hashes" from: the notes' sshs_model_hash, or the SHA-256
     * of all behind the header. */
    char data_hash[HASH_HEX_SIZE];
};

/*
 * ERR_MISSING, ERR_IO, ERR_OOM; ERR_INPUT names file and tensor: a module that the model lacks, a
 * wrong shape or type, a down without up, a second tensor for the same place with other numbers,
 * kinds of LoRA that are not implemented. ERR_CONFLICT: the file changed while it was read.
 */
int lora_file_open(const char *path, const char *name, const struct lora_target *t,
                   struct lora_file **ret_f, struct err *e);
void lora_file_close(struct lora_file *f);

/* Whether the file at its path is still the one that was opened. */
bool lora_file_current(const struct lora_file *f);

#endif
