/*
 * Prompt editing: which text holds at which step, as AUTOMATIC1111's stable-diffusion-webui 1.10
 * reads it (modules/prompt_parser.py, get_learned_conditioning_prompt_schedules, with "use old
 * scheduling" off): [from:to:when], [to:when], [from::when] and the alternation [a|b], nested at
 * will.
 *
 * Its grammar reads a bracket as an edit wherever it can. What it cannot read stays as it is, and a
 * `|` outside of any alternation (or a backslash that ends the text or a line) leaves the whole
 * text as it is. Its parser (lark's Earley) may choose among several readings of broken brackets by
 * chance; here, as in lark from 1.1.6 on, all brackets that can be read are read.
 *
 *     TRY(edit_parse(&text, steps, 0, &d, &f));
 *     for (size_t i = 0; i < edit_count(d); i++)
 *         edit_text(d, i, &t, &f)          // holds up to step edit_end(d, i)
 *     edit_free(d);
 */
#ifndef ENGINE_PROMPT_EDIT_H
#define ENGINE_PROMPT_EDIT_H

#include "engine/prompt/text.h"

struct edit;

/*
 * base_steps: 1..; a fraction `when` (with a dot) is of these, a whole one counts them.
 * hires_steps: 0; or the steps of hires fix's second pass, which is then what is asked for:
 * fractions from 1 to 2 are of it, whole numbers go on from base_steps. t must stay while ret_d is
 * in use. ERR_INPUT: `when` is too large to be a number.
 */
int edit_parse(const struct prompt_text *t, int base_steps, int hires_steps, struct edit **ret_d,
               struct prompt_fault *f);
void edit_free(struct edit *d);

/* Texts in order of time, at least 1: text i holds from the step after the one before it up to and
 * including step edit_end, which counts from 1; the last ends at the pass' steps. */
size_t edit_count(const struct edit *d);
int edit_end(const struct edit *d, size_t i);

/* Text i; caller calls prompt_text_done. */
int edit_text(const struct edit *d, size_t i, struct prompt_text *ret_t, struct prompt_fault *f);

/* Whether something that reads as an edit is left as it is because of the byte at *ret_at. */
bool edit_left_out(const struct edit *d, size_t *ret_at);

#endif
