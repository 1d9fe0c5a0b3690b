#include "coordinator/output.h"

#include "coordinator/folders.h"
#include "coordinator/state_dir.h"
#include "proto/file.h"
#include "proto/json.h"
#include "proto/png.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What every whole PNG file ends with. */
static const unsigned char png_end[12] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};
static const unsigned char png_start[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

struct output {
    char *dir; /* absolute */
    int root;
    struct stat st; /* of the folder that root is */
    bool checked;   /* in this batch: it is still the one at dir */
    struct folders folders;
};

/*
 * The folder may vanish under us, or be made anew: then all goes on in the new one. Another file
 * system at its place (nothing mounted, say) is waited for, since pictures would be hidden there.
 */
static int root_check(struct output *o, struct err *e)
{
    struct stat now;
    int fd;

    if (o->checked)
        return 0;
    if (stat(o->dir, &now) != 0)
        return err_set(e, ERR_IO, "the output folder %s is gone (%s)", o->dir, strerror(errno));
    if (now.st_dev != o->st.st_dev)
        return err_set(e, ERR_IO, "another file system is at the output folder %s", o->dir);
    if (now.st_ino != o->st.st_ino) {
        fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return err_errno(e, o->dir);
        folders_drop(&o->folders);
        close(o->root);
        o->root = o->folders.root = fd;
        o->st = now;
    }
    o->checked = true;
    return 0;
}

/*
 * What lies there under a temporary name is removed first: what a crash left, or what others put
 * there, who may write here too and can tell the name: a link, a pipe, a file of theirs.
 */
static int create_anew(int folder, const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(folder, name, flags, 0666);

    if (fd < 0 && errno == EEXIST && unlinkat(folder, name, 0) == 0)
        fd = openat(folder, name, flags, 0666);
    return fd;
}

static int try_writing(struct output *o, struct err *e)
{
    const char *name = ".litho-try.part";
    int fd = create_anew(o->root, name);

    if (fd < 0)
        return err_errno(e, o->dir);
    close(fd);
    unlinkat(o->root, name, 0);
    return 0;
}

int output_open(const char *out_dir, struct output **ret_output, struct err *e)
{
    struct output *o = calloc(1, sizeof *o);
    int rc;

    if (!o)
        return err_set(e, ERR_OOM, "no memory for the output folder");
    o->root = -1;
    TRY(folder_make(out_dir, e));
    o->dir = realpath(out_dir, NULL);
    if (!o->dir)
        TRY(err_errno(e, out_dir));
    o->root = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (o->root < 0)
        TRY(err_errno(e, o->dir));
    o->folders.root = o->root;
    if (fstat(o->root, &o->st) != 0)
        TRY(err_errno(e, o->dir));
    TRY(try_writing(o, e));
    *ret_output = o;
    o = NULL;
out:
    if (rc != 0 && e && rc != ERR_OOM)
        err_set(e, rc, "the output folder cannot be used: %s", e->text);
    output_close(o);
    return rc;
}

void output_close(struct output *o)
{
    if (!o)
        return;
    folders_drop(&o->folders);
    if (o->root >= 0)
        close(o->root);
    free(o->dir);
    free(o);
}

const char *output_dir(const struct output *o)
{
    return o->dir;
}

int output_sync(struct output *o, struct err *e)
{
    o->checked = false;
    return folders_sync(&o->folders, e);
}

/* Reads an open file whole. ERR_CONFLICT: it is no regular file, or too large. */
static int read_all(int fd, const char *path, size_t limit, struct buf *ret_bytes, struct err *e)
{
    char block[65536];
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) != 0)
        return err_errno(e, path);
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > limit)
        return err_set(e, ERR_CONFLICT, "'%s' is no file of at most %zu bytes", path, limit);
    while ((n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, path);
        buf_append(ret_bytes, block, (size_t)n);
        if (ret_bytes->size > limit)
            return err_set(e, ERR_CONFLICT, "'%s' is larger than %zu bytes", path, limit);
    }
    return buf_check(ret_bytes, e);
}

int output_read(struct output *o, const char *path, size_t limit, struct buf *ret_bytes,
                struct err *e)
{
    struct folder *folder;
    const char *name;
    int fd = -1, rc;

    TRY(folders_of(&o->folders, path, false, &folder, &name, e));
    fd = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        TRY(errno == ELOOP ? err_set(e, ERR_CONFLICT, "'%s' is a symbolic link", path)
                           : err_errno(e, path));
    TRY(read_all(fd, path, limit, ret_bytes, e));
out:
    if (fd >= 0)
        close(fd);
    return rc;
}

