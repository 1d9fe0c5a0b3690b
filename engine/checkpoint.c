#include "engine/checkpoint_layout.h"

#include "engine/layer.h"

#include <sys/stat.h>

static int by_name(const void *a, const void *b)
{
    const struct checkpoint_file *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int open_layout(struct checkpoint *c, struct err *e)
{
    struct stat st;

    if (stat(c->path, &st) != 0)
        return err_errno(e, c->path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_INPUT, "%s: not a folder", c->path);
    return checkpoint_open_folder(c, e);
}

int checkpoint_open(const struct checkpoint_options *o, struct checkpoint **ret_c, struct err *e)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    int rc = 0;

    if (c == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", o->model);
    c->path = strdup(o->model);
    if (c->path == NULL)
        TRY(err_set(e, ERR_OOM, "model '%s': no memory", o->model));
    TRY(open_layout(c, e));
    qsort(c->files, c->n_files, sizeof *c->files, by_name);
    *ret_c = c;
    c = NULL;
out:
    checkpoint_close(c);
    return rc;
}

void checkpoint_close(struct checkpoint *c)
{
    if (c == NULL)
        return;
    checkpoint_unmap(c);
    for (int i = 0; i < CHECKPOINT_TOKENIZERS; i++)
        free(c->tokenizers[i]);
    for (size_t i = 0; i < c->n_files; i++) {
        free(c->files[i].name);
        free(c->files[i].path);
    }
    free(c->files);
    free(c->schedule);
    free(c->path);
    free(c);
}

void checkpoint_unmap(struct checkpoint *c)
{
    for (int i = 0; i < CHECKPOINT_PARTS; i++)
        part_close(&c->parts[i]);
}

const char *checkpoint_path(const struct checkpoint *c)
{
    return c->path;
}

const struct part_source *checkpoint_source(const struct checkpoint *c, enum checkpoint_part part)
{
    return c->parts[part].where != NULL ? &c->parts[part].source : NULL;
}

const struct checkpoint_kind *checkpoint_kind(const struct checkpoint *c)
{
    return &c->kind;
}

int checkpoint_tokenizer(const struct checkpoint *c, int i, struct tokenizer **ret_t, struct err *e)
{
    return tokenizer_open(c->tokenizers[i], ret_t, e);
}

int checkpoint_schedule(const struct checkpoint *c, struct schedule_config **ret_c, struct err *e)
{
    return schedule_config_open(c->schedule, ret_c, e);
}

const struct checkpoint_file *checkpoint_files(const struct checkpoint *c, size_t *ret_n)
{
    *ret_n = c->n_files;
    return c->files;
}

int checkpoint_add_file(struct checkpoint *c, const char *folder, const char *name, bool denoiser,
                        struct err *e)
{
    struct checkpoint_file *grown = realloc(c->files, (c->n_files + 1) * sizeof *grown);
    char path[PATH_MAX];
    int rc = layer_path(path, folder, name, e);

    if (grown != NULL)
        c->files = grown;
    if (rc != 0)
        return rc;
    if (grown == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", c->path);
    grown[c->n_files] =
        (struct checkpoint_file){.name = strdup(name), .path = strdup(path), .denoiser = denoiser};
    c->n_files++;
    if (grown[c->n_files - 1].name == NULL || grown[c->n_files - 1].path == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", c->path);
    return 0;
}
