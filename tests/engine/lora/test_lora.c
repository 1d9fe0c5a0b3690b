/*
 * LoRAs on a model: against diffusers and against weights with the changes merged, in every
 * spelling of their names; and what is left of them afterwards, which is nothing.
 */
#include "engine/engine.h"
#include "engine/lora/lora.h"
#include "tests/engine/cases.h"
#include "tests/engine/lora_files.h"

#define TOKENS 77

/* What a model makes of recorded inputs. */
struct pass {
    struct model *m;
    struct extent extent;
    int64_t channels;
    float *x, *context, *embeds, *time_ids; /* of the U-Net; the last two NULL without */
    int32_t ids[2][TOKENS];
    float t;
    int skip; /* layers that the text states leave out */
    float *y, *text[2], *pooled;
};

static const char *const golden_folders[] = {GOLDEN_DIR "/lora", NULL};

static size_t y_size(const struct pass *p)
{
    return (size_t)(extent_rows(&p->extent) * unet_config(p->m->unet)->out_channels);
}

static size_t text_size(const struct pass *p, int i)
{
    return TOKENS * (size_t)clip_config(i == 0 ? p->m->clip : p->m->clip2)->width;
}

static void read_ids(const struct weights *w, const char *name, int32_t ids[TOKENS])
{
    struct tensor t;

    assert_true(weights_find(w, name, &t));
    assert_int_equal(tensor_count(&t), TOKENS);
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)((const int64_t *)t.data)[i];
}

static void *zeros(size_t n)
{
    void *values = calloc(n, sizeof(float));

    assert_non_null(values);
    return values;
}

static void pass_init(struct pass *p, struct model *m, const struct weights *w)
{
    bool xl = m->clip2 != NULL;
    struct tensor t;

    *p = (struct pass){.m = m, .skip = xl ? 1 : 0};
    p->x = golden_map(w, "x", &p->extent, &p->channels);
    p->context = golden_floats(w, "context", &t);
    assert_true(weights_find(w, "t", &t));
    p->t = (float)*(const int64_t *)t.data;
    read_ids(w, "ids", p->ids[0]);
    p->y = zeros(y_size(p));
    p->text[0] = zeros(text_size(p, 0));
    if (!xl)
        return;
    read_ids(w, "ids2", p->ids[1]);
    p->embeds = golden_floats(w, "text_embeds", &t);
    p->time_ids = golden_floats(w, "time_ids", &t);
    p->text[1] = zeros(text_size(p, 1));
    p->pooled = zeros((size_t)clip_pooled_width(m->clip2));
}

static void pass_done(struct pass *p)
{
    free(p->x);
    free(p->context);
    free(p->embeds);
    free(p->time_ids);
    free(p->y);
    free(p->text[0]);
    free(p->text[1]);
    free(p->pooled);
}

