#include "engine/prompt/split.h"

#include "engine/prompt/unicode.h"
#include "proto/buf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IGNORED_MAX 64 /* further ones are dropped without being listed */

/* ---- networks in angle brackets */

/* The end of "<word:anything>" at byte `at`, and the end of the word; 0: something else. */
static size_t network_end(const struct prompt_text *t, size_t at, size_t *ret_word_end)
{
    size_t i = at + 1, step = 0;
    const char *end;

    while (i < t->size && unicode_is_word(unicode_next(t->text + i, t->size - i, &step)))
        i += step;
    if (i == at + 1 || t->text[i] != ':' || t->text[i + 1] == '>' || t->text[i + 1] == '\0')
        return 0;
    *ret_word_end = i;
    end = strchr(t->text + i, '>');
    return end != NULL ? (size_t)(end - t->text) + 1 : 0;
}

static int ignore(struct split *s, const struct prompt_text *t, size_t begin, size_t end,
                  struct prompt_fault *f)
{
    struct split_ignored *ignored;
    size_t n = end - begin < sizeof ignored->what ? end - begin : sizeof ignored->what - 1;

    if (s->n_ignored == IGNORED_MAX)
        return 0;
    if (s->ignored == NULL)
        s->ignored = calloc(IGNORED_MAX, sizeof *s->ignored);
    if (s->ignored == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a prompt");
    while (n < end - begin && n > 0 && ((unsigned char)t->text[begin + n] & 0xc0) == 0x80)
        n--;
    ignored = &s->ignored[s->n_ignored++];
    ignored->at = (uint32_t)prompt_text_origin(t, begin);
    memcpy(ignored->what, t->text + begin, n);
    return 0;
}

static int weight_of(const struct prompt_text *t, size_t begin, size_t end, double *ret_x,
                     struct prompt_fault *f)
{
    size_t size = end - begin;

    if (prompt_number(t->text + begin, size, ret_x) && isfinite(*ret_x))
        return 0;
    return prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin),
                            "the LoRA's weight '%.*s' is no number", size < 40 ? (int)size : 40,
                            t->text + begin);
}

/* What the arguments of one LoRA said so far. */
struct lora_reader {
    size_t name_begin, name_end;
    int positional; /* arguments without a name */
    double te, unet;
    bool te_named, unet_named, unet_set;
};

static bool is_name(const struct prompt_text *t, size_t begin, size_t end, const char *name)
{
    return end - begin == strlen(name) && memcmp(t->text + begin, name, end - begin) == 0;
}

static int read_named(struct split *s, struct lora_reader *r, const struct prompt_text *t,
                      size_t begin, size_t equals, size_t end, struct prompt_fault *f)
{
    int rc = 0;

    if (is_name(t, begin, equals, "te")) {
        TRY(weight_of(t, equals + 1, end, &r->te, f));
        r->te_named = true;
    } else if (is_name(t, begin, equals, "unet")) {
        TRY(weight_of(t, equals + 1, end, &r->unet, f));
        r->unet_named = true;
    } else if (is_name(t, begin, equals, "dyn")) {
        TRY(prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin),
                             "a LoRA of another rank (dyn=) cannot be applied"));
    } else {
        TRY(ignore(s, t, begin, end, f));
    }
out:
    return rc;
}

/* One argument. With two equals signs it has no name, as in AUTOMATIC1111. */
static int read_argument(struct split *s, struct lora_reader *r, const struct prompt_text *t,
                         size_t begin, size_t end, struct prompt_fault *f)
{
    const char *equals = memchr(t->text + begin, '=', end - begin);
    size_t at = equals != NULL ? (size_t)(equals - t->text) : end;
    double weight;
    int rc = 0;

    if (equals != NULL && memchr(equals + 1, '=', end - at - 1) == NULL)
        return read_named(s, r, t, begin, at, end, f);
    switch (r->positional++) {
    case 0:
        r->name_begin = begin;
        r->name_end = end;
        break;
    case 1:
        TRY(weight_of(t, begin, end, &weight, f));
        r->te = r->te_named ? r->te : weight;
        break;
    case 2:
        TRY(weight_of(t, begin, end, &weight, f));
        r->unet = r->unet_named ? r->unet : weight;
        r->unet_set = true;
        break;
    case 3:
        TRY(prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin),
                             "a LoRA of another rank cannot be applied"));
        break;
    default:
        TRY(ignore(s, t, begin, end, f));
    }
