/* Manifests as text, read in a folder of their own, for the tests of the language. */
#ifndef TESTS_JOBS_MANIFEST_CASE_H
#define TESTS_JOBS_MANIFEST_CASE_H

#include "jobs/job.h"
#include "jobs/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What a manifest needs beside the thing under test. */
#define HEAD "litho: 1\nmodel: m\nprompt: a ${thing}\n"

struct outcome {
    int rc;
    struct diagnostics d;
    struct buf bundle;
    json_t *json; /* the bundle, NULL after a mistake */
    char source_hash[HASH_HEX_SIZE];
    struct err e;
};

static char case_folder[] = "/tmp/litho-manifest-XXXXXX";
static const char *const case_files[] = {"job.yaml", "list.txt", "list.csv", "grounds.txt"};

static int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(case_folder) && chdir(case_folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof case_files / sizeof *case_files; i++)
        unlink(case_files[i]);
    return chdir("/") == 0 && rmdir(case_folder) == 0 ? 0 : -1;
}

static inline void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "wb");
    size_t size = strlen(text);

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* 1000, 1001, ...: seeds that a test can foresee. */
static int64_t next_seed(void *user)
{
    return (*(int64_t *)user)++;
}

/* `sets` ends with NULL, or is NULL. */
static inline struct outcome read_with(const char *text, const char *const *sets)
{
    int64_t seed = 1000;
    struct manifest_options o = {
        .path = "job.yaml", .sets = sets, .draw_seed = next_seed, .user = &seed};
    struct outcome out = {0};

    while (sets && sets[o.n_sets])
        o.n_sets++;
    write_file("job.yaml", text);
    out.rc = manifest_load(&o, &out.d, &out.bundle, out.source_hash, &out.e);
    if (out.rc == 0)
        assert_int_equal(json_read("bundle", out.bundle.data, out.bundle.size, &out.json, NULL), 0);
    return out;
}

static inline struct outcome read_text(const char *text)
{
    return read_with(text, NULL);
}

static inline void outcome_done(struct outcome *out)
{
    diagnostics_done(&out->d);
    buf_done(&out->bundle);
    json_decref(out->json);
    *out = (struct outcome){0};
}

/* Every diagnostic, one a line. */
static inline void told(const struct outcome *out, struct buf *ret_text)
{
    buf_puts(ret_text, "");
    for (size_t i = 0; i < out->d.n; i++)
        buf_printf(ret_text, "%s\n", out->d.items[i].text);
}

/* The manifest is refused with exactly these lines. */
static inline void refused(const char *text, const char *lines)
{
    struct outcome out = read_text(text);
    struct buf said = {0};

    told(&out, &said);
    assert_string_equal(buf_text(&said), lines);
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.bundle.size, 0);
    buf_done(&said);
    outcome_done(&out);
}

/* The manifest is accepted, with these warnings. */
static inline struct outcome accepted(const char *text, const char *warnings)
{
    struct outcome out = read_text(text);
    struct buf said = {0};

    told(&out, &said);
    assert_string_equal(buf_text(&said), warnings);
    assert_int_equal(out.rc, 0);
    buf_done(&said);
    return out;
}

/* A part of the bundle, by keys with dots, numbers inside lists, as canonical JSON. */
static inline void part_is(const struct outcome *out, const char *path, const char *json)
{
    const json_t *v = out->json;
    struct buf text = {0};
    char copy[200];

    assert_true(strlen(path) < sizeof copy);
    memcpy(copy, path, strlen(path) + 1);
    for (char *key = copy, *next; key && v; key = next) {
        next = strchr(key, '.');
        if (next)
            *next++ = 0;
        v = json_is_array(v) ? json_array_get(v, (size_t)strtol(key, NULL, 10))
                             : json_object_get(v, key);
    }
    if (v)
        json_canonical(v, &text);
    assert_string_equal(buf_text(&text), json);
    buf_done(&text);
}

/* An axis' rows or range, for a manifest that consists of HEAD and this axis. */
static inline void axis_is(const char *yaml, const char *member, const char *json)
{
    struct buf text = {0};
    struct outcome out;
    char path[32];

    buf_printf(&text, HEAD "axes:\n  thing: [x]\n  %s\n", yaml);
    out = read_text(buf_text(&text));
    for (size_t i = 0; i < out.d.n; i++)
        if (!out.d.items[i].warning)
            print_message("%s\n", out.d.items[i].text);
    assert_int_equal(out.rc, 0);
    snprintf(path, sizeof path, "axes.1.%s", member);
    part_is(&out, path, json);
    outcome_done(&out);
    buf_done(&text);
}

#endif
