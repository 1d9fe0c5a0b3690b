#include "jobs/manifest.h"

#include "jobs/draft.h"
#include "jobs/override.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define LANGUAGE_VERSION "1"

/* --- source --- */

static int read_input(struct buf *text, struct err *e)
{
    char chunk[65536];

    for (;;) {
        ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, "standard input");
        if (n == 0)
            return buf_check(text, e);
        buf_append(text, chunk, (size_t)n);
        if (text->size > MANIFEST_FILE_MAX)
            return err_set(e, ERR_INPUT, "standard input: more than %u bytes", MANIFEST_FILE_MAX);
    }
}

/* Names of the manifest and its folder, and its text. */
static int open_source(struct draft *dr, const char *path, struct buf *text, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *cwd = getcwd(NULL, 0);
    int rc = 0;

    if (!cwd)
        return err_errno(e, "the current folder");
    dr->cwd = pool_text(&dr->pool, cwd, strlen(cwd));
    free(cwd);
    dr->file = strcmp(path, "-") == 0 ? "<stdin>" : path;
    dr->folder = dr->cwd;
    if (slash && dr->cwd) {
        char *folder = pool_text(&dr->pool, path, (size_t)(slash - path) + 1);

        dr->folder = folder ? draft_absolute(dr, dr->cwd, folder) : NULL;
    }
    if (!dr->cwd || !dr->folder)
        TRY(err_set(e, ERR_OOM, "out of memory"));
    if (strcmp(path, "-") == 0)
        TRY(read_input(text, e));
    else
        TRY(buf_read_file(text, path, MANIFEST_FILE_MAX, e));
out:
    return rc;
}

static struct place start_of(const struct draft *dr)
{
    return (struct place){dr->file, 1, 1};
}

/* The tree, with the command line's changes; dr->root stays NULL if there is none. */
static int load_tree(struct draft *dr, const struct manifest_options *o, const struct buf *text,
                     struct err *e)
{
    size_t errors = dr->d->n_errors;
    struct node *root;
    int rc;

    TRY(yaml_load(&dr->pool, dr->file, true, buf_text(text), text->size, dr->d, &root, e));
    if (!root && dr->d->n_errors == errors)
        diagnose(dr->d, start_of(dr), "the manifest is empty");
    else if (root && root->type != NODE_MAP)
        diagnose(dr->d, root->at, "a manifest is a mapping: 'key: value' lines");
    else
        dr->root = root;
    if (!dr->root)
        goto out;
    if (o->model)
        TRY(override_model(dr, o->model, e));
    for (size_t i = 0; i < o->n_sets; i++)
        TRY(override_set(dr, o->sets[i], e));
out:
    return rc;
}

/* --- top level --- */

static void check_top(struct draft *dr)
{
    static const char *const own[] = {
        "litho",    "job",      "defaults",    "axes",       "combine", "exclude",
        "output",   "outpaint", "styles_file", "priority",   "first",   "max_failed",
        "deadline", "gang",     "loras",       "embeddings", "frames",  "seed_behavior"};
    const char *keys[sizeof own / sizeof *own + PARAM_COUNT];
    const struct node *version = node_get(dr->root, "litho");
    size_t n = 0;

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        keys[n++] = own[i];
    for (int p = 0; p < PARAM_COUNT; p++)
        keys[n++] = param_name((enum param)p);
    draft_check_keys(dr, dr->root, "", keys, n);
    if (!version)
        diagnose(dr->d, start_of(dr),
                 "'litho: " LANGUAGE_VERSION "' is missing: the version of the language");
    else if (version->type != NODE_SCALAR || strcmp(version->text, LANGUAGE_VERSION) != 0)
        diagnose(dr->d, version->at,
                 "'litho' must be " LANGUAGE_VERSION
                 ", the version of the language that this program reads");
}

static bool is_job_character(char c)
{
    return isalnum((unsigned char)c) && (unsigned char)c < 128;
}

/* Bytes that a job's name cannot hold become '-'. NULL when out of memory. */
static char *clean_name(struct draft *dr, const char *text, size_t size)
{
    char *name;

    while (size && !is_job_character(*text))
        text++, size--;
    if (size > JOB_NAME_MAX)
        size = JOB_NAME_MAX;
    while (size && !is_job_character(text[size - 1]))
        size--;
    name = size ? pool_text(&dr->pool, text, size) : pool_text(&dr->pool, "job", 3);
    for (char *c = name; c && *c; c++)
        if (!is_job_character(*c) && !strchr("._-", *c))
            *c = '-';
    return name;
}

/* `job`, or the manifest's file name without its ending. */
static int read_job(struct draft *dr, struct err *e)
{
    const struct node *job = node_get(dr->root, "job");
    const char *slash = strrchr(dr->file, '/'), *stem = slash ? slash + 1 : dr->file;
    const char *dot = strrchr(stem, '.');
    bool given = job && job->type == NODE_SCALAR;

    if (job && !given)
        diagnose(dr->d, job->at, "'job' is a name");
    if (given)
        dr->job = clean_name(dr, job->text, strlen(job->text));
    else
        dr->job = clean_name(dr, stem, dot ? (size_t)(dot - stem) : strlen(stem));
    if (dr->job && given && strcmp(dr->job, job->text) != 0)
        diagnose(dr->d, job->at,
                 "job '%s' must be a name of 1 to %d letters and digits, with . _ - inside, "
                 "such as '%s'",
                 job->text, JOB_NAME_MAX, dr->job);
    return dr->job ? 0 : err_set(e, ERR_OOM, "out of memory");
}

