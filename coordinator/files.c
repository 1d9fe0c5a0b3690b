#include "coordinator/files.h"

#include "coordinator/sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION 1

struct files {
    sqlite3 *db;
    struct sql_cache statements;
};

static const char schema[] =
    "CREATE TABLE files (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, "
    "inode INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX files_sha256 ON files (sha256);"
    "CREATE TABLE listings (sha256 TEXT PRIMARY KEY, path TEXT NOT NULL, text BLOB NOT NULL) "
    "WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

struct file_stamp file_stamp_of(const struct stat *st)
{
    return (struct file_stamp){.bytes = (uint64_t)st->st_size,
                               .mtime_ns =
                                   (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
                               .inode = (uint64_t)st->st_ino};
}

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->bytes == b->bytes && a->mtime_ns == b->mtime_ns && a->inode == b->inode;
}

int file_stamp(const char *path, struct file_stamp *ret_stamp, struct err *e)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return err_errno(e, path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INPUT, "'%s' is no regular file", path);
    *ret_stamp = file_stamp_of(&st);
    return 0;
}

static int database_open(const char *path, sqlite3 **ret_db, struct err *e)
{
    int64_t version;
    int rc;

    if (sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        return sql_err(*ret_db, e);
    sqlite3_extended_result_codes(*ret_db, 1);
    TRY(sql_run(*ret_db, "PRAGMA journal_mode = WAL", e));
    TRY(sql_run(*ret_db, "PRAGMA synchronous = NORMAL", e)); /* what is lost is found again */
    TRY(sql_int(*ret_db, "PRAGMA user_version", &version, e));
    if (version == 0)
        TRY(sql_run(*ret_db, schema, e));
    else if (version != VERSION)
        rc = err_set(e, ERR_CONFLICT, "%s is of version %lld", path, (long long)version);
out:
    return rc;
}

static void remove_database(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    struct buf name = {0};

    for (int i = 0; i < 3; i++) {
        name.size = 0;
        buf_printf(&name, "%s%s", path, ends[i]);
        unlink(buf_text(&name));
    }
    buf_done(&name);
}

/* A disk that refuses must not hold up anything: what is known is kept in memory from now on. */
static int to_memory(struct files *f, struct err *e)
{
    sql_cache_done(&f->statements);
    sqlite3_close(f->db);
    f->db = NULL;
    f->statements = (struct sql_cache){0};
    return database_open(":memory:", &f->db, e);
}

int files_open(const char *state_dir, struct files **ret_files, struct err *e)
{
    struct files *f = calloc(1, sizeof *f);
    struct buf path = {0};
    int rc;

    if (!f)
        return err_set(e, ERR_OOM, "no memory for the files' hashes");
    buf_printf(&path, "%s/files.db", state_dir);
    TRY(buf_check(&path, e));
    rc = database_open(buf_text(&path), &f->db, e);
    if (rc != 0 && rc != ERR_IO && rc != ERR_OOM) {
        sqlite3_close(f->db);
        f->db = NULL;
        remove_database(buf_text(&path));
        rc = database_open(buf_text(&path), &f->db, e);
    }
    if (rc == ERR_IO) {
        remove_database(buf_text(&path));
        rc = to_memory(f, e);
    }
    TRY(rc);
    *ret_files = f;
    f = NULL;
out:
    files_close(f);
    buf_done(&path);
    return rc;
}

void files_close(struct files *f)
{
    if (!f)
        return;
    sql_cache_done(&f->statements);
    sqlite3_close(f->db);
    free(f);
}

int files_get(struct files *f, const char *path, const struct file_stamp *stamp,
              char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    ret_hex[0] = 0;
    TRY(sql_prepare(f->db, &f->statements,
                    "SELECT sha256 FROM files WHERE path = ? AND bytes = ? AND mtime_ns = ? AND "
                    "inode = ?",
                    &q, e));
    sql_bind_text(&q, path);
    sql_bind_int(&q, (int64_t)stamp->bytes);
    sql_bind_int(&q, stamp->mtime_ns);
    sql_bind_int(&q, (int64_t)stamp->inode);
    TRY(sql_step(&q, &row, e));
    if (row)
        snprintf(ret_hex, HASH_HEX_SIZE, "%s", sql_get_text(&q, 0));
out:
    sql_reset(&q);
    return rc;
}

static int put(struct files *f, const char *path, const struct file_stamp *stamp, const char *hex,
               struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(f->db, &f->statements,
                    "INSERT OR REPLACE INTO files (path, bytes, mtime_ns, inode, sha256) "
                    "VALUES (?, ?, ?, ?, ?)",
                    &q, e));
    sql_bind_text(&q, path);
    sql_bind_int(&q, (int64_t)stamp->bytes);
    sql_bind_int(&q, stamp->mtime_ns);
    sql_bind_int(&q, (int64_t)stamp->inode);
    sql_bind_text(&q, hex);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

int files_put(struct files *f, const char *path, const struct file_stamp *stamp, const char *hex,
              struct err *e)
{
    int rc = put(f, path, stamp, hex, e);

    if (rc == ERR_IO && (rc = to_memory(f, e)) == 0)
        rc = put(f, path, stamp, hex, e);
    return rc;
}

int files_find(struct files *f, const char *hex, struct buf *ret_path, uint64_t *ret_bytes,
               struct err *e)
{
    struct buf gone = {0};
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(f->db, &f->statements,
                    "SELECT path, bytes, mtime_ns, inode FROM files WHERE sha256 = ?", &q, e));
    sql_bind_text(&q, hex);
    for (;;) {
        struct file_stamp was, now = {0};

        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        was = (struct file_stamp){.bytes = (uint64_t)sql_get_int(&q, 1),
                                  .mtime_ns = sql_get_int(&q, 2),
                                  .inode = (uint64_t)sql_get_int(&q, 3)};
        if (file_stamp(sql_get_text(&q, 0), &now, NULL) == 0 && file_stamp_equal(&was, &now)) {
            buf_puts(ret_path, sql_get_text(&q, 0));
            *ret_bytes = was.bytes;
            rc = buf_check(ret_path, e);
            goto out;
        }
        if (gone.size < 600)
            buf_printf(&gone, "%s'%s'", gone.size ? ", " : "", sql_get_text(&q, 0));
    }
    rc = gone.size ? err_set(e, ERR_MISSING, "%s changed or went away: it was %.12s...",
                             buf_text(&gone), hex)
                   : err_set(e, ERR_MISSING, "no file with the hash %s is known", hex);
out:
    sql_reset(&q);
    buf_done(&gone);
    return rc;
}

