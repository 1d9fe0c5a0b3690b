#include "engine/lora/lora_names.h"

#include "engine/checkpoint/ldm_names.h"

#include <stdlib.h>
#include <string.h>

const char *lora_part_name(enum lora_part part)
{
    static const char *const names[] = {"text encoder", "second text encoder", "U-Net"};

    return names[part];
}

/* Names that belong to other ways of changing a layer than down and up, and to other files. */
static const struct {
    const char *piece, *kind;
    bool at_end;
} other_kinds[] = {
    {"model.diffusion_model.", "a whole model", false},
    {".hada_", "LoHa", false},
    {".lokr_", "LoKr", false},
    {".dora_scale", "DoRA", true},
    {".lora_magnitude_vector", "DoRA", false},
    {".lora_mid.weight", "a LoCon with a core tensor (Tucker decomposition)", true},
    {".oft_", "OFT", false},
    {".boft_", "BOFT", false},
    {".on_input", "(IA)3", true},
    {".diff", "whole differences of weights", true},
    {".diff_b", "whole differences of biases", true},
    {".w_norm", "differences of norms", true},
    {".b_norm", "differences of norms", true},
    {".lora_B.bias", "a LoRA with biases", true},
    {".lora_up.bias", "a LoRA with biases", true},
    {"lora_controlnet", "a Control LoRA", true},
    {"bundle_emb.", "a LoRA with bundled embeddings", false},
    {"emb_params", "an embedding (textual inversion)", true},
};

static const struct {
    const char *text;
    enum lora_what what;
    bool attached; /* the text goes on the module's last word: to_q_lora */
} endings[] = {
    {".lora_down.weight", LORA_DOWN, false},
    {".lora_up.weight", LORA_UP, false},
    {".lora_A.weight", LORA_DOWN, false},
    {".lora_B.weight", LORA_UP, false},
    {".lora.down.weight", LORA_DOWN, false},
    {".lora.up.weight", LORA_UP, false},
    {".lora_linear_layer.down.weight", LORA_DOWN, false},
    {".lora_linear_layer.up.weight", LORA_UP, false},
    {"_lora.down.weight", LORA_DOWN, true},
    {"_lora.up.weight", LORA_UP, true},
    {".alpha", LORA_ALPHA, false},
};

static const struct {
    const char *text;
    enum lora_part part;
} prefixes[] = {
    {"lora_unet_", LORA_UNET},
    {"lora_te_", LORA_TEXT},
    {"lora_te1_", LORA_TEXT},
    {"lora_te2_", LORA_TEXT_2},
    {"unet.", LORA_UNET},
    {"text_encoder.", LORA_TEXT},
    {"text_encoder_2.", LORA_TEXT_2},
    {"diffusion_model.", LORA_UNET},
    {"text_model.", LORA_TEXT},
};

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);

    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* Takes n bytes out of a text. */
static void cut(char *at, size_t n)
{
    memmove(at, at + n, strlen(at + n) + 1);
}

static void cut_prefix(char *text, const char *prefix)
{
    if (starts_with(text, prefix))
        cut(text, strlen(prefix));
}

/* lora_A.NAME.weight as lora_A.weight: PEFT's name of the adapter says nothing here. */
static void cut_adapter_name(char *name)
{
    char *at = strstr(name, ".lora_A."), *end;

    if (at == NULL)
        at = strstr(name, ".lora_B.");
    if (at == NULL || !ends_with(name, ".weight"))
        return;
    at += strlen(".lora_A.");
    end = name + strlen(name) - strlen("weight");
    if (at < end)
        cut(at, (size_t)(end - at));
}

/* Cuts the ending off. False: none that is known. */
static bool read_ending(char *name, enum lora_what *ret_what, bool *ret_attached)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        if (!ends_with(name, endings[i].text))
            continue;
        name[strlen(name) - strlen(endings[i].text)] = '\0';
        *ret_what = endings[i].what;
        *ret_attached = endings[i].attached;
        return true;
    }
    return false;
}

/* Names without any prefix are the U-Net's: so diffusers wrote its first LoRA files. */
static enum lora_part read_prefix(char *name)
{
    enum lora_part part = LORA_UNET;

    cut_prefix(name, "base_model.model.");
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts_with(name, prefixes[i].text)) {
            part = prefixes[i].part;
            cut(name, strlen(prefixes[i].text));
            break;
        }
    cut_prefix(name, "base_model.model.");
    return part;
}

