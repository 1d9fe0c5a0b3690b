#include "worker/places.h"

#include <string.h>

static bool has_text(const char *text)
{
    return text && *text;
}

static int find_config(const struct library *library, const char *config, struct buf *ret_path,
                       struct err *e)
{
    int rc = library_find_config(library, config, ret_path, e);

    if (rc != ERR_MISSING || *config == '/')
        return rc;
    buf_puts(ret_path, config);
    return buf_check(ret_path, e);
}

int places_find(const struct library *library, const struct task *t, const struct given *given,
                struct places *ret_places, struct err *e)
{
    static const struct given nothing;
    const struct given *g = given ? given : &nothing;
    struct places p = {0};
    int rc = 0;

    if (g->model)
        buf_puts(&p.model, g->model);
    else
        TRY(library_find(library, t->model, &p.model, e));
    if (g->config)
        buf_puts(&p.config, g->config);
    else if (has_text(t->model_config))
        TRY(find_config(library, t->model_config, &p.config, e));
    if (g->vae)
        buf_puts(&p.vae, g->vae);
    else if (has_text(t->vae))
        TRY(library_find_vae(library, t->vae, &p.vae, e));
    if (p.model.failed || p.config.failed || p.vae.failed)
        TRY(err_set(e, ERR_OOM, "out of memory for a model's path"));
    p.wanted = (struct resident_model){.model = buf_text(&p.model),
                                       .config = p.config.size ? buf_text(&p.config) : NULL,
                                       .vae = p.vae.size ? buf_text(&p.vae) : NULL,
                                       .identity = g->identity,
                                       .precision = t->precision};
    *ret_places = p;
    p = (struct places){0};
out:
    places_done(&p);
    return rc;
}

void places_done(struct places *places)
{
    buf_done(&places->model);
    buf_done(&places->config);
    buf_done(&places->vae);
    *places = (struct places){0};
}
