#include "worker/cache.h"

#include "proto/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What this process knows of a file. */
struct entry {
    struct entry *next;
    char sha256[HASH_HEX_SIZE];
    int fd; /* with a shared lock while it is held; else -1 */
    unsigned holds;
    struct stat verified; /* as it was when its hash was right; st_nlink 0: never */
};

struct cache {
    char *dir; /* owned */
    uint64_t budget;
    struct hash_memo *hashes; /* borrowed, may be NULL */
    struct entry *entries;    /* owned */
    struct cache_counts counts;
    /* the part that is written */
    int fd; /* -1: none */
    char sha256[HASH_HEX_SIZE];
    struct hash_run *run;
};

int cache_open(const char *dir, uint64_t budget_bytes, struct hash_memo *hashes,
               struct cache **ret_cache, struct err *e)
{
    struct cache *c = calloc(1, sizeof *c);

    if (!c || !(c->dir = strdup(dir))) {
        free(c);
        return err_set(e, ERR_OOM, "no memory for the cache of files");
    }
    c->budget = budget_bytes;
    c->hashes = hashes;
    c->fd = -1;
    *ret_cache = c;
    return 0;
}

void cache_close(struct cache *c)
{
    if (!c)
        return;
    cache_suspend(c);
    while (c->entries) {
        struct entry *next = c->entries->next;

        if (c->entries->fd >= 0)
            close(c->entries->fd);
        free(c->entries);
        c->entries = next;
    }
    free(c->dir);
    free(c);
}

static int path_of(const struct cache *c, const char *folder, const char *sha256,
                   struct buf *ret_path, struct err *e)
{
    ret_path->size = 0;
    buf_printf(ret_path, "%s/%s%s%s", c->dir, folder, *sha256 ? "/" : "", sha256);
    return buf_check(ret_path, e);
}

int cache_path(const struct cache *c, const char *sha256, struct buf *ret_path, struct err *e)
{
    return path_of(c, "files", sha256, ret_path, e);
}

static int entry_of(struct cache *c, const char *sha256, struct entry **ret_entry, struct err *e)
{
    struct entry *x = c->entries;

    while (x && strcmp(x->sha256, sha256) != 0)
        x = x->next;
    if (!x) {
        x = calloc(1, sizeof *x);
        if (!x)
            return err_set(e, ERR_OOM, "no memory for the cache of files");
        memcpy(x->sha256, sha256, HASH_HEX_SIZE);
        x->fd = -1;
        x->next = c->entries;
        c->entries = x;
    }
    *ret_entry = x;
    return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Whether the file has the hash that it is called by; read if need be. */
static int verify(struct entry *x, const char *path, bool *ret_right, struct err *e)
{
    char hex[HASH_HEX_SIZE];
    struct stat st;
    int rc = 0;

    if (fstat(x->fd, &st) != 0)
        TRY(err_errno(e, path));
    *ret_right = S_ISREG(st.st_mode) && x->verified.st_nlink && same_file(&x->verified, &st);
    if (*ret_right || !S_ISREG(st.st_mode))
        goto out;
    TRY(hash_file(path, hex, e));
    *ret_right = strcmp(hex, x->sha256) == 0;
    if (*ret_right)
        x->verified = st;
out:
    return rc;
}

/* When it was last used, for who looks for what to remove. */
static void touch(int fd)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};

    (void)!futimens(fd, times);
}

/* Who looks it up has the file's stamp as touching it left it. */
static void note(struct cache *c, const struct entry *x)
{
    struct stat st;

    if (fstat(x->fd, &st) == 0 && same_file(&x->verified, &st))
        hash_memo_note(c->hashes, &st, x->sha256);
}

int cache_hold(struct cache *c, const char *sha256, bool *ret_here, struct err *e)
{
    struct buf path = {0};
    struct entry *x = NULL;
    bool right = false;
    int rc;

    *ret_here = false;
    TRY(entry_of(c, sha256, &x, e));
    TRY(cache_path(c, sha256, &path, e));
    if (x->fd < 0) {
        x->fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (x->fd >= 0 && flock(x->fd, LOCK_SH | LOCK_NB) != 0) { /* it is being removed */
            close(x->fd);
            x->fd = -1;
        }
    }
    if (x->fd < 0)
        goto out;
    if (verify(x, buf_text(&path), &right, e) != 0)
        right = false; /* what cannot be read is fetched again */
    if (right) {
        touch(x->fd);
        note(c, x);
        x->holds++;
        c->counts.hits++;
        *ret_here = true;
        goto out;
    }
    c->counts.damaged++;
    remove(buf_text(&path)); /* an empty folder too; what stays is told when its place is taken */
    x->holds = 0;            /* who holds it still has the open file's bytes, whatever they are */
out:
    if (rc == 0 && !*ret_here && x->fd >= 0) {
        close(x->fd);
        x->fd = -1;
    }
    buf_done(&path);
    return rc;
}

