#include "jobs/draft.h"

#include "jobs/asset.h"
#include "jobs/numbers.h"
#include "jobs/suggest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* What people coming from other programs write, and what it is called here. */
static const char *const other_names[][2] = {
    {"cfg", "cfg_scale"},
    {"guidance", "cfg_scale"},
    {"denoise", "denoising_strength"},
    {"denoising", "denoising_strength"},
    {"strength", "denoising_strength"},
    {"image", "init_image"},
    {"init_images", "init_image"},
    {"mask_image", "mask"},
    {"hr_upscale", "hr_scale"},
    {"hires_upscale", "hr_scale"},
    {"variation_seed", "subseed"},
    {"variation_strength", "subseed_strength"},
    {"style", "styles"},
    {"config", "model_config"},
    {"guidance_scale", "cfg_scale"},
    {"num_inference_steps", "steps"},
    {"max_frames", "frames"},
    {"num_frames", "frames"},
    {"loops", "frames"},
    {"negative", "negative_prompt"},
    {"sampler_name", "sampler"},
    {"schedule_type", "scheduler"},
    {"checkpoint", "model"},
    {"ckpt", "model"},
    {"ckpt_name", "model"},
    {"sd_model_checkpoint", "model"},
    {"sd_vae", "vae"},
    {"noise_seed", "seed"},
    {"CLIP_stop_at_last_layers", "clip_skip"},
    {"resolution", "size"},
    {"model_id", "model"},
    {"model_name", "model"},
    {"pretrained_model_name_or_path", "model"},
    {"vae_name", "vae"},
    {"scheduler_name", "scheduler"},
    {"positive", "prompt"},
    {"positive_prompt", "prompt"},
    {"text", "prompt"},
    {"variables", "axes"},
    {"matrix", "axes"},
    {"parameters", "defaults"},
    {"name", "job"},
    {"version", "litho"},
};

/* And what is said here in another way. */
static const char *const other_ways[][2] = {
    {"batch_size", "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"batch_count", "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"n_iter", "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"num_images_per_prompt",
     "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"lora", "a prompt names its LoRAs, as in <lora:NAME:0.8>"},
    {"strength_schedule",
     "denoising_strength is how much of each frame is new; for a value of each "
     "frame zip an axis with it, as in combine: \"(frame, denoising_strength)\""},
    {"cfg_scale_schedule",
     "for a value of each frame zip an axis with it, as in combine: \"(frame, cfg_scale)\""},
    {"animation_prompts",
     "for a prompt of each frame zip an axis with it, as in combine: \"(frame, prompt)\""},
    {"count", "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"images", "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"iterations", "several pictures of one prompt are an axis, as in axes: {seed: 1-4}"},
    {"fps", "frames are PNG files; ffmpeg makes a film of them (jobs/examples/film.yaml)"},
    {"hires_fix", "hr_scale alone asks for the second pass"},
    {"enable_hr", "hr_scale alone asks for the second pass"},
};

static void other_way(const char *key, struct buf *ret_hint)
{
    for (size_t i = 0; i < sizeof other_ways / sizeof *other_ways; i++)
        if (strcasecmp(other_ways[i][0], key) == 0)
            buf_printf(ret_hint, "; %s", other_ways[i][1]);
}

static const char *other_name(const char *key, const char *const *keys, size_t n_keys)
{
    for (size_t i = 0; i < sizeof other_names / sizeof *other_names; i++)
        for (size_t k = 0; k < n_keys && strcasecmp(other_names[i][0], key) == 0; k++)
            if (strcmp(other_names[i][1], keys[k]) == 0)
                return keys[k];
    return NULL;
}

void draft_check_keys(struct draft *dr, const struct node *map, const char *what,
                      const char *const *keys, size_t n_keys)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct node *key = map->items[2 * i];
        const char *other = other_name(key->text, keys, n_keys);
        struct buf hint = {0};
        bool known = false;

        for (size_t k = 0; k < n_keys; k++)
            known = known || strcmp(keys[k], key->text) == 0;
        if (known)
            continue;
        if (other)
            buf_printf(&hint, ", did you mean '%s'?", other);
        else
            other_way(key->text, &hint);
        if (hint.size == 0)
            suggest_text(key->text, keys, n_keys, &hint);
        diagnose(dr->d, key->at, "unknown key '%s'%s%s", key->text, what, buf_text(&hint));
        buf_done(&hint);
    }
}

bool draft_find(const struct draft *dr, const char *name, size_t *ret_axis, size_t *ret_column)
{
    for (size_t a = 0; a < dr->n_axes; a++)
        for (size_t c = 0; c < dr->axes[a].n_columns; c++)
            if (strcmp(dr->axes[a].columns[c].name, name) == 0) {
                *ret_axis = a;
                *ret_column = c;
                return true;
            }
    return false;
}

bool draft_lacks_columns(const struct draft *dr)
{
    for (size_t a = 0; a < dr->n_axes; a++)
        if (dr->axes[a].n_columns == 0)
            return true;
    return false;
}

