#include "jobs/names.h"

#include "proto/buf.h"
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int read_text(const char *text, enum names_kind kind, struct names *ret_names, struct err *e)
{
    json_t *value = NULL;
    int rc = json_read("test", text, strlen(text), &value, e);

    assert_int_equal(rc, 0);
    rc = names_read(value, kind, "task", ret_names, e);
    json_decref(value);
    return rc;
}

static void names_are_kept_in_order_and_found(void **state)
{
    struct names names = {0}, copy = {0};
    struct buf text = {0};
    struct err e = {0};
    json_t *json;

    (void)state;
    assert_int_equal(read_text("{\"oil\":\"/a/oil.safetensors\",\"ink\":\"" HEX
                               "\",\"a b\":\"/x.SAFETENSORS\"}",
                               NAMES_LORAS, &names, &e),
                     0);
    assert_int_equal(names.n, 3);
    assert_string_equal(names.at[0].name, "a b");
    assert_string_equal(names_find(&names, "ink"), HEX);
    assert_null(names_find(&names, "Ink"));
    assert_int_equal(names_put(&names, "ink", "/b/ink.safetensors", &e), 0);
    assert_int_equal(names.n, 3);
    assert_int_equal(names_copy(&names, &copy, &e), 0);
    names_done(&names);
    assert_null(names_find(&names, "ink"));
    json = names_json(&copy);
    json_canonical(json, &text);
    assert_string_equal(buf_text(&text), "{\"a b\":\"/x.SAFETENSORS\",\"ink\":"
                                         "\"/b/ink.safetensors\",\"oil\":\"/a/oil.safetensors\"}");
    json_decref(json);
    buf_done(&text);
    names_done(&copy);
}

static void what_can_be_no_name_or_no_file_is_refused(void **state)
{
    static const char *const bad[][2] = {
        {"{}", "must map 1 to 256 names"},
        {"[]", "must map 1 to 256 names"},
        {"{\"\":\"/a.safetensors\"}", "LoRA '' must be named"},
        {"{\"a/b\":\"/a.safetensors\"}", "LoRA 'a/b' must be named"},
        {"{\".a\":\"/a.safetensors\"}", "no dot in front"},
        {"{\"a:1\":\"/a.safetensors\"}", "without : < > and ="},
        {"{\"a=1\":\"/a.safetensors\"}", "without : < > and ="},
        {"{\"a\":\"a.safetensors\"}", "must be the path of a .safetensors file"},
        {"{\"a\":\"/a.png\"}", "must be the path of a .safetensors file"},
        {"{\"a\":\"/sub/ink\"}", "is called by its bare name, 'ink'"},
        {"{\"a\":\"/.safetensors\"}", NULL},
        {"{\"a\":\"sha256:0123\"}", "sha256: and 64 hex digits"},
        {"{\"a\":\"/a.pt\"}", "is a pickle"},
        {"{\"a\":7}", "must be the path"},
    };
    char longest[NAME_SIZE_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct names names = {0};
        struct err e = {0};
        int rc = read_text(bad[i][0], NAMES_LORAS, &names, &e);

        if (bad[i][1] ? rc != ERR_INPUT || !strstr(e.text, bad[i][1]) : rc != 0)
            fail_msg("%s: %d %s", bad[i][0], rc, e.text);
        names_done(&names);
    }
    memset(longest, 'a', sizeof longest);
    longest[NAME_SIZE_MAX + 1] = 0;
    assert_int_equal(names_check_name(NAMES_EMBEDDINGS, longest, NULL), ERR_INPUT);
    longest[NAME_SIZE_MAX] = 0;
    assert_int_equal(names_check_name(NAMES_EMBEDDINGS, longest, NULL), 0);
    assert_int_equal(names_check_name(NAMES_EMBEDDINGS, "a:b", NULL), 0); /* a word as any */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_kept_in_order_and_found),
        cmocka_unit_test(what_can_be_no_name_or_no_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
