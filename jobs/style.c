#include "jobs/style.h"

#include "jobs/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PLACE "{prompt}"

/* --- reading --- */

static int read_style(const json_t *value, struct style *ret_style, struct err *e)
{
    const json_t *prompt = json_array_get(value, 0), *negative = json_array_get(value, 1);

    if (json_array_size(value) != 2 || !json_is_string(prompt) || !json_is_string(negative))
        return err_set(e, ERR_INPUT, "styles: a style is two texts, prompt and negative prompt");
    ret_style->texts[0] = json_string_value(prompt);
    ret_style->texts[1] = json_string_value(negative);
    return 0;
}

static int read_set(const char *selection, const json_t *list, struct style_set *set, struct err *e)
{
    size_t n = json_array_size(list);
    int rc;

    if (!json_is_array(list) || n > STYLES_MAX)
        return err_set(e, ERR_INPUT, "styles: '%.80s' must be a list of styles", selection);
    set->selection = selection;
    set->items = calloc(n + 1, sizeof *set->items);
    if (!set->items)
        return err_set(e, ERR_OOM, "out of memory for the styles");
    for (set->n = 0; set->n < n; set->n++)
        if ((rc = read_style(json_array_get(list, set->n), &set->items[set->n], e)) != 0)
            return rc;
    return 0;
}

static int compare_sets(const void *a, const void *b)
{
    return strcmp(((const struct style_set *)a)->selection,
                  ((const struct style_set *)b)->selection);
}

int styles_read(const json_t *value, struct styles *ret_styles, struct err *e)
{
    struct styles s = {.value = json_incref((json_t *)value)};
    size_t n = json_object_size(value);
    const char *selection;
    json_t *list;
    int rc = 0;

    if (!value)
        return 0;
    if (!json_is_object(value) || n == 0 || n > STYLES_MAX)
        TRY(err_set(e, ERR_INPUT, "styles must be an object of 1 to %d selections", STYLES_MAX));
    s.sets = calloc(n, sizeof *s.sets);
    if (!s.sets)
        TRY(err_set(e, ERR_OOM, "out of memory for the styles"));
    json_object_foreach(s.value, selection, list)
    {
        s.n++;
        TRY(read_set(selection, list, &s.sets[s.n - 1], e));
    }
    qsort(s.sets, s.n, sizeof *s.sets, compare_sets);
    *ret_styles = s;
    s = (struct styles){0};
out:
    styles_done(&s);
    return rc;
}

void styles_done(struct styles *styles)
{
    for (size_t i = 0; i < styles->n; i++)
        free(styles->sets[i].items);
    free(styles->sets);
    json_decref(styles->value);
    *styles = (struct styles){0};
}

const struct style_set *styles_find(const struct styles *styles, const char *selection)
{
    const struct style_set wanted = {.selection = selection};

    return styles->n ? bsearch(&wanted, styles->sets, styles->n, sizeof *styles->sets, compare_sets)
                     : NULL;
}

/* --- applying --- */

/* Text without the white space around it. */
static void put_trimmed(struct buf *b, const char *text)
{
    size_t size = strlen(text), start = utf8_blank(text, size);

    buf_append(b, text + start, utf8_without_blank_end(text + start, size - start));
}

static void merge(const char *style, const char *prompt, struct buf *ret_text)
{
    const char *at = strstr(style, PLACE);
    size_t size;

    if (!at) {
        put_trimmed(ret_text, prompt);
        size = ret_text->size;
        if (size)
            buf_puts(ret_text, ", ");
        put_trimmed(ret_text, style);
        if (size && ret_text->size == size + 2) /* the style has no text */
            ret_text->data[ret_text->size = size] = 0;
        return;
    }
    for (; at; at = strstr(style, PLACE)) {
        buf_append(ret_text, style, (size_t)(at - style));
        buf_puts(ret_text, prompt);
        style = at + strlen(PLACE);
    }
    buf_puts(ret_text, style);
}

void style_apply(const struct style_set *set, bool negative, const char *prompt,
                 struct buf *ret_text)
{
    struct buf text = {0};

    buf_puts(&text, prompt);
    for (size_t i = 0; i < set->n; i++) {
        struct buf next = {.failed = text.failed};

        merge(set->items[i].texts[negative], buf_text(&text), &next);
        buf_done(&text);
        text = next;
    }
    ret_text->failed = ret_text->failed || text.failed;
    buf_puts(ret_text, buf_text(&text));
    buf_done(&text);
}

size_t style_longest(const struct style_set *set, bool negative, size_t size)
{
    for (size_t i = 0; i < set->n; i++) {
        const char *text = set->items[i].texts[negative], *at = text;
        size_t places = 0, length = strlen(text);

        while ((at = strstr(at, PLACE))) {
            places++;
            at += strlen(PLACE);
        }
        if (size > SIZE_MAX / 8 / (places + 1) || length > SIZE_MAX / 8)
            return SIZE_MAX / 4;
        size = places ? length - places * strlen(PLACE) + places * size : size + 2 + length;
    }
    return size;
}
