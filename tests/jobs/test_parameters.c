/*
 * The texts are held against the web UI's own reader, written again here: the last line is split by
 *     \s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)
 * the lines before it are the prompt, and from "Negative prompt:" on the negative prompt.
 */
#include "jobs/parameters.h"

#include <ctype.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char hash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct task make(const char *prompt, const char *negative)
{
    return (struct task){.model = (char *)"sticker-128",
                         .prompt = (char *)prompt,
                         .negative_prompt = (char *)negative,
                         .sampler = SAMPLER_DPMPP_2M,
                         .scheduler = SCHEDULER_KARRAS,
                         .steps = 20,
                         .width = 128,
                         .height = 192,
                         .cfg_scale = 5,
                         .seed = 1};
}

static struct parameters_source source(const char *model)
{
    return (struct parameters_source){
        .model_name = model, .model_hash = hash, .version = "Lithograph 0.1.0"};
}

static void assert_text(struct task t, const char *model, const char *expected)
{
    const struct parameters_source from = source(model);
    struct buf text = {0};

    parameters_text(&t, &from, &text);
    assert_string_equal(buf_text(&text), expected);
    buf_done(&text);
}

#define SETTINGS(model)                                                                            \
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 1, Size: 128x192, "  \
    "Model hash: 0123456789, " model ", RNG: CPU, Version: Lithograph 0.1.0"

static void keys_come_in_the_web_uis_order(void **state)
{
    struct task t = make("a red apple", "blurry");

    (void)state;
    assert_text(t, "sticker-128",
                "a red apple\nNegative prompt: blurry\n" SETTINGS("Model: sticker-128"));
}

static void an_empty_negative_prompt_has_no_line(void **state)
{
    (void)state;
    assert_text(make("a red apple", ""), "m", "a red apple\n" SETTINGS("Model: m"));
}

static void an_empty_prompt_leaves_no_empty_line(void **state)
{
    (void)state;
    assert_text(make("", ""), "m", SETTINGS("Model: m"));
    assert_text(make("", "blurry"), "m", "Negative prompt: blurry\n" SETTINGS("Model: m"));
    assert_text(make(" \n\xc2\xa0 x ", ""), "m", "x \n" SETTINGS("Model: m"));
}

static void values_are_quoted_only_where_a_reader_would_split(void **state)
{
    struct task t = make("x", "");

    (void)state;
    assert_text(t, "a, \"b\": c\\d", "x\n" SETTINGS("Model: \"a, \\\"b\\\": c\\\\d\""));
    assert_text(t, "say \"hi\"", "x\n" SETTINGS("Model: say \"hi\""));
    assert_text(t, "caf\xc3\xa9:1", "x\n" SETTINGS("Model: \"caf\xc3\xa9:1\""));
    assert_text(t, "two\nlines", "x\n" SETTINGS("Model: \"two\\nlines\""));
    assert_text(t, "Model", "x\n" SETTINGS("Model"));
}

static void numbers_and_labels_are_the_web_uis(void **state)
{
    struct task t = make("x", "");

    (void)state;
    t.cfg_scale = 7.5;
    t.seed = TASK_SEED_MAX;
    t.sampler = SAMPLER_EULER_A;
    t.scheduler = SCHEDULER_AUTOMATIC;
    assert_text(t, "m",
                "x\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.5, "
                "Seed: 9007199254740991, Size: 128x192, Model hash: 0123456789, Model: m, "
                "RNG: CPU, Version: Lithograph 0.1.0");
}

/* The line after Model, without Version. */
static void assert_rest(struct task t, const struct parameters_source *from, const char *expected)
{
    struct buf text = {0};
    const char *at, *end;

    parameters_text(&t, from, &text);
    at = strstr(buf_text(&text), ", Model: m");
    end = strstr(buf_text(&text), ", Version: ");
    assert_non_null(at);
    assert_non_null(end);
    at += strlen(", Model: m");
    text.data[end - text.data] = 0;
    assert_string_equal(*at ? at + 2 : at, expected);
    buf_done(&text);
}

static void what_automatic_comes_to_is_told(void **state)
{
    struct task t = make("x", "");

    (void)state;
    t.scheduler = SCHEDULER_AUTOMATIC;
    assert_text(t, "m", "x\n" SETTINGS("Model: m")); /* DPM++ 2M: Karras */
}

