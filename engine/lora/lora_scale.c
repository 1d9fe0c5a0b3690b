#include "engine/lora/lora_scale.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#define NOTES "lora_adapter_metadata"

static int bad_notes(const struct weights *w, const char *key, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: '%s' in its notes (" NOTES ") %s", weights_path(w), key,
                   what);
}

/* "unet.lora_alpha" */
static json_t *note(const struct lora_scale *s, enum lora_part part, const char *key)
{
    static const char *const prefixes[] = {"text_encoder", "text_encoder_2", "unet"};
    char full[64];

    snprintf(full, sizeof full, "%s.%s", prefixes[part], key);
    return json_object_get(s->notes, full);
}

int lora_scale_init(struct lora_scale *s, const struct weights *w, struct err *e)
{
    const char *text = weights_metadata(w, NOTES);
    int rc = 0;

    *s = (struct lora_scale){0};
    if (text == NULL)
        return 0;
    TRY(json_read(weights_path(w), text, strlen(text), &s->notes, e));
    if (!json_is_object(s->notes))
        TRY(err_set(e, ERR_INPUT, "%s: its notes (" NOTES ") are no JSON object", weights_path(w)));
    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        if (json_is_true(note(s, p, "use_dora")))
            TRY(bad_notes(w, "use_dora", "asks for DoRA, which is not implemented", e));
out:
    if (rc != 0)
        lora_scale_done(s);
    return rc;
}

void lora_scale_done(struct lora_scale *s)
{
    json_decref(s->notes);
    *s = (struct lora_scale){0};
}

/* Patterns are regular expressions in PEFT; files that diffusers writes hold names in them. */
static bool is_name(const char *pattern)
{
    for (; *pattern != '\0'; pattern++)
        if (!isalnum((unsigned char)*pattern) && strchr("._", *pattern) == NULL)
            return false;
    return true;
}

/* Whether the pattern is the whole name or its last words. "^" asks for the whole. */
static bool matches(const char *pattern, const char *name)
{
    bool whole = *pattern == '^';
    size_t n = strlen(name), m;

    pattern += whole;
    if (strncmp(pattern, "text_model.", strlen("text_model.")) == 0)
        pattern += strlen("text_model.");
    m = strlen(pattern);
    if (n < m || strcmp(name + n - m, pattern) != 0)
        return false;
    return n == m || (!whole && name[n - m - 1] == '.');
}

static int noted_alpha(const struct lora_scale *s, const struct weights *w, enum lora_part part,
                       const char *name, double *ret_alpha, struct err *e)
{
    json_t *alpha = note(s, part, "lora_alpha"), *value;
    const char *pattern;

    json_object_foreach(note(s, part, "alpha_pattern"), pattern, value)
    {
        if (!is_name(pattern + (*pattern == '^')))
            return bad_notes(w, pattern, "is a pattern that is not read here", e);
        if (matches(pattern, name)) {
            alpha = value;
            break;
        }
    }
    if (!json_is_number(alpha))
        return bad_notes(w, "lora_alpha", "must be a number", e);
    *ret_alpha = json_number_value(alpha);
    return 0;
}

int lora_scale_noted(const struct lora_scale *s, const struct weights *w, enum lora_part part,
                     const char *name, int64_t rank, double *ret_factor, struct err *e)
{
    double alpha = 1;
    int rc = 0;

    if (s->notes == NULL) {
        *ret_factor = 1;
        return 0;
    }
    TRY(noted_alpha(s, w, part, name, &alpha, e));
    /* Kalajdzievski 2023 (arXiv:2312.03732) divides by the square root. */
    if (json_is_true(note(s, part, "use_rslora")))
        *ret_factor = alpha / sqrt((double)rank);
    else
        *ret_factor = alpha / (double)rank;
out:
    return rc;
}

int lora_scale_alpha(const struct weights *w, const char *tensor, const struct tensor *alpha,
                     int64_t rank, double *ret_factor, struct err *e)
{
    int64_t whole = 0;
    int32_t small = 0;
    float real = 0;
    double value;

    if (tensor_count(alpha) != 1 || alpha->dtype == DTYPE_U8)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' must be one number", weights_path(w), tensor);
    if (alpha->dtype == DTYPE_I64) {
        memcpy(&whole, alpha->data, sizeof whole);
        value = (double)whole;
    } else if (alpha->dtype == DTYPE_I32) {
        memcpy(&small, alpha->data, sizeof small);
        value = small;
    } else {
        tensor_to_f32(alpha, &real);
        value = real;
    }
    if (!isfinite(value))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is not a finite number", weights_path(w),
                       tensor);
    *ret_factor = value / (double)rank;
    return 0;
}
