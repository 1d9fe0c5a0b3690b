/* The files that a manifest names. */
#include "jobs/draft.h"

#include "jobs/suggest.h"

#include <dirent.h>
#include <string.h>

#define FILES_MAX 1000 /* of a folder, that a suggestion looks through */

/* The name under which messages speak of a file that the manifest names: beside the manifest. */
static const char *shown_name(struct draft *dr, const struct node *path)
{
    const char *slash = strrchr(dr->file, '/');
    struct buf name = {0};
    const char *copy;

    if (slash && path->at.line != 0 && path->text[0] != '/')
        buf_append(&name, dr->file, (size_t)(slash - dr->file) + 1);
    buf_puts(&name, path->text);
    copy = name.failed ? NULL : pool_text(&dr->pool, name.data, name.size);
    buf_done(&name);
    return copy;
}

/* ", did you mean 'grounds.txt'?" from the folder in which a file is missing. */
static void suggest_file(const char *full, struct buf *ret_hint)
{
    const char *slash = strrchr(full, '/');
    struct buf folder = {0};
    struct dirent *entry;
    char best[SUGGEST_WORD_MAX + 1] = "";
    DIR *dir;

    buf_append(&folder, full, (size_t)(slash - full) + 1);
    dir = opendir(buf_text(&folder));
    for (int n = 0; dir && n < FILES_MAX && (entry = readdir(dir)); n++) {
        const char *names[] = {best, entry->d_name};
        const char *near = suggest_nearest(slash + 1, names + !*best, *best ? 2 : 1);

        if (near == entry->d_name && strlen(near) < sizeof best)
            snprintf(best, sizeof best, "%s", near);
    }
    if (dir)
        closedir(dir);
    buf_done(&folder);
    if (*best)
        buf_printf(ret_hint, ", did you mean '%s'?", best);
}

static void tell_unreadable(struct draft *dr, const struct node *path, const char *full,
                            const struct err *cause)
{
    struct buf hint = {0};

    if (cause->code == ERR_MISSING)
        suggest_file(full, &hint);
    diagnose(dr->d, path->at, "cannot read the file: %s%s", cause->text, buf_text(&hint));
    buf_done(&hint);
}

int draft_read_table(struct draft *dr, const struct node *path, enum draft_file kind,
                     struct table **ret_table, struct err *e)
{
    static int (*const readers[])(struct pool *, const char *, const char *, size_t,
                                  struct diagnostics *, struct table **, struct err *) = {
        table_read_list, table_read_csv, table_read_loose_csv};
    const char *name, *full;
    struct buf text = {0};
    struct err cause;
    int rc = 0;

    *ret_table = NULL;
    if (path->type != NODE_SCALAR || !*path->text) {
        diagnose(dr->d, path->at, "the path of a file is expected here");
        return 0;
    }
    name = shown_name(dr, path);
    full = draft_absolute(dr, draft_base(dr, path->at), path->text);
    if (!name || !full)
        return err_set(e, ERR_OOM, "out of memory");
    if (buf_read_file(&text, full, MANIFEST_FILE_MAX, &cause) != 0)
        tell_unreadable(dr, path, full, &cause);
    else
        TRY(readers[kind](&dr->pool, name, buf_text(&text), text.size, dr->d, ret_table, e));
    if (*ret_table && (*ret_table)->n_rows == 0) {
        diagnose(dr->d, path->at, "the file '%s' holds no values", name);
        *ret_table = NULL;
    }
out:
    buf_done(&text);
    return rc;
}
