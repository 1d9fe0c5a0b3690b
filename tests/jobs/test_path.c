#include "jobs/filename.h"
#include "tests/jobs/bundle.h"

static void assert_part(const char *value, const char *expected)
{
    struct buf part = {0};

    assert_int_equal(filename_part(value, strlen(value), &part, NULL), 0);
    assert_string_equal(buf_text(&part), expected);
    buf_done(&part);
}

static void values_become_parts_of_file_names(void **state)
{
    (void)state;
    assert_part("red apple", "red apple");
    assert_part("a/b\\c:d*e?f\"g<h>i|j", "a_b_c_d_e_f_g_h_i_j");
    assert_part("../../etc", "___.._etc");
    assert_part(".hidden", "_hidden");
    assert_part("v1.5", "v1.5");
    assert_part(" ends. ", "_ends__");
    assert_part("tab\tline\n", "tab_line_");
    assert_part("", "_");
    assert_part("...", "___");
    assert_part("\xe3\x81\xad\xe3\x81\x93 caf\xc3\xa9", "\xe3\x81\xad\xe3\x81\x93 caf\xc3\xa9");
    assert_part("x\xe2\x80\xaegnp", "x_gnp"); /* right-to-left override */
    assert_part("\xc2\x85", "_");
    assert_part("con", "con_");
    assert_part("Com1.txt", "Com1_.txt");
    assert_part("console", "console");
    assert_part("com0", "com0");
}

static void long_values_are_cut_between_characters_and_stay_distinct(void **state)
{
    char a[301], b[301];
    struct buf first = {0}, second = {0};

    (void)state;
    for (int i = 0; i < 300; i += 3)
        memcpy(a + i, "\xe3\x81\xad", 3);
    a[300] = 0;
    memcpy(b, a, sizeof b);
    memcpy(b + 297, "\xe3\x81\x93", 3);
    assert_int_equal(filename_part(a, 300, &first, NULL), 0);
    assert_int_equal(filename_part(b, 300, &second, NULL), 0);
    assert_in_range(first.size, 90, FILENAME_PART_MAX);
    assert_memory_equal(first.data, a, 90);
    assert_int_equal(first.data[90], '~');
    assert_int_equal(first.size, 99);
    assert_string_not_equal(first.data, second.data);
    buf_done(&first);
    buf_done(&second);
    assert_int_equal(filename_part("caf\xe9", 4, &first, NULL), ERR_INPUT);
    buf_done(&first);
}

/* --- templates --- */

#define AB(a, b)                                                                                   \
    "[{'name':'a','columns':['a'],'rows':[" a "]},{'name':'b','columns':['b'],'rows':[" b "]}]"

static void assert_path(struct spec s, uint64_t index, const char *expected)
{
    struct job *job = bundle_job(s);
    struct buf path = {0};

    assert_int_equal(job_path(job, index, &path, NULL), 0);
    assert_string_equal(buf_text(&path), expected);
    buf_done(&path);
    job_free(job);
}

static void templates_take_names_widths_and_braces(void **state)
{
    static const char axes[] =
        "[{'name':'n','columns':['n'],'range':{'first':8,'step':1,'count':3}}]";

    (void)state;
    assert_path((struct spec){.axes = axes, .path = "{job}/{{x}}-{n:03}.png"}, 1,
                "stickers/{x}-009.png");
    assert_path((struct spec){.axes = axes, .path = "{index:06}.png"}, 2, "000002.png");
    assert_path((struct spec){.axes = axes, .path = "{index}.png"}, 2, "2.png");
    assert_path((struct spec){.axes = axes, .path = "{model}/{steps:04}/{size}-{n}.png"}, 2,
                "sticker-128/20/128x128-10.png");
    assert_path((struct spec){.axes = axes,
                              .fixed = "'model':'/srv/models/my one'",
                              .path = "{model}/{n}.png"},
                0, "my one/8.png");
}

