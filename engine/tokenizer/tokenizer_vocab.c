#include "engine/tokenizer/tokenizer_vocab.h"

#include "engine/data/data.h"
#include "engine/prompt/unicode.h"
#include "proto/json.h"

#include <unistd.h>

#define MERGES_FILE_MAX (16u << 20) /* bytes */
#define MERGES_MAX      (1 << 20)
#define SPECIALS_MAX    1024
#define ID_MAX          (1 << 24)
#define LENGTH_MAX      4096 /* tokens of one chunk */
#define CLIP_LENGTH     77

/* Everything that is only needed while opening. */
struct reading {
    struct tokenizer *t;
    char path[4096]; /* of the file being read, for errors */
    const char *folder;
    json_t *vocab;  /* object: token -> id */
    json_t *merges; /* array of strings "a b"; order is rank */
    json_t *config; /* tokenizer_config.json, or an empty object */
    json_t *tokens; /* where bos_token and its like stand */
    struct err *e;
};

static int set_path(struct reading *r, const char *file)
{
    if (snprintf(r->path, sizeof r->path, "%s/%s", r->folder, file) >= (int)sizeof r->path)
        return err_set(r->e, ERR_ARG, "tokenizer folder '%.80s...' has too long a path", r->folder);
    return 0;
}

static bool exists(const struct reading *r)
{
    return access(r->path, F_OK) == 0;
}

/* A JSON object from the folder; an empty one if the file is missing. */
static int read_object(struct reading *r, const char *file, json_t **ret_object)
{
    int rc = 0;

    TRY(set_path(r, file));
    if (!exists(r)) {
        *ret_object = json_object();
        return *ret_object ? 0 : err_set(r->e, ERR_OOM, "no memory");
    }
    TRY(json_read_file(r->path, ret_object, r->e));
    if (!json_is_object(*ret_object)) {
        json_decref(*ret_object);
        *ret_object = NULL;
        TRY(err_set(r->e, ERR_INPUT, "%s: must be a JSON object", r->path));
    }
out:
    return rc;
}

/* ---- merges */

/* merges.txt: "#version" first, then one "a b" per line. */
static int parse_merges(struct reading *r, const char *text)
{
    int number = 0;

    r->merges = json_array();
    for (const char *line = text, *end; *line; line = end) {
        size_t size = strcspn(line, "\n");
        end = line + size + (line[size] == '\n');
        number++;
        while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == ' '))
            size--;
        if (size == 0 || (number == 1 && strncmp(line, "#version", 8) == 0))
            continue;
        if (json_array_append_new(r->merges, json_stringn(line, size)) != 0)
            return err_set(r->e, ERR_INPUT, "%s:%d: not UTF-8", r->path, number);
    }
    return 0;
}

static int read_merges_text(struct reading *r)
{
    struct buf text = {0};
    int rc = 0;

    TRY(buf_read_file(&text, r->path, MERGES_FILE_MAX, r->e));
    if (strlen(buf_text(&text)) != text.size)
        TRY(err_set(r->e, ERR_INPUT, "%s: holds a NUL byte", r->path));
    TRY(parse_merges(r, buf_text(&text)));
out:
    buf_done(&text);
    return rc;
}

/* tokenizer.json's merges: "a b", or ["a", "b"] in newer files. */
static int read_merges_json(struct reading *r, const json_t *list)
{
    r->merges = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *a = json_string_value(json_array_get(item, 0));
        const char *b = json_string_value(json_array_get(item, 1));
        json_t *merge = a && b                 ? json_sprintf("%s %s", a, b)
                        : json_is_string(item) ? json_string(json_string_value(item))
                                               : NULL;
        if (!merge || json_array_append_new(r->merges, merge) != 0)
            return err_set(r->e, ERR_INPUT, "%s: 'merges'[%zu] is not a pair", r->path, i);
    }
    return 0;
}

