/* Prompts as states, against transformers and the web UI; and which text holds at which call. */
#include "engine/text/conditioning.h"
#include "proto/json.h"
#include "tests/engine/models.h"
#include "tests/engine/nets.h"

#define MODELS GOLDEN_DIR "/models/"

struct bench {
    struct ops *ops;
    struct model *model;
    struct prompts cache;
};

static void bench_open(struct bench *b, const char *model)
{
    char path[512];

    snprintf(path, sizeof path, MODELS "%s", model);
    *b = (struct bench){.ops = backend_open(1)};
    assert_ok(open_model(path, b->ops, &b->model, e));
}

static void bench_close(struct bench *b)
{
    prompts_done(&b->cache);
    model_close(b->model);
    b->ops->free(b->ops);
}

static struct conditioning *read_prompt(struct bench *b, const struct conditioning_request *r)
{
    struct conditioning *c = NULL;

    assert_ok(conditioning_new(b->model, r, &c, e));
    return c;
}

static void refuse(struct bench *b, const struct conditioning_request *r, const char *want)
{
    struct conditioning *c = NULL;
    struct err e = {0};

    assert_int_equal(conditioning_new(b->model, r, &c, &e), ERR_INPUT);
    assert_null(c);
    if (strstr(e.text, want) == NULL)
        fail_msg("'%s' is not about '%s'", e.text, want);
}

struct call {
    struct bench *bench;
    const struct conditioning *c;
    int text;
    float *states, *pooled;
};

static int encode_call(void *user, struct err *e)
{
    struct call *c = user;

    return conditioning_encode(c->c, &c->bench->cache, c->text, c->states, c->pooled, e);
}

/* A text's states in the memory that the plan found; caller frees. */
static float *encode(struct bench *b, const struct conditioning *c, int text, float *ret_pooled)
{
    size_t n = (size_t)(conditioning_tokens(c, text) * prompts_width(b->model));
    struct call call = {b, c, text, calloc(n, sizeof(float)), ret_pooled};

    assert_non_null(call.states);
    prompts_done(&b->cache);
    run_planned(b->ops, encode_call, &call);
    return call.states;
}

static void check_array(const struct weights *w, const char *name, const char *what,
                        const float *got, int64_t n)
{
    struct tensor t;
    char key[64];
    float *want;
    double error;

    snprintf(key, sizeof key, "%s.%s", name, what);
    want = golden_floats(w, key, &t);
    assert_int_equal(tensor_count(&t), n);
    error = relative_l2(got, want, (size_t)n);
    print_message("%s: %.2e\n", key, error);
    assert_true(error < NET_TOLERANCE);
    free(want);
}

static void check_case(const json_t *one, const struct weights *w)
{
    const char *name = json_string_value(json_object_get(one, "name"));
    const char *model = json_string_value(json_object_get(one, "model"));
    char folder[512];
    const char *folders[] = {folder, NULL};
    struct conditioning_request r = {.steps = 1};
    struct conditioning *c;
    struct guidance g;
    struct bench b;
    float *states, pooled[1280];

    snprintf(folder, sizeof folder, GOLDEN_DIR "/conditioning/%s", model);
    bench_open(&b, model);
    assert_ok(embeddings_new(folders, &r.embeddings, e));
    r.prompt = json_string_value(json_object_get(one, "prompt"));
    r.clip_skip = (int)json_integer_value(json_object_get(one, "clip_skip"));
    r.emphasis = (enum emphasis)term_from_name(TERM_EMPHASIS,
                                               json_string_value(json_object_get(one, "emphasis")));
    c = read_prompt(&b, &r);
    conditioning_at(c, 0, &g);
    assert_int_equal(g.negative, -1);
    assert_int_equal(g.n_parts, 1);
    states = encode(&b, c, g.parts[0].text, pooled);
    check_array(w, name, "states", states,
                conditioning_tokens(c, g.parts[0].text) * prompts_width(b.model));
    if (prompts_pooled_width(b.model) > 0)
        check_array(w, name, "pooled", pooled, prompts_pooled_width(b.model));
    free(states);
    conditioning_free(c);
    embeddings_free(r.embeddings);
    bench_close(&b);
}

