#include "engine/weights/part.h"

#include "engine/weights/weights_file.h"

#include <unistd.h>

/* In order: the plain file, shards, then the same of each variant. */
static const char *const endings[] = {
    ".safetensors",
    ".safetensors.index.json",
    ".fp16.safetensors",
    ".bf16.safetensors",
    ".fp32.safetensors",
    ".safetensors.index.fp16.json",
    ".safetensors.index.bf16.json",
    ".safetensors.index.fp32.json",
};

int part_path(char ret_path[PATH_MAX], const char *folder, const char *file, struct err *e)
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%s", folder, file);

    if (n < 0 || n >= PATH_MAX)
        return err_set(e, ERR_ARG, "'%.100s...': the path is too long", folder);
    return 0;
}

static bool exists(const char *folder, const char *stem, int stem_size, const char *ending,
                   char ret_path[PATH_MAX])
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%.*s%s", folder, stem_size, stem, ending);

    return n < PATH_MAX && access(ret_path, F_OK) == 0;
}

/* Nothing to open: say so, or that what is there is a pickle. */
static int refuse(const char *folder, const char *file, struct err *e)
{
    static const char *const pickles[] = {"pytorch_model", "diffusion_pytorch_model"};
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (exists(folder, pickles[i], (int)strlen(pickles[i]), ".bin", path) ||
            exists(folder, pickles[i], (int)strlen(pickles[i]), ".fp16.bin", path))
            return weights_refuse_pickle(path, e);
    TRY(part_path(path, folder, file, e));
    rc = err_set(e, ERR_MISSING, "%s: No such file or directory, nor shards or a variant", path);
out:
    return rc;
}

static int open_weights(const char *folder, const char *file, struct weights **ret_w, struct err *e)
{
    int stem = (int)(strlen(file) - strlen(".safetensors"));
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        if (!exists(folder, file, stem, endings[i], path))
            continue;
        return strstr(endings[i], ".index.") != NULL ? weights_open_index(path, ret_w, e)
                                                     : weights_open(path, ret_w, e);
    }
    return refuse(folder, file, e);
}

int part_open(struct part *ret_p, const char *folder, const char *file, struct err *e)
{
    struct part p = {0};
    char path[PATH_MAX];
    int rc = 0;

    TRY(part_path(path, folder, "config.json", e));
    p.where = strdup(path);
    if (p.where == NULL)
        TRY(err_set(e, ERR_OOM, "'%s': no memory", path));
    TRY(json_read_file(path, &p.config, e));
    TRY(open_weights(folder, file, &p.weights, e));
    p.source = (struct part_source){p.where, p.config, p.weights};
    *ret_p = p;
    p = (struct part){0};
out:
    part_close(&p);
    return rc;
}

void part_close(struct part *p)
{
    weights_close(p->weights);
    json_decref(p->config);
    free(p->where);
    *p = (struct part){0};
}
