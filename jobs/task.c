#include "jobs/task.h"

#include "jobs/clash.h"
#include "jobs/param.h"

#include <stdlib.h>
#include <string.h>

/* The fields that are texts of their own; NULL at the end. */
static char **text_field(struct task *t, size_t i)
{
    static const size_t offsets[] = {offsetof(struct task, model),
                                     offsetof(struct task, model_config),
                                     offsetof(struct task, vae),
                                     offsetof(struct task, prompt),
                                     offsetof(struct task, negative_prompt),
                                     offsetof(struct task, init_image),
                                     offsetof(struct task, mask)};

    return i < sizeof offsets / sizeof *offsets ? (char **)((char *)t + offsets[i]) : NULL;
}

struct task task_defaults(void)
{
    struct task t = {0};

    for (int p = 0; p < PARAM_FIELDS; p++)
        if (param_is_optional((enum param)p) && *param_default((enum param)p))
            param_set(&t, (enum param)p, param_default((enum param)p), NULL);
    return t;
}

/* --- size --- */

bool task_is_hires(const struct task *t)
{
    return t->hr_scale > 0 || t->hr_resize_x > 0 || t->hr_resize_y > 0;
}

void task_hires_size(const struct task *t, int64_t *ret_width, int64_t *ret_height)
{
    int64_t w = t->width, h = t->height;

    if (t->hr_resize_x > 0 || t->hr_resize_y > 0) {
        w = t->hr_resize_x > 0 ? t->hr_resize_x : (int64_t)t->hr_resize_y * t->width / t->height;
        h = t->hr_resize_y > 0 ? t->hr_resize_y : (int64_t)t->hr_resize_x * t->height / t->width;
    } else if (t->hr_scale > 0) {
        w = (int64_t)(t->width * t->hr_scale);
        h = (int64_t)(t->height * t->hr_scale);
    }
    *ret_width = w / 8 * 8;
    *ret_height = h / 8 * 8;
}

void task_size(const struct task *t, int64_t *ret_width, int64_t *ret_height)
{
    task_hires_size(t, ret_width, ret_height);
    *ret_width += (int64_t)t->outpaint_left + t->outpaint_right;
    *ret_height += (int64_t)t->outpaint_top + t->outpaint_bottom;
}

/* --- check --- */