static void states_and_pooled_equal_transformers(void **state)
{
    struct weights *w = NULL;
    json_t *root = NULL, *one;
    size_t i;

    (void)state;
    assert_ok(json_read_file(GOLDEN_DIR "/conditioning/cases.json", &root, e));
    assert_ok(weights_open(GOLDEN_DIR "/conditioning/states.safetensors", &w, e));
    assert_int_equal(json_array_size(root), 12);
    json_array_foreach(root, i, one) check_case(one, w);
    json_decref(root);
    weights_close(w);
}

/* Texts as "negative/part*weight+part*weight"; each text is shown by its number of chunks times ten
 * plus its first token's place among the texts seen, which is enough to tell them apart. */
static void check_at(struct bench *b, const struct conditioning_request *r, const char *want)
{
    struct conditioning *c = read_prompt(b, r);
    struct buf got = {0};
    struct guidance g;

    for (int call = 0; call < r->steps + 2; call++) {
        conditioning_at(c, call, &g);
        buf_printf(&got, "%s%d/", call > 0 ? " " : "", g.negative);
        for (size_t i = 0; i < g.n_parts; i++)
            buf_printf(&got, "%s%d*%g", i > 0 ? "+" : "", g.parts[i].text, g.parts[i].weight);
    }
    assert_string_equal(buf_text(&got), want);
    buf_done(&got);
    conditioning_free(c);
}

static void a_text_holds_up_to_and_including_the_call_of_its_end(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b, "sd1");
    /* Texts are numbered as they are met: the negative prompt first. */
    check_at(&b, &(struct conditioning_request){.prompt = "[cat:dog:0.5]", .steps = 4},
             "-1/0*1 -1/0*1 -1/0*1 -1/1*1 -1/1*1 -1/1*1");
    check_at(&b,
             &(struct conditioning_request){
                 .prompt = "[a|b]", .negative_prompt = "[a:b:1]", .steps = 4, .guided = true},
             "0/0*1 0/0*1 1/1*1 1/0*1 1/1*1 1/1*1");
    check_at(&b,
             &(struct conditioning_request){
                 .prompt = "cat :1.2 AND [dog:cat:1] AND[:cat:0]:-0.5", .steps = 1, .guided = true},
             "0/1*1.2+2*1+1*-0.5 0/1*1.2+2*1+1*-0.5 0/1*1.2+2*1+1*-0.5");
    check_at(&b,
             &(struct conditioning_request){
                 .prompt = "[a:b:1.5]", .steps = 4, .hires_steps = 2, .guided = false},
             "-1/0*1 -1/0*1 -1/1*1 -1/1*1 -1/1*1 -1/1*1");
    bench_close(&b);
}

static void texts_have_their_own_number_of_chunks(void **state)
{
    struct conditioning *c;
    struct bench b;

    (void)state;
    bench_open(&b, "sd1");
    c = read_prompt(&b, &(struct conditioning_request){
                            .prompt = "[a BREAK b BREAK c:d:1]", .steps = 2, .guided = true});
    assert_int_equal(conditioning_texts(c), 3); /* "", and the two */
    assert_int_equal(conditioning_tokens(c, 0), 77);
    assert_int_equal(conditioning_tokens(c, 1), 3 * 77);
    assert_int_equal(conditioning_tokens(c, 2), 77);
    conditioning_free(c);
    bench_close(&b);
}

static void an_empty_negative_prompt_of_sdxl_is_zeros(void **state)
{
    struct conditioning_request r = {.prompt = "", .negative_prompt = "", .steps = 1};
    struct conditioning *c;
    struct guidance g;
    struct bench b;
    float *states, pooled[1280];
    size_t n;

    (void)state;
    bench_open(&b, "sdxl");
    assert_true(b.model->kind.force_zeros);
    r.guided = true;
    c = read_prompt(&b, &r);
    conditioning_at(c, 0, &g);
    assert_int_not_equal(g.negative, g.parts[0].text); /* an empty prompt is none of it */
    n = (size_t)(77 * prompts_width(b.model));
    states = encode(&b, c, g.negative, pooled);
    for (size_t i = 0; i < n; i++)
        assert_true(states[i] == 0);
    for (int64_t i = 0; i < prompts_pooled_width(b.model); i++)
        assert_true(pooled[i] == 0);
    free(states);
    states = encode(&b, c, g.parts[0].text, pooled);
    assert_true(states[0] != 0 && pooled[0] != 0);
    free(states);
    conditioning_free(c);
    r.negative_prompt = " "; /* not empty, as in the web UI */
    c = read_prompt(&b, &r);
    conditioning_at(c, 0, &g);
    states = encode(&b, c, g.negative, pooled);
    assert_true(states[0] != 0);
    free(states);
    conditioning_free(c);
    bench_close(&b);
}

