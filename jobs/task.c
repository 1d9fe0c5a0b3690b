#include "jobs/task.h"

#include "jobs/param.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Each bound is stated once, in param_set: a check is setting the same value on a copy. */
static int check_params(const struct task *t, struct err *e)
{
    struct task copy = {0};
    struct buf text = {0};
    int rc = 0;

    for (int p = 0; p < PARAM_SIZE; p++) {
        text.size = 0;
        param_text(t, (enum param)p, &text);
        TRY(buf_check(&text, e));
        TRY(param_set(&copy, (enum param)p, text.size ? buf_text(&text) : "", e));
    }
out:
    task_done(&copy);
    buf_done(&text);
    return rc;
}

int task_check(const struct task *t, struct err *e)
{
    int rc;

    if (!t->model || !t->prompt || !t->negative_prompt)
        return err_set(e, ERR_INPUT, "a task needs model, prompt and negative_prompt");
    if (!isfinite(t->cfg_scale))
        return err_set(e, ERR_INPUT, "cfg_scale must be a number from 0 to 1000");
    rc = check_params(t, e);
    if (rc)
        return rc;
    if (t->sampler == SAMPLER_DDIM && t->scheduler == SCHEDULER_KARRAS)
        return err_set(e, ERR_INPUT, "sampler 'ddim' cannot use scheduler 'karras'");
    return 0;
}

void task_to_json(const struct task *t, struct buf *ret_text)
{
    static const char format[] = "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:I}";
    json_t *value = json_pack(
        format, "model", t->model, "prompt", t->prompt, "negative_prompt", t->negative_prompt,
        "sampler", sampler_name(t->sampler), "scheduler", scheduler_name(t->scheduler), "precision",
        precision_name(t->precision), "steps", t->steps, "width", t->width, "height", t->height,
        "cfg_scale", t->cfg_scale, "seed", (json_int_t)t->seed);

    if (!value) {
        ret_text->failed = true;
        return;
    }
    json_canonical(value, ret_text);
    json_decref(value);
}

/* Text of a member for param_set: names and texts as they are, numbers in their shortest form. */
static int member_text(const json_t *value, enum param p, struct buf *ret_text, struct err *e)
{
    if (param_is_number(p) ? !json_is_number(value) : !json_is_string(value))
        return err_set(e, ERR_INPUT, "task: '%s' must be %s", param_name(p),
                       !value               ? "given"
                       : param_is_number(p) ? "a number"
                                            : "text");
    if (json_is_string(value))
        buf_puts(ret_text, json_string_value(value));
    else if (json_is_integer(value))
        buf_printf(ret_text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        buf_number(ret_text, json_real_value(value));
    return buf_check(ret_text, e);
}

static int read_members(const json_t *value, struct task *t, struct err *e)
{
    struct buf text = {0};
    int rc = 0;

    for (int p = 0; p < PARAM_SIZE; p++) {
        text.size = 0;
        TRY(member_text(json_object_get(value, param_name((enum param)p)), (enum param)p, &text,
                        e));
        TRY(param_set(t, (enum param)p, text.size ? buf_text(&text) : "", e));
    }
out:
    buf_done(&text);
    return rc;
}

int task_from_value(const json_t *value, struct task *ret_t, struct err *e)
{
    struct task t = {0};
    const char *key;
    json_t *member;
    int rc = 0;

    if (!json_is_object(value))
        return err_set(e, ERR_INPUT, "task: must be an object");
    json_object_foreach((json_t *)value, key, member)
    {
        int p = param_from_name(key);

        if (p < 0 || p == PARAM_SIZE)
            return err_set(e, ERR_INPUT, "task: unknown key '%.100s'", key);
    }
    TRY(read_members(value, &t, e));
    TRY(task_check(&t, e));
    *ret_t = t;
    t = (struct task){0};
out:
    task_done(&t);
    return rc;
}

int task_from_json(const char *text, size_t size, struct task *ret_t, struct err *e)
{
    json_t *root = NULL;
    int rc;

    TRY(json_read("task", text, size, &root, e));
    TRY(task_from_value(root, ret_t, e));
out:
    json_decref(root);
    return rc;
}

int task_copy(const struct task *t, struct task *ret_t, struct err *e)
{
    struct task copy = *t;

    copy.model = strdup(t->model);
    copy.prompt = strdup(t->prompt);
    copy.negative_prompt = strdup(t->negative_prompt);
    if (!copy.model || !copy.prompt || !copy.negative_prompt) {
        task_done(&copy);
        return err_set(e, ERR_OOM, "out of memory for a task");
    }
    *ret_t = copy;
    return 0;
}

void task_done(struct task *t)
{
    free(t->model);
    free(t->prompt);
    free(t->negative_prompt);
    *t = (struct task){0};
}
