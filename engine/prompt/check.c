#include "engine/prompt/check.h"

#include "engine/prompt/edit.h"
#include "engine/prompt/split.h"
#include "engine/prompt/weighted.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_note(struct prompt_report *r, const char *prompt, bool fatal, size_t at,
                    const char *text, struct prompt_fault *f)
{
    struct prompt_note *notes = realloc(r->notes, (r->n_notes + 1) * sizeof *notes);

    if (notes == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a prompt's notes");
    r->notes = notes;
    notes[r->n_notes].fatal = fatal;
    notes[r->n_notes].column = prompt_column(prompt, at);
    snprintf(notes[r->n_notes].text, sizeof notes->text, "%s", text);
    r->n_notes++;
    return 0;
}

static int note_ignored(struct prompt_report *r, const char *prompt, const struct split *s,
                        struct prompt_fault *f)
{
    char text[200];
    int rc = 0;

    for (size_t i = 0; i < s->n_ignored; i++) {
        snprintf(text, sizeof text, "'%s' means nothing here and is left out", s->ignored[i].what);
        TRY(add_note(r, prompt, false, s->ignored[i].at, text, f));
    }
out:
    return rc;
}

static int check_part(struct prompt_report *r, const char *prompt, const struct prompt_text *part,
                      enum emphasis emphasis, struct prompt_fault *f)
{
    struct weighted a = {0};
    struct edit *d = NULL;
    size_t at;
    int rc = 0;

    TRY(edit_parse(part, 1, 0, &d, f));
    if (edit_left_out(d, &at))
        TRY(add_note(r, prompt, false, at,
                     "because of this character nothing in this text is edited or alternates", f));
    if (emphasis != EMPHASIS_NONE)
        TRY(weighted_parse(part, &a, f));
out:
    weighted_done(&a);
    edit_free(d);
    return rc;
}

static int check_all(struct prompt_report *r, const char *prompt, const struct prompt_rules *rules,
                     struct prompt_fault *f)
{
    struct split s = {0};
    struct err e;
    int rc = 0;

    TRY(rules->negative ? split_negative(prompt, &s, f) : split_parse(prompt, &s, f));
    TRY(note_ignored(r, prompt, &s, f));
    rc = lora_uses(&s, &r->loras, &r->n_loras, &e);
    if (rc != 0)
        TRY(prompt_fault_set(f, rc, 0, "%s", e.text));
    if (s.n_parts == 1 && s.parts[0].weighed)
        TRY(add_note(r, prompt, false, s.parts[0].weight_at,
                     "what follows is no text, but the weight of the whole prompt", f));
    for (size_t i = 0; i < s.n_parts; i++)
        TRY(check_part(r, prompt, &s.parts[i].text, rules->emphasis, f));
out:
    split_done(&s);
    return rc;
}

int prompt_check(const char *prompt, const struct prompt_rules *rules, struct prompt_report *ret_r,
                 struct err *e)
{
    struct prompt_report r = {0};
    struct prompt_fault f = {0}, full;
    int rc = check_all(&r, prompt, rules, &f);

    if (rc == ERR_INPUT)
        rc = add_note(&r, prompt, true, f.at, f.text, &full);
    if (rc != 0) {
        prompt_report_done(&r);
        return err_set(e, ERR_OOM, "no memory to check a prompt");
    }
    *ret_r = r;
    return 0;
}

void prompt_report_done(struct prompt_report *r)
{
    lora_uses_free(r->loras, r->n_loras);
    free(r->notes);
    *r = (struct prompt_report){0};
}

static struct lora_use *find_use(struct lora_use *loras, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(loras[i].name, name) == 0)
            return &loras[i];
    return NULL;
}

int lora_uses(const struct split *s, struct lora_use **ret_loras, size_t *ret_n, struct err *e)
{
    struct lora_use *loras = calloc(s->n_loras + 1, sizeof *loras), *use;
    size_t n = 0;

    if (loras == NULL)
        return err_set(e, ERR_OOM, "no memory for a prompt's LoRAs");
    for (size_t i = 0; i < s->n_loras; i++) {
        use = find_use(loras, n, s->loras[i].name);
        if (use == NULL) {
            use = &loras[n];
            use->name = strdup(s->loras[i].name);
            if (use->name == NULL) {
                lora_uses_free(loras, n);
                return err_set(e, ERR_OOM, "no memory for a prompt's LoRAs");
            }
            n++;
        }
        use->te += s->loras[i].te;
        use->unet += s->loras[i].unet;
    }
    *ret_loras = loras;
    *ret_n = n;
    return 0;
}

void lora_uses_free(struct lora_use *loras, size_t n)
{
    for (size_t i = 0; loras != NULL && i < n; i++)
        free((char *)(uintptr_t)loras[i].name);
    free(loras);
}