out:
    return rc;
}

/* "sha256:" and 64 digits are one name, though there is a colon in it. Where it ends, or at. */
static size_t hash_end(const struct prompt_text *t, size_t at, size_t end)
{
    static const char prefix[] = "sha256:";
    size_t first = at + sizeof prefix - 1;

    if (end - at < sizeof prefix - 1 + 64 || memcmp(t->text + at, prefix, sizeof prefix - 1) != 0 ||
        strspn(t->text + first, "0123456789abcdef") != 64)
        return at;
    return first + 64;
}

static int add_lora(struct split *s, const struct prompt_text *t, size_t begin, size_t args,
                    size_t end, struct prompt_fault *f)
{
    struct lora_reader r = {.te = 1};
    struct split_lora *l;
    int rc = 0;

    for (size_t at = args, next; at <= end; at = next + 1) {
        size_t from = r.positional == 0 ? hash_end(t, at, end) : at;
        const char *colon = memchr(t->text + from, ':', end - from);

        next = colon != NULL ? (size_t)(colon - t->text) : end;
        TRY(read_argument(s, &r, t, at, next, f));
    }
    if (r.positional == 0 || r.name_begin == r.name_end)
        TRY(prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin), "a LoRA without a name"));
    if (s->n_loras == SPLIT_LORAS_MAX)
        TRY(prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin),
                             "more than %d LoRAs in one prompt", SPLIT_LORAS_MAX));
    if (s->loras == NULL)
        s->loras = calloc(SPLIT_LORAS_MAX, sizeof *s->loras);
    l = s->loras != NULL ? &s->loras[s->n_loras] : NULL;
    if (l != NULL)
        l->name = strndup(t->text + r.name_begin, r.name_end - r.name_begin);
    if (l == NULL || l->name == NULL)
        TRY(prompt_fault_set(f, ERR_OOM, 0, "no memory for a prompt"));
    l->te = r.te;
    l->unet = r.unet_named || r.unet_set ? r.unet : r.te;
    l->at = (uint32_t)prompt_text_origin(t, begin);
    s->n_loras++;
out:
    return rc;
}

static int read_network(struct split *s, const struct prompt_text *t, size_t begin, size_t word_end,
                        size_t end, struct prompt_fault *f)
{
    if (is_name(t, begin + 1, word_end, "lora") || is_name(t, begin + 1, word_end, "lyco"))
        return add_lora(s, t, begin, word_end + 1, end - 1, f);
    if (is_name(t, begin + 1, word_end, "hypernet"))
        return prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin),
                                "hypernetworks cannot be applied");
    return ignore(s, t, begin, end, f);
}

/* t without its networks. */
static int take_networks(struct split *s, const struct prompt_text *t, struct prompt_text *ret_rest,
                         struct prompt_fault *f)
{
    const char *open = t->text, *last = strrchr(t->text, '>');
    size_t from = 0, word_end, end;
    int rc = 0;

    while ((open = strchr(open, '<')) != NULL && open < last) {
        size_t begin = (size_t)(open - t->text);

        open++;
        end = network_end(t, begin, &word_end);
        if (end == 0)
            continue;
        TRY(read_network(s, t, begin, word_end, end, f));
        TRY(prompt_text_append(ret_rest, t, from, begin, f));
        from = end;
        open = t->text + end;
    }
    TRY(prompt_text_append(ret_rest, t, from, t->size, f));
out:
    return rc;
}

/* ---- AND */