/* Each bound is stated once, in param_set: a check is setting the same value on a copy. */
static int check_params(const struct task *t, struct err *e)
{
    struct task copy = {0};
    struct buf text = {0};
    int rc = 0;

    for (int p = 0; p < PARAM_FIELDS; p++) {
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
    rc = check_params(t, e);
    return rc ? rc : clash_check_task(t, e);
}

/* --- JSON --- */

static void put_key(const char *key, struct buf *ret_text)
{
    bool first = ret_text->size && ret_text->data[ret_text->size - 1] == '{';

    buf_puts(ret_text, first ? "\"" : ",\"");
    buf_puts(ret_text, key);
    buf_puts(ret_text, "\":");
}

static void put_names(const struct names *names, enum names_kind kind, struct buf *ret_text)
{
    json_t *map;

    if (names->n == 0)
        return;
    map = names_json(names);
    ret_text->failed |= map == NULL;
    put_key(names_key(kind), ret_text);
    if (map)
        json_canonical(map, ret_text);
    json_decref(map);
}

void task_to_json(const struct task *t, struct buf *ret_text)
{
    /* By name, as RFC 8785 asks. */
    static const enum param order[PARAM_FIELDS] = {
        PARAM_CFG_SCALE,
        PARAM_CLIP_SKIP,
        PARAM_DENOISING_STRENGTH,
        PARAM_EMPHASIS,
        PARAM_ETA,
        PARAM_GUIDANCE_RESCALE,
        PARAM_HEIGHT,
        PARAM_HR_RESIZE_X,
        PARAM_HR_RESIZE_Y,
        PARAM_HR_SCALE,
        PARAM_HR_SECOND_PASS_STEPS,
        PARAM_HR_UPSCALER,
        PARAM_INIT_IMAGE,
        PARAM_INPAINT_FULL_RES,
        PARAM_INPAINT_FULL_RES_PADDING,
        PARAM_INPAINTING_FILL,
        PARAM_INPAINTING_MASK_INVERT,
        PARAM_MASK,
        PARAM_MASK_BLUR,
        PARAM_MODEL,
        PARAM_MODEL_CONFIG,
        PARAM_NEGATIVE_PROMPT,
        PARAM_OUTPAINT_BOTTOM,
        PARAM_OUTPAINT_LEFT,
        PARAM_OUTPAINT_RIGHT,
        PARAM_OUTPAINT_TOP,
        PARAM_PRECISION,
        PARAM_PROMPT,
        PARAM_RESCALE_BETAS_ZERO_SNR,
        PARAM_RESIZE_MODE,
        PARAM_RNG,
        PARAM_S_NOISE,
        PARAM_SAMPLER,
        PARAM_SCHEDULER,
        PARAM_SEED,
        PARAM_SEED_RESIZE_FROM_H,
        PARAM_SEED_RESIZE_FROM_W,
        PARAM_STEPS,
        PARAM_SUBSEED,
        PARAM_SUBSEED_STRENGTH,
        PARAM_VAE,
        PARAM_VAE_TILE,
        PARAM_WIDTH,
    };
    buf_putc(ret_text, '{');
    for (int i = 0; i < PARAM_FIELDS; i++) {
        if (order[i] == PARAM_EMPHASIS)
            put_names(&t->embeddings, NAMES_EMBEDDINGS, ret_text);
        if (order[i] == PARAM_MASK)
            put_names(&t->loras, NAMES_LORAS, ret_text);
        if (param_is_absent(t, order[i]))
            continue;
        put_key(param_name(order[i]), ret_text);
        param_put_json(t, order[i], ret_text);
    }
    buf_putc(ret_text, '}');
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

        if ((p < 0 || p >= PARAM_FIELDS) && strcmp(key, "loras") != 0 &&
            strcmp(key, "embeddings") != 0)
            return err_set(e, ERR_INPUT, "task: unknown key '%.100s'", key);
    }
    for (int p = 0; p < PARAM_FIELDS; p++)
        TRY(param_from_json(&t, (enum param)p, json_object_get(value, param_name((enum param)p)),
                            "task", e));
    TRY(names_read(json_object_get(value, "loras"), NAMES_LORAS, "task", &t.loras, e));
    TRY(names_read(json_object_get(value, "embeddings"), NAMES_EMBEDDINGS, "task", &t.embeddings,
                   e));
    TRY(clash_check_task(&t, e));
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

int task_start_from(struct task *t, const char *sha256, struct err *e)
{
    struct buf name = {0};
    char *init;

    buf_printf(&name, "sha256:%s", sha256);
    init = buf_detach(&name);
    if (!init)
        return err_set(e, ERR_OOM, "out of memory for a task");
    free(t->init_image);
    t->init_image = init;
    return 0;
}

/* --- life --- */

int task_copy(const struct task *t, struct task *ret_t, struct err *e)
{
    struct task copy = *t;
    bool failed = false;

    copy.loras = copy.embeddings = (struct names){0};
    for (size_t i = 0; text_field(&copy, i); i++) {
        char **field = text_field(&copy, i);

        if (*field) {
            *field = strdup(*field);
            failed = failed || !*field;
        }
    }
    if (failed || names_copy(&t->loras, &copy.loras, e) != 0 ||
        names_copy(&t->embeddings, &copy.embeddings, e) != 0) {
        task_done(&copy);
        return err_set(e, ERR_OOM, "out of memory for a task");
    }
    *ret_t = copy;
    return 0;
}

void task_done(struct task *t)
{
    for (size_t i = 0; text_field(t, i); i++)
        free(*text_field(t, i));
    names_done(&t->loras);
    names_done(&t->embeddings);
    *t = (struct task){0};
}
