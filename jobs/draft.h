/*
 * A manifest on its way to a bundle: what its parts have in common while jobs/manifest.c reads them
 * one after the other. Internal to the manifest's files; one thread.
 *
 * Each draft_* function reads one part of the YAML tree, writes its mistakes to draft->d and leaves
 * a usable or an empty result, so that the parts after it can be checked too. They return 0, or
 * ERR_OOM.
 */
#ifndef JOBS_DRAFT_H
#define JOBS_DRAFT_H

#include "jobs/combine.h"
#include "jobs/numbers.h"
#include "jobs/param.h"
#include "jobs/table.h"

#define DRAFT_VALUES_MAX 1000000 /* of one axis that is no single range */

struct draft_column {
    const char *name;
    struct place at;
    int param; /* enum param, or -1: a variable */
};

struct draft_axis {
    const char *name;
    struct place at;
    struct draft_column *columns;
    size_t n_columns;
    json_t *rows;           /* list of rows, owned; NULL for a range or a broken axis */
    json_t *range;          /* {"first","step","count"}, owned */
    struct number_run *run; /* what range says; in the pool */
    uint64_t length;        /* values; 0: broken, its mistake is told */
    json_t *schedulers;     /* of a sampler column: what each row's label names, owned, or NULL */
    bool labelled;          /* one of them does */
};

struct draft {
    struct pool pool;
    struct diagnostics *d;
    const char *file;   /* of the manifest, as the user wrote it */
    const char *folder; /* that it lies in, absolute; relative paths start there */
    const char *cwd;    /* absolute; where paths of the command line start */
    struct node *root;

    const char *job;
    json_t *fixed;                   /* parameters that no axis sets, owned */
    struct node *given[PARAM_COUNT]; /* where the manifest sets a parameter for all tasks */
    struct draft_axis axes[JOB_AXES_MAX];
    size_t n_axes;
    struct combine combine;
    uint64_t span;        /* product of the factors' lengths; 0 if an axis is broken */
    json_t *exclude;      /* owned */
    json_t *known_styles; /* of styles_file: name to [prompt, negative prompt]; owned */
    json_t *styles;       /* those that are used, as a bundle has them; owned */
    bool has_styles_file, styles_broken;
    json_t *names[2]; /* `loras`, `embeddings`, by enum names_kind; owned */
    const char *path;
    struct node *path_node; /* NULL: the default path */
    json_t *sheet;          /* owned */
    json_t *conduct;        /* owned */
    json_t *chain;          /* owned; NULL: no frames */
    size_t frames;          /* number of their axis + 1; 0: there are none */
};

#define DRAFT_FRAME "frame" /* the axis that `frames` makes, and its variable */

/* Tells every key of a mapping that is not one of `keys`, with a suggestion; `what` names it. */
void draft_check_keys(struct draft *dr, const struct node *map, const char *what,
                      const char *const *keys, size_t n_keys);

/*
 * One value of a parameter or (param -1) variable as JSON: a number where the parameter is one.
 * *ret_value is a new reference, NULL after a mistake, told at `at`. Seeds may be -1.
 */
int draft_value(struct draft *dr, int param, const char *text, struct place at, json_t **ret_value,
                struct err *e);

/* The column of that name; false if there is none. */
bool draft_find(const struct draft *dr, const char *name, size_t *ret_axis, size_t *ret_column);

/* An axis' file could not be read: which columns it has is unknown, and told is why. */
bool draft_lacks_columns(const struct draft *dr);

/* The folder that a relative path written at this place starts from. */
const char *draft_base(const struct draft *dr, struct place at);

/* base/path without "." and ".." parts, in the pool; NULL when out of memory. */
const char *draft_absolute(struct draft *dr, const char *base, const char *path);

/*
 * Mappings that stand for several parameters, `outpaint` and `model`, become those parameters. The
 * first of all parts.
 */
int draft_short(struct draft *dr, struct err *e);

/* Tells a sampler's label such as "DPM++ 2M Karras" that contradicts a scheduler given elsewhere.
 */
void draft_check_label(struct draft *dr, const char *label, struct place at);

/* Keeps what the label of the row just added names. */
int draft_note_label(struct draft *dr, struct draft_axis *axis, const char *label, struct place at,
                     struct err *e);

/* If any label of the axis named a scheduler, that becomes a column of its own. */
int draft_split_labels(struct draft *dr, struct draft_axis *axis, struct err *e);

/* Files that a manifest names: a list, a CSV file of an axis, AUTOMATIC1111's styles. */
enum draft_file { DRAFT_LIST, DRAFT_CSV, DRAFT_STYLES };

/* Reads the file at a path; *ret_table NULL after a mistake. */
int draft_read_table(struct draft *dr, const struct node *path, enum draft_file kind,
                     struct table **ret_table, struct err *e);

/* `styles_file`. Before the axes. */
int draft_styles_file(struct draft *dr, struct err *e);

/* Names of styles with commas between; *ret_value is how the bundle names this selection, NULL
 * after a mistake. */
int draft_select_styles(struct draft *dr, const char *text, struct place at, json_t **ret_value,
                        struct err *e);

/* `styles` for all tasks. After draft_fixed. */
int draft_styles(struct draft *dr, struct err *e);

/* `loras` and `embeddings`. */
int draft_names(struct draft *dr, struct err *e);

/* Relative paths of LoRAs, in prompts, styles, and variables that begin a LoRA's name, become
 * absolute. After everything that prompts are made of. */
int draft_lora_paths(struct draft *dr, struct err *e);

/* `axes`, and the files that they name. */
int draft_axes(struct draft *dr, struct err *e);

/* `frames` and `seed_behavior`: an axis of their own. After the axes. */
int draft_frames(struct draft *dr, struct err *e);

/* Where the frames' axis stands in `combine`, and what it is zipped with. */
int draft_check_frames(struct draft *dr, struct err *e);

/* `combine`: order and zips; sets span. */
int draft_combine(struct draft *dr, struct err *e);

/* Top level and `defaults`, after the axes. */
int draft_fixed(struct draft *dr, struct err *e);

/* Masks of frames, as far as they are PNG files on this machine: of the frames' size, which decides
 * after the first one. After draft_fixed. */
void draft_check_masks(struct draft *dr);

/* `${...}` in every prompt: unknown names; variables that nothing uses. After the output. */
int draft_prompts(struct draft *dr, struct err *e);

/* `exclude`. */
int draft_exclude(struct draft *dr, struct err *e);

/* `output`: path and sheet. */
int draft_output(struct draft *dr, struct err *e);

/* `priority`, `first`, `max_failed`, `deadline`. */
int draft_conduct(struct draft *dr, struct err *e);

/* What is wrong in the prompts of a job that the draft has become: the first task's, and each value
 * that can change them by itself. */
int draft_grammar(struct draft *dr, const struct job *job, struct err *e);

void draft_done(struct draft *dr);

#endif
