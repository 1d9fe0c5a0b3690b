#include "worker/assets.h"

#include <stdlib.h>
#include <string.h>

#define HASH_DIGITS 12 /* of LoRAs and embeddings in AUTOMATIC1111's lists */

/* Adds "name: 0123456789ab"; the web UI leaves out what its reader splits at. */
static void add_hash(struct buf *list, const char *name, const char *hash)
{
    if (list->size)
        buf_puts(list, ", ");
    for (; *name; name++)
        if (*name != ':' && *name != ',')
            buf_putc(list, *name);
    buf_printf(list, ": %.*s", HASH_DIGITS, hash);
}

static void add_file(struct assets *a, const char *kind, const char *name, const char *sha256)
{
    memcpy(a->files[a->n++].sha256, sha256, HASH_HEX_SIZE);
    buf_printf(&a->names, "%s%s", kind, name);
    buf_putc(&a->names, 0);
}

/* The names lie one after the other in the files' order, and move no more. */
static void point_at_names(struct assets *a)
{
    const char *name = a->names.data;

    for (size_t i = 0; i < a->n; i++, name += strlen(name) + 1)
        a->files[i].path = name;
}

int assets_gather(struct engine *g, size_t i, const struct scene *scene, struct assets *ret_assets,
                  struct err *e)
{
    struct lora_info loras[ENGINE_LORAS_MAX];
    const struct embedding_info *embeddings = NULL;
    size_t n_loras = engine_loras(g, loras), n_embeddings = 0;
    struct assets a = {0};
    int rc = 0;

    TRY(engine_embeddings(g, i, &embeddings, &n_embeddings, e));
    a.files = calloc(scene->n_assets + n_loras + n_embeddings + 1, sizeof *a.files);
    if (!a.files)
        TRY(err_set(e, ERR_OOM, "out of memory for a picture's record"));
    for (size_t k = 0; k < scene->n_assets; k++)
        add_file(&a, "", scene->assets[k].path, scene->assets[k].sha256);
    for (size_t k = 0; k < n_loras; k++) {
        add_file(&a, "lora:", loras[k].name, loras[k].sha256);
        add_hash(&a.lora_hashes, loras[k].name, loras[k].data_hash);
    }
    for (size_t k = 0; k < n_embeddings; k++) {
        add_file(&a, "embedding:", embeddings[k].name, embeddings[k].sha256);
        add_hash(&a.ti_hashes, embeddings[k].name, embeddings[k].sha256);
    }
    TRY(buf_check(&a.names, e));
    TRY(buf_check(&a.lora_hashes, e));
    TRY(buf_check(&a.ti_hashes, e));
    point_at_names(&a);
    *ret_assets = a;
    a = (struct assets){0};
out:
    assets_done(&a);
    return rc;
}

void assets_done(struct assets *assets)
{
    free(assets->files);
    buf_done(&assets->names);
    buf_done(&assets->lora_hashes);
    buf_done(&assets->ti_hashes);
    *assets = (struct assets){0};
}