/* The bytes of text[begin..end) without a weight ": 1.5" and white space at its end. */
static size_t strip_weight(const char *text, size_t begin, size_t end, double *ret_weight)
{
    size_t trimmed = prompt_trim_blank(text, begin, end), number;
    const char *colon = memrchr(text + begin, ':', trimmed - begin);

    *ret_weight = 1;
    if (colon == NULL)
        return trimmed;
    number = prompt_skip_blank(text, (size_t)(colon - text) + 1, trimmed);
    if (number == trimmed || memchr(text + number, 'e', trimmed - number) != NULL ||
        memchr(text + number, 'E', trimmed - number) != NULL ||
        !prompt_number(text + number, trimmed - number, ret_weight)) {
        *ret_weight = 1;
        return trimmed;
    }
    return prompt_trim_blank(text, begin, (size_t)(colon - text));
}

static int add_part(struct split *s, const struct prompt_text *t, size_t begin, size_t end,
                    struct prompt_fault *f)
{
    struct split_part *parts, *part;
    size_t trimmed;
    double weight;
    int rc = 0;

    if (s->n_parts == SPLIT_PARTS_MAX)
        return prompt_fault_set(f, ERR_INPUT, prompt_text_origin(t, begin),
                                "more than %d parts joined by AND", SPLIT_PARTS_MAX);
    parts = realloc(s->parts, (s->n_parts + 1) * sizeof *parts);
    if (parts == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a prompt");
    s->parts = parts;
    part = &parts[s->n_parts++];
    *part = (struct split_part){0};
    trimmed = prompt_trim_blank(t->text, begin, end);
    end = strip_weight(t->text, begin, end, &weight);
    part->weight = weight;
    part->weighed = end < trimmed;
    part->weight_at = (uint32_t)prompt_text_origin(t, end);
    if (!isfinite(weight))
        return prompt_fault_set(f, ERR_INPUT, part->weight_at,
                                "this weight is too large to be a number");
    TRY(prompt_text_append(&part->text, t, begin, end, f));
out:
    return rc;
}

static int split_parts(struct split *s, const struct prompt_text *t, struct prompt_fault *f)
{
    size_t from = 0;
    int rc = 0;

    for (const char *and = t->text; (and = strstr(and, "AND")) != NULL;) {
        size_t at = (size_t)(and-t->text);

        if (!prompt_word_boundary(t->text, 0, t->size, at) ||
            !prompt_word_boundary(t->text, 0, t->size, at + 3)) {
            and++;
            continue;
        }
        TRY(add_part(s, t, from, at, f));
        from = at + 3;
        and += 3;
    }
    TRY(add_part(s, t, from, t->size, f));
out:
    return rc;
}

int split_parse(const char *prompt, struct split *ret_s, struct prompt_fault *f)
{
    struct prompt_text whole = {0}, rest = {0};
    struct split s = {0};
    int rc = 0;

    TRY(prompt_text_init(&whole, prompt, f));
    TRY(take_networks(&s, &whole, &rest, f));
    TRY(split_parts(&s, &rest, f));
    *ret_s = s;
    s = (struct split){0};
out:
    prompt_text_done(&whole);
    prompt_text_done(&rest);
    split_done(&s);
    return rc;
}

int split_negative(const char *prompt, struct split *ret_s, struct prompt_fault *f)
{
    struct split s = {.n_parts = 1};
    int rc = 0;

    s.parts = calloc(1, sizeof *s.parts);
    if (s.parts == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a prompt");
    s.parts->weight = 1;
    TRY(prompt_text_init(&s.parts->text, prompt, f));
    *ret_s = s;
    s = (struct split){0};
out:
    split_done(&s);
    return rc;
}

void split_done(struct split *s)
{
    for (size_t i = 0; i < s->n_parts; i++)
        prompt_text_done(&s->parts[i].text);
    for (size_t i = 0; i < s->n_loras; i++)
        free(s->loras[i].name);
    free(s->parts);
    free(s->loras);
    free(s->ignored);
    *s = (struct split){0};
}