static void wrong_templates_are_refused(void **state)
{
    static const struct {
        const char *path, *message;
    } cases[] = {
        {"x.jpg", "'.png'"},
        {"", "'.png'"},
        {"{index}", "'.png'"},
        {"/x.png", "empty folder name"},
        {"a//x.png", "empty folder name"},
        {"../x.png", "start with a dot"},
        {"a/../x.png", "start with a dot"},
        {".litho/x.png", "start with a dot"},
        {"a/.png", "start with a dot"},
        {" a/x.png", "space"},
        {"a /x.png", "end with a dot or a space"},
        {"a./x.png", "end with a dot or a space"},
        {"a\\\\b/x.png", "every system"},
        {"a:b/x.png", "every system"},
        {"a\\u0007/x.png", "every system"},
        {"nul/x.png", "device"},
        {"Con.png", "device"},
        {"{job/x.png", "closing"},
        {"job}/x.png", "'}}'"},
        {"{}/x.png", "'{}'"},
        {"{jobs}/x.png", "'{jobs}'"},
        {"{index:6}.png", "{index:06}"},
        {"{index:0}.png", "{index:06}"},
        {"{index:099}.png", "{index:06}"},
        {"{index:06x}.png", "{index:06}"},
        {"{job}/sheet.png", "contact sheet"},
        {"x/SHEET.png", "contact sheet"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bundle_refused((struct spec){.path = cases[i].path}, cases[i].message);
}

static void a_value_named_sheet_does_not_overwrite_the_sheet(void **state)
{
    static const char axes[] = AB("['ship'],['Sheet']", "['x']");

    (void)state;
    bundle_refused((struct spec){.axes = axes, .path = "{job}/{a}.png"}, "contact sheet");
    assert_path((struct spec){.axes = axes, .path = "{job}/{a}/{b}.png"}, 1,
                "stickers/Sheet/x.png");
    assert_path((struct spec){.axes = axes, .path = "{a}.png"}, 1, "Sheet.png");
}

static void every_axis_with_several_values_must_be_told_apart(void **state)
{
    static const char axes[] = AB("['x'],['y']", "['one']");

    (void)state;
    bundle_refused((struct spec){.axes = axes, .path = "{b}.png"}, "add {a} or {index}");
    assert_path((struct spec){.axes = axes, .path = "{a}.png"}, 1, "y.png");
    assert_path((struct spec){.axes = axes, .path = "{index}.png"}, 1, "1.png");
}

static void one_column_of_a_zip_is_enough(void **state)
{
    static const char axes[] = AB("['x'],['y']", "['p'],['p']");

    (void)state;
    assert_path((struct spec){.axes = axes, .combine = "[[0,1]]", .path = "{b}-{a}.png"}, 1,
                "p-y.png");
    bundle_refused((struct spec){.axes = axes, .combine = "[[0,1]]", .path = "{b}.png"},
                   "two values of {b}");
}

static void values_must_differ_as_file_names_whatever_the_case(void **state)
{
    (void)state;
    bundle_refused((struct spec){.axes = AB("['Red'],['red']", "['x']"), .path = "{a}.png"},
                   "two values of {a} give the same file name 'red'");
    bundle_refused((struct spec){.axes = AB("['\xc3\x89t\xc3\xa9'],['\xc3\xa9t\xc3\xa9']", "['x']"),
                                 .path = "{a}.png"},
                   "two values of {a}");
    bundle_refused((struct spec){.axes = AB("['a/b'],['a:b']", "['x']"), .path = "{a}.png"},
                   "'a_b'");
    bundle_refused((struct spec){.axes = AB("['7'],['07']", "['x']"), .path = "{a:02}.png"},
                   "'07'");
    bundle_refused((struct spec){.axes = AB("['/m/one'],['/n/one']", "['x']"),
                                 .fixed = "'prompt':'x'",
                                 .path = "{a}{b}{c}.png"},
                   "'{c}'");
}

static void values_that_run_together_are_refused(void **state)
{
    static const char ones[] = AB("['1'],['11']", "['1'],['11']");

    (void)state;
    bundle_refused((struct spec){.axes = ones, .path = "{a}{b}.png"}, "put '/'");
    bundle_refused((struct spec){.axes = ones, .path = "{a}1{b}.png"}, "put '/'");
    assert_path((struct spec){.axes = ones, .path = "{a}-{b}.png"}, 3, "11-11.png");
    assert_path((struct spec){.axes = ones, .path = "{a}/{b}.png"}, 3, "11/11.png");
    bundle_refused(
        (struct spec){.axes = AB("['a-b'],['a']", "['c'],['b-c']"), .path = "{a}-{b}.png"},
        "put '/'");
    assert_path((struct spec){.axes = ones, .path = "{index}{a}.png"}, 3, "311.png");
    bundle_refused((struct spec){.axes = "[{'name':'a','columns':['a'],'range':{'first':1,'step':1,"
                                         "'count':12}}]",
                                 .path = "{index}{a}.png"},
                   "cannot be told");
}

static void unambiguous_neighbours_are_taken(void **state)
{
    (void)state;
    /* Equal lengths; no value begins another; a fixed width; one side without the separator. */
    assert_path((struct spec){.axes = AB("['x1'],['x2']", "['1'],['11']"), .path = "{a}{b}.png"}, 3,
                "x211.png");
    assert_path(
        (struct spec){.axes = AB("['cat'],['horse']", "['1'],['11']"), .path = "{a}{b}.png"}, 3,
        "horse11.png");
    assert_path((struct spec){.axes = AB("['1'],['11']", "['2'],['12']"), .path = "{a:02}{b}.png"},
                3, "1112.png");
    assert_path(
        (struct spec){.axes = AB("['sky'],['sky-blue']", "['1'],['2']"), .path = "{a}-{b}.png"}, 3,
        "sky-blue-2.png");
    assert_path(
        (struct spec){.axes = AB("['1'],['11']", "['1'],['11']"), .path = "{a}{b}-{index}.png"}, 3,
        "1111-3.png");
}

static void long_paths_are_refused(void **state)
{
    struct buf path = {0}, axes = {0};

    (void)state;
    for (int i = 0; i < 256; i++)
        buf_putc(&path, 'x');
    buf_puts(&path, ".png");
    bundle_refused((struct spec){.path = buf_text(&path)}, "longer than a file system takes");
    path.size = 0;
    for (int i = 0; i < 300; i++)
        buf_puts(&path, "abcd/");
    buf_puts(&path, "x.png");
    bundle_refused((struct spec){.path = buf_text(&path)}, "longer than a file system takes");
    buf_puts(&axes, "[{'name':'a','columns':['a'],'rows':[['");
    for (int i = 0; i < 400; i++)
        buf_putc(&axes, 'y');
    buf_puts(&axes, "']]}]");
    bundle_refused((struct spec){.axes = buf_text(&axes), .path = "{a}{a}{a}.png"},
                   "longer than a file system takes");
    buf_done(&path);
    buf_done(&axes);
}

/* --- the rule, held against all paths of random jobs --- */

static uint32_t random_state;

static uint32_t draw(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(random_state >> 8) * n) >> 24);
}

