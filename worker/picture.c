#include "worker/picture.h"

#include "jobs/parameters.h"
#include "proto/json.h"
#include "proto/png.h"
#include "proto/version.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT 1 /* of the litho chunk */

/* "sd15" of "/models/sd15/" and of "/models/sd15.safetensors". */
static int model_name(const char *path, char **ret_name, struct err *e)
{
    static const char ending[] = ".safetensors";
    size_t end = strlen(path), start, n = strlen(ending);

    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/';)
        start--;
    if (end - start > n && memcmp(path + end - n, ending, n) == 0)
        end -= n;
    *ret_name = strndup(path + start, end - start);
    return *ret_name ? 0 : err_set(e, ERR_OOM, "out of memory for a model's name");
}

/* NULL if memory ran out. */
static json_t *files_value(const struct model_file *list, size_t n)
{
    json_t *files = json_object();

    for (size_t i = 0; files && i < n; i++) {
        if (json_object_set_new(files, list[i].path, json_string(list[i].sha256)) != 0) {
            json_decref(files);
            return NULL;
        }
    }
    return files;
}

static int litho_text(const struct task *t, const struct picture_model *model, const char *name,
                      struct buf *ret_text, struct err *e)
{
    struct buf text = {0};
    json_t *task = NULL, *files = NULL, *assets = NULL, *root = NULL;
    int rc;

    task_to_json(t, &text);
    TRY(buf_check(&text, e));
    TRY(json_read("task", buf_text(&text), text.size, &task, e));
    files = files_value(model->files, model->n_files);
    assets = files_value(model->assets, model->n_assets);
    if (!files || !assets)
        TRY(err_set(e, ERR_OOM, "out of memory for a picture's record"));
    root = json_pack("{s:i, s:O, s:{s:s, s:O}, s:s, s:s, s:s}", "litho", FORMAT, "task", task,
                     "model", "name", name, "files", files, "engine", ENGINE_VERSION, "precision",
                     precision_name(model->precision), "device_class", model->device_class);
    if (!root)
        TRY(err_set(e, ERR_INTERNAL, "a picture's record could not be put together"));
    if (json_object_size(assets) && json_object_set(root, "assets", assets) != 0)
        TRY(err_set(e, ERR_OOM, "out of memory for a picture's record"));
    json_canonical(root, ret_text);
    TRY(buf_check(ret_text, e));
out:
    json_decref(root);
    json_decref(files);
    json_decref(assets);
    json_decref(task);
    buf_done(&text);
    return rc;
}

static int encode(const struct task *t, const struct picture_model *model,
                  const struct image *image, struct buf *ret_png, struct err *e)
{
    struct parameters_source source;
    struct buf parameters = {0}, litho = {0};
    char *name = NULL;
    int rc;

    TRY(model_name(model->path, &name, e));
    source = (struct parameters_source){.model_name = name,
                                        .model_hash = model->hash,
                                        .vae_name = model->vae_name,
                                        .vae_hash = model->vae_hash,
                                        .lora_hashes = model->lora_hashes,
                                        .ti_hashes = model->ti_hashes,
                                        .version = "Lithograph " LITHO_VERSION};
    parameters_text(t, &source, &parameters);
    TRY(buf_check(&parameters, e));
    TRY(litho_text(t, model, name, &litho, e));
    {
        const struct png_text texts[] = {
            {"parameters", buf_text(&parameters)},
            {"litho", buf_text(&litho)},
        };

        TRY(png_encode(image->pixels, image->width, image->height, texts, 2, ret_png, e));
    }
out:
    free(name);
    buf_done(&parameters);
    buf_done(&litho);
    return rc;
}

int picture_make(const struct task *t, const struct picture_model *model, const struct image *image,
                 struct picture *ret_p, struct err *e)
{
    struct picture p = {.precision = precision_name(model->precision), .black = image->black};
    int rc = 0;

    p.device_class = strdup(model->device_class);
    if (!p.device_class)
        TRY(err_set(e, ERR_OOM, "out of memory for a picture"));
    TRY(encode(t, model, image, &p.png, e));
    TRY(hash_bytes(p.png.data, p.png.size, p.sha256, e));
    *ret_p = p;
    p = (struct picture){0};
out:
    picture_done(&p);
    return rc;
}

void picture_done(struct picture *p)
{
    buf_done(&p->png);
    free(p->device_class);
    *p = (struct picture){0};
}