const char *draft_base(const struct draft *dr, struct place at)
{
    return at.line == 0 ? dr->cwd : dr->folder;
}

const char *draft_absolute(struct draft *dr, const char *base, const char *path)
{
    struct buf whole = {0}, clean = {0};
    const char *p, *copy = NULL, *home = getenv("HOME");

    if (path[0] == '~' && path[1] == '/' && home && *home == '/') {
        buf_puts(&whole, home);
        path++;
    } else if (*path != '/') {
        buf_printf(&whole, "%s/", base);
    }
    buf_puts(&whole, path);
    for (p = buf_text(&whole); *p;) {
        size_t n = strcspn(p, "/");

        if (n == 2 && memcmp(p, "..", 2) == 0)
            while (clean.size && clean.data[--clean.size] != '/')
                continue;
        else if (n && !(n == 1 && *p == '.')) {
            buf_putc(&clean, '/');
            buf_append(&clean, p, n);
        }
        p += n + (p[n] == '/');
    }
    if (clean.size == 0)
        buf_putc(&clean, '/');
    if (!whole.failed && !clean.failed)
        copy = pool_text(&dr->pool, clean.data, clean.size);
    buf_done(&whole);
    buf_done(&clean);
    return copy;
}

/* --- values --- */

/* The sampler whose label begins a text that is none: "DPM++ 2M Fast". */
static const char *sampler_of_label(const char *text)
{
    const char *best = NULL;
    size_t best_size = 0;

    for (int i = 0; i < SAMPLER_COUNT; i++) {
        const char *label = sampler_label((enum sampler_id)i);
        size_t n = strlen(label);

        if (n > best_size && strncasecmp(label, text, n) == 0) {
            best = sampler_name((enum sampler_id)i);
            best_size = n;
        }
    }
    return best;
}

static void suggest_value(int param, const char *text, struct buf *ret_hint)
{
    const char *names[SAMPLER_COUNT + SCHEDULER_COUNT], *label = NULL;
    size_t n = 0;

    if (param_kind((enum param)param) != PARAM_KIND_TERM)
        return;
    for (int i = 0; i < term_count(param_terms((enum param)param)); i++)
        names[n++] = term_name(param_terms((enum param)param), i);
    if (param == PARAM_SAMPLER)
        label = sampler_of_label(text);
    if (param == PARAM_SAMPLER && sampler_is_foreign(text))
        buf_printf(ret_hint, "; '%s' is an algorithm of its own, which Lithograph does not have",
                   text);
    else if (param == PARAM_SCHEDULER && scheduler_is_foreign(text))
        buf_printf(ret_hint, "; '%s' is a schedule of its own, which Lithograph does not have",
                   text);
    else if (label && !suggest_nearest(text, names, n))
        buf_printf(ret_hint, ", did you mean '%s'?", label);
    else
        suggest_text(text, names, n, ret_hint);
}

/* Tells what jobs/param.c says of a value; NULL text or no error: nothing. */
static int check(struct draft *dr, int param, const char *text, struct place at, bool *ret_good,
                 struct err *e)
{
    struct task scratch = {0};
    struct buf hint = {0};
    struct err cause;
    int rc = param_set(&scratch, (enum param)param, text, &cause);

    *ret_good = rc == 0;
    task_done(&scratch);
    if (rc != 0 && rc != ERR_INPUT)
        return err_set(e, rc, "%s", cause.text);
    if (rc != 0) {
        suggest_value(param, text, &hint);
        diagnose(dr->d, at, "%s%s", cause.text, buf_text(&hint));
        buf_done(&hint);
    }
    return 0;
}

static int number_value(struct draft *dr, int param, const char *text, struct place at,
                        json_t **ret_value, struct err *e)
{
    bool integer = param_unit((enum param)param) != 0, good;
    struct number_problem problem;
    struct numbers numbers = {0};
    struct buf plain = {0};
    double x;
    int rc;

    TRY(numbers_parse(text, integer, &numbers, &problem, e));
    if (problem.text[0] || numbers.count != 1) {
        TRY(check(dr, param, text, at, &good, e));
        if (good)
            diagnose(dr->d, at, "%s '%s' must be one number", param_name((enum param)param), text);
        goto out;
    }
    x = number_at(&numbers.items[0], 0);
    if (integer)
        buf_printf(&plain, "%" PRId64, (int64_t)x);
    else
        buf_number(&plain, x);
    TRY(buf_check(&plain, e));
    good = (param == PARAM_SEED || param == PARAM_SUBSEED) && x == -1;
    if (!good)
        TRY(check(dr, param, buf_text(&plain), at, &good, e));
    if (good && !(*ret_value = integer ? json_integer((json_int_t)x) : json_real(x)))
        TRY(err_set(e, ERR_OOM, "out of memory"));
out:
    numbers_done(&numbers);
    buf_done(&plain);
    return rc;
}

