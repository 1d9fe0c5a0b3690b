/* `loras`, `embeddings`, and LoRAs by path: what a manifest says of them and what its bundle has.
 */
#include "tests/jobs/manifest_case.h"

#define PLAIN "litho: 1\nmodel: m\n"
#define HEX   "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A text in which % stands for the manifest's folder. */
static void here(const char *text, struct buf *ret_text)
{
    for (; *text; text++)
        if (*text == '%')
            buf_puts(ret_text, case_folder);
        else
            buf_putc(ret_text, *text);
}

static void has(const struct outcome *out, const char *path, const char *want)
{
    struct buf text = {0};

    here(want, &text);
    part_is(out, path, buf_text(&text));
    buf_done(&text);
}

static void refuses(const char *text, const char *want)
{
    struct buf lines = {0};

    here(want, &lines);
    refused(text, buf_text(&lines));
    buf_done(&lines);
}

static void accepts(const char *text, const char *path, const char *want)
{
    struct outcome out = read_text(text);

    if (out.rc != 0)
        fail_msg("%s", out.d.n ? out.d.items[0].text : out.e.text);
    has(&out, path, want);
    outcome_done(&out);
}

static void names_are_bound_to_files_beside_the_manifest(void **state)
{
    struct outcome out;

    (void)state;
    write_file("list.txt", "");
    out =
        read_text(PLAIN "prompt: a <lora:ink:1>\nloras: {ink: styles/../ink.safetensors, oil: " HEX
                        "}\nembeddings:\n  glow: ../glow.safetensors\n");
    assert_int_equal(out.rc, 0);
    has(&out, "loras", "{\"ink\":\"%/ink.safetensors\",\"oil\":\"" HEX "\"}");
    has(&out, "embeddings", "{\"glow\":\"/tmp/glow.safetensors\"}");
    outcome_done(&out);
    accepts(PLAIN "prompt: a\nloras:\n", "loras", "");
}

static void what_is_not_here_is_a_warning_at_its_place(void **state)
{
    struct outcome out = read_text(PLAIN "prompt: a\nloras: {ink: ink.safetensors}\n");
    struct buf want = {0};

    (void)state;
    buf_printf(&want, "job.yaml:4:14: warning: no file '%s/ink.safetensors' on this machine",
               case_folder);
    assert_int_equal(out.rc, 0);
    assert_string_equal(out.d.items[0].text, buf_text(&want));
    outcome_done(&out);
    out = read_text(PLAIN "prompt: a <lora:./ink.safetensors:1>\n");
    want.size = 0;
    buf_printf(&want, "job.yaml:3:9: warning: prompt: no file '%s/ink.safetensors' on this machine",
               case_folder);
    assert_int_equal(out.rc, 0);
    assert_string_equal(out.d.items[0].text, buf_text(&want));
    outcome_done(&out);
    buf_done(&want);
}

static void mistakes_are_told_where_they_stand(void **state)
{
    (void)state;
    refuses(
        PLAIN "prompt: a\nloras: [ink]\nembeddings: {a/b: " HEX ", glow: x.pt}\n",
        "job.yaml:4:8: 'loras' maps names to files: {ink: styles/ink.safetensors}\n"
        "job.yaml:5:14: embedding 'a/b' must be named by 1 to 243 bytes without '/' and '\\', and "
        "no dot in front\n"
        "job.yaml:5:98: embedding '%/x.pt' is a pickle, a file that runs code when it is "
        "read: convert it to .safetensors\n");
    refuses(
        PLAIN "prompt: a\nloras: {ink: sha256:12, oil: [a], 'a:b': " HEX "}\n",
        "job.yaml:4:14: LoRA 'sha256:12' must be the path of a .safetensors file, or sha256: and "
        "64 hex digits\n"
        "job.yaml:4:30: 'oil' is the path of a .safetensors file, or its sha256:...\n"
        "job.yaml:4:35: LoRA 'a:b' must be named without : < > and =, which <lora:NAME:1> cannot "
        "hold\n");
    refuses(PLAIN "prompt: a <lora:./ink.png:1>\n",
            "job.yaml:3:9: prompt: LoRA '%/ink.png' is no name, nor the path of a .safetensors "
            "file\n");
}

static void a_name_near_a_bound_one_is_asked_about(void **state)
{
    struct outcome out =
        accepted(PLAIN "prompt: a <lora:watercolour:1>\nloras: {watercolor: " HEX "}\n",
                 "job.yaml:3:9: warning: prompt: no LoRA 'watercolour' under "
                 "'loras', did you mean 'watercolor'?\n");

    (void)state;
    outcome_done(&out);
    out = accepted(PLAIN "prompt: a <lora:fur:1> <lora:watercolor>\nloras: {watercolor: " HEX "}\n",
                   "");
    outcome_done(&out);
}

static void relative_paths_in_prompts_start_at_the_manifest(void **state)
{
    (void)state;
    accepts(PLAIN
            "prompt: a <lora:./ink.safetensors:1> <lora:fur:1> <lyco:s/oil.safetensors>, x/y\n",
            "fixed.prompt",
            "\"a <lora:%/ink.safetensors:1> <lora:fur:1> <lyco:%/s/oil.safetensors>, x/y\"");
    accepts(PLAIN "prompt: a <lora:${s}:1>, ${t}\naxes:\n  s: [fur, ./ink.safetensors]\n"
                  "  t: [a/b, c]\n",
            "axes",
            "[{\"columns\":[\"s\"],\"name\":\"s\",\"rows\":[[\"fur\"],"
            "[\"%/ink.safetensors\"]]},{\"columns\":[\"t\"],\"name\":\"t\","
            "\"rows\":[[\"a/b\"],[\"c\"]]}]");
    accepts(PLAIN "axes: {prompt: [\"a <lora:./${s}.safetensors>\", \"b ${s}\"], s: [ink, oil]}\n",
            "axes.0.rows", "[[\"a <lora:%/${s}.safetensors>\"],[\"b ${s}\"]]");
    write_file("list.csv", "name,prompt,negative_prompt\ninky,<lora:./ink.safetensors:1>,bad\n");
    accepts(PLAIN "prompt: a\nstyles: inky\nstyles_file: list.csv\n", "styles",
            "{\"inky\":[[\"<lora:%/ink.safetensors:1>\",\"bad\"]]}");
}

static void paths_of_the_command_line_start_in_the_working_folder(void **state)
{
    const char *const sets[] = {"loras.ink=ink.safetensors", "prompt=<lora:./a.safetensors>", NULL};
    struct outcome out = read_with(PLAIN "prompt: a\n", sets);

    (void)state;
    assert_int_equal(out.rc, 0);
    has(&out, "loras", "{\"ink\":\"%/ink.safetensors\"}");
    has(&out, "fixed.prompt", "\"<lora:%/a.safetensors>\"");
    outcome_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_bound_to_files_beside_the_manifest),
        cmocka_unit_test(what_is_not_here_is_a_warning_at_its_place),
        cmocka_unit_test(mistakes_are_told_where_they_stand),
        cmocka_unit_test(a_name_near_a_bound_one_is_asked_about),
        cmocka_unit_test(relative_paths_in_prompts_start_at_the_manifest),
        cmocka_unit_test(paths_of_the_command_line_start_in_the_working_folder),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
