#include "jobs/cli/provenance.h"

#include "proto/png.h"

#include <string.h>

#define FILES_MAX 1000 /* of a model */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

/* What a device computes in; -1: no such precision, or one that leaves it open. */
static int computed_in(const char *name)
{
    int precision = precision_from_name(name);

    return precision == PRECISION_AUTO ? -1 : precision;
}

static int record_check(struct json_reader *r, const json_t *record)
{
    const char *precision;
    const json_t *model = json_object_get(record, "model");
    const json_t *files = json_object_get(model, "files");
    const json_t *assets = json_object_get(record, "assets");

    json_get_int(r, record, "litho", 1, 1);
    json_get_string(r, record, "engine");
    precision = json_get_string(r, record, "precision");
    json_get_string(r, record, "device_class");
    if (r->rc == 0 && computed_in(precision) < 0)
        r->rc = err_set(r->e, ERR_INPUT, "%s: 'precision' must be f32, bf16 or f16", r->where);
    if (r->rc == 0 && assets && (!json_is_object(assets) || json_object_size(assets) > FILES_MAX))
        r->rc = err_set(r->e, ERR_INPUT, "%s: 'assets' must name files", r->where);
    if (r->rc == 0 && (!json_is_object(files) || json_object_size(files) > FILES_MAX))
        r->rc = err_set(r->e, ERR_INPUT, "%s: 'model' must name its files", r->where);
    return r->rc;
}

int provenance_read(const void *png, size_t size, const char *where, struct provenance *ret_p,
                    struct err *e)
{
    struct json_reader r = {.where = where, .e = e};
    struct provenance p = {0};
    struct buf text = {0};
    int rc = 0;

    rc = png_text_get(png, size, "litho", &text, e);
    if (rc == ERR_MISSING)
        rc = err_set(e, ERR_MISSING,
                     "%s carries no record of how it was made (no 'litho' text chunk): only "
                     "pictures that Lithograph made, unchanged by other programs, can be replayed",
                     where);
    else if (rc != 0)
        rc = err_set(e, rc, "%s: %s", where, e ? e->text : "");
    TRY(rc);
    TRY(json_read(where, buf_text(&text), text.size, &p.record, e));
    TRY(record_check(&r, p.record));
    TRY(task_from_value(json_object_get(p.record, "task"), &p.task, e));
    p.task.precision = (enum precision)computed_in(text_of(p.record, "precision"));
    *ret_p = p;
    p = (struct provenance){0};
out:
    provenance_done(&p);
    buf_done(&text);
    return rc;
}

static void difference(const struct provenance *was, const struct provenance *is, const char *key,
                       const char *what, struct buf *lines)
{
    const char *a = text_of(was->record, key), *b = text_of(is->record, key);

    if (strcmp(a, b) != 0)
        buf_printf(lines, "%s: %s in the record, %s here\n", what, a, b);
}

static const json_t *files_of(const struct provenance *p)
{
    return json_object_get(json_object_get(p->record, "model"), "files");
}

/* Two lists of files with their hashes. what: "model file"; absent: where one of `was` is not. */
static void compare_files(const json_t *was, const json_t *is, const char *what, const char *absent,
                          struct buf *lines)
{
    const char *path;
    json_t *hash;

    json_object_foreach((json_t *)was, path, hash)
    {
        const char *here = text_of(is, path);
        if (here[0] == '\0')
            buf_printf(lines, "%s %s: %s\n", what, path, absent);
        else if (!json_is_string(hash) || strcmp(json_string_value(hash), here) != 0)
            buf_printf(lines, "%s %s: another content (SHA-256 %.8s..., was %.8s...)\n", what, path,
                       here, text_of(was, path));
    }
    json_object_foreach((json_t *)is, path, hash) if (json_object_get(was, path) == NULL)
        buf_printf(lines, "%s %s: not in the record\n", what, path);
}

void provenance_differences(const struct provenance *was, const struct provenance *is,
                            struct buf *ret_lines)
{
    compare_files(files_of(was), files_of(is), "model file", "not in this model", ret_lines);
    compare_files(json_object_get(was->record, "assets"), json_object_get(is->record, "assets"),
                  "file", "not used here", ret_lines);
    difference(was, is, "engine", "engine version", ret_lines);
    difference(was, is, "precision", "precision", ret_lines);
    difference(was, is, "device_class", "device class", ret_lines);
}

/* "${" would name a variable: "$${" is how the language writes it plainly. */
static json_t *plain(const char *prompt)
{
    struct buf text = {0};
    json_t *value;

    for (const char *p = prompt; *p != '\0'; p++) {
        if (p[0] == '$' && p[1] == '{')
            buf_putc(&text, '$');
        buf_putc(&text, *p);
    }
    value = text.failed ? NULL : json_string(buf_text(&text));
    buf_done(&text);
    return value;
}

int provenance_bundle(const struct task *t, struct buf *ret_bundle, struct err *e)
{
    static const char *const keys[2] = {"loras", "embeddings"};
    json_t *fixed = NULL, *bundle = NULL, *names[2] = {NULL, NULL};
    struct buf text = {0};
    int rc = 0;

    task_to_json(t, &text);
    TRY(json_read("task", buf_text(&text), text.size, &fixed, e));
    for (size_t i = 0; i < 2; i++) /* a job's, not a parameter's */
        if ((names[i] = json_incref(json_object_get(fixed, keys[i]))))
            json_object_del(fixed, keys[i]);
    json_object_set_new(fixed, "prompt", plain(t->prompt));
    json_object_set_new(fixed, "negative_prompt", plain(t->negative_prompt));
    bundle = json_pack("{s:i, s:s, s:O, s:[], s:[], s:[], s:{s:s, s:n}}", "litho", 1, "job",
                       "replay", "fixed", fixed, "axes", "combine", "exclude", "output", "path",
                       "{job}/picture.png", "sheet");
    if (bundle == NULL)
        TRY(err_set(e, ERR_OOM, "replay: out of memory"));
    for (size_t i = 0; i < 2; i++)
        if (names[i] && json_object_set(bundle, keys[i], names[i]) != 0)
            TRY(err_set(e, ERR_OOM, "replay: out of memory"));
    json_canonical(bundle, ret_bundle);
    TRY(buf_check(ret_bundle, e));
out:
    json_decref(names[0]);
    json_decref(names[1]);
    json_decref(fixed);
    json_decref(bundle);
    buf_done(&text);
    return rc;
}

void provenance_done(struct provenance *p)
{
    task_done(&p->task);
    json_decref(p->record);
    *p = (struct provenance){0};
}