static void variations_and_another_vae_stand_before_the_noise(void **state)
{
    struct parameters_source from = source("m");
    struct task t = make("x", "");

    (void)state;
    from.vae_name = "mse.safetensors";
    from.vae_hash = hash;
    t.subseed = 7;
    t.seed_resize_from_w = 64;
    t.seed_resize_from_h = 96;
    t.clip_skip = 2;
    t.rng = RNG_NV;
    assert_rest(t, &from,
                "VAE hash: 0123456789, VAE: mse.safetensors, Seed resize from: 64x96, Clip skip: "
                "2, RNG: NV");
    t.subseed_strength = 0.25;
    assert_rest(t, &from,
                "VAE hash: 0123456789, VAE: mse.safetensors, Variation seed: 7, Variation seed "
                "strength: 0.25, Seed resize from: 64x96, Clip skip: 2, RNG: NV");
}

static void strength_is_told_where_it_decides(void **state)
{
    struct parameters_source from = source("m");
    struct task t = make("x", "");

    (void)state;
    t.denoising_strength = 0.75;
    assert_rest(t, &from, "RNG: CPU");
    t.init_image = (char *)"/a.png";
    assert_rest(t, &from, "Denoising strength: 0.75, RNG: CPU");
    t.init_image = NULL;
    t.hr_scale = 1.5;
    assert_rest(t, &from,
                "Denoising strength: 0.75, RNG: CPU, Hires upscale: 1.5, Hires upscaler: Latent");
    t.hr_resize_x = 512;
    t.hr_second_pass_steps = 8;
    t.hr_upscaler = UPSCALER_LATENT_NEAREST;
    assert_rest(t, &from,
                "Denoising strength: 0.75, RNG: CPU, Hires resize: 512x0, Hires steps: 8, Hires "
                "upscaler: Latent (nearest)");
}

static void inpainting_tells_what_differs(void **state)
{
    struct parameters_source from = source("m");
    struct task t = make("x", "");

    (void)state;
    t.denoising_strength = 1;
    t.init_image = t.mask = (char *)"/a.png";
    t.mask_blur = (struct task_number){true, 4};
    assert_rest(t, &from, "Denoising strength: 1, RNG: CPU, Mask blur: 4");
    t.inpainting_mask_invert = t.inpaint_full_res = true;
    t.inpaint_full_res_padding = 32;
    t.inpainting_fill = FILL_LATENT_NOISE;
    assert_rest(t, &from,
                "Denoising strength: 1, RNG: CPU, Mask mode: Inpaint not masked, Mask blur: 4, "
                "Inpaint area: Only masked, Masked area padding: 32, Masked content: latent noise");
}

static void text_and_sampling_come_last(void **state)
{
    struct parameters_source from = source("m");
    struct task t = make("x", "");

    (void)state;
    from.lora_hashes = "fur: 0123456789ab, ink: ba9876543210";
    from.ti_hashes = "bad: 00112233aabb";
    t.emphasis = EMPHASIS_NO_NORM;
    t.eta = (struct task_number){true, 0.5};
    t.s_noise = (struct task_number){true, 1.01};
    t.rescale_betas_zero_snr = true;
    t.guidance_rescale = 0.7;
    assert_rest(t, &from,
                "RNG: CPU, CFG Rescale: 0.7, Lora hashes: \"fur: 0123456789ab, ink: "
                "ba9876543210\", TI hashes: \"bad: 00112233aabb\", Noise Schedule: Zero Terminal "
                "SNR, Eta: 0.5, Sigma noise: 1.01");
    t.negative_prompt = (char *)"(blurry)";
    t.sampler = SAMPLER_DDIM;
    from.lora_hashes = from.ti_hashes = NULL;
    assert_rest(t, &from,
                "RNG: CPU, CFG Rescale: 0.7, Emphasis: No norm, Noise Schedule: Zero Terminal SNR, "
                "Eta DDIM: 0.5, Sigma noise: 1.01");
    t = make("x", "");
    t.eta = (struct task_number){true, 1};
    t.s_noise = (struct task_number){true, 1};
    assert_rest(t, &from, "RNG: CPU");
}

/* --- the reader --- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

/* One match of the expression at s; NULL if it does not match there. */
static const char *match_pair(const char *s, struct buf *ret_key, struct buf *ret_value)
{
    const char *key, *end, *value, *p;

    while (isspace((unsigned char)*s))
        s++;
    key = s;
    if (!is_word(*s))
        return NULL;
    for (end = s + 1; is_word(*end) || strchr(" -/", *end); end++)
        if (!*end)
            return NULL;
    if (end - key < 2 || *end != ':')
        return NULL;
    for (value = end + 1; isspace((unsigned char)*value); value++)
        ;
    p = value;
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++)
            p += *p == '\\' && p[1];
        p = *p == '"' && (p[1] == ',' || !p[1]) ? p + 1 : value;
    }
    if (p == value)
        p = value + strcspn(value, ",");
    buf_append(ret_key, key, (size_t)(end - key));
    buf_append(ret_value, value, (size_t)(p - value));
    return *p == ',' ? p + 1 : p;
}

