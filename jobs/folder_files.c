#include "jobs/folder_files.h"

#include "proto/buf.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static const char *const parts[] = {
    "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"};

enum { PLAIN, FP16, BF16, FP32, VARIANTS };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

static bool is_weights(const char *name)
{
    return ends_with(name, ".safetensors") || strstr(name, ".safetensors.index.");
}

/* "model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors", "....index.fp16.json". */
static int variant_of(const char *name)
{
    static const char *const tags[VARIANTS] = {NULL, ".fp16", ".bf16", ".fp32"};

    for (int i = FP16; i < VARIANTS; i++) {
        const char *at = strstr(name, tags[i]);

        if (at && (at[5] == '.' || at[5] == '-'))
            return i;
    }
    return PLAIN;
}

static bool is_wanted(const char *name, enum folder_kind kind, int variant)
{
    if (name[0] == '.')
        return false;
    if (is_weights(name))
        return kind != FOLDER_CONFIG && variant_of(name) == variant;
    return ends_with(name, ".json") || ends_with(name, ".txt") || ends_with(name, ".model");
}

/* The variant of the weights in an open folder that is read. */
static int first_variant(DIR *dir)
{
    struct dirent *entry;
    int first = VARIANTS;

    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.' && is_weights(entry->d_name) &&
            variant_of(entry->d_name) < first)
            first = variant_of(entry->d_name);
    rewinddir(dir);
    return first == VARIANTS ? PLAIN : first;
}

/* The files of folder/part; part may be "". A part that is not there has none. */
static int part_files(const char *folder, const char *part, enum folder_kind kind,
                      int (*f)(void *user, const char *path, struct err *e), void *user,
                      struct err *e)
{
    const char *slash = *part ? "/" : "";
    struct buf path = {0};
    struct dirent *entry;
    struct stat st;
    int variant, rc = 0;
    DIR *dir;

    buf_printf(&path, "%s%s%s", folder, slash, part);
    dir = opendir(buf_text(&path));
    if (!dir && (!*part || (errno != ENOENT && errno != ENOTDIR)))
        TRY(err_errno(e, buf_text(&path)));
    variant = dir ? first_variant(dir) : PLAIN;
    while (dir && (entry = readdir(dir))) {
        if (!is_wanted(entry->d_name, kind, variant) ||
            fstatat(dirfd(dir), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            continue;
        path.size = 0;
        buf_printf(&path, "%s%s%s", part, slash, entry->d_name);
        TRY(buf_check(&path, e));
        TRY(f(user, buf_text(&path), e));
    }
out:
    if (dir)
        closedir(dir);
    buf_done(&path);
    return rc;
}

int folder_files(const char *folder, enum folder_kind kind,
                 int (*f)(void *user, const char *path, struct err *e), void *user, struct err *e)
{
    int rc = 0;

    if (kind == FOLDER_PART)
        return part_files(folder, "", kind, f, user, e);
    TRY(f(user, "model_index.json", e));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        TRY(part_files(folder, parts[i], kind, f, user, e));
out:
    return rc;
}