/* diffusers' first names: attn1.processor.to_out_lora, in text encoders too. */
static int write_old_word(char module[LORA_MODULE_SIZE], enum lora_part part)
{
    static const struct {
        const char *old, *unet, *text;
    } words[] = {
        {"to_q", "to_q", "q_proj"},
        {"to_k", "to_k", "k_proj"},
        {"to_v", "to_v", "v_proj"},
        {"to_out", "to_out.0", "out_proj"},
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t at = strlen(module) - strlen(words[i].old);
        const char *word = part == LORA_UNET ? words[i].unet : words[i].text;

        if (!ends_with(module, words[i].old))
            continue;
        snprintf(module + at, LORA_MODULE_SIZE - at, "%s", word);
        return 0;
    }
    return ERR_INPUT;
}

static void cut_processors(char *name)
{
    char *at;

    while ((at = strstr(name, ".processor.")) != NULL)
        cut(at, strlen(".processor"));
}

static void flatten(char *module)
{
    for (; *module != '\0'; module++)
        if (*module == '.')
            *module = '_';
}

static int refuse_other_kinds(const char *where, const char *tensor, struct err *e)
{
    for (size_t i = 0; i < sizeof other_kinds / sizeof *other_kinds; i++) {
        const char *piece = other_kinds[i].piece;

        if (other_kinds[i].at_end ? ends_with(tensor, piece) : strstr(tensor, piece) != NULL)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is of %s, which is not implemented",
                           where, tensor, other_kinds[i].kind);
    }
    return 0;
}

static int refuse_name(const char *where, const char *tensor, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: tensor '%.200s' is no part of a LoRA that is known here",
                   where, tensor);
}

int lora_key_read(const char *where, const char *tensor, struct lora_key *ret_key, struct err *e)
{
    const size_t room = LORA_MODULE_SIZE - 8; /* the old words grow by two letters */
    struct lora_key key = {0};
    char *module = key.module;
    bool attached = false;
    int rc;

    if (strlen(tensor) >= room)
        return refuse_name(where, tensor, e);
    rc = refuse_other_kinds(where, tensor, e);
    if (rc != 0)
        return rc;
    snprintf(module, room, "%s", tensor);
    cut_adapter_name(module);
    if (!read_ending(module, &key.what, &attached))
        return refuse_name(where, tensor, e);
    key.part = read_prefix(module);
    cut_processors(module);
    if (attached && write_old_word(module, key.part) != 0)
        return refuse_name(where, tensor, e);
    flatten(module);
    if (key.part != LORA_UNET)
        cut_prefix(module, "text_model_");
    *ret_key = key;
    return 0;
}

static int by_module(const void *a, const void *b)
{
    return strcmp(((const struct lora_alias *)a)->module, ((const struct lora_alias *)b)->module);
}

static int add_alias(struct lora_index *x, const char *name, size_t layer, struct err *e)
{
    char *module = strdup(name);

    if (module == NULL)
        return err_set(e, ERR_OOM, "no memory for the names of a model's layers");
    flatten(module);
    x->items[x->n++] = (struct lora_alias){module, layer};
    return 0;
}

/* What the original code calls the modules of this U-Net. */
static struct ldm_unet_names original_names(const struct unet_config *c)
{
    struct ldm_unet_names n = {.prefix = "", .levels = c->levels};

    memcpy(n.layers, c->layers, sizeof n.layers);
    memcpy(n.up_attention, c->up_attention, sizeof n.up_attention);
    return n;
}

int lora_index_init(struct lora_index *x, const struct layer_list *layers,
                    const struct unet_config *unet, struct err *e)
{
    struct ldm_unet_names names = {0};
    struct weights_place original;
    int rc = 0;

    *x = (struct lora_index){.items = calloc(2 * layers->n + 1, sizeof *x->items)};
    if (x->items == NULL)
        return err_set(e, ERR_OOM, "no memory for the names of a model's layers");
    if (unet != NULL)
        names = original_names(unet);
    for (size_t i = 0; i < layers->n; i++) {
        const char *name = layers->items[i].name;

        TRY(add_alias(x, name, i, e));
        if (unet != NULL && ldm_unet_place(&names, name, &original))
            TRY(add_alias(x, original.name, i, e));
    }
    qsort(x->items, x->n, sizeof *x->items, by_module);
out:
    if (rc != 0)
        lora_index_done(x);
    return rc;
}

void lora_index_done(struct lora_index *x)
{
    for (size_t i = 0; i < x->n; i++)
        free(x->items[i].module);
    free(x->items);
    *x = (struct lora_index){0};
}

static int compare_module(const void *module, const void *alias)
{
    return strcmp(module, ((const struct lora_alias *)alias)->module);
}

bool lora_index_find(const struct lora_index *x, const char *module, size_t *ret_layer)
{
    struct lora_alias *found = NULL;

    if (x->n > 0)
        found = bsearch(module, x->items, x->n, sizeof *x->items, compare_module);
    if (found != NULL)
        *ret_layer = found->layer;
    return found != NULL;
}
