#include "jobs/path.h"

#include "jobs/distinct.h"
#include "jobs/filename.h"
#include "jobs/job.h"
#include "jobs/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAD_MAX 20

/* --- compiling --- */

struct compiler {
    struct path *path;
    const char *job_name;
    const struct task *fixed;
    struct buf text; /* plain characters since the last part */
    struct err *e;
};

static int add_part(struct compiler *c, struct path_part part)
{
    struct path_part *parts = realloc(c->path->parts, (c->path->n + 1) * sizeof *c->path->parts);

    if (!parts)
        return err_set(c->e, ERR_OOM, "out of memory for output.path");
    c->path->parts = parts;
    parts[c->path->n++] = part;
    return 0;
}

static int flush_text(struct compiler *c)
{
    struct path_part part = {.kind = PATH_TEXT};
    int rc;

    if (c->text.size == 0)
        return 0;
    rc = buf_check(&c->text, c->e);
    if (rc)
        return rc;
    part.text = buf_detach(&c->text);
    if (!part.text)
        return err_set(c->e, ERR_OOM, "out of memory for output.path");
    rc = add_part(c, part);
    if (rc)
        free(part.text);
    return rc;
}

static int plain_character(struct compiler *c, const char *at, size_t *ret_size)
{
    uint32_t code;
    int rc;

    *ret_size = utf8_next(at, strlen(at), &code);
    if (*ret_size == 0)
        return err_set(c->e, ERR_INPUT, "output.path: is not UTF-8 text");
    if (code != '/' && filename_forbidden(code))
        return err_set(c->e, ERR_INPUT,
                       "output.path: '%.*s' cannot stand in file names on every system; use _ or -",
                       code < 32 ? 0 : (int)*ret_size, at);
    if (code != '/') {
        buf_append(&c->text, at, *ret_size);
        return 0;
    }
    rc = flush_text(c);
    return rc ? rc : add_part(c, (struct path_part){.kind = PATH_SLASH});
}

/* Something that is the same in every path joins the plain text. */
static int put_constant(struct compiler *c, enum param p)
{
    struct buf value = {0};
    const char *text;
    int rc;

    param_text(c->fixed, p, &value);
    TRY(buf_check(&value, c->e));
    text = buf_text(&value);
    if (p == PARAM_MODEL && strrchr(text, '/'))
        text = strrchr(text, '/') + 1;
    TRY(filename_part(text, strlen(text), &c->text, c->e));
out:
    buf_done(&value);
    return rc;
}

static int named(struct compiler *c, const char *name, size_t size, int pad)
{
    struct path_part part = {.kind = PATH_COLUMN, .pad = pad};
    enum param p;
    int rc;

    if (size == 3 && memcmp(name, "job", 3) == 0) {
        buf_puts(&c->text, c->job_name);
        return 0;
    }
    if (size == 5 && memcmp(name, "index", 5) == 0)
        part.kind = PATH_INDEX;
    else if (!axes_find(c->path->axes, name, size, &part.axis, &part.column)) {
        if (axes_fixed(c->path->axes, name, size, &p))
            return put_constant(c, p);
        return err_set(c->e, ERR_INPUT,
                       "output.path: '{%.*s}' is neither job, index, a variable of an axis nor a "
                       "parameter; a plain '{' is written '{{'",
                       size < 80 ? (int)size : 80, name);
    }
    rc = flush_text(c);
    return rc ? rc : add_part(c, part);
}

/* {name} or {name:06} at text; *ret_size its length. */
static int placeholder(struct compiler *c, const char *text, size_t *ret_size)
{
    const char *end = strchr(text, '}');
    const char *colon = end ? memchr(text, ':', (size_t)(end - text)) : NULL;
    const char *stop = colon ? colon : end;
    long pad = 0;

    if (!end)
        return err_set(c->e, ERR_INPUT,
                       "output.path: '%.20s' has no closing '}'; a plain '{' is written '{{'",
                       text);
    if (colon) {
        size_t digits = strspn(colon + 1, "0123456789");

        pad = digits >= 2 && digits <= 3 ? strtol(colon + 1, NULL, 10) : 0;
        if (colon[1] != '0' || colon + 1 + digits != end || pad < 1 || pad > PAD_MAX)
            return err_set(c->e, ERR_INPUT,
                           "output.path: '%.*s' must be a name, or a name and a width such as "
                           "{index:06}",
                           end - text < 80 ? (int)(end + 1 - text) : 80, text);
    }
    *ret_size = (size_t)(end + 1 - text);
    return named(c, text + 1, (size_t)(stop - text - 1), (int)pad);
}