static int read_tokenizer_json(struct reading *r)
{
    json_t *root = NULL;
    const json_t *model, *type;
    int rc = 0;

    TRY(set_path(r, "tokenizer.json"));
    if (!exists(r)) {
        TRY(set_path(r, "merges.txt"));
        TRY(err_set(r->e, ERR_MISSING, "%s: no such file", r->path));
    }
    TRY(json_read_file(r->path, &root, r->e));
    model = json_object_get(root, "model");
    type = json_object_get(model, "type");
    if (type && strcmp(json_is_string(type) ? json_string_value(type) : "", "BPE") != 0)
        TRY(err_set(r->e, ERR_INPUT, "%s: its model is not BPE", r->path));
    r->vocab = json_incref(json_object_get(model, "vocab"));
    if (!json_is_object(r->vocab) || !json_is_array(json_object_get(model, "merges")))
        TRY(err_set(r->e, ERR_INPUT, "%s: its model has no vocab or no merges", r->path));
    TRY(read_merges_json(r, json_object_get(model, "merges")));
out:
    json_decref(root);
    return rc;
}

/* ---- vocabulary */

/* CLIP's printable stand-in for a byte, in UTF-8; order: that of CLIP's vocabulary, 0..255. */
static int letter_of(int order, char ret_utf8[3])
{
    /* printable bytes stand for themselves, then come the others, as U+0100 and up */
    int byte = order < 94 ? order + 33 : order < 106 ? order + 67 : order + 68, code = byte;

    if (order >= 188) {
        int rest = order - 188; /* 0..32, 127..160, 173 */
        byte = rest < 33 ? rest : rest < 67 ? rest + 94 : 173;
        code = 256 + rest;
    }
    if (code < 128) {
        ret_utf8[0] = (char)code;
        ret_utf8[1] = '\0';
    } else {
        ret_utf8[0] = (char)(0xc0 | code >> 6);
        ret_utf8[1] = (char)(0x80 | (code & 0x3f));
        ret_utf8[2] = '\0';
    }
    return byte;
}

/* "a b" to "a" and "ab"; returns the bytes of a, or 0 if it is no pair. */
static size_t split_merge(const char *merge, struct buf *ret_joined)
{
    const char *blank = strchr(merge, ' ');

    if (!blank || blank == merge || !blank[1] || strchr(blank + 1, ' '))
        return 0;
    ret_joined->size = 0;
    buf_append(ret_joined, merge, (size_t)(blank - merge));
    buf_puts(ret_joined, blank + 1);
    return (size_t)(blank - merge);
}

/* Without vocab.json: letters, letters that end a word, merges, the two specials. */
static int vocab_from_merges(struct reading *r)
{
    struct buf joined = {0};
    char letter[3], final[8];
    int rc = 0, n = 0;

    r->vocab = json_object();
    for (int i = 0; i < 512; i++) {
        letter_of(i % 256, letter);
        snprintf(final, sizeof final, "%s%s", letter, i < 256 ? "" : "</w>");
        json_object_set_new(r->vocab, final, json_integer(n++));
    }
    for (size_t i = 0; i < json_array_size(r->merges); i++) {
        if (!split_merge(json_string_value(json_array_get(r->merges, i)), &joined))
            TRY(err_set(r->e, ERR_INPUT, "%s: merge %zu is not a pair", r->path, i + 1));
        TRY(buf_check(&joined, r->e));
        json_object_set_new(r->vocab, buf_text(&joined), json_integer(n++));
    }
    json_object_set_new(r->vocab, "<|startoftext|>", json_integer(n++));
    json_object_set_new(r->vocab, "<|endoftext|>", json_integer(n++));
out:
    buf_done(&joined);
    return rc;
}

/* -1 if the vocabulary lacks the token. */
static int32_t id_of(const struct reading *r, const char *token)
{
    const json_t *id = json_object_get(r->vocab, token);

    return json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
}

static int check_vocab(struct reading *r)
{
    const char *token;
    json_t *id;

    json_object_foreach(r->vocab, token, id)
    {
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value >= ID_MAX)
            return err_set(r->e, ERR_INPUT, "%s: the id of token '%.80s' must be 0 to %d", r->path,
                           token, ID_MAX - 1);
        if (value >= r->t->vocab_size)
            r->t->vocab_size = (int32_t)value + 1;
    }
    return 0;
}

