/* jobs/SPEC.md names every key, parameter, value and sampler that the code has, and no other. */
#include "jobs/param.h"
#include "tests/jobs/manifest_case.h"

#include "proto/terms.h"

#define LINES_MAX 2000

/* The document, and a table of it: rows of one line. */
struct spec_text {
    struct buf text;
    char *lines[LINES_MAX];
    size_t n;
};

static int read_spec(void **state)
{
    static struct spec_text spec;
    char *at;

    assert_int_equal(buf_read_file(&spec.text, SOURCE_DIR "/jobs/SPEC.md", 1u << 20, NULL), 0);
    for (at = spec.text.data; at && spec.n < LINES_MAX; spec.n++) {
        spec.lines[spec.n] = at;
        at = strchr(at, '\n');
        if (at)
            *at++ = 0;
    }
    assert_true(spec.n < LINES_MAX);
    if (enter_folder(state) != 0)
        return -1;
    *state = &spec;
    return 0;
}

static int forget_spec(void **state)
{
    struct spec_text *spec = *state;

    buf_done(&spec->text);
    return leave_folder(state);
}

/* The first row below a table's head; the table ends at the first line that is no row. */
static size_t table(const struct spec_text *spec, const char *head)
{
    for (size_t i = 0; i + 2 < spec->n; i++)
        if (strncmp(spec->lines[i], head, strlen(head)) == 0)
            return i + 2;
    fail_msg("no table '%s'", head);
    return 0;
}

/* The next `name` of a row's first cell; a leading _ stands for "outpaint_". NULL: no more. */
static const char *next_name(const char *at, char name[64])
{
    const char *cell = strchr(at, '`'), *end = cell ? strchr(cell + 1, '`') : NULL;
    const char *bar = strchr(*at == '|' ? at + 1 : at, '|');

    if (!end || (bar && cell > bar))
        return NULL;
    snprintf(name, 64, "%s%.*s", cell[1] == '_' ? "outpaint" : "", (int)(end - cell - 1), cell + 1);
    return end + 1;
}

/* The row whose first cell has the name, or NULL. */
static const char *row_of(const struct spec_text *spec, size_t row, const char *wanted)
{
    char name[64];

    for (; spec->lines[row][0] == '|'; row++)
        for (const char *at = spec->lines[row]; (at = next_name(at, name)) != NULL;)
            if (strcmp(name, wanted) == 0)
                return spec->lines[row];
    return NULL;
}

static void every_parameter_has_a_row_and_every_row_a_parameter(void **state)
{
    const struct spec_text *spec = *state;
    size_t row = table(spec, "| parameter | values | default |");
    char name[64];

    for (int p = 0; p < PARAM_COUNT; p++)
        if (!row_of(spec, row, param_name((enum param)p)))
            fail_msg("no row for '%s'", param_name((enum param)p));
    for (; spec->lines[row][0] == '|'; row++)
        for (const char *at = spec->lines[row]; (at = next_name(at, name)) != NULL;)
            if (param_from_name(name) < 0)
                fail_msg("'%s' is no parameter", name);
}

static void values_by_name_stand_in_their_parameters_row(void **state)
{
    const struct spec_text *spec = *state;
    size_t row = table(spec, "| parameter | values | default |");

    for (int p = 0; p < PARAM_FIELDS; p++) {
        const char *line = row_of(spec, row, param_name((enum param)p));
        char quoted[64];

        if (param_kind((enum param)p) != PARAM_KIND_TERM || p == PARAM_SAMPLER ||
            p == PARAM_SCHEDULER)
            continue;
        for (int i = 0; i < term_count(param_terms((enum param)p)); i++) {
            snprintf(quoted, sizeof quoted, "`%s`", term_name(param_terms((enum param)p), i));
            if (!strstr(line, quoted))
                fail_msg("%s: %s is not told", param_name((enum param)p), quoted);
        }
    }
}