static void loras_are_listed_once_and_leave_the_text(void **state)
{
    struct conditioning *c;
    const struct lora_use *loras;
    struct bench b;
    size_t n;

    (void)state;
    bench_open(&b, "sd1");
    c = read_prompt(&b,
                    &(struct conditioning_request){
                        .prompt = "a<lora:fur:0.5>b <lora:ink:0.25:1> AND<lora:fur:te=1:unet=0>",
                        .negative_prompt = "<lora:fur:0.5>",
                        .steps = 1,
                        .guided = true});
    loras = conditioning_loras(c, &n);
    assert_int_equal(n, 2);
    assert_string_equal(loras[0].name, "fur");
    assert_true(loras[0].te == 1.5 && loras[0].unet == 0.5);
    assert_string_equal(loras[1].name, "ink");
    assert_true(loras[1].te == 0.25 && loras[1].unet == 1);
    assert_int_equal(conditioning_texts(c), 3);
    conditioning_free(c);
    bench_close(&b);
}

static void mistakes_name_the_prompt_and_the_column(void **state)
{
    struct buf all = {0};
    struct bench b;

    (void)state;
    bench_open(&b, "sd1");
    refuse(&b,
           &(struct conditioning_request){.prompt = "\xc3\xa9 <lora:x:1> (b:1.2.3)", .steps = 1},
           "prompt, column 17: the weight '1.2.3' is no number");
    refuse(&b,
           &(struct conditioning_request){
               .prompt = "a", .negative_prompt = "[(b:.)", .steps = 1, .guided = true},
           "negative_prompt, column 5: the weight '.' is no number");
    refuse(&b, &(struct conditioning_request){.prompt = "x AND (a:1.[2:3:1].4)", .steps = 2},
           "prompt, column 10: the weight '1.2.4' is no number"); /* found in the edited text */
    refuse(&b, &(struct conditioning_request){.prompt = "a <lora:fur:much>", .steps = 1},
           "prompt, column 13: the LoRA's weight 'much' is no number");
    refuse(&b, &(struct conditioning_request){.prompt = "a\xff", .steps = 1},
           "prompt, column 2: this is no UTF-8");
    refuse(&b, &(struct conditioning_request){.prompt = "a", .clip_skip = 4, .steps = 1},
           "clip_skip is 4; the text encoder has 3 layers");
    for (int i = 0; i < 65; i++)
        buf_puts(&all, "a AND ");
    refuse(&b, &(struct conditioning_request){.prompt = buf_text(&all), .steps = 1},
           "prompt, column 384: more than 64 parts joined by AND");
    buf_done(&all);
    bench_close(&b);
}

static void more_texts_than_memory_should_hold_are_refused(void **state)
{
    struct buf all = {0};
    struct bench b;

    (void)state;
    bench_open(&b, "sd1");
    buf_puts(&all, "[");
    for (int i = 0; i < 200; i++)
        buf_printf(&all, "%d|", i);
    buf_puts(&all, "]");
    for (int i = 0; i < 100; i++)
        buf_puts(&all, " BREAK");
    refuse(&b, &(struct conditioning_request){.prompt = buf_text(&all), .steps = 1000},
           "the prompt's texts have more than");
    buf_done(&all);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_and_pooled_equal_transformers),
        cmocka_unit_test(a_text_holds_up_to_and_including_the_call_of_its_end),
        cmocka_unit_test(texts_have_their_own_number_of_chunks),
        cmocka_unit_test(an_empty_negative_prompt_of_sdxl_is_zeros),
        cmocka_unit_test(loras_are_listed_once_and_leave_the_text),
        cmocka_unit_test(mistakes_name_the_prompt_and_the_column),
        cmocka_unit_test(more_texts_than_memory_should_hold_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
