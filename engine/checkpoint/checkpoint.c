#include "engine/checkpoint/checkpoint_layout.h"

#include <stdarg.h>
#include <sys/stat.h>

static int by_name(const void *a, const void *b)
{
    const struct checkpoint_file *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int open_layout(struct checkpoint *c, const struct checkpoint_options *o, struct err *e)
{
    struct stat st;
    int rc = 0;

    if (stat(c->path, &st) != 0)
        return err_errno(e, c->path);
    if (S_ISDIR(st.st_mode))
        TRY(checkpoint_open_folder(c, o, e));
    else
        TRY(checkpoint_open_file(c, o, e));
    if (o->vae != NULL)
        TRY(checkpoint_open_vae(c, o->vae, e));
out:
    return rc;
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
    TRY(open_layout(c, o, e));
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
    json_decref(c->schedule_root);
    json_decref(c->vae_base);
    free(c->schedule);
    free(c->path);
    free(c);
}

void checkpoint_unmap(struct checkpoint *c)
{
    for (int i = 0; i < CHECKPOINT_PARTS; i++)
        part_close(&c->parts[i]);
    weights_close(c->file);
    weights_close(c->vae_file);
    c->file = c->vae_file = NULL;
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
    if (c->tokenizers[i] == NULL)
        return tokenizer_open_published(c->pads[i], ret_t, e);
    return tokenizer_open(c->tokenizers[i], ret_t, e);
}

int checkpoint_schedule(const struct checkpoint *c, struct schedule_config **ret_c, struct err *e)
{
    char *text;
    int rc;

    if (c->schedule_root == NULL)
        return schedule_config_open(c->schedule, ret_c, e);
    text = json_dumps(c->schedule_root, 0);
    if (text == NULL)
        return err_set(e, ERR_OOM, "%s: no memory", c->schedule);
    rc = schedule_config_parse(c->schedule, text, strlen(text), ret_c, e);
    free(text);
    return rc;
}

const struct checkpoint_file *checkpoint_files(const struct checkpoint *c, size_t *ret_n)
{
    *ret_n = c->n_files;
    return c->files;
}

int checkpoint_add_file(struct checkpoint *c, const char *as, const char *folder, const char *name,
                        bool denoiser, struct err *e)
{
    struct checkpoint_file *grown = realloc(c->files, (c->n_files + 1) * sizeof *grown);
    const char *plain = strncmp(name, "./", 2) == 0 ? name + 2 : name;
    struct checkpoint_file *f;

    if (grown == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", c->path);
    c->files = grown;
    f = &grown[c->n_files++];
    *f = (struct checkpoint_file){.name = checkpoint_text("%s%s", as, plain),
                                  .path = checkpoint_text("%s/%s", folder, plain),
                                  .denoiser = denoiser};
    if (f->name == NULL || f->path == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", c->path);
    return 0;
}

char *checkpoint_text(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return text;
}
