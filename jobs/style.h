/*
 * Styles: texts with a name that are put around or after a prompt, as AUTOMATIC1111 1.10 does it
 * (modules/styles.py). A bundle holds those that its tasks use, by selection: the names as a
 * manifest has them, "photo, dark", and what they come to. Part of jobs/job.c. Read-only after
 * reading; any thread.
 *
 *     TRY(styles_read(json_object_get(bundle, "styles"), &styles, e));
 *     set = styles_find(&styles, selection);
 *     style_apply(set, false, "a cat", &text);          // "photo of a cat, dark sky"
 */
#ifndef JOBS_STYLE_H
#define JOBS_STYLE_H

#include "proto/buf.h"
#include "proto/err.h"
#include "proto/json.h"

#include <stdbool.h>
#include <stddef.h>

#define STYLES_MAX 1000000 /* selections, and styles of one selection */

struct style {
    const char *texts[2]; /* for the prompt, for the negative prompt; borrowed from the JSON */
};

struct style_set {
    const char *selection;
    struct style *items; /* [n], in the order in which they are applied; owned */
    size_t n;
};

struct styles {
    json_t *value;          /* what the texts are borrowed from, a reference of our own */
    struct style_set *sets; /* [n], by selection; owned */
    size_t n;
};

/* {"photo, dark": [["photo of {prompt}", "drawing"], ["dark sky", ""]]}; NULL: none. ERR_INPUT. */
int styles_read(const json_t *value, struct styles *ret_styles, struct err *e);
void styles_done(struct styles *styles);

/* NULL if there is no such selection. */
const struct style_set *styles_find(const struct styles *styles, const char *selection);

/*
 * Appends the prompt with the styles: each one's text with the prompt so far in the place of every
 * "{prompt}", or after it, with a comma. White space around both is then lost, as there, even where
 * a style's text is empty.
 */
void style_apply(const struct style_set *set, bool negative, const char *prompt,
                 struct buf *ret_text);

/* Bytes of the longest text that a prompt of `size` bytes can become; no more than SIZE_MAX / 4. */
size_t style_longest(const struct style_set *set, bool negative, size_t size);

#endif