/* All pairs of a line as an object; searches on where there is no match, as findall does. */
static json_t *read_pairs(const char *line)
{
    json_t *pairs = json_object();

    while (*line) {
        struct buf key = {0}, value = {0};
        const char *next = match_pair(line, &key, &value);

        if (next) {
            const char *text = buf_text(&value);
            json_t *unquoted = text[0] == '"' ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

            json_object_set_new(pairs, buf_text(&key), unquoted ? unquoted : json_string(text));
        }
        line = next ? next : line + 1;
        buf_done(&key);
        buf_done(&value);
    }
    return pairs;
}

static void strip(const char **start, size_t *size)
{
    while (*size && isspace((unsigned char)**start)) {
        ++*start;
        --*size;
    }
    while (*size && isspace((unsigned char)(*start)[*size - 1]))
        --*size;
}

static void read_back(const char *text, struct buf *ret_prompt, struct buf *ret_negative,
                      json_t **ret_pairs)
{
    const char *last = strrchr(text, '\n');
    struct buf *to = ret_prompt;
    const char *p = text;

    last = last ? last + 1 : text;
    *ret_pairs = read_pairs(last);
    while (p < last) {
        size_t n = strcspn(p, "\n"), size = n;
        const char *line = p;

        strip(&line, &size);
        if (size >= 16 && memcmp(line, "Negative prompt:", 16) == 0) {
            to = ret_negative;
            line += 16;
            size -= 16;
            strip(&line, &size);
        }
        if (to->size)
            buf_putc(to, '\n');
        buf_append(to, line, size);
        p += n + 1;
    }
}

static void assert_round_trip(const char *prompt, const char *negative, const char *model)
{
    const struct parameters_source from = source(model);
    struct task t = make(prompt, negative);
    struct buf text = {0}, got_prompt = {0}, got_negative = {0};
    json_t *pairs;

    parameters_text(&t, &from, &text);
    read_back(buf_text(&text), &got_prompt, &got_negative, &pairs);
    assert_string_equal(buf_text(&got_prompt), prompt);
    assert_string_equal(buf_text(&got_negative), negative);
    assert_int_equal(json_object_size(pairs), 10);
    assert_string_equal(json_string_value(json_object_get(pairs, "Steps")), "20");
    assert_string_equal(json_string_value(json_object_get(pairs, "Sampler")), "DPM++ 2M");
    assert_string_equal(json_string_value(json_object_get(pairs, "Size")), "128x192");
    assert_string_equal(json_string_value(json_object_get(pairs, "Model")), model);
    assert_string_equal(json_string_value(json_object_get(pairs, "Version")), "Lithograph 0.1.0");
    json_decref(pairs);
    buf_done(&text);
    buf_done(&got_prompt);
    buf_done(&got_negative);
}

static void the_web_uis_reader_gets_every_value_back(void **state)
{
    (void)state;
    assert_round_trip("a red apple", "blurry, dark", "sticker-128");
    assert_round_trip("first line\nsecond: line, with (weights:1.2)", "not\nthis", "a");
    assert_round_trip("Steps: 20, Sampler: x, Seed: 3, Size: 1x1", "", "one, two: three");
    assert_round_trip("\xe3\x81\xad\xe3\x81\x93, caf\xc3\xa9", "\xf0\x9f\x8d\x8e",
                      "m\xc3\xb6"
                      "del");
    assert_round_trip("\"quoted\" \\ text", "\"", "back\\slash, \"quote\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_in_the_web_uis_order),
        cmocka_unit_test(an_empty_negative_prompt_has_no_line),
        cmocka_unit_test(an_empty_prompt_leaves_no_empty_line),
        cmocka_unit_test(values_are_quoted_only_where_a_reader_would_split),
        cmocka_unit_test(numbers_and_labels_are_the_web_uis),
        cmocka_unit_test(what_automatic_comes_to_is_told),
        cmocka_unit_test(variations_and_another_vae_stand_before_the_noise),
        cmocka_unit_test(strength_is_told_where_it_decides),
        cmocka_unit_test(inpainting_tells_what_differs),
        cmocka_unit_test(text_and_sampling_come_last),
        cmocka_unit_test(the_web_uis_reader_gets_every_value_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