static int compile(struct compiler *c, const char *text)
{
    size_t size;
    int rc;

    for (; *text; text += size) {
        size = 2;
        if (strncmp(text, "{{", 2) == 0 || strncmp(text, "}}", 2) == 0)
            buf_putc(&c->text, *text);
        else if (*text == '}')
            return err_set(c->e, ERR_INPUT,
                           "output.path: '}' without a '{' before it; a plain '}' is written '}}'");
        else if ((rc = *text == '{' ? placeholder(c, text, &size)
                                    : plain_character(c, text, &size)) != 0)
            return rc;
    }
    return flush_text(c);
}

/* --- checking --- */

/* One folder or file name of the path: parts[from..to). */
static int check_component(const struct path *path, size_t from, size_t to, struct err *e)
{
    const char *first, *last;

    if (from == to)
        return err_set(e, ERR_INPUT,
                       "output.path: has an empty folder name: it must not start "
                       "with '/', nor hold '//'");
    first = path->parts[from].kind == PATH_TEXT ? path->parts[from].text : "x";
    last = path->parts[to - 1].kind == PATH_TEXT ? path->parts[to - 1].text : "x";
    if (*first == '.' || *first == ' ')
        return err_set(e, ERR_INPUT,
                       "output.path: '%.60s': a name cannot start with a dot or a "
                       "space",
                       first);
    if (strchr(". ", last[strlen(last) - 1]))
        return err_set(e, ERR_INPUT,
                       "output.path: '%.60s': a name cannot end with a dot or a "
                       "space",
                       last);
    if (path->parts[from].kind == PATH_TEXT && (to == from + 1 || strchr(first, '.')) &&
        filename_reserved(first, strlen(first)))
        return err_set(e, ERR_INPUT, "output.path: '%.60s' is the name of a device on Windows",
                       first);
    return 0;
}

/* Bytes of the longest text of a part. */
static int longest(const struct path *path, const struct path_part *part, size_t *ret_size,
                   struct err *e)
{
    uint64_t length, step = 1;
    struct buf text = {0};
    int rc = 0;

    *ret_size = 0;
    if (part->kind == PATH_TEXT) {
        *ret_size = strlen(part->text);
        return 0;
    }
    length = part->kind == PATH_INDEX ? path->axes->span : path->axes->items[part->axis].length;
    if (part->kind == PATH_INDEX || !path->axes->items[part->axis].cells) {
        /* between its ends a range of reals can need more places */
        if (part->kind == PATH_COLUMN && !path->axes->items[part->axis].range.whole)
            *ret_size = (size_t)path->axes->items[part->axis].range.decimals + 16;
        step = length > 1 ? length - 1 : 1;
    }
    for (uint64_t at = 0; at < length; at += step) {
        text.size = 0;
        TRY(path_part_text(path, part, at, &text, e));
        *ret_size = text.size > *ret_size ? text.size : *ret_size;
    }
out:
    buf_done(&text);
    return rc;
}

static int check_lengths(const struct path *path, struct err *e)
{
    size_t total = 0, component = 0, size;
    int rc;

    for (size_t i = 0; i < path->n; i++) {
        if (path->parts[i].kind == PATH_SLASH) {
            total++;
            component = 0;
            continue;
        }
        rc = longest(path, &path->parts[i], &size, e);
        if (rc)
            return rc;
        total += size;
        component += size;
        if (component > 255 || total > JOB_PATH_MAX)
            return err_set(e, ERR_INPUT,
                           "output.path: could become longer than a file system takes (255 bytes "
                           "between slashes, %d in all)",
                           JOB_PATH_MAX);
    }
    return 0;
}

