/* The files that a task's prompts call: jobs/bind.h, through the tasks of a job. */
#include "tests/jobs/bundle.h"

#define A "/a/ink.safetensors"
#define B "/b/ink.safetensors"

/* What the one task of a job with this prompt says of its prompt and names, as JSON with '. */
static void is(const char *prompt, const char *loras, const char *embeddings, const char *want)
{
    struct buf fixed = {0}, text = {0}, names = {0};
    struct task t = {0};
    struct job *job;
    struct err e = {0};
    json_t *root, *wanted = bundle_json(want), *got = json_object();
    static const char *const keys[] = {"prompt", "loras", "embeddings"};

    buf_printf(&fixed, "'prompt':'%s'", prompt);
    job = bundle_job(
        (struct spec){.fixed = buf_text(&fixed), .loras = loras, .embeddings = embeddings});
    assert_int_equal(job_task(job, 0, &t, &e), 0);
    task_to_json(&t, &text);
    assert_int_equal(json_read("task", text.data, text.size, &root, &e), 0);
    for (size_t i = 0; i < 3; i++)
        if (json_object_get(root, keys[i]))
            json_object_set(got, keys[i], json_object_get(root, keys[i]));
    json_canonical(got, &names);
    if (!json_equal(got, wanted))
        fail_msg("%s\n  is %s\n  not %s", prompt, buf_text(&names), want);
    json_decref(root);
    json_decref(wanted);
    json_decref(got);
    task_done(&t);
    job_free(job);
    buf_done(&fixed);
    buf_done(&text);
    buf_done(&names);
}

static void a_task_has_the_names_that_its_prompts_use(void **state)
{
    const char *loras = "{'ink':'" A "','oil':'" B "','off':'" A "'}";

    (void)state;
    is("a fox <lora:ink:0.8> <lora:off:0> <lora:fur>", loras, NULL,
       "{'prompt':'a fox <lora:ink:0.8> <lora:off:0> <lora:fur>','loras':{'ink':'" A "'}}");
    is("a fox", loras, "{'Glow':'" A "','far':'" B "'}", "{'prompt':'a fox'}");
    is("a glow, ink", loras, "{'Glow':'" A "','far':'" B "'}",
       "{'prompt':'a glow, ink','embeddings':{'Glow':'" A "'}}");
}

static void a_path_in_a_prompt_becomes_a_name(void **state)
{
    (void)state;
    is("x <lora:" A ":0.8> y", NULL, NULL,
       "{'prompt':'x <lora:ink:0.8> y','loras':{'ink':'" A "'}}");
    is("<lyco:te=1:" A ">", NULL, NULL, "{'prompt':'<lyco:te=1:ink>','loras':{'ink':'" A "'}}");
    is("<lora:" A ":1><lora:" A ":-1>", NULL, NULL, "{'prompt':'<lora:ink:1><lora:ink:-1>'}");
}

static void one_name_never_calls_two_files(void **state)
{
    (void)state;
    is("<lora:" A "><lora:" B ":2><lora:" A ">", NULL, NULL,
       "{'prompt':'<lora:ink><lora:ink-2:2><lora:ink>','loras':{'ink':'" A "','ink-2':'" B "'}}");
    is("<lora:" A "><lora:ink>", NULL, NULL, /* the library's */
       "{'prompt':'<lora:ink-2><lora:ink>','loras':{'ink-2':'" A "'}}");
    is("<lora:" A "><lora:ink>", "{'ink':'" B "'}", NULL,
       "{'prompt':'<lora:ink-2><lora:ink>','loras':{'ink':'" B "','ink-2':'" A "'}}");
    is("<lora:" A "><lora:ink>", "{'ink':'" A "'}", NULL,
       "{'prompt':'<lora:ink><lora:ink>','loras':{'ink':'" A "'}}");
}

static void what_cannot_be_bound_stays_as_it_is(void **state)
{
    (void)state;
    is("<lora:./ink.safetensors>", NULL, NULL, "{'prompt':'<lora:./ink.safetensors>'}");
    is("<lora:/a/ink.pt>", NULL, NULL, "{'prompt':'<lora:/a/ink.pt>'}");
    is("<lora:/a/.ink.safetensors>", NULL, NULL, "{'prompt':'<lora:/a/.ink.safetensors>'}");
    is("<lora:" A ":x>", NULL, NULL, "{'prompt':'<lora:" A ":x>'}"); /* no weight: told later */
}

static void a_variable_may_hold_a_name_or_a_path(void **state)
{
    struct job *job = bundle_job((struct spec){
        .fixed = "'prompt':'a <lora:${style}:0.5>'",
        .axes = "[{'name':'style','columns':['style'],'rows':[['ink'],['/c/oil.safetensors']]}]",
        .loras = "{'ink':'" A "'}"});
    struct task t = {0};

    (void)state;
    assert_int_equal(job_task(job, 0, &t, NULL), 0);
    assert_string_equal(names_find(&t.loras, "ink"), A);
    task_done(&t);
    assert_int_equal(job_task(job, 1, &t, NULL), 0);
    assert_string_equal(t.prompt, "a <lora:oil:0.5>");
    assert_string_equal(names_find(&t.loras, "oil"), "/c/oil.safetensors");
    assert_int_equal(t.loras.n, 1);
    task_done(&t);
    job_free(job);
}

static void a_bundle_with_wrong_names_is_refused(void **state)
{
    (void)state;
    bundle_refused((struct spec){.loras = "{'a':'ink.safetensors'}"},
                   "bundle: LoRA 'ink.safetensors' must be the path");
    bundle_refused((struct spec){.embeddings = "{}"}, "bundle: 'embeddings' must map 1 to");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_has_the_names_that_its_prompts_use),
        cmocka_unit_test(a_path_in_a_prompt_becomes_a_name),
        cmocka_unit_test(one_name_never_calls_two_files),
        cmocka_unit_test(what_cannot_be_bound_stays_as_it_is),
        cmocka_unit_test(a_variable_may_hold_a_name_or_a_path),
        cmocka_unit_test(a_bundle_with_wrong_names_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
