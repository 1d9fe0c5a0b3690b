/* The recorded prompts and some thousand damaged copies of them: whatever the bytes, a prompt is
 * read whole or refused with a place in it. */
#include "tests/engine/prompt/prompt_case.h"
#include "tests/fuzz/damage.h"

#define ROUNDS 400 /* damaged copies of each prompt */

/* Bytes that mean something in a prompt. */
static const char *const tokens[] = {"(",        ")",          "[",        "]",
                                     ":",        "|",          "\\",       "\n",
                                     " ",        "0.5",        ":1.2)",    "[a:b:3]",
                                     "[a|b]",    "<",          ">",        "=",
                                     "lora",     "<lora:x:1>", "BREAK",    " BREAK ",
                                     "AND",      " AND ",      "te=",      "1e999",
                                     "-",        ".",          "\xff",     "\xe2",
                                     "\xc2\xa0", "\x1c",       "\xd9\xa3", ":.)",
                                     "[:",       "(((((",      "]]]]",     "\xe6\x9d\xb1",
                                     ":0.25]",   "<q:",        "unet=",    "\xf0\x9f\x8d\x95"};

/* Every byte of a text that was put together stands where it says in the prompt. */
static void check_origin(const struct prompt_text *t, const char *prompt)
{
    assert_int_equal(strlen(t->text), t->size);
    for (size_t i = 0; i < t->size; i++)
        assert_int_equal(t->text[i], prompt[t->origin[i]]);
}

static void try_weights(const struct prompt_text *t, const char *prompt)
{
    struct prompt_fault fault = {0};
    struct weighted a;
    size_t at = 0;

    if (weighted_parse(t, &a, &fault) != 0) {
        assert_int_equal(fault.code, ERR_INPUT);
        assert_true(fault.at <= strlen(prompt) && fault.text[0] != '\0');
        return;
    }
    assert_true(a.n > 0);
    for (size_t i = 0; i < a.n; i++) {
        assert_int_equal(a.pieces[i].begin, at);
        at += a.pieces[i].size;
    }
    assert_int_equal(at, a.text.size);
    weighted_done(&a);
}

static void try_edits(const struct prompt_text *t, const char *prompt, int hires_steps)
{
    struct prompt_fault fault = {0};
    struct prompt_text text;
    struct edit *d;
    int last = 0;

    if (edit_parse(t, 7, hires_steps, &d, &fault) != 0) {
        assert_int_equal(fault.code, ERR_INPUT);
        assert_true(fault.at <= strlen(prompt) && fault.text[0] != '\0');
        return;
    }
    for (size_t i = 0; i < edit_count(d); i++) {
        assert_true(edit_end(d, i) > last);
        last = edit_end(d, i);
        assert_read(edit_text(d, i, &text, f));
        check_origin(&text, prompt);
        try_weights(&text, prompt);
        prompt_text_done(&text);
    }
    assert_int_equal(last, hires_steps > 0 ? hires_steps : 7);
    edit_free(d);
}

static bool refused(const char *prompt, bool negative)
{
    struct prompt_report r;
    bool fatal;

    assert_int_equal(prompt_check(prompt, &(struct prompt_rules){.negative = negative}, &r, NULL),
                     0);
    for (size_t i = 0; i < r.n_notes; i++)
        assert_in_range(r.notes[i].column, 1, strlen(prompt) + 1);
    fatal = r.n_notes > 0 && r.notes[r.n_notes - 1].fatal;
    prompt_report_done(&r);
    return fatal;
}

static void try_one(const char *prompt)
{
    struct prompt_fault fault = {0};
    struct split s;
    int rc = split_parse(prompt, &s, &fault);

    refused(prompt, true);
    if (rc != 0) {
        assert_int_equal(rc, ERR_INPUT);
        assert_true(fault.at <= strlen(prompt) && fault.text[0] != '\0');
        assert_true(refused(prompt, false));
        return;
    }
    refused(prompt, false);
    assert_in_range(s.n_parts, 1, SPLIT_PARTS_MAX);
    for (size_t i = 0; i < s.n_parts; i++) {
        check_origin(&s.parts[i].text, prompt);
        try_edits(&s.parts[i].text, prompt, 0);
        try_edits(&s.parts[i].text, prompt, 3);
    }
    split_done(&s);
}

static void damaged_prompts_are_read_whole_or_refused_in_place(void **state)
{
    struct damage how = {tokens, sizeof tokens / sizeof *tokens, DAMAGE_SEED};
    json_t *root = recorded_prompts(), *one;
    size_t i;

    (void)state;
    json_array_foreach(root, i, one)
    {
        const char *prompt = json_text(one, "prompt");
        struct buf text = {0};

        try_one(prompt);
        for (int k = 0; k < ROUNDS; k++) {
            /* Damage adds up over a few rounds, then starts again. */
            if (k % 8 == 0) {
                text.size = 0;
                buf_puts(&text, prompt);
            }
            damage(&how, &text);
            try_one(buf_text(&text));
        }
        buf_done(&text);
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_prompts_are_read_whole_or_refused_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
