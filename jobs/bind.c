#include "jobs/bind.h"

#include "engine/prompt/check.h"
#include "engine/prompt/split.h"
#include "jobs/asset.h"

#include <stdlib.h>
#include <string.h>

#define ENDING ".safetensors"

/* The prompt's LoRAs. false: it has none, or cannot be read, which rendering tells. */
static bool read_loras(const char *prompt, struct split *ret_s, int *ret_rc, struct err *e)
{
    struct prompt_fault fault;
    int rc = strchr(prompt, '<') ? split_parse(prompt, ret_s, &fault) : ERR_INPUT;

    *ret_rc = rc == ERR_OOM ? err_set(e, ERR_OOM, "%s", fault.text) : 0;
    return rc == 0;
}

/* --- paths in the prompt --- */

static bool is_path(const char *name)
{
    return *name == '/' && names_check_file(NAMES_LORAS, name, NULL) == 0;
}

static bool calls(const struct split *s, const char *name)
{
    for (size_t i = 0; i < s->n_loras; i++)
        if (strcmp(s->loras[i].name, name) == 0)
            return true;
    return false;
}

/* Whether the name can stand for the path: nothing else of this prompt is called so. */
static bool is_free(const struct split *s, const struct names *bound, const struct names *paths,
                    const char *name, const char *path)
{
    const char *taken = names_find(paths, name), *file = names_find(bound, name);

    if (taken)
        return strcmp(taken, path) == 0;
    return !calls(s, name) || (file && strcmp(file, path) == 0);
}

/* A name for the path, kept in paths; "" if its last part is none. */
static int name_path(const struct split *s, const struct names *bound, struct names *paths,
                     const char *path, struct buf *ret_name, struct err *e)
{
    const char *stem = strrchr(path, '/') + 1;
    size_t size = strlen(stem) - strlen(ENDING);
    int rc = 0;

    for (int n = 1; n == 1 || !is_free(s, bound, paths, buf_text(ret_name), path); n++) {
        ret_name->size = 0;
        buf_append(ret_name, stem, size);
        if (n > 1)
            buf_printf(ret_name, "-%d", n);
        TRY(buf_check(ret_name, e));
        if (names_check_name(NAMES_LORAS, buf_text(ret_name), NULL) != 0) {
            ret_name->size = 0;
            return 0;
        }
    }
    TRY(names_put(paths, buf_text(ret_name), path, e));
out:
    return rc;
}

/* The prompt with names where it has paths, and what they stand for. */
static int take_paths(char **prompt, const struct split *s, const struct names *bound,
                      struct names *ret_paths, struct err *e)
{
    struct buf text = {0}, name = {0};
    const char *from = *prompt;
    char *done;
    int rc = 0;

    for (size_t i = 0; i < s->n_loras; i++) {
        const char *path = s->loras[i].name, *at = strstr(*prompt + s->loras[i].at, path);

        if (!is_path(path) || !at || at < from)
            continue;
        name.size = 0;
        TRY(name_path(s, bound, ret_paths, path, &name, e));
        if (name.size == 0)
            continue;
        buf_append(&text, from, (size_t)(at - from));
        buf_append(&text, name.data, name.size);
        from = at + strlen(path);
    }
    buf_puts(&text, from);
    done = buf_detach(&text);
    if (!done)
        TRY(err_set(e, ERR_OOM, "out of memory for a prompt"));
    free(*prompt);
    *prompt = done;
out:
    buf_done(&text);
    buf_done(&name);
    return rc;
}

/* --- names --- */

/* Those of the two that the prompt's LoRAs use with a weight. */
static int keep_used(struct task *t, const struct split *s, const struct names *paths,
                     const struct names *bound, struct err *e)
{
    struct lora_use *uses = NULL;
    size_t n = 0;
    int rc = 0;

    TRY(lora_uses(s, &uses, &n, e));
    for (size_t i = 0; i < n; i++) {
        const char *file = names_find(paths, uses[i].name);

        file = file ? file : names_find(bound, uses[i].name);
        if (file && (uses[i].unet != 0 || uses[i].te != 0))
            TRY(names_put(&t->loras, uses[i].name, file, e));
    }
out:
    lora_uses_free(uses, n);
    return rc;
}

static int bind_loras(struct task *t, const struct names *bound, struct err *e)
{
    struct names paths = {0};
    struct split s = {0};
    int rc = 0;

    if (bound->n == 0 && !strchr(t->prompt, '/'))
        return 0;
    if (!read_loras(t->prompt, &s, &rc, e))
        return rc;
    TRY(take_paths(&t->prompt, &s, bound, &paths, e));
    split_done(&s);
    s = (struct split){0};
    if (read_loras(t->prompt, &s, &rc, e))
        TRY(keep_used(t, &s, &paths, bound, e));
out:
    split_done(&s);
    names_done(&paths);
    return rc;
}

int bind_task(struct task *t, const struct names *loras, const struct names *embeddings,
              struct err *e)
{
    int rc;

    TRY(bind_loras(t, loras, e));
    for (size_t i = 0; i < embeddings->n; i++)
        if (asset_may_use(t, embeddings->at[i].name))
            TRY(names_put(&t->embeddings, embeddings->at[i].name, embeddings->at[i].file, e));
out:
    return rc;
}
