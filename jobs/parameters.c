#include "jobs/parameters.h"

#include "jobs/utf8.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define HASH_DIGITS 10

/* What Python's json.dumps(text, ensure_ascii=False) writes. */
static void put_json(struct buf *b, const char *text)
{
    static const char letters[] = "btn\0fr"; /* 8..13 */

    buf_putc(b, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11)
            buf_printf(b, "\\%c", letters[c - 8]);
        else if (c < 32)
            buf_printf(b, "\\u%04x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

/* A value is quoted only if it holds what the reader splits at; one equal to its key stands bare.
 */
static void put(struct buf *b, const char *key, const char *value)
{
    if (strcmp(key, "Steps") != 0)
        buf_puts(b, ", ");
    buf_puts(b, key);
    if (strcmp(key, value) == 0)
        return;
    buf_puts(b, ": ");
    if (strpbrk(value, ",:\n"))
        put_json(b, value);
    else
        buf_puts(b, value);
}

static void put_whole(struct buf *b, const char *key, int64_t n)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRId64, n);
    put(b, key, text);
}

static void put_real(struct buf *b, const char *key, double x)
{
    struct buf text = {0};

    buf_number(&text, x);
    put(b, key, buf_text(&text));
    b->failed = b->failed || text.failed;
    buf_done(&text);
}

static void put_size(struct buf *b, const char *key, int64_t width, int64_t height)
{
    char text[64];

    snprintf(text, sizeof text, "%" PRId64 "x%" PRId64, width, height);
    put(b, key, text);
}

static void put_hash(struct buf *b, const char *key, const char *hash)
{
    char text[HASH_DIGITS + 1];

    snprintf(text, sizeof text, "%.*s", HASH_DIGITS, hash);
    put(b, key, text);
}

static bool has_text(const char *text)
{
    return text && *text;
}

/* Automatic is told as what it comes to, where that is a scheduler of its own. */
static const char *schedule_type(const struct task *t)
{
    enum scheduler_id resolved = scheduler_resolve(t->sampler, t->scheduler);

    return scheduler_label(resolved == SCHEDULER_UNIFORM ? t->scheduler : resolved);
}

/* --- the line's parts, in its order --- */

static void put_basics(struct buf *b, const struct task *t, const struct parameters_source *source)
{
    bool outpaint = t->outpaint_left || t->outpaint_right || t->outpaint_top || t->outpaint_bottom;
    int64_t width = t->width, height = t->height;

    if (outpaint)
        task_size(t, &width, &height);
    put_whole(b, "Steps", t->steps);
    put(b, "Sampler", sampler_label(t->sampler));
    put(b, "Schedule type", schedule_type(t));
    put_real(b, "CFG scale", t->cfg_scale);
    put_whole(b, "Seed", t->seed);
    put_size(b, "Size", width, height);
    put_hash(b, "Model hash", source->model_hash);
    put(b, "Model", source->model_name);
    if (source->vae_hash)
        put_hash(b, "VAE hash", source->vae_hash);
    if (source->vae_name)
        put(b, "VAE", source->vae_name);
}

static void put_noise(struct buf *b, const struct task *t)
{
    if (t->subseed_strength > 0) {
        put_whole(b, "Variation seed", t->subseed);
        put_real(b, "Variation seed strength", t->subseed_strength);
    }
    if (t->seed_resize_from_w > 0 && t->seed_resize_from_h > 0)
        put_size(b, "Seed resize from", t->seed_resize_from_w, t->seed_resize_from_h);
    if (has_text(t->init_image) || task_is_hires(t))
        put_real(b, "Denoising strength", t->denoising_strength);
    if (t->clip_skip > 1)
        put_whole(b, "Clip skip", t->clip_skip);
    put(b, "RNG", term_label(TERM_RNG, (int)t->rng));
    if (t->guidance_rescale > 0)
        put_real(b, "CFG Rescale", t->guidance_rescale);
}

static void put_hires(struct buf *b, const struct task *t)
{
    if (!task_is_hires(t))
        return;
    if (t->hr_resize_x > 0 || t->hr_resize_y > 0)
        put_size(b, "Hires resize", t->hr_resize_x, t->hr_resize_y);
    else
        put_real(b, "Hires upscale", t->hr_scale);
    if (t->hr_second_pass_steps > 0)
        put_whole(b, "Hires steps", t->hr_second_pass_steps);
    put(b, "Hires upscaler", term_label(TERM_UPSCALER, (int)t->hr_upscaler));
}

static void put_inpaint(struct buf *b, const struct task *t)
{
    if (!has_text(t->mask))
        return;
    if (t->inpainting_mask_invert)
        put(b, "Mask mode", "Inpaint not masked");
    if (t->mask_blur.set && t->mask_blur.value > 0)
        put_real(b, "Mask blur", t->mask_blur.value);
    if (t->inpaint_full_res) {
        put(b, "Inpaint area", "Only masked");
        put_whole(b, "Masked area padding", t->inpaint_full_res_padding);
    }
    if (t->inpainting_fill != FILL_ORIGINAL)
        put(b, "Masked content", term_label(TERM_FILL, (int)t->inpainting_fill));
}

static void put_text(struct buf *b, const struct task *t, const struct parameters_source *source)
{
    bool weighted = strpbrk(t->prompt, "([") || strpbrk(t->negative_prompt, "([");

    if (has_text(source->lora_hashes))
        put(b, "Lora hashes", source->lora_hashes);
    if (has_text(source->ti_hashes))
        put(b, "TI hashes", source->ti_hashes);
    if (t->emphasis != EMPHASIS_ORIGINAL && weighted)
        put(b, "Emphasis", term_label(TERM_EMPHASIS, (int)t->emphasis));
}

static void put_sampling(struct buf *b, const struct task *t)
{
    bool ddim = t->sampler == SAMPLER_DDIM;

    if (t->rescale_betas_zero_snr)
        put(b, "Noise Schedule", "Zero Terminal SNR");
    if (t->eta.set && t->eta.value != (ddim ? 0 : 1))
        put_real(b, ddim ? "Eta DDIM" : "Eta", t->eta.value);
    if (t->s_noise.set && t->s_noise.value != 1)
        put_real(b, "Sigma noise", t->s_noise.value);
}

void parameters_text(const struct task *t, const struct parameters_source *source,
                     struct buf *ret_text)
{
    struct buf text = {0};
    size_t start;

    buf_puts(&text, t->prompt);
    if (t->negative_prompt[0])
        buf_printf(&text, "\nNegative prompt: %s", t->negative_prompt);
    buf_putc(&text, '\n');
    put_basics(&text, t, source);
    put_noise(&text, t);
    put_hires(&text, t);
    put_inpaint(&text, t);
    put_text(&text, t, source);
    put_sampling(&text, t);
    put(&text, "Version", source->version);
    start = utf8_blank(buf_text(&text), text.size);
    if (text.failed)
        ret_text->failed = true;
    else
        buf_append(ret_text, text.data + start, text.size - start);
    buf_done(&text);
}
