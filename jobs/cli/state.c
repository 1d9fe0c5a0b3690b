#include "jobs/cli/state.h"

#include "jobs/job.h"
#include "proto/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_join(const char *folder, const char *name, char **ret_path, struct err *e)
{
    struct buf path = {0};

    buf_printf(&path, "%s/%s", folder, name);
    *ret_path = buf_detach(&path);
    return *ret_path == NULL ? err_set(e, ERR_OOM, "path: out of memory") : 0;
}

int state_locate(const char *out, struct state *ret_s, struct err *e)
{
    struct state s = {.out = strdup(out)};
    int rc = 0;

    if (s.out == NULL)
        TRY(err_set(e, ERR_OOM, "path: out of memory"));
    TRY(path_join(s.out, ".litho", &s.folder, e));
    TRY(path_join(s.folder, "logs", &s.logs, e));
    TRY(path_join(s.folder, "bundles", &s.bundles, e));
    *ret_s = s;
    s = (struct state){0};
out:
    state_done(&s);
    return rc;
}

static int folder_fail(struct err *e, const char *what, const char *path)
{
    return err_set(e, ERR_IO, "cannot make the %s '%s': %s", what, path, strerror(errno));
}

/* Like mkdir -p. */
static int folders_make(const char *what, const char *path, struct err *e)
{
    char *copy = strdup(path);
    int rc = 0;

    if (copy == NULL)
        return err_set(e, ERR_OOM, "path: out of memory");
    for (char *p = copy + 1; *copy != '\0' && *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            TRY(folder_fail(e, what, copy));
        *p = '/';
    }
    if (mkdir(copy, 0777) != 0 && errno != EEXIST)
        TRY(folder_fail(e, what, copy));
out:
    free(copy);
    return rc;
}

int state_make(const struct state *s, struct err *e)
{
    int rc = 0;

    TRY(folders_make("output folder", s->out, e));
    TRY(folders_make("state folder", s->logs, e));
    TRY(folders_make("state folder", s->bundles, e));
    if (access(s->out, W_OK) != 0 || access(s->folder, W_OK) != 0)
        TRY(err_set(e, ERR_IO, "cannot write into the output folder '%s': %s", s->out,
                    strerror(errno)));
out:
    return rc;
}

static int bundle_path(const struct state *s, const char *source_hash, struct buf *ret_path,
                       struct err *e)
{
    buf_printf(ret_path, "%s/%s.json", s->bundles, source_hash);
    return buf_check(ret_path, e);
}

int state_bundle_read(const struct state *s, const char *source_hash, struct buf *ret_bundle,
                      struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    TRY(bundle_path(s, source_hash, &path, e));
    if (access(path.data, F_OK) != 0)
        TRY(err_errno(e, path.data));
    TRY(buf_read_file(ret_bundle, path.data, JOB_BUNDLE_MAX, e));
out:
    buf_done(&path);
    return rc;
}

int state_bundle_write(const struct state *s, const char *source_hash, const struct buf *bundle,
                       struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    TRY(bundle_path(s, source_hash, &path, e));
    TRY(file_replace(path.data, bundle->data, bundle->size, e));
out:
    buf_done(&path);
    return rc;
}

void state_done(struct state *s)
{
    free(s->out);
    free(s->folder);
    free(s->logs);
    free(s->bundles);
    *s = (struct state){0};
}