static int forward_unet(struct pass *p, struct err *e)
{
    struct ops *o = p->m->ops;
    struct unet *u = p->m->unet;
    size_t mark = arena_mark(o->arena);
    struct unet_text text = {.tokens = TOKENS};
    struct act *kv, *added = NULL;
    int rc = 0;

    TRY(scratch(o, unet_context_size(u, TOKENS), &kv, e));
    TRY(unet_context(u, kv, p->context, TOKENS, e));
    if (p->embeds != NULL) {
        TRY(scratch(o, unet_config(u)->time_width, &added, e));
        TRY(unet_added(u, added, p->embeds, p->time_ids, e));
    }
    text.kv = kv;
    text.added = added;
    TRY(unet_forward(o, u, p->y, p->x, &p->extent, p->t, &text, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int forward(void *user, struct err *e)
{
    struct pass *p = user;
    int rc = 0;

    for (int i = 0; i < 2 && p->text[i] != NULL; i++) {
        const struct clip_text text = {.ids = p->ids[i], .tokens = TOKENS};

        TRY(clip_encode(i == 0 ? p->m->clip : p->m->clip2, p->text[i], i == 1 ? p->pooled : NULL,
                        &text, p->skip, p->skip == 0, e));
    }
    TRY(forward_unet(p, e));
out:
    return rc;
}

static void check(const struct weights *w, const char *name, const float *got, const char *backend)
{
    struct tensor t;
    float *values = golden_floats(w, name, &t), *want = values;
    double error;

    if (t.rank == 4) {
        want = zeros((size_t)tensor_count(&t));
        nhwc_from_nchw(want, values, t.shape[1], t.shape[2] * t.shape[3]);
    }
    error = relative_l2(got, want, (size_t)tensor_count(&t));
    print_message("  %s %s: %.2e\n", name, backend, error);
    assert_true(error < NET_TOLERANCE);
    if (want != values)
        free(want);
    free(values);
}

/* A model on a backend, with the recorded LoRAs' folder and one of the test's own. */
struct subject {
    struct ops *ops;
    struct model *model;
    struct weights *results;
    struct pass pass;
};

static void subject_open(struct subject *s, int backend, const char *model, const char *results,
                         const char *const *folders)
{
    char path[FOLDER_SIZE];

    *s = (struct subject){.ops = backend_open(backend)};
    snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", model);
    assert_ok(open_model(path, s->ops, &s->model, e));
    assert_ok(model_lora_folders(s->model, folders, 0, e));
    snprintf(path, sizeof path, GOLDEN_DIR "/lora/%s.safetensors", results);
    assert_ok(weights_open(path, &s->results, e));
    pass_init(&s->pass, s->model, s->results);
}

static void subject_close(struct subject *s)
{
    pass_done(&s->pass);
    weights_close(s->results);
    model_lora_done(s->model);
    model_close(s->model);
    s->ops->free(s->ops);
}

static void put_on(struct subject *s, const char *name, double unet, double te)
{
    const struct lora_use use = {name, unet, te};

    assert_ok(model_loras(s->model, &use, 1, e));
}

static void take_off(struct subject *s)
{
    assert_ok(model_loras(s->model, NULL, 0, e));
}

/* Bytes that a pass made. */
struct bytes {
    float *y, *text;
};

static struct bytes run(struct subject *s)
{
    struct bytes b;

    run_planned(s->ops, forward, &s->pass);
    b.y = zeros(y_size(&s->pass));
    b.text = zeros(text_size(&s->pass, 0));
    memcpy(b.y, s->pass.y, y_size(&s->pass) * sizeof *b.y);
    memcpy(b.text, s->pass.text[0], text_size(&s->pass, 0) * sizeof *b.text);
    return b;
}

static void bytes_done(struct bytes *b)
{
    free(b->y);
    free(b->text);
}

static bool same_y(const struct subject *s, const struct bytes *a, const struct bytes *b)
{
    return memcmp(a->y, b->y, y_size(&s->pass) * sizeof *a->y) == 0;
}

static bool same_text(const struct subject *s, const struct bytes *a, const struct bytes *b)
{
    return memcmp(a->text, b->text, text_size(&s->pass, 0) * sizeof *a->text) == 0;
}

static void applied_equals_diffusers_and_removed_leaves_no_trace(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct subject s;
        struct bytes before, with, after;

        subject_open(&s, b, "sd1", "lora-result", golden_folders);
        before = run(&s);
        check(s.results, "y_without", s.pass.y, s.ops->name);
        put_on(&s, "lora", 0.8, 0.8);
        with = run(&s);
        check(s.results, "y", s.pass.y, s.ops->name);
        check(s.results, "text", s.pass.text[0], s.ops->name);
        assert_false(same_y(&s, &before, &with));
        take_off(&s);
        after = run(&s);
        assert_true(same_y(&s, &before, &after));
        assert_true(same_text(&s, &before, &after));
        bytes_done(&before);
        bytes_done(&with);
        bytes_done(&after);
        subject_close(&s);
    }
}

static void two_at_once_add_up_in_any_order(void **state)
{
    const struct lora_use uses[2] = {{"lora", 0.8, 0.8}, {"two", -0.5, -0.5}};
    const struct lora_use turned[3] = {uses[1], {"no such file", 0, 0}, uses[0]};
    struct bytes first, second;
    struct subject s;

    (void)state;
    subject_open(&s, 1, "sd1", "two-result", golden_folders);
    assert_ok(model_loras(s.model, uses, 2, e));
    first = run(&s);
    check(s.results, "y", s.pass.y, s.ops->name);
    check(s.results, "text", s.pass.text[0], s.ops->name);
    take_off(&s);
    assert_ok(model_loras(s.model, turned, 3, e));
    second = run(&s);
    assert_true(same_y(&s, &first, &second));
    assert_true(same_text(&s, &first, &second));
    bytes_done(&first);
    bytes_done(&second);
    subject_close(&s);
}

static void both_text_encoders_and_original_names_of_sdxl_equal_diffusers(void **state)
{
    struct subject s;

    (void)state;
    subject_open(&s, 1, "sdxl", "xl-result", golden_folders);
    put_on(&s, "xl", 0.7, 0.7);
    run_planned(s.ops, forward, &s.pass);
    check(s.results, "y", s.pass.y, s.ops->name);
    check(s.results, "text", s.pass.text[0], s.ops->name);
    check(s.results, "text_2", s.pass.text[1], s.ops->name);
    check(s.results, "pooled", s.pass.pooled, s.ops->name);
    subject_close(&s);
}

/* ---- spellings */

/* How a copy of the recorded LoRA is spelled: names of modules and of what is in them. */
struct spelling {
    const char *file;
    const char *unet, *text; /* what stands before a module with dots */
    const char *down, *up, *alpha;
    bool original; /* the U-Net's modules as the original code has them, with underscores */
    bool old;      /* attn1.processor.to_q_lora */
};

/* "down_blocks_0_..." of a kohya name as the layer's name; NULL: no layer of the list has it. */
static const char *dotted(const struct layer_list *list, const char *module, size_t length)
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
static void old_module(char *module, size_t size)
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

static void respell_module(const struct subject *s, const struct spelling *how,
                           const json_t *original, const char *name, size_t length, char *ret,
                           size_t size)
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

static void respell(const struct subject *s, const struct spelling *how, const char *folder,
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

static void check_same(struct subject *s, const struct bytes *want, const char *name, double weight)
{
    struct bytes got;

    put_on(s, name, weight, weight);
    got = run(s);
    if (!same_y(s, want, &got) || !same_text(s, want, &got))
        fail_msg("'%s' does not give the same bytes", name);
    bytes_done(&got);
    take_off(s);
}

static void every_spelling_of_names_gives_the_same_bytes(void **state)
{
    static const struct spelling spellings[] = {
        {"peft", "unet.", "text_encoder.text_model.", ".lora_A.weight", ".lora_B.weight", ".alpha",
         false, false},
        {"named", "unet.", "text_encoder.", ".lora_A.default_0.weight", ".lora_B.default_0.weight",
         ".alpha", false, false},
        {"bare", "base_model.model.", "text_encoder.base_model.model.text_model.",
         ".lora_A.default.weight", ".lora_B.default.weight", ".alpha", false, false},
        {"diffusers", "unet.", "text_encoder.text_model.", ".lora.down.weight", ".lora.up.weight",
         ".alpha", false, false},
        {"layer", "unet.", "text_encoder.text_model.", ".lora_linear_layer.down.weight",
         ".lora_linear_layer.up.weight", ".alpha", false, false},
        {"original", "lora_unet_", "lora_te1_text_model_", ".lora_down.weight", ".lora_up.weight",
         ".alpha", true, false},
    };
    char folder[FOLDER_SIZE];
    const char *const folders[] = {GOLDEN_DIR "/lora", folder, NULL};
    struct subject s;
    struct bytes want;

    (void)state;
    lora_folder(folder, "spellings");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    put_on(&s, "lora", 0.8, 0.8);
    want = run(&s);
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        respell(&s, &spellings[i], folder, NULL);
        check_same(&s, &want, spellings[i].file, 0.8);
    }
    bytes_done(&want);
    subject_close(&s);
    lora_folder_remove(folder);
}

/* alpha / rank is 1/2 in the recorded file, so that 0.4 without alpha is 0.8 with it, exactly. */
static void alpha_may_be_missing_or_stand_in_the_notes(void **state)
{
    static const char notes[] =
        "{\"unet.r\": 4, \"unet.lora_alpha\": 16, \"unet.alpha_pattern\": "
        "{\"^proj_in\": 7, \"in\": 7, \"conv1\": 2, \"proj_in\": 2, "
        "\"proj_out\": 2, \"0\": 2, \"2\": 2, \"to_q\": 2, \"to_k\": 2, "
        "\"to_v\": 2, \"net.0.proj\": 2}, \"text_encoder.r\": 4, "
        "\"text_encoder.lora_alpha\": 1, \"text_encoder.use_rslora\": true}";
    struct spelling how = {
        "none", "unet.", "text_encoder.text_model.", ".lora_A.weight", ".lora_B.weight", NULL,
        false,  false};
    char folder[FOLDER_SIZE];
    const char *const folders[] = {GOLDEN_DIR "/lora", folder, NULL};
    struct subject s;
    struct bytes want;

    (void)state;
    lora_folder(folder, "alpha");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    put_on(&s, "lora", 0.8, 0.8);
    want = run(&s);
    respell(&s, &how, folder, NULL);
    check_same(&s, &want, "none", 0.4);
    how = (struct spelling){
        "old", "",  "text_encoder.text_model.", ".lora.down.weight", ".lora.up.weight", NULL,
        false, true};
    respell(&s, &how, folder, NULL);
    check_same(&s, &want, "old", 0.4);
    how = (struct spelling){"notes",          "unet.", "text_encoder.", ".lora_A.weight",
                            ".lora_B.weight", NULL,    false,           false};
    respell(&s, &how, folder, notes); /* text: 1 / sqrt(4) */
    check_same(&s, &want, "notes", 0.8);
    bytes_done(&want);
    subject_close(&s);
    lora_folder_remove(folder);
}

/* ---- sets */

static void weights_of_unet_and_text_encoder_are_apart(void **state)
{
    struct bytes before, unet, text, both;
    struct subject s;
    char id[128];

    (void)state;
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    before = run(&s);
    assert_string_equal(model_lora_text_id(s.model), "");
    put_on(&s, "lora", 0.8, 0);
    assert_string_equal(model_lora_text_id(s.model), "");
    unet = run(&s);
    assert_true(same_text(&s, &before, &unet));
    put_on(&s, "lora", 0, 0.8);
    snprintf(id, sizeof id, "%s", model_lora_text_id(s.model));
    assert_int_equal(strlen(id), 64);
    text = run(&s);
    assert_true(same_y(&s, &before, &text));
    put_on(&s, "lora", 0.8, 0.8);
    assert_string_equal(model_lora_text_id(s.model), id);
    both = run(&s);
    assert_true(same_y(&s, &unet, &both));
    assert_true(same_text(&s, &text, &both));
    put_on(&s, "lora", 0.8, 0.5);
    assert_string_not_equal(model_lora_text_id(s.model), id);
    bytes_done(&before);
    bytes_done(&unet);
    bytes_done(&text);
    bytes_done(&both);
    subject_close(&s);
}

/* Bytes of the recorded LoRA's matrices as float32. */
static uint64_t matrix_bytes(void)
{
    struct weights *w = NULL;
    uint64_t n = 0;
    struct tensor t;

    assert_ok(weights_open(GOLDEN_DIR "/lora/lora.safetensors", &w, e));
    for (size_t i = 0; i < weights_count(w); i++)
        if (weights_find(w, weights_name(w, i), &t) && t.rank > 0)
            n += (uint64_t)tensor_count(&t) * sizeof(float);
    weights_close(w);
    return n;
}

static void bytes_count_against_the_budget_while_they_are_there(void **state)
{
    const struct lora_use use = {"lora", 1, 1};
    struct lora_info infos[LORA_USES_MAX];
    struct err why = {0};
    struct subject s;
    uint64_t own;

    (void)state;
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    own = s.model->weight_bytes;
    put_on(&s, "lora", 1, 1);
    assert_in_range(s.model->weight_bytes, own + matrix_bytes(), own + 4 * matrix_bytes());
    assert_int_equal(model_lora_infos(s.model, infos), 1);
    assert_string_equal(infos[0].name, "lora");
    assert_string_equal(infos[0].path, GOLDEN_DIR "/lora/lora.safetensors");
    take_off(&s);
    assert_int_equal(s.model->weight_bytes, own);
    assert_int_equal(model_lora_infos(s.model, infos), 0);
    assert_ok(model_lora_folders(s.model, golden_folders, own + matrix_bytes() / 2, e));
    assert_int_equal(model_loras(s.model, &use, 1, &why), ERR_OOM);
    assert_non_null(strstr(why.text, "budget"));
    assert_int_equal(s.model->weight_bytes, own);
    subject_close(&s);
}

static void file_that_changed_on_disk_is_read_again(void **state)
{
    const struct spelling how = {"style",          "unet.",  "text_encoder.", ".lora_A.weight",
                                 ".lora_B.weight", ".alpha", false,           false};
    const struct spelling other = {"style",          "unet.", "text_encoder.", ".lora_A.weight",
                                   ".lora_B.weight", NULL,    false,           false};
    char folder[FOLDER_SIZE];
    const char *const folders[] = {folder, NULL};
    struct bytes first, second, third;
    struct subject s;

    (void)state;
    lora_folder(folder, "changed");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    respell(&s, &how, folder, NULL);
    put_on(&s, "style", 0.8, 0.8);
    first = run(&s);
    put_on(&s, "style", 0.8, 0.8);
    second = run(&s);
    assert_true(same_y(&s, &first, &second));
    respell(&s, &other, folder, NULL);
    put_on(&s, "style", 0.8, 0.8);
    third = run(&s);
    assert_false(same_y(&s, &first, &third));
    bytes_done(&first);
    bytes_done(&second);
    bytes_done(&third);
    subject_close(&s);
    lora_folder_remove(folder);
}

/* ---- by prompt */

/* The recorded case's picture, with something after its prompt. */
static struct image render_case(struct engine *g, const json_t *c, const char *end)
{
    struct render r = case_render(GOLDEN_DIR "/lora", c);
    struct image image = {0};
    char prompt[256];

    snprintf(prompt, sizeof prompt, "%s%s", r.prompt, end);
    r.prompt = prompt;
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
    case_done(&r);
    return image;
}

static void picture_equals_diffusers_and_those_before_and_after_are_the_same(void **state)
{
    struct lora_info infos[ENGINE_LORAS_MAX];
    struct image before, with, after;
    struct engine *g = NULL;
    json_t *c = NULL;
    char end[64];

    (void)state;
    assert_ok(json_read_file(GOLDEN_DIR "/lora/case.json", &c, e));
    assert_ok(engine_open(&(struct engine_options){.model = GOLDEN_DIR "/models/sd1",
                                                   .lora_folders = golden_folders,
                                                   .threads = 2},
                          &g, e));
    before = render_case(g, c, "");
    assert_int_equal(engine_loras(g, infos), 0);
    snprintf(end, sizeof end, "<lora:lora:%g>", case_number(c, "weight"));
    with = render_case(g, c, end);
    assert_near_png(&with, GOLDEN_DIR "/lora/lora.png");
    assert_int_equal(engine_loras(g, infos), 1);
    assert_string_equal(infos[0].name, "lora");
    assert_true(infos[0].unet == case_number(c, "weight"));
    after = render_case(g, c, "");
    assert_memory_equal(before.pixels, after.pixels, (size_t)(before.width * before.height * 3));
    assert_memory_not_equal(before.pixels, with.pixels, (size_t)(before.width * before.height * 3));
    image_done(&before);
    image_done(&with);
    image_done(&after);
    engine_close(g);
    json_decref(c);
}

/* ---- errors */

static void failure_leaves_the_model_without_any(void **state)
{
    const struct lora_use uses[2] = {{"lora", 0.8, 0.8}, {"nowhere", 1, 1}};
    struct bytes before, after;
    struct err why = {0};
    struct subject s;

    (void)state;
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    before = run(&s);
    put_on(&s, "lora", 0.8, 0.8);
    assert_int_equal(model_loras(s.model, uses, 2, &why), ERR_MISSING);
    assert_non_null(strstr(why.text, "nowhere"));
    assert_non_null(strstr(why.text, GOLDEN_DIR "/lora"));
    assert_string_equal(model_lora_text_id(s.model), "");
    after = run(&s);
    assert_true(same_y(&s, &before, &after));
    assert_true(same_text(&s, &before, &after));
    bytes_done(&before);
    bytes_done(&after);
    subject_close(&s);
}

static void write_conv_in(const char *folder, float down_value, float up_value)
{
    static float down[4 * 9], up[32];
    char path[FOLDER_SIZE + 32];
    struct st_file f;

    down[35] = down_value;
    up[31] = up_value;
    st_begin(&f);
    st_add_floats(&f, "unet.conv_in.lora_A.weight", down, 4, (int64_t[]){1, 4, 3, 3});
    st_add_floats(&f, "unet.conv_in.lora_B.weight", up, 4, (int64_t[]){32, 1, 1, 1});
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    st_save(&f, path);
}

static void numbers_that_are_not_finite_are_refused(void **state)
{
    static const struct {
        float down, up;
        double weight;
        const char *said;
    } cases[] = {
        {NAN, 1, 1, "unet.conv_in.lora_A.weight"},
        {1, INFINITY, 1, "unet.conv_in.lora_B.weight"},
        {1, 1e30f, 1e30, "unet.conv_in.lora_B.weight"}, /* finite before it is weighted */
        {1, 1, 1, NULL},
    };
    char folder[FOLDER_SIZE];
    const char *const folders[] = {folder, NULL};
    struct subject s;

    (void)state;
    lora_folder(folder, "finite");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct lora_use use = {"x", cases[i].weight, cases[i].weight};
        struct err why = {0};

        write_conv_in(folder, cases[i].down, cases[i].up);
        assert_int_equal(model_loras(s.model, &use, 1, &why), cases[i].said ? ERR_INPUT : 0);
        if (cases[i].said != NULL)
            assert_non_null(strstr(why.text, cases[i].said));
        take_off(&s);
    }
    subject_close(&s);
    lora_folder_remove(folder);
}

static void lists_that_cannot_be_meant_are_refused(void **state)
{
    const struct lora_use twice[2] = {{"lora", 0.8, 0.8}, {"lora", 0.1, 0}};
    const struct lora_use wild = {"lora", 1e300, 1}, nan = {"lora", 1, NAN};
    struct lora_use many[LORA_USES_MAX + 1];
    struct err why = {0};
    struct subject s;

    (void)state;
    for (int i = 0; i <= LORA_USES_MAX; i++)
        many[i] = (struct lora_use){"lora", 1, 1};
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    assert_int_equal(model_loras(s.model, twice, 2, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "twice"));
    assert_int_equal(model_loras(s.model, &wild, 1, &why), ERR_INPUT);
    assert_int_equal(model_loras(s.model, &nan, 1, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "finite"));
    assert_int_equal(model_loras(s.model, many, LORA_USES_MAX + 1, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "more than"));
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applied_equals_diffusers_and_removed_leaves_no_trace),
        cmocka_unit_test(two_at_once_add_up_in_any_order),
        cmocka_unit_test(both_text_encoders_and_original_names_of_sdxl_equal_diffusers),
        cmocka_unit_test(every_spelling_of_names_gives_the_same_bytes),
        cmocka_unit_test(alpha_may_be_missing_or_stand_in_the_notes),
        cmocka_unit_test(weights_of_unet_and_text_encoder_are_apart),
        cmocka_unit_test(bytes_count_against_the_budget_while_they_are_there),
        cmocka_unit_test(file_that_changed_on_disk_is_read_again),
        cmocka_unit_test(picture_equals_diffusers_and_those_before_and_after_are_the_same),
        cmocka_unit_test(failure_leaves_the_model_without_any),
        cmocka_unit_test(numbers_that_are_not_finite_are_refused),
        cmocka_unit_test(lists_that_cannot_be_meant_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
