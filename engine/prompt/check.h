/*
 * A prompt without a model: what is wrong in it, by column, and which LoRAs it asks for. For
 * manifests, before anything is rendered; rendering finds the same and what only numbers of steps
 * or a model's tokens can show (an edit that makes a broken weight, an embedding of another width).
 *
 *     TRY(prompt_check("a (red:1.x2) apple", &(struct prompt_rules){0}, &r, e));
 *     for (size_t i = 0; i < r.n_notes; i++)
 *         ... r.notes[i].fatal, .column, .text
 *     prompt_report_done(&r);
 */
#ifndef ENGINE_PROMPT_CHECK_H
#define ENGINE_PROMPT_CHECK_H

#include "proto/terms.h"

#include <stdbool.h>
#include <stddef.h>

struct prompt_rules {
    bool negative; /* a negative prompt: neither networks nor AND */
    enum emphasis emphasis;
};

struct prompt_note {
    bool fatal; /* the prompt cannot be rendered; else it is, and something in it does nothing */
    int column; /* characters before the place, and one */
    char text[200]; /* UTF-8, one sentence without the place */
};

/* One LoRA of the prompt. */
struct lora_use {
    const char *name; /* file name without its ending; of lora_uses() owned */
    double unet, te;  /* weights in the U-Net and the text encoders; 0: not there */
};

struct prompt_report {
    struct prompt_note *notes; /* [n_notes], owned; in the prompt's order, fatal ones at the end */
    size_t n_notes;
    struct lora_use *loras; /* [n_loras], owned; names differ */
    size_t n_loras;
};

/* ERR_OOM alone: what is wrong with the prompt is in the report. */
int prompt_check(const char *prompt, const struct prompt_rules *rules, struct prompt_report *ret_r,
                 struct err *e);
void prompt_report_done(struct prompt_report *r);

/*
 * The LoRAs of a prompt that was split, one for each name, in order, weights summed where one is
 * used again; caller frees. ERR_OOM.
 */
struct split;
int lora_uses(const struct split *s, struct lora_use **ret_loras, size_t *ret_n, struct err *e);
void lora_uses_free(struct lora_use *loras, size_t n);

#endif
