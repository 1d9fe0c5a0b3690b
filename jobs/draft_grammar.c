/* What is wrong in the prompts themselves, as they will be rendered. */
#include "jobs/draft.h"

#include "engine/prompt/check.h"
#include "jobs/asset.h"
#include "jobs/suggest.h"

#include <string.h>
#include <sys/stat.h>

#define PROMPTS_MAX 5000 /* checked of one kind: prompts are many, kinds of mistakes are not */
#define SHOWN_MAX   60   /* bytes of a prompt in a message */

struct grammar {
    struct draft *dr;
    const struct job *job;
    enum param param;
    uint64_t n_checked;
    char first_note[sizeof((struct prompt_note){0}.text)]; /* warning of the first prompt */
};

/* --- places --- */

/* The byte of the character at a column, from 1. */
static size_t byte_of(const char *text, int column)
{
    size_t at = 0;

    while (text[at] && (column -= ((unsigned char)text[at] & 0xc0) != 0x80) > 0)
        at++;
    return at;
}

static struct place prompt_place(const struct draft *dr, enum param p)
{
    size_t axis, column;

    if (draft_find(dr, param_name(p), &axis, &column))
        return dr->axes[axis].columns[column].at;
    return dr->given[p] ? dr->given[p]->at : dr->root->at;
}

/* At the character itself where the prompt stands in the manifest as it is; else with its text. */
static void tell(const struct grammar *g, const char *prompt, const struct prompt_note *note)
{
    const struct node *given = g->dr->given[g->param];
    struct place at = prompt_place(g->dr, g->param);
    struct buf where = {0};

    if (given && given->exact && strcmp(given->text, prompt) == 0)
        at = node_place(given, byte_of(prompt, note->column));
    else
        buf_printf(&where, " (column %d of '%.*s%s')", note->column, SHOWN_MAX, prompt,
                   strlen(prompt) > SHOWN_MAX ? "..." : "");
    (note->fatal ? diagnose : diagnose_warning)(g->dr->d, at, "%s: %s%s", param_name(g->param),
                                                note->text, buf_text(&where));
    buf_done(&where);
}

/* --- its LoRAs and embeddings --- */

/* A file that the prompt calls by path: those of the two mappings were looked for there. */
static void look_for_paths(const struct grammar *g, const struct names *loras)
{
    struct stat st;

    for (size_t i = 0; i < loras->n; i++) {
        const char *file = loras->at[i].file;

        if (*file == '/' && !json_object_get(g->dr->names[NAMES_LORAS], loras->at[i].name) &&
            stat(file, &st) != 0)
            diagnose_warning(g->dr->d, prompt_place(g->dr, g->param),
                             "%s: no file '%s' on this machine", param_name(g->param), file);
    }
}

/* A name near one that the manifest binds may be meant to be it. */
static void suggest_bound(const struct grammar *g, const char *name)
{
    const json_t *bound = g->dr->names[NAMES_LORAS];
    const char *names[NAMES_BOUND_MAX], *near, *key;
    json_t *file;
    size_t n = 0;

    json_object_foreach((json_t *)(uintptr_t)bound, key, file) if (n < NAMES_BOUND_MAX) names[n++] =
        key;
    near = suggest_nearest(name, names, n);
    if (near)
        diagnose_warning(g->dr->d, prompt_place(g->dr, g->param),
                         "%s: no LoRA '%s' under 'loras', did you mean '%s'?", param_name(g->param),
                         name, near);
}

/* *ret_good false: one is named as none can be. */
static void check_loras(const struct grammar *g, const struct task *t,
                        const struct prompt_report *report, bool *ret_good)
{
    look_for_paths(g, &t->loras);
    for (size_t i = 0; i < report->n_loras; i++) {
        const char *name = report->loras[i].name;
        bool bare;

        if (names_find(&t->loras, name) || asset_hash_of(name))
            continue;
        if (!strchr(name, '/')) {
            suggest_bound(g, name);
            continue;
        }
        *ret_good = false;
        bare = !strchr(strrchr(name, '/'), '.');
        diagnose(g->dr->d, prompt_place(g->dr, g->param),
                 "%s: LoRA '%s' is no name, nor the path of a .safetensors file%s%s%s",
                 param_name(g->param), name,
                 bare ? "; one in a subfolder of the model library is "
                        "called by its bare name, <lora:"
                      : "",
                 bare ? strrchr(name, '/') + 1 : "", bare ? ":1>" : "");
    }
}