static int read_parts(struct draft *dr, struct err *e)
{
    int rc;

    TRY(draft_short(dr, e));
    check_top(dr);
    TRY(read_job(dr, e));
    TRY(draft_styles_file(dr, e));
    TRY(draft_names(dr, e));
    TRY(draft_axes(dr, e));
    TRY(draft_frames(dr, e));
    TRY(draft_combine(dr, e));
    TRY(draft_check_frames(dr, e));
    TRY(draft_fixed(dr, e));
    draft_check_masks(dr);
    TRY(draft_styles(dr, e));
    TRY(draft_exclude(dr, e));
    TRY(draft_output(dr, e));
    TRY(draft_conduct(dr, e));
    TRY(draft_lora_paths(dr, e));
    TRY(draft_prompts(dr, e));
out:
    return rc;
}

/* --- bundle --- */

static json_t *axis_json(const struct draft_axis *axis)
{
    json_t *columns = json_array();

    for (size_t c = 0; c < axis->n_columns; c++)
        json_array_append_new(columns, json_string(axis->columns[c].name));
    return json_pack("{s:s, s:o, s:O}", "name", axis->name, "columns", columns,
                     axis->range ? "range" : "rows", axis->range ? axis->range : axis->rows);
}

static json_t *combine_json(const struct combine *combine)
{
    json_t *factors = json_array();

    for (size_t f = 0; f < combine->n; f++) {
        json_t *zip = json_array();

        for (size_t i = 0; i < combine->factors[f].n; i++)
            json_array_append_new(zip, json_integer(combine->factors[f].axes[i]));
        json_array_append_new(factors, zip);
    }
    return factors;
}

/* NULL when out of memory: json_pack refuses a NULL part. */
static json_t *bundle_json(const struct draft *dr)
{
    const struct {
        const char *key;
        json_t *value;
    } optional[] = {{"styles", dr->styles},
                    {"conduct", dr->conduct},
                    {"chain", dr->chain},
                    {"loras", dr->names[NAMES_LORAS]},
                    {"embeddings", dr->names[NAMES_EMBEDDINGS]}};
    json_t *axes = json_array(), *bundle;

    for (size_t a = 0; a < dr->n_axes; a++)
        json_array_append_new(axes, axis_json(&dr->axes[a]));
    if (json_array_size(axes) != dr->n_axes) {
        json_decref(axes);
        return NULL;
    }
    bundle = json_pack("{s:i, s:s, s:O, s:o, s:o, s:O, s:{s:s, s:O}}", "litho", 1, "job", dr->job,
                       "fixed", dr->fixed, "axes", axes, "combine", combine_json(&dr->combine),
                       "exclude", dr->exclude, "output", "path", dr->path, "sheet", dr->sheet);
    for (size_t i = 0; bundle && i < sizeof optional / sizeof *optional; i++)
        if (json_object_size(optional[i].value) > 0 &&
            json_object_set(bundle, optional[i].key, optional[i].value) != 0) {
            json_decref(bundle);
            bundle = NULL;
        }
    return bundle;
}

/* --- seeds --- */

static int draw(const struct manifest_options *o, json_t **ret_seed, struct err *e)
{
    uint32_t system;

    if (o->draw_seed) {
        *ret_seed = json_integer(o->draw_seed(o->user));
    } else {
        if (getrandom(&system, sizeof system, 0) != (ssize_t)sizeof system)
            return err_errno(e, "drawing a seed");
        *ret_seed = json_integer(system);
    }
    return *ret_seed ? 0 : err_set(e, ERR_OOM, "out of memory");
}

/* Every value of -1, in the order of the bundle: the fixed one, then the axes' rows. */
static int draw_param(struct draft *dr, const struct manifest_options *o, enum param p,
                      struct err *e)
{
    const json_t *fixed = json_object_get(dr->fixed, param_name(p));
    json_t *seed, *row;
    size_t axis, column, i;
    int rc = 0;

    if (fixed && json_integer_value(fixed) == -1) {
        TRY(draw(o, &seed, e));
        json_object_set_new(dr->fixed, param_name(p), seed);
    }
    if (!draft_find(dr, param_name(p), &axis, &column))
        return 0;
    json_array_foreach(dr->axes[axis].rows, i, row)
    {
        if (json_integer_value(json_array_get(row, column)) != -1)
            continue;
        TRY(draw(o, &seed, e));
        json_array_set_new(row, column, seed);
    }
out:
    return rc;
}

