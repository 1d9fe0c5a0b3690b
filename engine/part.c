#include "engine/part.h"

#include "engine/layer.h"

int part_open(struct part *ret_p, const char *folder, const char *file, struct err *e)
{
    struct part p = {0};
    char path[PATH_MAX];
    int rc = 0;

    TRY(layer_path(path, folder, "config.json", e));
    p.where = strdup(path);
    if (p.where == NULL)
        TRY(err_set(e, ERR_OOM, "'%s': no memory", path));
    TRY(json_read_file(path, &p.config, e));
    TRY(layer_path(path, folder, file, e));
    TRY(weights_open(path, &p.weights, e));
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