static int check(const struct path *path, struct err *e)
{
    const struct path_part *last = path->n ? &path->parts[path->n - 1] : NULL;
    size_t from = 0, size;
    int rc;

    size = last && last->kind == PATH_TEXT ? strlen(last->text) : 0;
    if (size < 4 || strcmp(last->text + size - 4, ".png") != 0)
        return err_set(e, ERR_INPUT, "output.path: must end in '.png'");
    for (size_t i = 0; i <= path->n; i++)
        if (i == path->n || path->parts[i].kind == PATH_SLASH) {
            rc = check_component(path, from, i, e);
            if (rc)
                return rc;
            from = i + 1;
        }
    rc = check_lengths(path, e);
    return rc ? rc : distinct_check(path, e);
}

static int read_template(const char *text, const char *job_name, const struct axes *axes,
                         const struct task *fixed, bool checked, struct path *ret_path,
                         struct err *e)
{
    struct path path = {.axes = axes};
    struct err own;
    struct compiler c = {.path = &path, .job_name = job_name, .fixed = fixed, .e = &own};
    int rc = 0;

    if (strlen(text) > PATH_TEMPLATE_MAX)
        TRY(err_set(&own, ERR_INPUT, "output.path: longer than %d bytes", PATH_TEMPLATE_MAX));
    TRY(compile(&c, text));
    if (checked)
        TRY(check(&path, &own));
    *ret_path = path;
    path = (struct path){0};
out:
    buf_done(&c.text);
    path_done(&path);
    return rc ? err_set(e, rc, "%s", own.text) : 0;
}

int path_compile(const char *text, const char *job_name, const struct axes *axes,
                 const struct task *fixed, struct path *ret_path, struct err *e)
{
    return read_template(text, job_name, axes, fixed, true, ret_path, e);
}

int path_rename(const char *text, const char *job_name, const struct axes *axes,
                const struct task *fixed, struct path *ret_path, struct err *e)
{
    return read_template(text, job_name, axes, fixed, false, ret_path, e);
}

void path_done(struct path *path)
{
    for (size_t i = 0; i < path->n; i++)
        free(path->parts[i].text);
    free(path->parts);
    *path = (struct path){0};
}

/* --- rendering --- */

static void put_padded(struct buf *ret_text, const char *text, size_t size, int pad)
{
    bool digits = strspn(text, "0123456789") == size;

    for (size_t n = size; digits && n < (size_t)pad; n++)
        buf_putc(ret_text, '0');
    buf_append(ret_text, text, size);
}

int path_part_text(const struct path *path, const struct path_part *part, uint64_t at,
                   struct buf *ret_text, struct err *e)
{
    struct buf value = {0}, name = {0};
    const char *text;
    int rc = 0;

    if (part->kind == PATH_TEXT) {
        buf_puts(ret_text, part->text);
        return buf_check(ret_text, e);
    }
    if (part->kind == PATH_INDEX) {
        buf_printf(ret_text, "%0*" PRIu64, part->pad, at);
        return buf_check(ret_text, e);
    }
    axis_text(&path->axes->items[part->axis], part->column, at, &value);
    TRY(buf_check(&value, e));
    text = buf_text(&value);
    if (path->axes->items[part->axis].columns[part->column].param == PARAM_MODEL &&
        strrchr(text, '/'))
        text = strrchr(text, '/') + 1;
    TRY(filename_part(text, strlen(text), &name, e));
    put_padded(ret_text, name.data, name.size, part->pad);
    TRY(buf_check(ret_text, e));
out:
    buf_done(&value);
    buf_done(&name);
    return rc;
}

int path_render(const struct path *path, uint64_t index, struct buf *ret_text, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < path->n && rc == 0; i++) {
        const struct path_part *part = &path->parts[i];

        if (part->kind == PATH_SLASH)
            buf_putc(ret_text, '/');
        else
            rc = path_part_text(path, part,
                                part->kind == PATH_COLUMN ? axes_at(path->axes, part->axis, index)
                                                          : index,
                                ret_text, e);
    }
    return rc ? rc : buf_check(ret_text, e);
}

void path_part_name(const struct path *path, const struct path_part *part, struct buf *ret_text)
{
    if (part->kind == PATH_TEXT)
        buf_puts(ret_text, part->text);
    else if (part->kind == PATH_INDEX)
        buf_puts(ret_text, "{index}");
    else if (part->kind == PATH_COLUMN)
        buf_printf(ret_text, "{%s}", path->axes->items[part->axis].columns[part->column].name);
}