/* "128 X 128" becomes "128x128", and leading zeros go. */
static void plain_size(const char *text, struct buf *ret_text)
{
    for (const char *p = text; *p; p++) {
        bool number_starts = p == text || !isdigit((unsigned char)p[-1]);

        if (*p == '0' && number_starts && isdigit((unsigned char)p[1]))
            continue;
        if (*p != ' ')
            buf_putc(ret_text, *p == 'X' ? 'x' : *p);
    }
}

/* A path becomes absolute; what is not on this machine is a warning, since workers may have it. */
static int plain_path(struct draft *dr, enum param param, const char *text, struct place at,
                      struct buf *ret_text, struct err *e)
{
    bool file = param_kind(param) == PARAM_KIND_FILE;
    const char *path;
    struct stat status;

    if (!*text || (!file && !strchr(text, '/')) || asset_hash_of(text)) {
        buf_puts(ret_text, text);
        return 0;
    }
    path = draft_absolute(dr, draft_base(dr, at), text);
    if (!path)
        return err_set(e, ERR_OOM, "out of memory");
    if (stat(path, &status) != 0 || (file && !S_ISREG(status.st_mode)))
        diagnose_warning(dr->d, at, "no %s '%s' on this machine",
                         file || strstr(path, ".safetensors") ? "file" : "model folder", path);
    buf_puts(ret_text, path);
    return 0;
}

static const char *plain_term(enum param param, const char *text)
{
    enum sampler_id sampler;
    int id, scheduler;

    if (param == PARAM_SAMPLER)
        id = sampler_from_label(text, &sampler, &scheduler) == 0 ? (int)sampler : -1;
    else
        id = term_from_label(param_terms(param), text);
    return id < 0 ? text : term_name(param_terms(param), id);
}

static const char *plain_bool(const char *text)
{
    static const char *const words[][2] = {{"true", "false"}, {"yes", "no"}, {"on", "off"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i][0]) == 0)
            return "true";
        if (strcasecmp(text, words[i][1]) == 0)
            return "false";
    }
    return text;
}

/* The text that jobs/param.c reads, of what people write. */
static int plain_text(struct draft *dr, int param, const char *text, struct place at,
                      struct buf *ret_text, struct err *e)
{
    if (param < 0) {
        buf_puts(ret_text, text);
        return 0;
    }
    switch (param_kind((enum param)param)) {
    case PARAM_KIND_ASSET:
    case PARAM_KIND_FILE:
        return plain_path(dr, (enum param)param, text, at, ret_text, e);
    case PARAM_KIND_TERM:
        buf_puts(ret_text, plain_term((enum param)param, text));
        return 0;
    case PARAM_KIND_BOOL:
        buf_puts(ret_text, plain_bool(text));
        return 0;
    case PARAM_KIND_SIZE:
        plain_size(text, ret_text);
        return 0;
    default:
        buf_puts(ret_text, text);
        return 0;
    }
}

/* Parameters that hold text: a line end at the end of a block of text is not meant. */
static int text_value(struct draft *dr, int param, const char *text, struct place at,
                      json_t **ret_value, struct err *e)
{
    size_t size = strlen(text);
    struct buf plain = {0};
    const char *trimmed;
    bool good = true;
    int rc = 0;

    while (size && text[size - 1] == '\n')
        size--;
    trimmed = pool_text(&dr->pool, text, size);
    if (!trimmed)
        TRY(err_set(e, ERR_OOM, "out of memory"));
    TRY(plain_text(dr, param, trimmed, at, &plain, e));
    TRY(buf_check(&plain, e));
    if (param >= 0)
        TRY(check(dr, param, buf_text(&plain), at, &good, e));
    if (good && !(*ret_value = json_stringn(buf_text(&plain), plain.size)))
        TRY(err_set(e, ERR_OOM, "out of memory"));
out:
    buf_done(&plain);
    return rc;
}

int draft_value(struct draft *dr, int param, const char *text, struct place at, json_t **ret_value,
                struct err *e)
{
    *ret_value = NULL;
    if (param >= 0 && param_is_number((enum param)param) &&
        !(param_kind((enum param)param) == PARAM_KIND_MAYBE && !*text))
        return number_value(dr, param, text, at, ret_value, e);
    if (param == PARAM_STYLES)
        return draft_select_styles(dr, text, at, ret_value, e);
    if (param < 0 && strlen(text) > TASK_PROMPT_MAX) {
        diagnose(dr->d, at, "a value of more than %d bytes", TASK_PROMPT_MAX);
        return 0;
    }
    return text_value(dr, param, text, at, ret_value, e);
}

void draft_done(struct draft *dr)
{
    for (size_t i = 0; i < JOB_AXES_MAX; i++) {
        json_decref(dr->axes[i].rows);
        json_decref(dr->axes[i].range);
        json_decref(dr->axes[i].schedulers);
    }
    json_decref(dr->fixed);
    json_decref(dr->exclude);
    json_decref(dr->known_styles);
    json_decref(dr->styles);
    json_decref(dr->names[0]);
    json_decref(dr->names[1]);
    json_decref(dr->sheet);
    json_decref(dr->conduct);
    json_decref(dr->chain);
    pool_done(&dr->pool);
}
