/* Values of parameters from and to text and JSON. */
#include "jobs/param_info.h"

#include "jobs/asset.h"
#include "jobs/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- from text --- */

/* Digits only, up to 2^53; moves *text past them. */
static bool read_whole(const char **text, int64_t *ret_n)
{
    int64_t n = 0;
    const char *p = *text;

    for (; isdigit((unsigned char)*p); p++) {
        n = n * 10 + (*p - '0');
        if (n > TASK_SEED_MAX)
            return false;
    }
    if (p == *text)
        return false;
    *text = p;
    *ret_n = n;
    return true;
}

/* Decimal digits, at most one point, an exponent: what JSON and YAML both call a number. */
static bool read_real(const char *text, double *ret_x)
{
    char *end;

    if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
        return false;
    if (text[strspn(text, "0123456789+-.eE")])
        return false;
    *ret_x = strtod(text, &end) + 0.0; /* minus zero becomes zero */
    return *end == 0;
}

static int refuse(const struct param_info *info, const char *text, const char *must, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s '%.200s' must be %s", info->name, text, must);
}

static int refuse_number(const struct param_info *info, const char *text, struct err *e)
{
    char must[160];

    if (info->kind != PARAM_KIND_WHOLE)
        snprintf(must, sizeof must, "%sa number from %" PRId64 " to %" PRId64,
                 info->or_zero ? "0 or " : "", info->min, info->max);
    else if (info->unit == 1)
        snprintf(must, sizeof must, "a whole number from %" PRId64 " to %" PRId64, info->min,
                 info->max);
    else
        snprintf(must, sizeof must, "a multiple of %" PRId64 " from %" PRId64 " to %" PRId64,
                 info->unit, info->min, info->max);
    return refuse(info, text, must, e);
}

static int set_whole(const struct param_info *info, const char *text, void *field, struct err *e)
{
    const char *end = text;
    int64_t n;

    if (!read_whole(&end, &n) || *end || n < info->min || n > info->max || n % info->unit)
        return refuse_number(info, text, e);
    if (info->max > INT32_MAX)
        *(int64_t *)field = n;
    else
        *(int *)field = (int)n;
    return 0;
}

static int set_real(const struct param_info *info, const char *text, double *field, struct err *e)
{
    double x;

    if (!read_real(text, &x) ||
        !((x >= (double)info->min && x <= (double)info->max) || (info->or_zero && x == 0)))
        return refuse_number(info, text, e);
    *field = x;
    return 0;
}

static int set_maybe(const struct param_info *info, const char *text, struct task_number *field,
                     struct err *e)
{
    struct task_number number = {.set = *text != 0};
    int rc = number.set ? set_real(info, text, &number.value, e) : 0;

    if (rc == 0)
        *field = number;
    return rc;
}

static int set_text(const char *text, char **field, struct err *e)
{
    char *copy = strdup(text);

    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for a text of %zu bytes", strlen(text));
    free(*field);
    *field = copy;
    return 0;
}

static int check_prompt(const struct param_info *info, const char *text, struct err *e)
{
    if (strlen(text) > TASK_PROMPT_MAX)
        return err_set(e, ERR_INPUT, "%s is %zu bytes long, more than the limit of %d", info->name,
                       strlen(text), TASK_PROMPT_MAX);
    if (!utf8_valid(text))
        return err_set(e, ERR_INPUT, "%s is not UTF-8 text", info->name);
    return 0;
}

static bool is_plain_text(const char *text)
{
    size_t size = strlen(text);

    if (size > TASK_MODEL_MAX || !utf8_valid(text))
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 32 || text[i] == 127)
            return false;
    return true;
}

static bool is_pickle(const char *text)
{
    static const char *const endings[] = {".ckpt", ".pt", ".pth", ".bin"};
    size_t size = strlen(text);

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);

        if (size > n && strcasecmp(text + size - n, endings[i]) == 0)
            return true;
    }
    return false;
}