static int init_letters(struct reading *r)
{
    char letter[3], final[8];

    for (int i = 0; i < 256; i++) {
        int byte = letter_of(i, letter);
        snprintf(final, sizeof final, "%s</w>", letter);
        r->t->letter[byte] = id_of(r, letter);
        r->t->final_letter[byte] = id_of(r, final);
        if (r->t->letter[byte] < 0 || r->t->final_letter[byte] < 0)
            return err_set(r->e, ERR_INPUT, "%s: the vocabulary lacks the letter '%s' or '%s'",
                           r->path, letter, final);
    }
    return 0;
}

/* ---- the table of merges */

static uint32_t pair_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;

    return (uint32_t)(h >> 32);
}

static struct merge *slot_of(const struct tokenizer *t, int32_t left, int32_t right)
{
    uint32_t i = pair_hash(left, right) & t->mask;

    while (t->merges[i].left >= 0 && (t->merges[i].left != left || t->merges[i].right != right))
        i = (i + 1) & t->mask;
    return &t->merges[i];
}

const struct merge *tokenizer_merge(const struct tokenizer *t, int32_t left, int32_t right)
{
    const struct merge *m = slot_of(t, left, right);

    return m->left < 0 ? NULL : m;
}

static int add_merge(struct reading *r, size_t rank, struct buf *joined)
{
    const char *merge = json_string_value(json_array_get(r->merges, rank));
    size_t left_size = split_merge(merge, joined);
    char left[256];
    struct merge m = {.rank = (int32_t)rank};

    if (left_size == 0 || left_size >= sizeof left)
        return err_set(r->e, ERR_INPUT, "%s: merge %zu is not a pair", r->path, rank + 1);
    if (buf_check(joined, r->e) != 0)
        return ERR_OOM;
    memcpy(left, merge, left_size);
    left[left_size] = '\0';
    m.left = id_of(r, left);
    m.right = id_of(r, merge + left_size + 1);
    m.id = id_of(r, buf_text(joined));
    if (m.left < 0 || m.right < 0 || m.id < 0)
        return err_set(r->e, ERR_INPUT,
                       "%s: merge %zu ('%.80s') has a part or a result that is not in the "
                       "vocabulary",
                       r->path, rank + 1, merge);
    *slot_of(r->t, m.left, m.right) = m;
    return 0;
}

static int init_merges(struct reading *r)
{
    size_t n = json_array_size(r->merges), slots = 16;
    struct buf joined = {0};
    int rc = 0;

    if (n > MERGES_MAX)
        return err_set(r->e, ERR_INPUT, "%s: %zu merges; at most %d", r->path, n, MERGES_MAX);
    while (slots < n * 2)
        slots *= 2;
    r->t->merges = malloc(slots * sizeof *r->t->merges);
    if (!r->t->merges)
        return err_set(r->e, ERR_OOM, "no memory for %zu merges", n);
    r->t->mask = (uint32_t)slots - 1;
    for (size_t i = 0; i < slots; i++)
        r->t->merges[i].left = -1;
    for (size_t i = 0; i < n; i++)
        TRY(add_merge(r, i, &joined));
out:
    buf_done(&joined);
    return rc;
}

/* ---- special tokens */

static int add_special(struct reading *r, const char *text, int32_t id, bool normalized)
{
    struct tokenizer *t = r->t;
    struct special special;
    struct buf cleaned = {0};
    int rc = 0;

    for (size_t i = 0; i < t->n_specials; i++)
        if (strcmp(t->specials[i].text, text) == 0)
            return 0;
    if (!*text || t->n_specials >= SPECIALS_MAX)
        return err_set(r->e, ERR_INPUT, "%s: an empty special token, or more than %d", r->folder,
                       SPECIALS_MAX);
    if (normalized)
        TRY(unicode_clean(text, strlen(text), &cleaned, r->e));
    else
        buf_puts(&cleaned, text);
    TRY(buf_check(&cleaned, r->e));
    special = (struct special){.id = id, .normalized = normalized, .size = cleaned.size};
    special.text = buf_detach(&cleaned);
    if (!special.text)
        TRY(err_set(r->e, ERR_OOM, "no memory for a special token"));
    t->specials[t->n_specials++] = special;
    if (id >= t->vocab_size)
        t->vocab_size = id + 1;
out:
    buf_done(&cleaned);
    return rc;
}