void cache_release(struct cache *c, const char *sha256)
{
    for (struct entry *x = c->entries; x; x = x->next) {
        if (strcmp(x->sha256, sha256) != 0 || x->holds == 0)
            continue;
        if (--x->holds == 0) {
            touch(x->fd);
            close(x->fd);
            x->fd = -1;
        }
        return;
    }
}

/* --- the budget --- */

struct found {
    char name[HASH_HEX_SIZE];
    uint64_t bytes;
    struct timespec used;
};

/* The files of one folder. A folder that is not there has none. */
static int list(const struct cache *c, const char *folder, struct found **files, size_t *n,
                struct err *e)
{
    struct buf path = {0};
    struct dirent *entry;
    struct stat st;
    DIR *dir = NULL;
    int rc;

    TRY(path_of(c, folder, "", &path, e));
    dir = opendir(buf_text(&path));
    while (dir && (entry = readdir(dir))) {
        struct found *grown;

        if (strlen(entry->d_name) != HASH_HEX_SIZE - 1 ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        grown = realloc(*files, (*n + 1) * sizeof *grown);
        if (!grown)
            TRY(err_set(e, ERR_OOM, "no memory for the cache of files"));
        *files = grown;
        memcpy(grown[*n].name, entry->d_name, HASH_HEX_SIZE);
        grown[*n].bytes = (uint64_t)st.st_size;
        grown[(*n)++].used = st.st_atim;
    }
out:
    if (dir)
        closedir(dir);
    buf_done(&path);
    return rc;
}

static int by_use(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* Removes a file that nobody has locked; false: somebody has. */
static bool evict(struct cache *c, const char *folder, const char *name)
{
    struct buf path = {0};
    bool gone = false;
    int fd = -1;

    if (path_of(c, folder, name, &path, NULL) == 0)
        fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        gone = unlink(buf_text(&path)) == 0;
    if (fd >= 0)
        close(fd);
    c->counts.evictions += gone && strcmp(folder, "files") == 0;
    buf_done(&path);
    return gone;
}

/* The sum of a list, without the part of that name. */
static uint64_t sum(const struct found *files, size_t n, const char *without)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].name, without) != 0)
            bytes += files[i].bytes;
    return bytes;
}

/* Abandoned parts first, then files by their last use, until `total` more fits. */
static int make_room(struct cache *c, const char *sha256, uint64_t total, struct err *e)
{
    struct found *files = NULL, *parts = NULL;
    size_t n_files = 0, n_parts = 0;
    uint64_t held;
    int rc = 0;

    TRY(list(c, "files", &files, &n_files, e));
    TRY(list(c, "parts", &parts, &n_parts, e));
    held = sum(files, n_files, "") + sum(parts, n_parts, sha256);
    for (size_t i = 0; i < n_parts && held + total > c->budget; i++)
        if (strcmp(parts[i].name, sha256) != 0 && evict(c, "parts", parts[i].name))
            held -= parts[i].bytes;
    if (n_files)
        qsort(files, n_files, sizeof *files, by_use);
    for (size_t i = 0; i < n_files && held + total > c->budget; i++)
        if (evict(c, "files", files[i].name))
            held -= files[i].bytes;
    if (held + total > c->budget)
        TRY(err_set(e, ERR_MISSING,
                    "a file of %llu bytes does not fit the cache %s: %llu bytes of its %llu are in "
                    "use (--cache-size)",
                    (unsigned long long)total, c->dir, (unsigned long long)held,
                    (unsigned long long)c->budget));
out:
    free(files);
    free(parts);
    return rc;
}

/* --- a file on its way --- */

static int make_folder(const char *path, struct err *e)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : err_errno(e, path);
}

/* DIR with the folders above it, and the two inside. */
static int make_folders(const struct cache *c, struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    for (const char *p = c->dir; (p = strchr(p + 1, '/'));) {
        path.size = 0;
        buf_append(&path, c->dir, (size_t)(p - c->dir));
        TRY(buf_check(&path, e));
        TRY(make_folder(buf_text(&path), e));
    }
    TRY(make_folder(c->dir, e));
    TRY(path_of(c, "files", "", &path, e));
    TRY(make_folder(buf_text(&path), e));
    TRY(path_of(c, "parts", "", &path, e));
    TRY(make_folder(buf_text(&path), e));
out:
    buf_done(&path);
    return rc;
}