static int put_listing(struct files *f, const char *hex, const char *path, const struct buf *text,
                       struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(f->db, &f->statements,
                    "INSERT OR REPLACE INTO listings (sha256, path, text) VALUES (?, ?, ?)", &q,
                    e));
    sql_bind_text(&q, hex);
    sql_bind_text(&q, path);
    sql_bind_blob(&q, text->data, text->size);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

int files_put_listing(struct files *f, const char *hex, const char *path, const struct buf *text,
                      struct err *e)
{
    int rc = put_listing(f, hex, path, text, e);

    if (rc == ERR_IO && (rc = to_memory(f, e)) == 0)
        rc = put_listing(f, hex, path, text, e);
    return rc;
}

int files_get_listing(struct files *f, const char *hex, struct buf *ret_path, struct buf *ret_text,
                      struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(f->db, &f->statements, "SELECT path, text FROM listings WHERE sha256 = ?", &q,
                    e));
    sql_bind_text(&q, hex);
    TRY(sql_step(&q, &row, e));
    if (!row)
        TRY(err_set(e, ERR_MISSING, "no folder with the hash %s is known", hex));
    if (ret_path)
        buf_puts(ret_path, sql_get_text(&q, 0));
    if (ret_text)
        buf_append(ret_text, sql_get_blob(&q, 1), sql_get_size(&q, 1));
    rc = ret_path ? buf_check(ret_path, e) : 0;
    if (rc == 0 && ret_text)
        rc = buf_check(ret_text, e);
out:
    sql_reset(&q);
    return rc;
}
