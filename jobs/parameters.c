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

static void put_settings(struct buf *b, const struct task *t, const char *model_name,
                         const char *model_hash, const char *version)
{
    struct buf cfg = {0};
    char text[64];

    snprintf(text, sizeof text, "%d", t->steps);
    put(b, "Steps", text);
    put(b, "Sampler", sampler_label(t->sampler));
    put(b, "Schedule type", scheduler_label(t->scheduler));
    buf_number(&cfg, t->cfg_scale);
    b->failed = b->failed || cfg.failed;
    put(b, "CFG scale", buf_text(&cfg));
    buf_done(&cfg);
    snprintf(text, sizeof text, "%" PRId64, t->seed);
    put(b, "Seed", text);
    snprintf(text, sizeof text, "%dx%d", t->width, t->height);
    put(b, "Size", text);
    snprintf(text, sizeof text, "%.*s", HASH_DIGITS, model_hash);
    put(b, "Model hash", text);
    put(b, "Model", model_name);
    put(b, "RNG", "CPU");
    put(b, "Version", version);
}

/* White space as Python's str.strip() sees it. */
static bool is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

void parameters_text(const struct task *t, const char *model_name, const char *model_hash,
                     const char *version, struct buf *ret_text)
{
    struct buf text = {0};
    size_t start = 0, n;
    uint32_t code;

    buf_puts(&text, t->prompt);
    if (t->negative_prompt[0])
        buf_printf(&text, "\nNegative prompt: %s", t->negative_prompt);
    buf_putc(&text, '\n');
    put_settings(&text, t, model_name, model_hash, version);
    while (start < text.size && (n = utf8_next(text.data + start, text.size - start, &code)) > 0 &&
           is_space(code))
        start += n;
    if (text.failed)
        ret_text->failed = true;
    else
        buf_append(ret_text, text.data + start, text.size - start);
    buf_done(&text);
}
