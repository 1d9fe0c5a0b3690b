/*
 * The files beside the model's own that decided a picture: init image, mask, LoRAs, embeddings,
 * each with its SHA-256, and the lists of them that AUTOMATIC1111 writes.
 */
#ifndef WORKER_ASSETS_H
#define WORKER_ASSETS_H

#include "worker/scene.h"

struct assets {
    struct model_file *files; /* [n]: "init_image", "lora:fur", "embedding:bad"; owned */
    size_t n;
    struct buf names;                  /* what the files' names point into */
    struct buf lora_hashes, ti_hashes; /* "fur: 0123456789ab, ..."; empty: none */
};

/* Of render i of the engine's last batch. ret_assets: assets_done(); the scene must stay as long.
 */
int assets_gather(struct engine *g, size_t i, const struct scene *scene, struct assets *ret_assets,
                  struct err *e);
void assets_done(struct assets *assets);

#endif