static void random_spec(struct buf *axes, struct buf *path)
{
    static const char *const values[] = {"1",  "11",  "a",  "A",  "-", "a-",
                                         "-1", "1-1", "aa", "b/", "b"};
    static const char *const parts[] = {"{a}", "{b}", "{c}",    "{index}", "-",
                                        "1",   "/",   "{c:02}", "_"};

    buf_puts(axes, "[");
    for (int a = 0; a < 2; a++) {
        buf_printf(axes, "{'name':'%c','columns':['%c'],'rows':[", 'a' + a, 'a' + a);
        for (uint32_t i = 0, n = 1 + draw(4); i < n; i++)
            buf_printf(axes, "%s['%s']", i ? "," : "", values[draw(11)]);
        buf_puts(axes, "]},");
    }
    buf_printf(axes, "{'name':'c','columns':['c'],'range':{'first':%d,'step':%d,'count':%d}}]",
               (int)draw(12) - 2, 1 + (int)draw(10), 1 + (int)draw(12));
    buf_puts(path, "{a}");
    for (uint32_t i = 0, n = 1 + draw(5); i < n; i++)
        buf_puts(path, parts[draw(9)]);
    buf_puts(path, "{b}.png");
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_all_paths_differ(const struct job *job, const char *template)
{
    uint64_t n = job_span(job);
    char **paths = calloc(n, sizeof *paths);

    for (uint64_t i = 0; i < n; i++) {
        struct buf path = {0}, folded = {0};

        assert_int_equal(job_path(job, i, &path, NULL), 0);
        filename_fold(path.data, path.size, &folded);
        paths[i] = buf_detach(&folded);
        buf_done(&path);
    }
    qsort(paths, n, sizeof *paths, compare_texts);
    for (uint64_t i = 1; i < n; i++)
        if (strcmp(paths[i - 1], paths[i]) == 0)
            fail_msg("'%s' gives '%s' twice", template, paths[i]);
    for (uint64_t i = 0; i < n; i++)
        free(paths[i]);
    free(paths);
}

static void no_accepted_template_gives_one_name_twice(void **state)
{
    int accepted = 0;

    (void)state;
    for (uint32_t seed = 1; seed <= 3000; seed++) {
        struct buf axes = {0}, path = {0};
        struct job *job = NULL;

        random_state = seed * 2654435761u;
        random_spec(&axes, &path);
        if (bundle_try(&(struct spec){.axes = buf_text(&axes), .path = buf_text(&path)}, &job,
                       NULL) == 0) {
            assert_all_paths_differ(job, buf_text(&path));
            accepted++;
        }
        job_free(job);
        buf_done(&axes);
        buf_done(&path);
    }
    assert_true(accepted > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_become_parts_of_file_names),
        cmocka_unit_test(long_values_are_cut_between_characters_and_stay_distinct),
        cmocka_unit_test(templates_take_names_widths_and_braces),
        cmocka_unit_test(wrong_templates_are_refused),
        cmocka_unit_test(a_value_named_sheet_does_not_overwrite_the_sheet),
        cmocka_unit_test(every_axis_with_several_values_must_be_told_apart),
        cmocka_unit_test(one_column_of_a_zip_is_enough),
        cmocka_unit_test(values_must_differ_as_file_names_whatever_the_case),
        cmocka_unit_test(values_that_run_together_are_refused),
        cmocka_unit_test(unambiguous_neighbours_are_taken),
        cmocka_unit_test(long_paths_are_refused),
        cmocka_unit_test(no_accepted_template_gives_one_name_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