bool output_has(struct output *o, const char *path)
{
    struct folder *folder;
    const char *name;
    struct stat st;
    int rc = folders_of(&o->folders, path, false, &folder, &name, NULL);

    if (rc != 0)
        return rc != ERR_MISSING;
    return fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

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
    TRY(root_check(o, e));
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

/* Gives a temporary file its name. ERR_CONFLICT: the name is taken. */
static int rename_new(int folder, const char *temporary, const char *name, const char *path,
                      struct err *e)
{
    if (renameat2(folder, temporary, folder, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) { /* a file system without it: link keeps the promise */
        if (linkat(folder, temporary, folder, name, 0) == 0) {
            unlinkat(folder, temporary, 0);
            return 0;
        }
    }
    return errno == EEXIST ? err_set(e, ERR_CONFLICT, "'%s' exists", path) : err_errno(e, path);
}

/*
 * Writes a file whole or not at all. tag makes the temporary name; the same file gets the same one
 * again, so that what a crash left is overwritten.
 */
static int commit_file(struct output *o, const char *path, const char *tag, const void *data,
                       size_t size, bool replace, struct err *e)
{
    struct folder *folder = NULL;
    const char *name;
    char temporary[64];
    int fd = -1, rc;

    snprintf(temporary, sizeof temporary, ".litho-%.16s.part", tag);
    TRY(folders_of(&o->folders, path, true, &folder, &name, e));
    fd = create_anew(folder->fd, temporary);
    if (fd < 0)
        TRY(err_errno(e, path));
    TRY(file_write(fd, path, data, size, e));
    if (!replace)
        TRY(rename_new(folder->fd, temporary, name, path, e));
    else if (renameat(folder->fd, temporary, folder->fd, name) != 0)
        TRY(err_errno(e, path));
    folder->dirty = true;
out:
    if (rc != 0 && fd >= 0)
        unlinkat(folder->fd, temporary, 0);
    if (fd >= 0)
        close(fd);
    return rc;
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
    int rc;

    TRY(hash_bytes(d->png, d->png_size, hex, e));
    if (strcmp(hex, d->record.sha256) != 0)
        return err_set(e, ERR_OUTPUT, "the picture's bytes do not have the hash %.12s sent with it",
                       d->record.sha256);
    if (!png_is_whole(d->png, d->png_size))
        return err_set(e, ERR_OUTPUT, "the result of %zu bytes is no PNG file", d->png_size);
    if (d->record.before[0] && !starts_from(d))
        return err_set(e, ERR_CANCELLED, "'%s' started from another picture than the frame before",
                       d->path);
    TRY(root_check(o, e));
    rc = commit_file(o, d->path, hex, d->png, d->png_size, d->replace, e);
    if (rc == ERR_CONFLICT && output_has(o, d->path))
        rc = adopt(o, d, e);
out:
    return as_disk(rc, e);
}

int output_claim(struct output *o, const char *folder, const struct job *job, struct err *e)
{
    struct buf path = {0}, there = {0};
    size_t size;
    const char *bundle = job_bundle(job, &size);
    int rc;

    buf_printf(&path, "%s/job.json", folder);
    TRY(buf_check(&path, e));
    rc = output_read(o, buf_text(&path), JOB_BUNDLE_MAX, &there, e);
    if (rc == ERR_MISSING)
        rc = commit_file(o, buf_text(&path), job_hash(job), bundle, size, false, e);
    else if (rc == 0 && (there.size != size || memcmp(there.data, bundle, size) != 0))
        rc = err_set(e, ERR_CONFLICT, "the folder '%s' belongs to another job", folder);
out:
    buf_done(&path);
    buf_done(&there);
    return rc;
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
    TRY(commit_file(o, path, hex, bytes.data, bytes.size, false, e));
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

int output_append(struct output *o, const char *path, const struct buf *text, struct err *e)
{
    struct folder *folder;
    const char *name, *p = buf_text(text);
    size_t left = text->size;
    struct stat st;
    int fd = -1, rc;

    TRY(folders_of(&o->folders, path, true, &folder, &name, e));
    fd = openat(folder->fd, name,
                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd < 0)
        TRY(err_errno(e, path));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        TRY(err_set(e, ERR_CONFLICT, "'%s' is no file", path));
    while (left > 0) {
        ssize_t n = write(fd, p, left);

        if (n < 0 && errno != EINTR)
            TRY(err_errno(e, path));
        if (n > 0) {
            p += n;
            left -= (size_t)n;
        }
    }
out:
    if (fd >= 0)
        close(fd);
    return rc;
}

int output_size(struct output *o, const char *path, uint64_t *ret_bytes, struct err *e)
{
    struct folder *folder;
    const char *name;
    struct stat st;
    int rc = folders_of(&o->folders, path, false, &folder, &name, e);

    *ret_bytes = 0;
    if (rc == ERR_MISSING)
        return 0;
    if (rc == 0 && fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : err_errno(e, path);
    if (rc == 0 && !S_ISREG(st.st_mode))
        return err_set(e, ERR_CONFLICT, "'%s' is no file", path);
    if (rc == 0)
        *ret_bytes = (uint64_t)st.st_size;
    return rc;
}

static int open_there(struct output *o, const char *path, int flags, int *ret_fd, struct err *e)
{
    struct folder *folder;
    const char *name;
    int rc;

    TRY(folders_of(&o->folders, path, false, &folder, &name, e));
    *ret_fd = openat(folder->fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*ret_fd < 0)
        TRY(err_errno(e, path));
out:
    return rc;
}

int output_read_from(struct output *o, const char *path, uint64_t from, size_t limit,
                     struct buf *ret_bytes, struct err *e)
{
    char block[65536];
    ssize_t n = 1;
    int fd, rc = open_there(o, path, O_RDONLY, &fd, e);

    if (rc != 0)
        return rc;
    for (size_t left = limit; left > 0 && n != 0; left -= (size_t)n) {
        n = pread(fd, block, left < sizeof block ? left : sizeof block, (off_t)from);
        if (n < 0)
            TRY(err_errno(e, path));
        buf_append(ret_bytes, block, (size_t)n);
        from += (uint64_t)n;
    }
    TRY(buf_check(ret_bytes, e));
out:
    close(fd);
    return rc;
}

int output_cut(struct output *o, const char *path, uint64_t bytes, struct err *e)
{
    int fd, rc = open_there(o, path, O_WRONLY, &fd, e);

    if (rc != 0)
        return rc;
    if (ftruncate(fd, (off_t)bytes) != 0)
        rc = err_errno(e, path);
    close(fd);
    return rc;
}

int output_replace(struct output *o, const char *path, const struct buf *bytes, struct err *e)
{
    const char *slash = strrchr(path, '/');

    return commit_file(o, path, slash ? slash + 1 : path, buf_text(bytes), bytes->size, true, e);
}
