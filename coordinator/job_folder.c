#include "coordinator/job_folder.h"

#include <stdlib.h>
#include <string.h>

static int folder_name(const struct job *job, int number, struct buf *ret_name, struct err *e)
{
    ret_name->size = 0;
    buf_puts(ret_name, job_name(job));
    if (number > 1)
        buf_printf(ret_name, "-%d", number);
    return buf_check(ret_name, e);
}

/* The number in a folder's name, 1 if it has none. */
static int folder_number(const struct job *job)
{
    const char *rest = job_folder(job) + strlen(job_name(job));
    long number = *rest == '-' ? strtol(rest + 1, NULL, 10) : 1;

    return number > 1 && number <= JOB_FOLDERS_MAX ? (int)number : 1;
}

/* Its job.json may have been removed by hand. */
static bool is_taken(const struct coord *c, const struct job_entry *j, const char *folder)
{
    for (size_t i = 0; i < c->n_jobs; i++)
        if (c->jobs[i] != j && c->jobs[i]->folder && strcmp(c->jobs[i]->folder, folder) == 0)
            return true;
    return false;
}

int job_folder_claim(const struct coord *c, const struct job_entry *j, struct output *o,
                     char **ret_folder, struct err *e)
{
    int rc = ERR_CONFLICT;
    struct buf folder = {0};

    for (int number = 1; number <= JOB_FOLDERS_MAX && rc == ERR_CONFLICT; number++) {
        rc = folder_name(j->job, number, &folder, e);
        if (rc == 0)
            rc = is_taken(c, j, buf_text(&folder))
                     ? err_set(e, ERR_CONFLICT, "all %d folders of jobs called '%s' are taken",
                               JOB_FOLDERS_MAX, j->name)
                     : output_claim(o, buf_text(&folder), j->job, e);
    }
    if (rc == 0 && !(*ret_folder = buf_detach(&folder)))
        rc = err_set(e, ERR_OOM, "no memory for a job's folder");
    buf_done(&folder);
    return rc;
}

int job_folder_take(struct output *o, const struct job *job, uint64_t index, const char *path,
                    const char *task, const struct listing *files, struct record *ret_found,
                    struct err *e)
{
    struct buf folder = {0}, from = {0};
    int last = folder_number(job), rc = ERR_MISSING;

    for (int number = last - 1;
         number >= 1 && number >= last - JOB_FOLDERS_BACK && rc == ERR_MISSING; number--) {
        from.size = 0;
        TRY(folder_name(job, number, &folder, e));
        TRY(job_path_in(job, buf_text(&folder), index, &from, e));
        rc = ERR_MISSING;
        if (strcmp(buf_text(&from), path) == 0)
            break; /* a path without {job} */
        rc = output_take(o, buf_text(&from), path, task, files, ret_found, e);
    }
out:
    buf_done(&folder);
    buf_done(&from);
    return rc;
}

/* ERR_CONFLICT: another job's. */
static int peek(const char *out_dir, const char *folder, const struct job *job, struct err *e)
{
    struct buf path = {0}, there = {0};
    const char *bundle;
    size_t size;
    int rc;

    bundle = job_bundle(job, &size);
    buf_printf(&path, "%s/%s/job.json", out_dir, folder);
    TRY(buf_check(&path, e));
    rc = buf_read_file(&there, buf_text(&path), JOB_BUNDLE_MAX, e);
    if (rc == ERR_MISSING)
        rc = 0;
    else if (rc == 0 && (there.size != size || memcmp(there.data, bundle, size) != 0))
        rc = ERR_CONFLICT;
out:
    buf_done(&path);
    buf_done(&there);
    return rc;
}

int job_folder_peek(const char *out_dir, const struct job *job, struct buf *ret_folder,
                    struct err *e)
{
    struct buf folder = {0};
    int rc = ERR_CONFLICT;

    for (int number = 1; number <= JOB_FOLDERS_MAX && rc == ERR_CONFLICT; number++)
        if ((rc = folder_name(job, number, &folder, e)) == 0)
            rc = peek(out_dir, buf_text(&folder), job, e);
    if (rc == 0)
        buf_puts(ret_folder, buf_text(&folder));
    buf_done(&folder);
    return rc;
}
