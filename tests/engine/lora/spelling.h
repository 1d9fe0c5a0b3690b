/* Copies of the recorded LoRA with its tensors under other names. */
#ifndef TESTS_ENGINE_LORA_SPELLING_H
#define TESTS_ENGINE_LORA_SPELLING_H

#include "tests/engine/lora/subject.h"

/* How a copy of the recorded LoRA is spelled: names of modules and of what is in them. */
struct spelling {
    const char *file;
    const char *unet, *text; /* what stands before a module with dots */
    const char *down, *up, *alpha;
    bool original; /* the U-Net's modules as the original code has them, with underscores */
    bool old;      /* attn1.processor.to_q_lora */
};

/* "down_blocks_0_..." of a kohya name as the layer's name; NULL: no layer of the list has it. */
static inline const char *dotted(const struct layer_list *list, const char *module, size_t length)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *name = list->items[i].name;
        bool same = strlen(name) == length;

        for (size_t j = 0; same && j < length; j++)
            same = module[j] == (name[j] == '.' ? '_' : name[j]);
        if (same)
            return name;
    }
    return NULL;
}

/* diffusers' first names: attn1.to_q as attn1.processor.to_q_lora, q_proj as to_q_lora. */
static inline void old_module(char *module, size_t size)
{
    static const char *const words[][2] = {
        {".to_q", ".processor.to_q_lora"}, {".to_k", ".processor.to_k_lora"},
        {".to_v", ".processor.to_v_lora"}, {".to_out.0", ".processor.to_out_lora"},
        {".q_proj", ".to_q_lora"},         {".k_proj", ".to_k_lora"},
        {".v_proj", ".to_v_lora"},         {".out_proj", ".to_out_lora"},
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(module), m = strlen(words[i][0]);

        if (n < m || strcmp(module + n - m, words[i][0]) != 0)
            continue;
        snprintf(module + n - m, size - n + m, "%s", words[i][1]);
        return;
    }
}

static inline void respell_module(const struct subject *s, const struct spelling *how,
                                  const json_t *original, const char *name, size_t length,
                                  char *ret, size_t size)
{
    static const char unet[] = "lora_unet_", text[] = "lora_te_text_model_";
    const char *module;

    if (strncmp(name, unet, strlen(unet)) != 0) {
        module = dotted(clip_layers(s->model->clip), name + strlen(text), length - strlen(text));
        assert_non_null(module);
        snprintf(ret, size, "%s%s", how->text, module);
        if (how->old)
            old_module(ret, size);
        return;
    }
    module = dotted(unet_layers(s->model->unet), name + strlen(unet), length - strlen(unet));
    assert_non_null(module);
    snprintf(ret, size, "%s%s", how->unet,
             how->original ? json_string_value(json_object_get(original, module)) : module);
    if (how->original)
        for (char *c = ret; *c != '\0'; c++)
            *c = *c == '.' ? '_' : *c;
    if (how->old)
        old_module(ret, size);
}

static inline void respell(const struct subject *s, const struct spelling *how, const char *folder,
                           const char *notes)
{
    char path[FOLDER_SIZE * 2], name[512];
    json_t *names = NULL;
    struct weights *w = NULL;
    struct st_file f;

    st_begin(&f);
    assert_ok(json_read_file(GOLDEN_DIR "/lora/original_names.json", &names, e));
    assert_ok(weights_open(GOLDEN_DIR "/lora/lora.safetensors", &w, e));
    for (size_t i = 0; i < weights_count(w); i++) {
        const char *from = weights_name(w, i), *dot = strchr(from, '.'), *ending;
        struct tensor t;
        size_t n;

        ending = strcmp(dot, ".lora_down.weight") == 0 ? how->down
                 : strcmp(dot, ".lora_up.weight") == 0 ? how->up
                                                       : how->alpha;
        if (ending == NULL)
            continue;
        respell_module(s, how, json_object_get(names, "sd1"), from, (size_t)(dot - from), name,
                       sizeof name);
        n = strlen(name);
        if (n > 5 && strcmp(name + n - 5, "_lora") == 0)
            snprintf(name + n, sizeof name - n, "%s", ending + strlen(".lora"));
        else
            snprintf(name + n, sizeof name - n, "%s", ending);
        assert_true(weights_find(w, from, &t));
        st_add(&f, name, &t);
    }
    if (notes != NULL)
        st_note(&f, "lora_adapter_metadata", notes);
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, how->file);
    st_save(&f, path);
    weights_close(w);
    json_decref(names);
}

#endif
