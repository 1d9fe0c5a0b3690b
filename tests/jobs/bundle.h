/* Bundles for tests, written with ' for " and only what a test is about. */
#ifndef TESTS_JOBS_BUNDLE_H
#define TESTS_JOBS_BUNDLE_H

#include "jobs/job.h"
#include "jobs/param.h"
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct spec {
    const char *job;                /* default: stickers */
    const char *fixed;              /* members that replace the defaults: "'prompt':'x'" */
    const char *axes;               /* "[{'name':..}]" */
    const char *combine;            /* default: product of all, in order */
    const char *exclude;            /* default: none */
    const char *path;               /* default: {job}/{index}.png */
    const char *sheet;              /* default: null */
    const char *conduct;            /* default: left out */
    const char *loras, *embeddings; /* default: left out */
    const char *chain;              /* default: left out */
};

static json_t *bundle_json(const char *text)
{
    char *copy = strdup(text);
    json_error_t error;
    json_t *value;

    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    value = json_loads(copy, 0, &error);
    if (!value)
        fail_msg("test's own JSON: %s at %d: %s", error.text, error.position, text);
    free(copy);
    return value;
}

/* The defaults, without what columns set. */
static json_t *bundle_fixed(const json_t *axes, const char *more)
{
    json_t *fixed = bundle_json(
        "{'model':'sticker-128','prompt':'a picture','negative_prompt':'','steps':20,'sampler':"
        "'dpmpp_2m','scheduler':'karras','cfg_scale':5,'width':128,'height':128,'seed':7,"
        "'precision':'f32'}");
    struct buf text = {0};
    json_t *changes;

    for (size_t a = 0; a < json_array_size(axes); a++) {
        const json_t *columns = json_object_get(json_array_get(axes, a), "columns");

        for (size_t c = 0; c < json_array_size(columns); c++) {
            const char *name = json_string_value(json_array_get(columns, c));

            if (name)
                json_object_del(fixed, name);
            if (name && strcmp(name, "size") == 0) {
                json_object_del(fixed, "width");
                json_object_del(fixed, "height");
            }
        }
    }
    buf_printf(&text, "{%s}", more ? more : "");
    changes = bundle_json(buf_text(&text));
    json_object_update(fixed, changes);
    json_decref(changes);
    buf_done(&text);
    return fixed;
}

static json_t *bundle_value(const struct spec *s)
{
    json_t *axes = bundle_json(s->axes ? s->axes : "[]"), *combine = json_array();
    json_t *root, *sheet = bundle_json(s->sheet ? s->sheet : "{}");

    for (size_t a = 0; a < json_array_size(axes); a++)
        json_array_append_new(combine, json_pack("[i]", (int)a));
    if (s->combine) {
        json_decref(combine);
        combine = bundle_json(s->combine);
    }
    root = json_pack(
        "{s:i, s:s, s:o, s:o, s:o, s:o, s:{s:s, s:o}}", "litho", 1, "job",
        s->job ? s->job : "stickers", "fixed", bundle_fixed(axes, s->fixed), "axes", axes,
        "combine", combine, "exclude", bundle_json(s->exclude ? s->exclude : "[]"), "output",
        "path", s->path ? s->path : "{job}/{index}.png", "sheet", s->sheet ? sheet : json_null());
    if (!s->sheet)
        json_decref(sheet);
    assert_non_null(root);
    if (s->conduct)
        json_object_set_new(root, "conduct", bundle_json(s->conduct));
    if (s->loras)
        json_object_set_new(root, "loras", bundle_json(s->loras));
    if (s->embeddings)
        json_object_set_new(root, "embeddings", bundle_json(s->embeddings));
    if (s->chain)
        json_object_set_new(root, "chain", bundle_json(s->chain));
    return root;
}

static int bundle_try(const struct spec *s, struct job **ret_job, struct err *e)
{
    json_t *root = bundle_value(s);
    struct buf text = {0};
    int rc;

    json_canonical(root, &text);
    rc = job_load(text.data, text.size, ret_job, e);
    buf_done(&text);
    json_decref(root);
    return rc;
}

static inline struct job *bundle_job(struct spec s)
{
    struct job *job = NULL;
    struct err e = {0};

    if (bundle_try(&s, &job, &e) != 0)
        fail_msg("%s", e.text);
    return job;
}

/* The job is refused as bad input with a text that holds `message`. */
static inline void bundle_refused(struct spec s, const char *message)
{
    struct job *job = NULL;
    struct err e = {0};
    int rc = bundle_try(&s, &job, &e);

    job_free(job);
    if (rc != ERR_INPUT || !strstr(e.text, message))
        fail_msg("expected bad_input with '%s', got %s: %s", message, err_name(rc), e.text);
}

#endif
