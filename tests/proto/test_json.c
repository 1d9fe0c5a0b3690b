/* JSON: strict reading, typed members, canonical writing by RFC 8785's examples. */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static json_t *read_text(const char *text)
{
    json_t *root;
    struct err e;

    if (json_read("t.json", text, strlen(text), &root, &e) != 0)
        fail_msg("%s", e.text);
    return root;
}

static void assert_canonical(const char *text, const char *want)
{
    json_t *root = read_text(text);
    struct buf b = {0};

    json_canonical(root, &b);
    assert_string_equal(buf_text(&b), want);
    buf_done(&b);
    json_decref(root);
}

/* RFC 8785, section 3.2.2 and 3.2.3. */
static void the_rfcs_example_becomes_its_canonical_form(void **state)
{
    (void)state;
    assert_canonical("{\n"
                     "  \"numbers\": [333333333.33333329, 1E30, 4.50,\n"
                     "              2e-3, 0.000000000000000000000000001],\n"
                     "  \"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\n"
                     "  \"literals\": [null, true, false]\n"
                     "}",
                     "{\"literals\":[null,true,false],"
                     "\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
                     "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
}

/* RFC 8785, section 3.2.3: by UTF-16 code units, so that an emoji goes before U+FB33. */
static void keys_are_sorted_as_utf_16(void **state)
{
    (void)state;
    assert_canonical(
        "{\"\\u20ac\": 1, \"\\r\": 2, \"\\ufb33\": 3, \"1\": 4, \"\\ud83d\\ude00\": 5, "
        "\"\\u0080\": 6, \"\\u00f6\": 7}",
        "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,"
        "\"\xf0\x9f\x98\x80\":5,\"\xef\xac\xb3\":3}");
}

static void the_order_of_keys_in_the_file_does_not_matter(void **state)
{
    const char *want = "{\"\xf0\x9f\x98\x80\":1,\"\xef\xac\xb3\":2}";

    (void)state;
    assert_canonical("{\"\\ud83d\\ude00\": 1, \"\\ufb33\": 2}", want);
    assert_canonical("{\"\\ufb33\": 2, \"\\ud83d\\ude00\": 1}", want);
}

static void whole_numbers_keep_all_their_digits(void **state)
{
    (void)state;
    assert_canonical("[9223372036854775807, -1, 0, 10.0]", "[9223372036854775807,-1,0,10]");
}

static void pythons_infinities_are_null_but_not_inside_text(void **state)
{
    (void)state;
    assert_canonical(
        "{\"a\": -Infinity, \"b\": [NaN, Infinity], \"c\": \"a \\\"NaN\\\" -Infinity\"}",
        "{\"a\":null,\"b\":[null,null],\"c\":\"a \\\"NaN\\\" -Infinity\"}");
}

static void broken_documents_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *place;
    } cases[] = {
        {"{\"a\": 1,\n \"a\": 2}", "t.json:2:"}, /* twice the same key */
        {"", "t.json:1:"},
        {"[1, 2", "t.json:1:"},
        {"[1] x", "t.json:1:"},
        {"{\"a\": \"\xff\"}", "t.json:1:"},
        {"[\"\\u0000\"]", "t.json:1:"},
        {"[1e999]", "t.json:1:"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = NULL;
        struct err e;

        if (json_read("t.json", cases[i].text, strlen(cases[i].text), &root, &e) != ERR_INPUT)
            fail_msg("'%s' was accepted", cases[i].text);
        assert_null(root);
        if (!strstr(e.text, cases[i].place))
            fail_msg("'%s' does not say %s", e.text, cases[i].place);
    }
}

static void members_are_read_by_type_and_bound(void **state)
{
    json_t *o = read_text("{\"n\": 5, \"whole\": 6.0, \"x\": 0.25, \"t\": true, \"s\": \"text\", "
                          "\"none\": null}");
    struct err e;
    struct json_reader r = {.where = "t.json", .e = &e};

    (void)state;
    assert_int_equal(json_get_int(&r, o, "n", 5, 5), 5);
    assert_int_equal(json_get_int(&r, o, "whole", 0, 10), 6);
    assert_int_equal(json_get_int_or(&r, o, "none", 0, 10, 77), 77);
    assert_true(json_get_real_or(&r, o, "x", 1) == 0.25);
    assert_true(json_get_real_or(&r, o, "n", 1) == 5);
    assert_true(json_get_bool_or(&r, o, "t", false));
    assert_true(json_get_bool_or(&r, o, "missing", true));
    assert_string_equal(json_get_string(&r, o, "s"), "text");
    assert_string_equal(json_get_string_or(&r, o, "none", "else"), "else");
    assert_int_equal(r.rc, 0);
    json_decref(o);
}

static void the_first_wrong_member_is_the_one_reported(void **state)
{
    json_t *o = read_text("{\"n\": 5, \"x\": 0.5, \"s\": \"text\"}");
    struct err e;
    struct json_reader r = {.where = "t.json", .e = &e};

    (void)state;
    assert_int_equal(json_get_int(&r, o, "n", 6, 9), 6);
    json_get_string(&r, o, "n");
    assert_int_equal(r.rc, ERR_INPUT);
    assert_string_equal(e.text, "t.json: 'n' must be a whole number from 6 to 9");
    r.rc = 0;
    json_get_int(&r, o, "x", 0, 9);
    assert_int_equal(r.rc, ERR_INPUT);
    r.rc = 0;
    json_get_bool_or(&r, o, "s", false);
    assert_string_equal(e.text, "t.json: 's' must be true or false");
    r.rc = 0;
    json_get_string(&r, o, "missing");
    assert_string_equal(e.text, "t.json: 'missing' must be given");
    r.rc = 0;
    json_get_real_or(&r, o, "s", 1);
    assert_string_equal(e.text, "t.json: 's' must be a number");
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_example_becomes_its_canonical_form),
        cmocka_unit_test(keys_are_sorted_as_utf_16),
        cmocka_unit_test(the_order_of_keys_in_the_file_does_not_matter),
        cmocka_unit_test(whole_numbers_keep_all_their_digits),
        cmocka_unit_test(pythons_infinities_are_null_but_not_inside_text),
        cmocka_unit_test(broken_documents_are_refused_with_their_place),
        cmocka_unit_test(members_are_read_by_type_and_bound),
        cmocka_unit_test(the_first_wrong_member_is_the_one_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