static int check_asset(const struct param_info *info, const char *text, struct err *e)
{
    bool name = *text && *text != '.' && !strchr(text, '/');

    if (!is_plain_text(text) || !(name || *text == '/' || (info->optional && !*text)))
        return refuse(info, text, "a name in the model library or an absolute path", e);
    if (is_pickle(text))
        return err_set(e, ERR_INPUT,
                       "%s '%.200s' is a pickle, a file that runs code when it is read; convert it "
                       "to .safetensors, with AUTOMATIC1111's checkpoint merger or diffusers' "
                       "save_pretrained",
                       info->name, text);
    return 0;
}

static int check_file(const struct param_info *info, const char *text, struct err *e)
{
    if (!is_plain_text(text) || (*text && *text != '/' && !asset_hash_of(text)))
        return refuse(info, text, "the absolute path of a file, or sha256: and 64 hex digits", e);
    return 0;
}

static int set_term(const struct param_info *info, const char *text, void *field, struct err *e)
{
    struct buf must = {0};
    int id = term_from_name(info->terms, text), rc;

    if (id >= 0) {
        memcpy(field, &id, sizeof id);
        return 0;
    }
    buf_puts(&must, "one of:");
    for (id = 0; id < term_count(info->terms); id++)
        buf_printf(&must, " %s", term_name(info->terms, id));
    rc = refuse(info, text, buf_text(&must), e);
    buf_done(&must);
    return rc;
}

static int set_bool(const struct param_info *info, const char *text, bool *field, struct err *e)
{
    bool yes = strcmp(text, "true") == 0;

    if (!yes && strcmp(text, "false") != 0)
        return refuse(info, text, "true or false", e);
    *field = yes;
    return 0;
}

static int set_size(struct task *t, const char *text, struct err *e)
{
    const char *p = text;
    int64_t w = 0, h = 0;
    bool good = read_whole(&p, &w) && *p == 'x';

    p++;
    good = good && read_whole(&p, &h) && *p == 0;
    if (!good || w < TASK_SIDE_MIN || w > TASK_SIDE_MAX || w % 8 || h < TASK_SIDE_MIN ||
        h > TASK_SIDE_MAX || h % 8)
        return refuse(param_info(PARAM_SIZE), text,
                      "WIDTHxHEIGHT in pixels such as 512x768, each a multiple of 8 from 8 to 8192",
                      e);
    t->width = (int)w;
    t->height = (int)h;
    return 0;
}

int param_set(struct task *t, enum param p, const char *text, struct err *e)
{
    const struct param_info *info = param_info(p);
    void *field = (char *)t + info->offset;
    int rc = 0;

    switch (info->kind) {
    case PARAM_KIND_PROMPT:
        rc = check_prompt(info, text, e);
        return rc ? rc : set_text(text, field, e);
    case PARAM_KIND_ASSET:
        rc = check_asset(info, text, e);
        return rc ? rc : set_text(text, field, e);
    case PARAM_KIND_FILE:
        rc = check_file(info, text, e);
        return rc ? rc : set_text(text, field, e);
    case PARAM_KIND_WHOLE:
        return set_whole(info, text, field, e);
    case PARAM_KIND_REAL:
        return set_real(info, text, field, e);
    case PARAM_KIND_MAYBE:
        return set_maybe(info, text, field, e);
    case PARAM_KIND_TERM:
        return set_term(info, text, field, e);
    case PARAM_KIND_BOOL:
        return set_bool(info, text, field, e);
    case PARAM_KIND_SIZE:
        return set_size(t, text, e);
    case PARAM_KIND_STYLES:
        return check_prompt(info, text, e);
    }
    return err_set(e, ERR_ARG, "no such parameter: %d", (int)p);
}

/* --- to text --- */