static void defaults_are_those_of_the_code(void **state)
{
    const struct spec_text *spec = *state;
    size_t row = table(spec, "| parameter | values | default |");

    for (int p = 0; p < PARAM_FIELDS; p++) {
        const char *preset = param_default((enum param)p);
        const char *last = row_of(spec, row, param_name((enum param)p));

        /* The last cell of the row; a text without one has the default in words. */
        for (const char *bar = last; (bar = strstr(bar, " | ")) != NULL; bar++)
            last = bar;
        if (preset && *preset && strcmp(preset, "0") != 0 && !strstr(last, preset))
            fail_msg("%s: the default %s is not told", param_name((enum param)p), preset);
    }
}

static void samplers_have_their_label_and_what_automatic_means(void **state)
{
    const struct spec_text *spec = *state;
    size_t row = table(spec, "| `sampler` | AUTOMATIC1111 |"), n = 0;

    for (int i = 0; i < SAMPLER_COUNT; i++) {
        enum sampler_id id = (enum sampler_id)i;
        const char *line = row_of(spec, row, sampler_name(id));
        char cells[96];

        if (!line || !strstr(line, sampler_label(id)))
            fail_msg("'%s' has no row with its label", sampler_name(id));
        snprintf(cells, sizeof cells, "| %s |",
                 scheduler_name(scheduler_resolve(id, SCHEDULER_AUTOMATIC)));
        if (!strstr(line, cells))
            fail_msg("'%s': automatic is %s", sampler_name(id), cells);
    }
    for (; spec->lines[row][0] == '|'; row++)
        n++;
    assert_int_equal(n, SAMPLER_COUNT);
}

static void schedulers_have_their_label(void **state)
{
    const struct spec_text *spec = *state;
    size_t row = table(spec, "| `scheduler` | AUTOMATIC1111 |");

    for (int i = 0; i < SCHEDULER_COUNT; i++) {
        const char *line = row_of(spec, row, scheduler_name((enum scheduler_id)i));

        if (!line || !strstr(line, scheduler_label((enum scheduler_id)i)))
            fail_msg("'%s' has no row with its label", scheduler_name((enum scheduler_id)i));
    }
}

/* The names in the list of keys of jobs/manifest.c are told, and the told ones are known. */
static void keys_are_those_of_the_code(void **state)
{
    const struct spec_text *spec = *state;
    size_t row = table(spec, "| key | value | default |");
    struct buf code = {0};
    char name[64], *at, *end;

    assert_int_equal(buf_read_file(&code, SOURCE_DIR "/jobs/manifest.c", 1u << 20, NULL), 0);
    at = strstr(code.data, "own[] = {");
    end = at ? strchr(at, '}') : NULL;
    assert_non_null(end);
    *end = 0;
    while ((at = strchr(at, '"')) != NULL) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
        at = strchr(at + 1, '"') + 1;
        if (strcmp(name, "outpaint") != 0 && strcmp(name, "size") != 0 && !row_of(spec, row, name))
            fail_msg("no row for the key '%s'", name);
    }
    buf_done(&code);
    for (; spec->lines[row][0] == '|'; row++)
        for (const char *cell = spec->lines[row]; (cell = next_name(cell, name)) != NULL;) {
            char text[128];
            struct outcome out;

            snprintf(text, sizeof text, "%s: 1\n", name);
            out = read_text(text);
            for (size_t i = 0; i < out.d.n; i++)
                if (strstr(out.d.items[i].text, "unknown key"))
                    fail_msg("'%s' is no key", name);
            outcome_done(&out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_parameter_has_a_row_and_every_row_a_parameter),
        cmocka_unit_test(values_by_name_stand_in_their_parameters_row),
        cmocka_unit_test(defaults_are_those_of_the_code),
        cmocka_unit_test(samplers_have_their_label_and_what_automatic_means),
        cmocka_unit_test(schedulers_have_their_label),
        cmocka_unit_test(keys_are_those_of_the_code),
    };

    return cmocka_run_group_tests(tests, read_spec, forget_spec);
}
