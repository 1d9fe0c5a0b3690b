#include "jobs/param.h"

#include "jobs/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define X(id, name) name,
static const char *const names[] = {PARAM_TABLE(X)};
#undef X

#define X(id, name, ...) " " name
static const char any_sampler[] = "one of:" SAMPLER_TABLE(X);
static const char any_scheduler[] = "one of:" SCHEDULER_TABLE(X);
static const char any_precision[] = "one of:" PRECISION_TABLE(X);
#undef X

int param_from_name(const char *name)
{
    for (int i = 0; i < PARAM_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

const char *param_name(enum param p)
{
    return (unsigned)p < PARAM_COUNT ? names[p] : "?";
}

bool param_is_number(enum param p)
{
    return p == PARAM_STEPS || p == PARAM_CFG_SCALE || p == PARAM_WIDTH || p == PARAM_HEIGHT ||
           p == PARAM_SEED;
}

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
    *ret_x = strtod(text, &end);
    return *end == 0;
}

static int refuse(enum param p, const char *text, const char *must, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s '%.200s' must be %s", names[p], text, must);
}

static int set_int(int *field, enum param p, const char *text, int64_t min, int64_t max,
                   int64_t unit, struct err *e)
{
    const char *end = text;
    char must[96];
    int64_t n;

    if (!read_whole(&end, &n) || *end || n < min || n > max || n % unit) {
        snprintf(must, sizeof must, "a %s from %" PRId64 " to %" PRId64,
                 unit == 1 ? "whole number" : "multiple of 8", min, max);
        return refuse(p, text, must, e);
    }
    *field = (int)n;
    return 0;
}

static int set_side(int *field, enum param p, const char *text, struct err *e)
{
    return set_int(field, p, text, TASK_SIDE_MIN, TASK_SIDE_MAX, 8, e);
}

static int set_seed(struct task *t, const char *text, struct err *e)
{
    const char *end = text;
    int64_t n;

    if (!read_whole(&end, &n) || *end)
        return refuse(PARAM_SEED, text, "a whole number from 0 to 9007199254740991", e);
    t->seed = n;
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
        return refuse(PARAM_SIZE, text,
                      "WIDTHxHEIGHT in pixels such as 512x768, each a multiple of 8 from 8 to 8192",
                      e);
    t->width = (int)w;
    t->height = (int)h;
    return 0;
}

static int set_cfg(struct task *t, const char *text, struct err *e)
{
    double x;

    if (!read_real(text, &x) || !(x >= 0 && x <= TASK_CFG_MAX))
        return refuse(PARAM_CFG_SCALE, text, "a number from 0 to 1000", e);
    t->cfg_scale = x + 0.0; /* minus zero becomes zero */
    return 0;
}

static int set_text(char **field, const char *text, struct err *e)
{
    char *copy = strdup(text);

    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for a text of %zu bytes", strlen(text));
    free(*field);
    *field = copy;
    return 0;
}

static int set_prompt(char **field, enum param p, const char *text, struct err *e)
{
    if (strlen(text) > TASK_PROMPT_MAX)
        return err_set(e, ERR_INPUT, "%s is %zu bytes long, more than the limit of %d", names[p],
                       strlen(text), TASK_PROMPT_MAX);
    if (!utf8_valid(text))
        return err_set(e, ERR_INPUT, "%s is not UTF-8 text", names[p]);
    return set_text(field, text, e);
}

static bool is_model(const char *text)
{
    size_t size = strlen(text);

    if (size == 0 || size > TASK_MODEL_MAX || text[0] == '.' || !utf8_valid(text))
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 32 || text[i] == 127)
            return false;
    return text[0] == '/' || !strchr(text, '/');
}

static int set_name(int id, int *ret_id, enum param p, const char *text, const char *must,
                    struct err *e)
{
    if (id < 0)
        return refuse(p, text, must, e);
    *ret_id = id;
    return 0;
}

int param_set(struct task *t, enum param p, const char *text, struct err *e)
{
    int id = 0, rc;

    switch (p) {
    case PARAM_MODEL:
        if (!is_model(text))
            return refuse(p, text, "a name in the model library or an absolute path", e);
        return set_text(&t->model, text, e);
    case PARAM_PROMPT:
        return set_prompt(&t->prompt, p, text, e);
    case PARAM_NEGATIVE_PROMPT:
        return set_prompt(&t->negative_prompt, p, text, e);
    case PARAM_STEPS:
        return set_int(&t->steps, p, text, 1, TASK_STEPS_MAX, 1, e);
    case PARAM_SAMPLER:
        rc = set_name(sampler_from_name(text), &id, p, text, any_sampler, e);
        t->sampler = rc ? t->sampler : (enum sampler_id)id;
        return rc;
    case PARAM_SCHEDULER:
        rc = set_name(scheduler_from_name(text), &id, p, text, any_scheduler, e);
        t->scheduler = rc ? t->scheduler : (enum scheduler_id)id;
        return rc;
    case PARAM_CFG_SCALE:
        return set_cfg(t, text, e);
    case PARAM_WIDTH:
        return set_side(&t->width, p, text, e);
    case PARAM_HEIGHT:
        return set_side(&t->height, p, text, e);
    case PARAM_SEED:
        return set_seed(t, text, e);
    case PARAM_PRECISION:
        rc = set_name(precision_from_name(text), &id, p, text, any_precision, e);
        t->precision = rc ? t->precision : (enum precision)id;
        return rc;
    case PARAM_SIZE:
        return set_size(t, text, e);
    case PARAM_COUNT:
        break;
    }
    return err_set(e, ERR_ARG, "no such parameter: %d", (int)p);
}

void param_text(const struct task *t, enum param p, struct buf *ret_text)
{
    switch (p) {
    case PARAM_MODEL:
        buf_puts(ret_text, t->model ? t->model : "");
        break;
    case PARAM_PROMPT:
        buf_puts(ret_text, t->prompt ? t->prompt : "");
        break;
    case PARAM_NEGATIVE_PROMPT:
        buf_puts(ret_text, t->negative_prompt ? t->negative_prompt : "");
        break;
    case PARAM_STEPS:
        buf_printf(ret_text, "%d", t->steps);
        break;
    case PARAM_SAMPLER:
        buf_puts(ret_text, sampler_name(t->sampler));
        break;
    case PARAM_SCHEDULER:
        buf_puts(ret_text, scheduler_name(t->scheduler));
        break;
    case PARAM_CFG_SCALE:
        buf_number(ret_text, t->cfg_scale);
        break;
    case PARAM_WIDTH:
        buf_printf(ret_text, "%d", t->width);
        break;
    case PARAM_HEIGHT:
        buf_printf(ret_text, "%d", t->height);
        break;
    case PARAM_SEED:
        buf_printf(ret_text, "%" PRId64, t->seed);
        break;
    case PARAM_PRECISION:
        buf_puts(ret_text, precision_name(t->precision));
        break;
    case PARAM_SIZE:
        buf_printf(ret_text, "%dx%d", t->width, t->height);
        break;
    case PARAM_COUNT:
        break;
    }
}
