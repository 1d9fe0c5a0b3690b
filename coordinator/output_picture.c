/* Pictures in the output folder: whose they are, how they come there, and second names of them. */
#include "coordinator/output_inner.h"
#include "proto/json.h"
#include "proto/png.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* What every whole PNG file ends with. */
static const unsigned char png_end[12] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};
static const unsigned char png_start[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

static bool png_is_whole(const void *file, size_t size)
{
    return size >= sizeof png_start + sizeof png_end &&
           memcmp(file, png_start, sizeof png_start) == 0 &&
           memcmp((const char *)file + size - sizeof png_end, png_end, sizeof png_end) == 0;
}

/* The `litho` chunk of a whole picture; NULL if it has none that can be read. */
static json_t *litho_chunk(const struct buf *file)
{
    struct buf text = {0};
    json_t *root = NULL;

    if (png_is_whole(file->data, file->size) &&
        png_text_get(file->data, file->size, "litho", &text, NULL) == 0 &&
        json_read("litho", buf_text(&text), text.size, &root, NULL) != 0)
        root = NULL;
    buf_done(&text);
    return root;
}

static bool task_equal(const json_t *chunk, const char *task)
{
    struct buf canonical = {0};
    bool equal;

    json_canonical(json_object_get(chunk, "task"), &canonical);
    equal = !canonical.failed && strcmp(buf_text(&canonical), task) == 0;
    buf_done(&canonical);
    return equal;
}

/* Absent on both sides is equal. */
static bool json_same(const json_t *a, const json_t *b)
{
    return a == b || json_equal(a, b);
}

/* The files that two pictures were made from, by name and hash. */
static bool files_equal(const json_t *a, const json_t *b)
{
    return json_same(json_object_get(json_object_get(a, "model"), "files"),
                     json_object_get(json_object_get(b, "model"), "files")) &&
           json_same(json_object_get(a, "assets"), json_object_get(b, "assets"));
}

static bool files_differ(const json_t *object, const struct listing *files)
{
    for (size_t i = 0; i < files->n; i++) {
        const char *was = json_string_value(json_object_get(object, files->files[i].path));

        if (was && strcmp(was, files->files[i].sha256) != 0)
            return true;
    }
    return false;
}

/* A file of the picture's has another hash than it has now. */
static bool is_outdated(const struct buf *bytes, const struct listing *files)
{
    json_t *chunk = files->n ? litho_chunk(bytes) : NULL;
    bool differs = files_differ(json_object_get(json_object_get(chunk, "model"), "files"), files) ||
                   files_differ(json_object_get(chunk, "assets"), files);

    json_decref(chunk);
    return differs;
}

static const char *text_or_empty(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/*
 * The file at `path`, if it is a picture of that task: its hash, size and class. ERR_CONFLICT: it
 * is something else. bytes: the file's, already read.
 */
static int describe(const char *path, const struct buf *bytes, const char *task,
                    struct record *ret_found, struct err *e)
{
    json_t *chunk = litho_chunk(bytes);
    int rc = 0;

    if (!chunk || !task_equal(chunk, task))
        TRY(err_set(e, ERR_CONFLICT,
                    "'%s' is in the output folder already and is %s: move it away, or change "
                    "output.path or the job's name%s",
                    path, chunk ? "a picture of another task" : "no picture of this program",
                    chunk ? ", or give --force to replace it" : ""));
    TRY(hash_bytes(bytes->data, bytes->size, ret_found->sha256, e));
    TRY(record_picture(ret_found, path, "", text_or_empty(chunk, "device_class"),
                       text_or_empty(chunk, "precision"), e));
    ret_found->bytes = bytes->size;
out:
    json_decref(chunk);
    return rc;
}

/* Nothing is there, not even its folder perhaps. false: something is, or it cannot be told. */
static bool is_free(struct output *o, const char *path)
{
    struct folder *folder;
    const char *name;
    struct stat st;
    int rc = folders_of(&o->folders, path, false, &folder, &name, NULL);

    if (rc != 0)
        return rc == ERR_MISSING;
    return fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

enum probe_answer output_probe(struct output *o, const char *path, const char *task,
                               const struct listing *files, struct record *ret_found, struct err *e)
{
    struct buf bytes = {0};
    struct folder *folder;
    const char *name;
    bool outdated = false;
    int rc;

    *ret_found = (struct record){0};
    TRY(output_check(o, e));
    if (is_free(o, path)) /* as nearly always: no sentence about it, which nobody would read */
        return PROBE_FREE;
    TRY(output_read(o, path, MSG_FRAME_MAX, &bytes, e));
    TRY(describe(path, &bytes, task, ret_found, e));
    TRY(folders_of(&o->folders, path, false, &folder, &name, e));
    folder->dirty = true; /* whoever put it there may have died before the folder was synced */
    outdated = is_outdated(&bytes, files);
out:
    buf_done(&bytes);
    if (rc == 0 && !outdated)
        return PROBE_OURS;
    record_done(ret_found);
    if (rc == 0)
        return PROBE_STALE;
    return rc == ERR_MISSING                     ? PROBE_FREE
           : rc == ERR_CONFLICT || rc == ERR_ARG ? PROBE_FOREIGN
                                                 : PROBE_BLOCKED;
}

bool output_is_ours(struct output *o, const char *path)
{
    struct buf bytes = {0};
    json_t *chunk = NULL;

    if (output_read(o, path, MSG_FRAME_MAX, &bytes, NULL) == 0)
        chunk = litho_chunk(&bytes);
    buf_done(&bytes);
    json_decref(chunk);
    return chunk != NULL;
}

/* The picture that a task starts from, where it is named by its hash; else NULL. */
static const char *start_of(const json_t *task)
{
    const char *init = json_string_value(json_object_get(task, "init_image"));

    return init && strncmp(init, "sha256:", strlen("sha256:")) == 0 ? init : NULL;
}

bool output_is_older_frame(struct output *o, const char *path, const char *task)
{
    json_t *chunk = NULL, *there, *wanted = NULL;
    struct buf bytes = {0};
    bool older = false;

    if (output_read(o, path, MSG_FRAME_MAX, &bytes, NULL) == 0)
        chunk = litho_chunk(&bytes);
    there = json_object_get(chunk, "task");
    if (json_read("task", task, strlen(task), &wanted, NULL) == 0 && start_of(wanted) &&
        start_of(there)) {
        json_object_del(there, "init_image");
        json_object_del(wanted, "init_image");
        older = json_equal(there, wanted);
    }
    buf_done(&bytes);
    json_decref(chunk);
    json_decref(wanted);
    return older;
}

/* A later frame says what it started from. */
static bool starts_from(const struct delivery *d)
{
    struct buf png = {.data = d->png, .size = d->png_size};
    json_t *chunk = litho_chunk(&png);
    const char *init = start_of(json_object_get(chunk, "task"));
    bool right = init && strcmp(init + strlen("sha256:"), d->record.before) == 0;

    json_decref(chunk);
    return right;
}

bool output_is_stale(struct output *o, const struct delivery *d)
{
    json_t *chunk = NULL, *ours = NULL;
    struct buf bytes = {0}, png = {.data = d->png, .size = d->png_size};
    bool stale = false;

    if (output_read(o, d->path, MSG_FRAME_MAX, &bytes, NULL) == 0) {
        chunk = litho_chunk(&bytes);
        ours = litho_chunk(&png);
        stale = chunk && task_equal(chunk, d->task) && !files_equal(chunk, ours);
    }
    buf_done(&bytes);
    json_decref(chunk);
    json_decref(ours);
    return stale;
}

/* Whatever the system answered but ERR_CONFLICT, ERR_OUTPUT and ERR_OOM is a disk that refuses. */
static int as_disk(int rc, struct err *e)
{
    if (rc == 0 || rc == ERR_CONFLICT || rc == ERR_CANCELLED || rc == ERR_OUTPUT || rc == ERR_OOM ||
        rc == ERR_IO)
        return rc;
    return e ? err_set(e, ERR_IO, "%s", e->text) : ERR_IO;
}

/* The name is taken: by our own picture of before a crash, by an equal task's, by one that was made
 * from other files, or by a stranger. */
static int adopt(struct output *o, struct delivery *d, struct err *e)
{
    struct record found = {0};
    struct buf bytes = {0};
    int rc;

    TRY(output_read(o, d->path, MSG_FRAME_MAX, &bytes, e));
    if (bytes.size == d->png_size && memcmp(bytes.data, d->png, d->png_size) == 0)
        goto out;
    TRY(describe(d->path, &bytes, d->task, &found, e));
    if (output_is_stale(o, d))
        TRY(err_set(e, ERR_CONFLICT, "'%s' was made from other files", d->path));
    memcpy(d->record.sha256, found.sha256, sizeof d->record.sha256);
    d->record.bytes = found.bytes;
    TRY(record_picture(&d->record, d->path, d->record.worker, found.device_class, found.precision,
                       e));
out:
    record_done(&found);
    buf_done(&bytes);
    return rc;
}

int output_write(struct output *o, struct delivery *d, struct err *e)
{
    char hex[HASH_HEX_SIZE];
    struct err why;
    int rc;

    TRY(hash_bytes(d->png, d->png_size, hex, e));
    if (strcmp(hex, d->record.sha256) != 0)
        return err_set(e, ERR_OUTPUT, "the picture's bytes do not have the hash %.12s sent with it",
                       d->record.sha256);
    if (png_check(d->png, d->png_size, d->width, d->height, &why) != 0)
        return err_set(e, ERR_OUTPUT, "the result of %zu bytes is no picture of the task: %s",
                       d->png_size, why.text);
    if (d->record.before[0] && !starts_from(d))
        return err_set(e, ERR_CANCELLED, "'%s' started from another picture than the frame before",
                       d->path);
    TRY(output_check(o, e));
    rc = output_commit(o, d->path, hex, d->png, d->png_size, d->replace, e);
    if (rc == ERR_CONFLICT && output_has(o, d->path))
        rc = adopt(o, d, e);
out:
    return as_disk(rc, e);
}

/* A second name for a picture that is there; a copy where the file system has no such names. */
static int second_name(struct output *o, const char *from, const char *path, struct err *e)
{
    struct folder *folder;
    const char *source, *name;
    struct buf bytes = {0};
    char hex[HASH_HEX_SIZE];
    int fd = -1, rc;

    TRY(folders_of(&o->folders, from, false, &folder, &source, e));
    fd = fcntl(folder->fd, F_DUPFD_CLOEXEC, 0); /* the next call may close its folder */
    if (fd < 0)
        TRY(err_errno(e, from));
    TRY(folders_of(&o->folders, path, true, &folder, &name, e));
    if (linkat(fd, source, folder->fd, name, 0) == 0) {
        folder->dirty = true;
        goto out;
    }
    if (errno == EEXIST)
        TRY(err_set(e, ERR_CONFLICT, "'%s' exists", path));
    TRY(output_read(o, from, MSG_FRAME_MAX, &bytes, e));
    TRY(hash_bytes(bytes.data, bytes.size, hex, e));
    TRY(output_commit(o, path, hex, bytes.data, bytes.size, false, e));
out:
    if (fd >= 0)
        close(fd);
    buf_done(&bytes);
    return rc;
}

int output_take(struct output *o, const char *from, const char *path, const char *task,
                const struct listing *files, struct record *ret_found, struct err *e)
{
    struct record found;
    int rc = 0;

    if (output_probe(o, from, task, files, &found, e) != PROBE_OURS)
        return ERR_MISSING;
    TRY(second_name(o, from, path, e));
    TRY(record_picture(&found, path, "", found.device_class, found.precision, e));
    *ret_found = found;
    found = (struct record){0};
out:
    record_done(&found);
    return rc;
}