static int write_bundle(const struct draft *dr, struct buf *ret_bundle, struct err *e)
{
    json_t *bundle = bundle_json(dr);
    int rc = 0;

    ret_bundle->size = 0;
    if (!bundle)
        TRY(err_set(e, ERR_OOM, "out of memory for the bundle"));
    json_canonical(bundle, ret_bundle);
    TRY(buf_check(ret_bundle, e));
out:
    json_decref(bundle);
    return rc;
}

/* --- the last check --- */

/* Where a parameter is given; false if it is left to its default. */
static bool place_of_param(const struct draft *dr, enum param p, struct place *ret_at)
{
    size_t axis, column;

    if (draft_find(dr, param_name(p), &axis, &column))
        *ret_at = dr->axes[axis].columns[column].at;
    else if (p < PARAM_STYLES && dr->given[p])
        *ret_at = dr->given[p]->at;
    else
        return false;
    return true;
}

/*
 * The parameter that a message begins with, or one of its family: of "outpaint_left: ..." that may
 * be outpaint_top. A sampler and a scheduler that do not go together are told at the scheduler.
 */
static bool place_of_clash(const struct draft *dr, const char *message, struct place *ret_at)
{
    size_t size = strspn(message, "abcdefghijklmnopqrstuvwxyz_"), family = 0;

    if (size == strlen("sampler") && strncmp(message, "sampler", size) == 0 &&
        place_of_param(dr, PARAM_SCHEDULER, ret_at))
        return true;
    for (size_t i = 0; i < size; i++)
        family = message[i] == '_' ? i + 1 : family;
    for (int p = 0; p < PARAM_COUNT; p++)
        if (strncmp(param_name((enum param)p), message, size) == 0 &&
            param_name((enum param)p)[size] == 0 && place_of_param(dr, (enum param)p, ret_at))
            return true;
    for (int p = 0; p < PARAM_COUNT && family; p++)
        if (strncmp(param_name((enum param)p), message, family) == 0 &&
            place_of_param(dr, (enum param)p, ret_at))
            return true;
    return false;
}

/* The part of the manifest that a message of job_load is about. */
static struct place blamed(const struct draft *dr, const char *message)
{
    static const char *const keys[] = {"combine", "exclude", "axes", "prompt"};
    struct place at;

    if (strstr(message, "path") && dr->path_node)
        return dr->path_node->at;
    for (size_t a = 0; a < dr->n_axes; a++) {
        struct buf quoted = {0};
        bool found;

        buf_printf(&quoted, "axis '%s'", dr->axes[a].name);
        found = strstr(message, buf_text(&quoted));
        buf_done(&quoted);
        if (found)
            return dr->axes[a].at;
    }
    if (place_of_clash(dr, message, &at))
        return at;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct node *node = node_get(dr->root, keys[i]);

        if (node && strncmp(message, keys[i], strlen(keys[i])) == 0)
            return node->at;
    }
    return start_of(dr);
}

/* A bundle is checked as every coordinator will check it. */
static int check_job(struct draft *dr, const struct buf *bundle, struct err *e)
{
    struct job *job = NULL;
    struct err cause;
    int rc = job_load(buf_text(bundle), bundle->size, &job, &cause);

    if (rc != 0 && rc != ERR_INPUT && rc != ERR_ARG)
        return err_set(e, rc, "%s", cause.text);
    if (rc != 0)
        diagnose(dr->d, blamed(dr, cause.text), "%s", cause.text);
    rc = job ? draft_grammar(dr, job, e) : 0;
    job_free(job);
    return rc;
}

static int compile(struct draft *dr, const struct manifest_options *o, struct buf *ret_bundle,
                   char *ret_source_hash, struct err *e)
{
    int rc;

    TRY(write_bundle(dr, ret_bundle, e));
    if (ret_source_hash)
        TRY(hash_bytes(buf_text(ret_bundle), ret_bundle->size, ret_source_hash, e));
    TRY(draw_param(dr, o, PARAM_SEED, e));
    TRY(draw_param(dr, o, PARAM_SUBSEED, e));
    TRY(write_bundle(dr, ret_bundle, e));
    TRY(check_job(dr, ret_bundle, e));
out:
    return rc;
}

int manifest_load(const struct manifest_options *o, struct diagnostics *ret_diagnostics,
                  struct buf *ret_bundle, char *ret_source_hash, struct err *e)
{
    struct draft dr = {.d = ret_diagnostics};
    struct buf text = {0}, bundle = {0};
    int rc;

    *ret_diagnostics = (struct diagnostics){0};
    TRY(open_source(&dr, o->path, &text, e));
    TRY(load_tree(&dr, o, &text, e));
    if (dr.root)
        TRY(read_parts(&dr, e));
    if (dr.d->n_errors == 0)
        TRY(compile(&dr, o, &bundle, ret_source_hash, e));
    diagnostics_sort(dr.d, dr.file);
    if (dr.d->n_errors)
        TRY(err_set(e, ERR_INPUT, "%s: %zu mistake%s", dr.file, dr.d->n_errors,
                    dr.d->n_errors == 1 ? "" : "s"));
    buf_append(ret_bundle, bundle.data, bundle.size);
    TRY(buf_check(ret_bundle, e));
out:
    buf_done(&text);
    buf_done(&bundle);
    draft_done(&dr);
    return rc;
}