/* --- one prompt --- */

/* *ret_good false: the prompt cannot be rendered. */
static int check_prompt(struct grammar *g, uint64_t index, bool *ret_good, struct err *e)
{
    bool negative = g->param == PARAM_NEGATIVE_PROMPT, first = g->n_checked++ == 0;
    struct prompt_report report = {0};
    struct prompt_rules rules = {.negative = negative};
    struct task t = {0};
    const char *prompt;
    int rc;

    *ret_good = true;
    TRY(job_task(g->job, index, &t, e));
    rules.emphasis = t.emphasis;
    prompt = negative ? t.negative_prompt : t.prompt;
    TRY(prompt_check(prompt, &rules, &report, e));
    for (size_t i = 0; i < report.n_notes; i++) {
        const struct prompt_note *note = &report.notes[i];

        *ret_good = *ret_good && !note->fatal;
        if (first && !note->fatal)
            memcpy(g->first_note, note->text, sizeof g->first_note);
        if (first || note->fatal || strcmp(note->text, g->first_note) != 0)
            tell(g, prompt, note);
    }
    if (!negative)
        check_loras(g, &t, &report, ret_good);
out:
    prompt_report_done(&report);
    task_done(&t);
    return rc;
}

/* --- which prompts --- */

/* Whether a value of the column can change the prompt. */
static bool matters(const struct grammar *g, const struct draft_column *column)
{
    const struct node *given = g->dr->given[g->param];
    struct buf name = {0};
    size_t axis, number;
    bool used;

    if (column->param == (int)g->param || column->param == PARAM_STYLES ||
        column->param == PARAM_EMPHASIS)
        return true;
    if (draft_find(g->dr, param_name(g->param), &axis, &number))
        return column->param < 0; /* any of its values may hold any variable */
    buf_printf(&name, "${%s}", column->name);
    used = given && strstr(given->text, buf_text(&name));
    buf_done(&name);
    return used;
}

static bool factor_matters(const struct grammar *g, const struct zip *zip)
{
    for (size_t i = 0; i < zip->n; i++) {
        const struct draft_axis *axis = &g->dr->axes[zip->axes[i]];

        for (size_t c = 0; c < axis->n_columns; c++)
            if (!axis->range && matters(g, &axis->columns[c]))
                return true;
    }
    return false;
}

/* Every value of a factor by itself, the other factors as in the first task. */
static int check_factor(struct grammar *g, size_t factor, uint64_t first, struct err *e)
{
    const struct combine *combine = &g->dr->combine;
    uint64_t stride = 1, length = g->dr->axes[combine->factors[factor].axes[0]].length, at;
    bool good;
    int rc;

    for (size_t f = factor + 1; f < combine->n; f++)
        stride *= g->dr->axes[combine->factors[f].axes[0]].length;
    at = first / stride % length;
    for (uint64_t k = 0; k < length && g->n_checked < PROMPTS_MAX; k++) {
        uint64_t index = first - at * stride + k * stride;

        if (k == at || job_excluded(g->job, index))
            continue;
        if ((rc = check_prompt(g, index, &good, e)) != 0)
            return rc;
    }
    return 0;
}

int draft_grammar(struct draft *dr, const struct job *job, struct err *e)
{
    static const enum param prompts[] = {PARAM_PROMPT, PARAM_NEGATIVE_PROMPT};
    uint64_t first = job_next(job, 0);
    bool good;
    int rc = 0;

    for (size_t i = 0; i < 2; i++) {
        struct grammar g = {.dr = dr, .job = job, .param = prompts[i]};

        TRY(check_prompt(&g, first, &good, e));
        /* What is wrong in the first is mostly wrong in all. */
        for (size_t f = 0; f < dr->combine.n && good; f++)
            if (factor_matters(&g, &dr->combine.factors[f]))
                TRY(check_factor(&g, f, first, e));
    }
out:
    return rc;
}