/* What the number is, or "nan": no text that could be read back. */
static void put_real(struct buf *text, double x)
{
    if (isfinite(x))
        buf_number(text, x);
    else
        buf_puts(text, "nan");
}

void param_text(const struct task *t, enum param p, struct buf *ret_text)
{
    const struct param_info *info = param_info(p);
    const void *field = (const char *)t + info->offset;
    const struct task_number *maybe = field;
    const char *text;

    switch (info->kind) {
    case PARAM_KIND_PROMPT:
    case PARAM_KIND_ASSET:
    case PARAM_KIND_FILE:
        text = *(char *const *)field;
        buf_puts(ret_text, text ? text : "");
        break;
    case PARAM_KIND_WHOLE:
        buf_whole(ret_text, param_whole(info, field));
        break;
    case PARAM_KIND_REAL:
        put_real(ret_text, *(const double *)field);
        break;
    case PARAM_KIND_MAYBE:
        if (maybe->set)
            put_real(ret_text, maybe->value);
        break;
    case PARAM_KIND_TERM:
        buf_puts(ret_text, term_name(info->terms, param_term(field)));
        break;
    case PARAM_KIND_BOOL:
        buf_puts(ret_text, *(const bool *)field ? "true" : "false");
        break;
    case PARAM_KIND_SIZE:
        buf_printf(ret_text, "%dx%d", t->width, t->height);
        break;
    case PARAM_KIND_STYLES:
        break;
    }
}

/* --- JSON --- */

json_t *param_json(const struct task *t, enum param p)
{
    const struct param_info *info = param_info(p);
    const void *field = (const char *)t + info->offset;
    struct buf text = {0};
    json_t *value;

    if (info->kind == PARAM_KIND_WHOLE)
        return json_integer((json_int_t)param_whole(info, field));
    if (info->kind == PARAM_KIND_REAL)
        return json_real(*(const double *)field);
    if (info->kind == PARAM_KIND_MAYBE)
        return json_real(((const struct task_number *)field)->value);
    if (info->kind == PARAM_KIND_BOOL)
        return json_boolean(*(const bool *)field);
    param_text(t, p, &text);
    value = text.failed ? NULL : json_string(buf_text(&text));
    buf_done(&text);
    return value;
}

void param_put_json(const struct task *t, enum param p, struct buf *ret_text)
{
    enum param_kind kind = param_info(p)->kind;
    struct buf text = {0};

    if (kind == PARAM_KIND_WHOLE || kind == PARAM_KIND_BOOL || kind == PARAM_KIND_REAL ||
        kind == PARAM_KIND_MAYBE) {
        param_text(t, p, ret_text);
        return;
    }
    param_text(t, p, &text);
    json_put_string(ret_text, buf_text(&text), text.size);
    ret_text->failed |= text.failed;
    buf_done(&text);
}

static const char *type_problem(enum param p, const json_t *value)
{
    if (!value)
        return "given";
    if (param_is_number(p))
        return json_is_number(value) ? NULL : "a number";
    if (param_info(p)->kind == PARAM_KIND_BOOL)
        return json_is_boolean(value) ? NULL : "true or false";
    return json_is_string(value) ? NULL : "text";
}

int param_from_json(struct task *t, enum param p, const json_t *value, const char *where,
                    struct err *e)
{
    struct buf text = {0};
    const char *problem;
    int rc = 0;

    if (!value && param_info(p)->optional)
        return param_set(t, p, param_info(p)->preset, e);
    problem = type_problem(p, value);
    if (problem)
        return err_set(e, ERR_INPUT, "%s: '%s' must be %s", where, param_name(p), problem);
    if (json_is_string(value))
        buf_puts(&text, json_string_value(value));
    else if (json_is_boolean(value))
        buf_puts(&text, json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        buf_printf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        buf_number(&text, json_real_value(value));
    TRY(buf_check(&text, e));
    TRY(param_set(t, p, buf_text(&text), e));
out:
    buf_done(&text);
    return rc;
}