/* A token given as text or as {"content": text, "normalized": bool, ...}; NULL if it is neither. */
static const char *token_text(const json_t *token, bool *ret_normalized)
{
    *ret_normalized = json_is_true(json_object_get(token, "normalized"));
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* A token that must be in the vocabulary, or have the id given (-1: it has none). */
static int add_token(struct reading *r, const char *what, const json_t *token, int32_t id,
                     int32_t *ret_id)
{
    bool normalized;
    const char *text = token_text(token, &normalized);

    if (!text)
        return err_set(r->e, ERR_INPUT, "%s: '%s' must be a token", r->path, what);
    if (json_is_true(json_object_get(token, "single_word")))
        return err_set(r->e, ERR_INPUT, "%s: '%s' has single_word, which is not supported", r->path,
                       what);
    *ret_id = id_of(r, text) >= 0 ? id_of(r, text) : id;
    if (*ret_id < 0)
        return err_set(r->e, ERR_INPUT, "%s: '%s' is '%.80s', which is not in the vocabulary",
                       r->path, what, text);
    return add_special(r, text, *ret_id, normalized);
}

static int read_named(struct reading *r, const char *key, const char *otherwise, int32_t *ret_id)
{
    const json_t *token = json_object_get(r->tokens, key);
    json_t *standard = NULL;
    int rc;

    if (!token || json_is_null(token))
        token = json_object_get(r->config, key);
    if (!token || json_is_null(token))
        token = standard = json_string(otherwise);
    rc = add_token(r, key, token, -1, ret_id);
    json_decref(standard);
    return rc;
}

/* {"49408": {"content": "<new>"}} of tokenizer_config.json, or {"<new>": 49408} of
 * added_tokens.json. */
static int read_added(struct reading *r, json_t *added)
{
    const char *key;
    json_t *value;
    int32_t id;

    json_object_foreach(added, key, value)
    {
        bool by_text = json_is_integer(value);
        char *end = NULL;
        long long number = by_text ? json_integer_value(value) : strtoll(key, &end, 10);
        json_t *text = by_text ? json_string(key) : json_incref(value);
        int rc = 0;

        if ((end && (end == key || *end)) || number < 0 || number >= ID_MAX)
            rc = err_set(r->e, ERR_INPUT, "%s: added token '%.80s' has no valid id", r->path, key);
        else
            rc = add_token(r, key, text, (int32_t)number, &id);
        json_decref(text);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int read_lists(struct reading *r)
{
    static const char *const keys[] = {"additional_special_tokens", "extra_special_tokens"};
    int32_t id;

    for (size_t k = 0; k < 2; k++) {
        const json_t *list = json_object_get(r->tokens, keys[k]);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (add_token(r, keys[k], json_array_get(list, i), -1, &id) != 0)
                return r->e ? r->e->code : ERR_INPUT;
    }
    return 0;
}

static int read_four(struct reading *r)
{
    int32_t unknown;
    int rc = 0;

    TRY(read_named(r, "bos_token", "<|startoftext|>", &r->t->bos));
    TRY(read_named(r, "eos_token", "<|endoftext|>", &r->t->eos));
    TRY(read_named(r, "unk_token", "<|endoftext|>", &unknown));
    TRY(read_named(r, "pad_token", "<|endoftext|>", &r->t->pad));
out:
    return rc;
}

/*
 * As transformers: tokenizer_config.json decides if it lists added_tokens_decoder, else
 * special_tokens_map.json goes before it (SD 2.1's two files differ in pad_token).
 */
static int read_specials(struct reading *r)
{
    json_t *map = NULL, *added = NULL,
           *decoder = json_object_get(r->config, "added_tokens_decoder");
    int rc = 0;

    TRY(read_object(r, "added_tokens.json", &added));
    if (!json_is_object(decoder))
        TRY(read_added(r, added));
    TRY(read_object(r, "special_tokens_map.json", &map));
    r->tokens = json_is_object(decoder) ? r->config : map;
    if (json_is_object(decoder)) {
        TRY(set_path(r, "tokenizer_config.json"));
        TRY(read_added(r, decoder));
    }
    TRY(read_four(r));
    TRY(read_lists(r));
out:
    json_decref(map);
    json_decref(added);
    return rc;
}

/* ---- opening */

static int read_config(struct reading *r)
{
    struct json_reader j = {.where = r->path, .e = r->e};
    const char *class;

    if (read_object(r, "tokenizer_config.json", &r->config) != 0)
        return r->e ? r->e->code : ERR_INPUT;
    class = json_get_string_or(&j, r->config, "tokenizer_class", "CLIPTokenizer");
    r->t->max_length =
        (int)json_get_int_or(&j, r->config, "model_max_length", 3, LENGTH_MAX, CLIP_LENGTH);
    if (j.rc == 0 && strncmp(class, "CLIPTokenizer", 13) != 0)
        return err_set(r->e, ERR_INPUT,
                       "%s: 'tokenizer_class' is %.80s; only CLIPTokenizer is supported", r->path,
                       class);
    return j.rc;
}

/* The tables of a vocabulary and merges that are there. */
static int init_tables(struct reading *r)
{
    int rc = 0;

    TRY(check_vocab(r));
    TRY(init_letters(r));
    TRY(set_path(r, "merges.txt"));
    TRY(init_merges(r));
out:
    return rc;
}

static int read_vocab(struct reading *r)
{
    int rc = 0;

    TRY(set_path(r, "merges.txt"));
    if (!exists(r)) {
        TRY(read_tokenizer_json(r));
    } else {
        TRY(read_merges_text(r));
        TRY(set_path(r, "vocab.json"));
        if (exists(r))
            TRY(read_object(r, "vocab.json", &r->vocab));
        else
            TRY(vocab_from_merges(r));
    }
    TRY(init_tables(r));
out:
    return rc;
}

static int reading_init(struct reading *r, struct err *e)
{
    r->e = e;
    r->t = calloc(1, sizeof *r->t);
    if (r->t)
        r->t->specials = calloc(SPECIALS_MAX, sizeof *r->t->specials);
    if (r->t && r->t->specials)
        return 0;
    return err_set(e, ERR_OOM, "no memory for a tokenizer");
}

/* Hands the tokenizer over if all went well. */
static void reading_done(struct reading *r, int rc, struct tokenizer **ret_t)
{
    if (rc == 0)
        *ret_t = r->t;
    else
        tokenizer_free(r->t);
    json_decref(r->vocab);
    json_decref(r->merges);
    json_decref(r->config);
}

int tokenizer_open(const char *folder, struct tokenizer **ret_t, struct err *e)
{
    struct err unseen;
    struct reading r = {.folder = folder};
    int rc = 0;

    TRY(reading_init(&r, e ? e : &unseen));
    TRY(read_config(&r));
    TRY(read_vocab(&r));
    TRY(read_specials(&r));
out:
    reading_done(&r, rc, ret_t);
    return rc;
}

int tokenizer_open_published(const char *pad, struct tokenizer **ret_t, struct err *e)
{
    struct err unseen;
    struct reading r = {.folder = "CLIP's published tokenizer"};
    int rc = 0;

    TRY(reading_init(&r, e ? e : &unseen));
    r.t->max_length = CLIP_LENGTH;
    TRY(set_path(&r, "merges.txt"));
    TRY(parse_merges(&r, data_clip_merges));
    TRY(vocab_from_merges(&r));
    TRY(init_tables(&r));
    r.config = json_pack("{s:s}", "pad_token", pad);
    r.tokens = r.config;
    TRY(read_four(&r));
out:
    reading_done(&r, rc, ret_t);
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_specials; i++)
        free(t->specials[i].text);
    free(t->specials);
    free(t->merges);
    free(t);
}