int cache_check(const struct cache *c, struct err *e)
{
    char *path = strdup(c->dir), *slash;
    struct stat st;
    int rc = path ? 0 : err_set(e, ERR_OOM, "no memory for the cache of files");

    while (rc == 0 && stat(path, &st) != 0 && errno == ENOENT && (slash = strrchr(path, '/')) &&
           slash != path)
        *slash = 0;
    if (rc == 0 && stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        rc = err_set(e, ERR_IO, "the cache folder '%s' cannot be used: '%s' is no folder", c->dir,
                     path);
    else if (rc == 0 && access(path, W_OK | X_OK) != 0)
        rc = err_set(e, ERR_IO, "the cache folder '%s' cannot be used: %s: %s", c->dir, path,
                     strerror(errno));
    free(path);
    return rc;
}

/* What an earlier fetch wrote, hashed. */
static int resume(struct cache *c, const char *path, uint64_t total, uint64_t *ret_have,
                  struct err *e)
{
    size_t size = 1u << 20;
    char *block = malloc(size);
    struct stat st;
    ssize_t n = 0;
    int rc = 0;

    *ret_have = 0;
    if (!block)
        TRY(err_set(e, ERR_OOM, "no memory for the cache of files"));
    if (fstat(c->fd, &st) != 0)
        TRY(err_errno(e, path));
    if ((uint64_t)st.st_size >= total && ftruncate(c->fd, 0) != 0)
        TRY(err_errno(e, path));
    while ((n = read(c->fd, block, size)) > 0) {
        TRY(hash_run_add(c->run, block, (size_t)n, e));
        *ret_have += (uint64_t)n;
    }
    if (n < 0)
        TRY(err_errno(e, path));
out:
    free(block);
    return rc;
}

/* No part was ever a link, a pipe or a folder: that is somebody else's, and in the way. */
static void clear_way(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
        remove(path);
}

int cache_begin(struct cache *c, const char *sha256, uint64_t total, uint64_t *ret_have,
                struct err *e)
{
    struct buf path = {0};
    int rc;

    cache_suspend(c);
    c->counts.misses++;
    TRY(make_folders(c, e));
    TRY(make_room(c, sha256, total, e));
    TRY(path_of(c, "parts", sha256, &path, e));
    clear_way(buf_text(&path));
    c->fd = open(buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (c->fd < 0)
        TRY(err_errno(e, buf_text(&path)));
    if (flock(c->fd, LOCK_EX | LOCK_NB) != 0)
        TRY(err_set(e, ERR_CONFLICT, "another worker fetches %s", buf_text(&path)));
    TRY(hash_run_new(&c->run, e));
    TRY(resume(c, buf_text(&path), total, ret_have, e));
    memcpy(c->sha256, sha256, HASH_HEX_SIZE);
out:
    if (rc != 0)
        cache_suspend(c);
    buf_done(&path);
    return rc;
}

int cache_append(struct cache *c, const void *data, size_t size, struct err *e)
{
    const char *p = data;
    int rc = hash_run_add(c->run, data, size, e);

    while (rc == 0 && size > 0) {
        ssize_t n = write(c->fd, p, size);

        if (n < 0 && errno != EINTR)
            return err_errno(e, c->dir);
        if (n > 0) {
            p += n;
            size -= (size_t)n;
            c->counts.fetched_bytes += (uint64_t)n;
        }
    }
    return rc;
}

static int sync_folder(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0 || fsync(fd) != 0)
        rc = err_errno(e, path);
    if (fd >= 0)
        close(fd);
    return rc;
}

int cache_commit(struct cache *c, struct err *e)
{
    struct buf part = {0}, path = {0};
    char hex[HASH_HEX_SIZE];
    struct entry *x = NULL;
    int rc;

    TRY(path_of(c, "parts", c->sha256, &part, e));
    TRY(cache_path(c, c->sha256, &path, e));
    TRY(hash_run_end(c->run, hex, e));
    if (strcmp(hex, c->sha256) != 0) {
        unlink(buf_text(&part));
        TRY(err_set(e, ERR_OUTPUT, "expected SHA-256 %s, got %s", c->sha256, hex));
    }
    if (fsync(c->fd) != 0 || rename(buf_text(&part), buf_text(&path)) != 0)
        TRY(err_errno(e, buf_text(&path)));
    TRY(entry_of(c, c->sha256, &x, e));
    if (fstat(c->fd, &x->verified) != 0)
        x->verified.st_nlink = 0;
    TRY(path_of(c, "files", "", &path, e));
    TRY(sync_folder(buf_text(&path), e));
out:
    buf_done(&part);
    buf_done(&path);
    cache_suspend(c);
    return rc;
}

void cache_suspend(struct cache *c)
{
    if (c->fd >= 0)
        close(c->fd);
    hash_run_free(c->run);
    c->fd = -1;
    c->run = NULL;
}

struct cache_counts cache_counts(const struct cache *c)
{
    return c->counts;
}

int cache_put(struct cache *c, const char *sha256, const void *data, size_t size, struct err *e)
{
    struct cache_counts before = c->counts;
    uint64_t have = 0;
    bool here = false;
    int rc;

    TRY(cache_hold(c, sha256, &here, e));
    if (here) {
        cache_release(c, sha256);
        goto out;
    }
    TRY(cache_begin(c, sha256, size, &have, e));
    TRY(cache_append(c, (const char *)data + have, size - have, e));
    TRY(cache_commit(c, e));
out:
    if (rc != 0)
        cache_suspend(c);
    before.evictions = c->counts.evictions;
    before.damaged = c->counts.damaged;
    c->counts = before;
    return rc;
}
