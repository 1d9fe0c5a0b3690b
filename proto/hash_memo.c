#include "proto/hash_memo.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 256
#define FILE_MAX_BYTES (4 << 20) /* a longer one is begun anew */

/* A file that changed differs in one of these. */
struct stamp {
    uint64_t device, inode, bytes;
    int64_t mtime_ns, ctime_ns;
};

struct entry {
    struct stamp stamp;
    char sha256[HASH_HEX_SIZE];
};

struct hash_memo {
    int fd; /* of the file behind it; -1: none */
    struct {
        pthread_mutex_t mutex;
        struct entry *entries; /* [HASH_MEMO_MAX]; owned */
        size_t n, next;        /* in use; the next to be written */
        off_t read;            /* bytes of the file that are in entries */
        uint64_t read_bytes;   /* of hashed files */
    } shared;
};

static int64_t nanoseconds(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static struct stamp stamp_of(const struct stat *st)
{
    return (struct stamp){.device = (uint64_t)st->st_dev,
                          .inode = (uint64_t)st->st_ino,
                          .bytes = (uint64_t)st->st_size,
                          .mtime_ns = nanoseconds(&st->st_mtim),
                          .ctime_ns = nanoseconds(&st->st_ctim)};
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* Only its owner's word is taken. */
static int open_file(struct hash_memo *m, const char *path, struct err *e)
{
    struct stat st;

    m->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (m->fd < 0)
        return 0;
    if (fstat(m->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return err_set(e, ERR_CONFLICT, "'%s': others than this user could write these hashes",
                       path);
    if (st.st_size > FILE_MAX_BYTES && ftruncate(m->fd, 0) != 0) {
        close(m->fd);
        m->fd = -1;
    }
    return 0;
}

int hash_memo_new(const char *file, struct hash_memo **ret_memo, struct err *e)
{
    struct hash_memo *m = calloc(1, sizeof *m);
    int rc = 0;

    if (!m)
        return err_set(e, ERR_OOM, "no memory for the files' hashes");
    m->fd = -1;
    pthread_mutex_init(&m->shared.mutex, NULL);
    m->shared.entries = calloc(HASH_MEMO_MAX, sizeof *m->shared.entries);
    if (!m->shared.entries)
        TRY(err_set(e, ERR_OOM, "no memory for the files' hashes"));
    if (file)
        TRY(open_file(m, file, e));
    *ret_memo = m;
    m = NULL;
out:
    hash_memo_free(m);
    return rc;
}

void hash_memo_free(struct hash_memo *m)
{
    if (!m)
        return;
    if (m->fd >= 0)
        close(m->fd);
    pthread_mutex_destroy(&m->shared.mutex);
    free(m->shared.entries);
    free(m);
}

/* --- with the mutex held --- */

static struct entry *find(struct hash_memo *m, const struct stamp *stamp)
{
    for (size_t i = 0; i < m->shared.n; i++)
        if (same(&m->shared.entries[i].stamp, stamp))
            return &m->shared.entries[i];
    return NULL;
}

static void remember(struct hash_memo *m, const struct stamp *stamp, const char *hex)
{
    struct entry *x = find(m, stamp);

    if (!x) {
        x = &m->shared.entries[m->shared.next++ % HASH_MEMO_MAX];
        if (m->shared.n < HASH_MEMO_MAX)
            m->shared.n++;
    }
    x->stamp = *stamp;
    memcpy(x->sha256, hex, HASH_HEX_SIZE);
}

/* A line that a dying process left unfinished, or anything else, says nothing. */
static void read_line(struct hash_memo *m, const char *line)
{
    unsigned long long device, inode, bytes;
    long long mtime_ns, ctime_ns;
    char hex[HASH_HEX_SIZE];
    int end = 0;

    if (sscanf(line, "%64[0-9a-f] %llu %llu %llu %lld %lld%n", hex, &device, &inode, &bytes,
               &mtime_ns, &ctime_ns, &end) != 6 ||
        strlen(hex) != HASH_HEX_SIZE - 1 || line[end] != 0)
        return;
    remember(m, &(struct stamp){device, inode, bytes, mtime_ns, ctime_ns}, hex);
}

/* What other processes have added since. */
static void catch_up(struct hash_memo *m)
{
    char text[16 * LINE_MAX_BYTES];
    ssize_t n;

    while (m->fd >= 0 && (n = pread(m->fd, text, sizeof text - 1, m->shared.read)) > 0) {
        char *line = text, *end;

        text[n] = 0;
        while ((end = memchr(line, '\n', (size_t)(text + n - line)))) {
            *end = 0;
            read_line(m, line);
            line = end + 1;
        }
        if (line == text && n < (ssize_t)sizeof text - 1)
            break; /* a line that is being written */
        m->shared.read += line == text ? n : line - text;
    }
}

static bool look_up(struct hash_memo *m, const struct stat *st, char ret_hex[HASH_HEX_SIZE])
{
    const struct stamp stamp = stamp_of(st);
    struct entry *x;

    pthread_mutex_lock(&m->shared.mutex);
    x = find(m, &stamp);
    if (!x) {
        catch_up(m);
        x = find(m, &stamp);
    }
    if (x)
        memcpy(ret_hex, x->sha256, HASH_HEX_SIZE);
    pthread_mutex_unlock(&m->shared.mutex);
    return x != NULL;
}

/* --- */

bool hash_memo_settled(const struct stat *st)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return nanoseconds(&now) - nanoseconds(&st->st_ctim) > HASH_MEMO_YOUNG_S * INT64_C(1000000000);
}

void hash_memo_note(struct hash_memo *m, const struct stat *st, const char *hex)
{
    const struct stamp stamp = stamp_of(st);

    if (!m)
        return;
    pthread_mutex_lock(&m->shared.mutex);
    remember(m, &stamp, hex);
    pthread_mutex_unlock(&m->shared.mutex);
}

void hash_memo_share(struct hash_memo *m, const struct stat *st, const char *hex)
{
    const struct stamp s = stamp_of(st);
    char line[LINE_MAX_BYTES];
    int n;

    hash_memo_note(m, st, hex);
    if (!m || m->fd < 0)
        return;
    n = snprintf(line, sizeof line, "%s %llu %llu %llu %lld %lld\n", hex,
                 (unsigned long long)s.device, (unsigned long long)s.inode,
                 (unsigned long long)s.bytes, (long long)s.mtime_ns, (long long)s.ctime_ns);
    if (write(m->fd, line, (size_t)n) < 0)
        return; /* others read the file themselves */
}

static void count(struct hash_memo *m, uint64_t bytes)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->shared.mutex);
    m->shared.read_bytes += bytes;
    pthread_mutex_unlock(&m->shared.mutex);
}

uint64_t hash_memo_read_bytes(struct hash_memo *m)
{
    uint64_t bytes;

    pthread_mutex_lock(&m->shared.mutex);
    bytes = m->shared.read_bytes;
    pthread_mutex_unlock(&m->shared.mutex);
    return bytes;
}

int hash_memo_file(struct hash_memo *m, const char *path, char ret_hex[HASH_HEX_SIZE],
                   struct err *e)
{
    struct stat before, after;
    struct stamp a, b;
    char hex[HASH_HEX_SIZE];
    bool settled, changed;
    int rc = 0;

    if (stat(path, &before) != 0)
        TRY(err_errno(e, path));
    if (!S_ISREG(before.st_mode))
        TRY(err_set(e, ERR_INPUT, "'%s' is no regular file", path));
    if (m && look_up(m, &before, ret_hex))
        return 0;
    settled = hash_memo_settled(&before);
    TRY(hash_file(path, hex, e));
    count(m, (uint64_t)before.st_size);
    if (stat(path, &after) != 0)
        TRY(err_errno(e, path));
    a = stamp_of(&before);
    b = stamp_of(&after);
    changed = !same(&a, &b);
    b.ctime_ns = a.ctime_ns; /* such as a link made to it */
    if (!same(&a, &b))
        TRY(err_set(e, ERR_INPUT, "'%s' changed while it was read", path));
    if (settled && !changed)
        hash_memo_share(m, &before, hex);
    memcpy(ret_hex, hex, HASH_HEX_SIZE);
out:
    return rc;
}
