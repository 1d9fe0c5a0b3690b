#include "jobs/asset.h"

#include "engine/prompt/check.h"
#include "engine/prompt/split.h"
#include "engine/prompt/unicode.h"
#include "jobs/utf8.h"

#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 255 /* of one part of a path */

static const char *const roles[ASSET_ROLES] = {"model", "model_config", "vae",      "init_image",
                                               "mask",  "lora",         "embedding"};

const char *asset_role_name(enum asset_role role)
{
    return role < ASSET_ROLES ? roles[role] : "?";
}

enum asset_role asset_role_from_name(const char *name)
{
    for (int i = 0; i < ASSET_ROLES; i++)
        if (strcmp(roles[i], name) == 0)
            return (enum asset_role)i;
    return ASSET_ROLES;
}

int asset_needs_add(struct asset_needs *needs, enum asset_role role, const char *name,
                    const char *label, struct err *e)
{
    struct asset_need *grown = realloc(needs->at, (needs->n + 1) * sizeof *grown), *need;

    if (!grown)
        return err_set(e, ERR_OOM, "no memory for a task's files");
    needs->at = grown;
    need = &grown[needs->n++];
    *need = (struct asset_need){
        .role = role, .name = strdup(name), .label = label ? strdup(label) : NULL};
    if (!need->name || (label && !need->label))
        return err_set(e, ERR_OOM, "no memory for a task's files");
    return 0;
}

void asset_needs_done(struct asset_needs *needs)
{
    for (size_t i = 0; i < needs->n; i++)
        free(needs->at[i].name), free(needs->at[i].label);
    free(needs->at);
    *needs = (struct asset_needs){0};
}

/* The LoRAs of the prompt that do something. */
static int add_loras(const struct task *t, struct asset_needs *needs, struct err *e)
{
    const char *prompt = t->prompt;
    struct lora_use *uses = NULL;
    struct prompt_fault fault;
    struct split split;
    size_t n = 0;
    int rc = 0;

    if (!strchr(prompt, '<') || split_parse(prompt, &split, &fault) != 0)
        return 0;
    TRY(lora_uses(&split, &uses, &n, e));
    for (size_t i = 0; i < n; i++) {
        const char *file = names_find(&t->loras, uses[i].name);

        if (uses[i].unet != 0 || uses[i].te != 0)
            TRY(asset_needs_add(needs, ASSET_LORA, file ? file : uses[i].name, uses[i].name, e));
    }
out:
    lora_uses_free(uses, n);
    split_done(&split);
    return rc;
}

int asset_needs_of(const struct task *t, struct asset_needs *ret_needs, struct err *e)
{
    const char *const fields[] = {t->model, t->model_config, t->vae, t->init_image, t->mask};
    int rc = 0;

    *ret_needs = (struct asset_needs){0};
    for (int i = 0; i < 5; i++)
        if (fields[i] && *fields[i])
            TRY(asset_needs_add(ret_needs, (enum asset_role)i, fields[i], NULL, e));
    TRY(add_loras(t, ret_needs, e));
    for (size_t i = 0; i < t->embeddings.n; i++)
        TRY(asset_needs_add(ret_needs, ASSET_EMBEDDING, t->embeddings.at[i].file,
                            t->embeddings.at[i].name, e));
out:
    return rc;
}

/* The next byte that is compared, 0 at the end; p moves behind it. */
static char next_byte(const char **p)
{
    for (; **p; ++*p) {
        unsigned char c = (unsigned char)**p;

        if (c > ' ' && c < 0x7f) {
            ++*p;
            return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
    }
    return 0;
}

static bool begins_with(const char *text, const char *name)
{
    char c;

    while ((c = next_byte(&name)))
        if (next_byte(&text) != c)
            return false;
    return true;
}

static bool holds(const char *text, const char *name)
{
    do {
        if (begins_with(text, name))
            return true;
    } while (next_byte(&text));
    return false;
}

bool asset_may_use(const struct task *t, const char *embedding)
{
    return holds(t->prompt, embedding) || holds(t->negative_prompt, embedding);
}

static bool same_tokens(const char *a, const char *b)
{
    struct buf x = {0}, y = {0};
    bool same = unicode_clean(a, strlen(a), &x, NULL) == 0 &&
                unicode_clean(b, strlen(b), &y, NULL) == 0 && x.size == y.size &&
                memcmp(buf_text(&x), buf_text(&y), x.size) == 0;

    buf_done(&x);
    buf_done(&y);
    return same;
}

bool asset_is_bound(const struct task *t, const char *embedding)
{
    for (size_t i = 0; i < t->embeddings.n; i++)
        if (same_tokens(t->embeddings.at[i].name, embedding))
            return true;
    return false;
}

const char *asset_hash_of(const char *name)
{
    static const char prefix[] = "sha256:";
    const char *hex = name + sizeof prefix - 1;

    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || strlen(hex) != HASH_HEX_SIZE - 1 ||
        strspn(hex, "0123456789abcdef") != HASH_HEX_SIZE - 1)
        return NULL;
    return hex;
}

bool asset_name_is_safe(const char *name, size_t size)
{
    uint32_t code;

    if (size < 1 || size > NAME_BYTES || name[0] == '.')
        return false;
    for (size_t at = 0, n; at < size; at += n) {
        n = utf8_next(name + at, size - at, &code);
        if (n == 0 || code < 0x20 || code == 0x7f || code == '/' || code == '\\')
            return false;
    }
    return true;
}

/* root[key] = "sha256:HEX", or root[key][name]. */
static int put_hash(json_t *root, const struct asset_hash *h, struct err *e)
{
    json_t *value = json_sprintf("sha256:%s", h->sha256), *map = root;
    const char *key = roles[h->role];

    if (h->role == ASSET_LORA || h->role == ASSET_EMBEDDING) {
        key = h->role == ASSET_LORA ? "loras" : "embeddings";
        map = json_object_get(root, key);
        if (!map && json_object_set_new(root, key, json_object()) == 0)
            map = json_object_get(root, key);
        key = h->name;
    }
    return map && json_object_set_new(map, key, value) == 0
               ? 0
               : err_set(e, ERR_OOM, "no memory for a task's hash");
}

int asset_task_hash(const char *task, const struct asset_hash *hashes, size_t n,
                    char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    struct buf text = {0};
    json_t *root = NULL;
    int rc;

    TRY(json_read("task", task, strlen(task), &root, e));
    if (!json_is_object(root))
        TRY(err_set(e, ERR_INPUT, "a task is a JSON object"));
    for (size_t i = 0; i < n; i++)
        TRY(put_hash(root, &hashes[i], e));
    json_canonical(root, &text);
    TRY(buf_check(&text, e));
    TRY(hash_bytes(text.data, text.size, ret_hex, e));
out:
    json_decref(root);
    buf_done(&text);
    return rc;
}
