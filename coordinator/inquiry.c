#include "coordinator/inquiry.h"

#include "jobs/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCAN_DEPTH 3 /* folders below a directory of the library, in which a hash is looked for */

struct inquiry {
    struct inquiry *next;
    struct asset_answer answer; /* so far */
    struct failed {             /* files that could not be hashed, of a scan or of this asset */
        struct failed *next;
        struct err why;
        char *path;
    } * failed;
};

/* A file that is read. */
struct hashing {
    struct hashing *next;
    char *path;
    int fd; /* -1: not open yet */
    struct file_stamp stamp;
    struct stat found; /* when reading began */
    bool settled;      /* then */
    struct hash_run *run;
    uint64_t done;
};

static void hashing_free(struct hashing *h)
{
    if (h->fd >= 0)
        close(h->fd);
    hash_run_free(h->run);
    free(h->path);
    free(h);
}

static void inquiry_free(struct inquiry *i)
{
    while (i->failed) {
        struct failed *next = i->failed->next;

        free(i->failed->path);
        free(i->failed);
        i->failed = next;
    }
    asset_answer_done(&i->answer);
    free(i);
}

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "no memory for a look at a file");
}

static int enqueue(struct inquiries *q, const char *path, uint64_t bytes, struct err *e)
{
    struct hashing *h;

    for (h = q->first; h; h = h->next)
        if (strcmp(h->path, path) == 0)
            return 0;
    h = calloc(1, sizeof *h);
    if (!h || !(h->path = strdup(path))) {
        free(h);
        return no_memory(e);
    }
    h->fd = -1;
    h->stamp.bytes = bytes;
    if (!q->first)
        q->last = &q->first;
    *q->last = h;
    q->last = &h->next;
    return 0;
}

static const struct err *failure_of(const struct inquiry *i, const char *path)
{
    for (const struct failed *f = i->failed; f; f = f->next)
        if (strcmp(f->path, path) == 0)
            return &f->why;
    return NULL;
}

/* The hash of a file; "" if it is to be read first. */
static int hash_of(struct inquiries *q, const struct inquiry *i, const char *path,
                   char ret_hex[HASH_HEX_SIZE], uint64_t *ret_bytes, struct err *e)
{
    const struct err *why = failure_of(i, path);
    struct file_stamp stamp;
    int rc;

    ret_hex[0] = 0;
    if (why)
        return err_set(e, why->code, "%s", why->text);
    TRY(file_stamp(path, &stamp, e));
    *ret_bytes = stamp.bytes;
    TRY(files_get(q->files, path, &stamp, ret_hex, e));
    if (!ret_hex[0])
        TRY(enqueue(q, path, stamp.bytes, e));
out:
    return rc;
}

/* --- from a name to a path --- */

static int itself(const char *path, struct buf *ret_path, struct err *e)
{
    if (*path != '/')
        return err_set(e, ERR_MISSING, "'%s' is no absolute path", path);
    buf_puts(ret_path, path);
    return buf_check(ret_path, e);
}

static int path_by_name(const struct inquiries *q, enum asset_role role, const char *name,
                        struct buf *ret_path, struct err *e)
{
    switch (role) {
    case ASSET_MODEL:
        return library_find(q->library, name, ret_path, e);
    case ASSET_CONFIG:
        return library_find_config(q->library, name, ret_path, e);
    case ASSET_VAE:
        return library_find_vae(q->library, name, ret_path, e);
    case ASSET_LORA:
        return *name == '/' ? itself(name, ret_path, e)
                            : library_find_lora(q->library, name, ret_path, e);
    case ASSET_EMBEDDING:
        return *name == '/' ? itself(name, ret_path, e)
                            : library_find_embedding(q->library, name, ret_path, e);
    default:
        return itself(name, ret_path, e);
    }
}

/* Every weights file below a folder of the library is hashed: one of them may be meant. */
static int scan_folder(struct inquiries *q, const struct inquiry *i, const char *folder, int depth,
                       bool *ret_waits, struct err *e)
{
    char hex[HASH_HEX_SIZE];
    struct buf path = {0};
    struct dirent *entry;
    struct stat st;
    uint64_t bytes;
    DIR *dir = opendir(folder);
    int rc = 0;

    while (dir && (entry = readdir(dir))) {
        size_t size = strlen(entry->d_name);

        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
            continue;
        path.size = 0;
        buf_printf(&path, "%s/%s", folder, entry->d_name);
        TRY(buf_check(&path, e));
        if (S_ISDIR(st.st_mode) && depth < SCAN_DEPTH)
            TRY(scan_folder(q, i, buf_text(&path), depth + 1, ret_waits, e));
        if (!S_ISREG(st.st_mode) || size < 13 ||
            strcmp(entry->d_name + size - 12, ".safetensors") != 0)
            continue;
        if (hash_of(q, i, buf_text(&path), hex, &bytes, NULL) == 0 && !hex[0])
            *ret_waits = true;
    }
out:
    if (dir)
        closedir(dir);
    buf_done(&path);
    return rc;
}

static int scan(struct inquiries *q, struct inquiry *i, bool *ret_waits, struct err *e)
{
    const char *const *d = library_directories(q->library);
    int rc = 0;

    for (; *d; d++)
        TRY(scan_folder(q, i, *d, 0, ret_waits, e));
out:
    return rc;
}

static int path_by_hash(struct inquiries *q, struct inquiry *i, const char *hex, bool *ret_waits,
                        struct buf *ret_path, struct err *e)
{
    uint64_t bytes;
    int rc = files_get_listing(q->files, hex, ret_path, NULL, e);

    if (rc == ERR_MISSING)
        rc = files_find(q->files, hex, ret_path, &bytes, e);
    if (rc != ERR_MISSING || i->answer.role == ASSET_INIT || i->answer.role == ASSET_MASK)
        return rc;
    rc = scan(q, i, ret_waits, e);
    return rc ? rc : *ret_waits ? 0 : files_find(q->files, hex, ret_path, &bytes, e);
}

/* --- from a path to hashes --- */

struct gather {
    struct inquiries *q;
    const struct inquiry *i;
    const char *folder;
    struct listing *l;
    bool waits;
};

static int gather_file(void *user, const char *relative, struct err *e)
{
    struct gather *g = user;
    char hex[HASH_HEX_SIZE];
    struct buf path = {0};
    uint64_t bytes;
    int rc;

    buf_printf(&path, "%s/%s", g->folder, relative);
    TRY(buf_check(&path, e));
    TRY(hash_of(g->q, g->i, buf_text(&path), hex, &bytes, e));
    if (hex[0])
        TRY(listing_add(g->l, relative, hex, bytes, e));
    else
        g->waits = true;
out:
    buf_done(&path);
    return rc;
}

static int gather_folder(struct inquiries *q, struct inquiry *i, const char *path, bool *ret_waits,
                         struct err *e)
{
    struct asset_answer *a = &i->answer;
    enum folder_kind kind = a->role == ASSET_MODEL    ? FOLDER_MODEL
                            : a->role == ASSET_CONFIG ? FOLDER_CONFIG
                                                      : FOLDER_PART;
    struct gather g = {.q = q, .i = i, .folder = path, .l = &a->files};
    struct buf text = {0};
    int rc;

    TRY(folder_files(path, kind, gather_file, &g, e));
    *ret_waits |= g.waits;
    if (g.waits)
        goto out;
    TRY(listing_text(&a->files, &text, e));
    TRY(hash_bytes(text.data, text.size, a->sha256, e));
    TRY(files_put_listing(q->files, a->sha256, path, &text, e));
    a->folder = true;
    a->bytes = listing_bytes(&a->files);
out:
    buf_done(&text);
    return rc;
}

/* The first bytes of a file, zeros where it is shorter. */
static int read_start(const char *path, unsigned char *b, size_t size, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, b, size);
    int rc = n < 0 ? err_errno(e, path) : 0;

    if (fd >= 0)
        close(fd);
    return rc;
}

/* Paths come from whoever submits jobs: what is no picture leaves this machine under no such name,
 * and what is no safetensors file under no LoRA's. */
static int check_picture(const char *path, struct err *e)
{
    unsigned char b[12] = {0};
    int rc = read_start(path, b, sizeof b, e);

    if (rc == 0 && memcmp(b, "\x89PNG", 4) != 0 && memcmp(b, "\xff\xd8\xff", 3) != 0 &&
        (memcmp(b, "RIFF", 4) != 0 || memcmp(b + 8, "WEBP", 4) != 0))
        rc = err_set(e, ERR_INPUT, "'%s' is no PNG, JPEG or WebP file", path);
    return rc;
}

/* 8 bytes of a length below 4 GiB, then a JSON object. */
static int check_tensors(const char *path, struct err *e)
{
    unsigned char b[9] = {0};
    int rc = read_start(path, b, sizeof b, e);

    if (rc == 0 && (b[8] != '{' || b[4] || b[5] || b[6] || b[7]))
        rc = err_set(e, ERR_INPUT, "'%s' is no safetensors file", path);
    return rc;
}

static int gather_one(struct inquiries *q, struct inquiry *i, const char *path, bool *ret_waits,
                      struct err *e)
{
    struct asset_answer *a = &i->answer;
    int rc = 0;

    if (a->role == ASSET_INIT || a->role == ASSET_MASK)
        TRY(check_picture(path, e));
    if ((a->role == ASSET_LORA || a->role == ASSET_EMBEDDING) && a->name[0] == '/')
        TRY(check_tensors(path, e));
    TRY(hash_of(q, i, path, a->sha256, &a->bytes, e));
    if (!a->sha256[0])
        *ret_waits = true;
    else
        TRY(listing_add(&a->files, a->label, a->sha256, a->bytes, e));
out:
    return rc;
}

static int label_set(struct asset_answer *a, const char *path, struct err *e)
{
    bool named = (a->role == ASSET_LORA || a->role == ASSET_EMBEDDING) && a->name[0] != '/';
    const char *slash = strrchr(path, '/'), *label = named ? a->name : slash ? slash + 1 : path;

    if (!asset_name_is_safe(label, strlen(label)))
        return err_set(e, ERR_INPUT, "'%s' cannot be sent: its name would not be safe elsewhere",
                       path);
    a->label = strdup(label);
    return a->label ? 0 : no_memory(e);
}

static int add_name(void *user, const char *name, struct err *e)
{
    static const char none[HASH_HEX_SIZE] =
        "0000000000000000000000000000000000000000000000000000000000000000";
    struct asset_answer *a = user;

    for (size_t k = 0; k < a->files.n; k++)
        if (strcmp(a->files.files[k].path, name) == 0)
            return 0;
    if (a->files.n == LISTING_FILES_MAX || !asset_name_is_safe(name, strlen(name)))
        return 0; /* the worker's own library remains */
    return listing_add(&a->files, name, none, 0, e);
}

/* From the beginning: what was hashed meanwhile is known now. */
static int look(struct inquiries *q, struct inquiry *i, bool *ret_waits, struct err *e)
{
    struct asset_answer *a = &i->answer;
    const char *hex = asset_hash_of(a->name);
    struct buf path = {0};
    struct stat st;
    int rc;

    listing_done(&a->files);
    free(a->label);
    a->label = NULL;
    if (a->role == ASSET_NAMES)
        return library_embeddings(q->library, add_name, a, e);
    if (hex)
        TRY(path_by_hash(q, i, hex, ret_waits, &path, e));
    else
        TRY(path_by_name(q, a->role, a->name, &path, e));
    if (*ret_waits)
        goto out;
    TRY(label_set(a, buf_text(&path), e));
    if (stat(buf_text(&path), &st) != 0)
        TRY(err_errno(e, buf_text(&path)));
    if (S_ISDIR(st.st_mode) && a->role <= ASSET_VAE)
        TRY(gather_folder(q, i, buf_text(&path), ret_waits, e));
    else
        TRY(gather_one(q, i, buf_text(&path), ret_waits, e));
    if (hex && !*ret_waits && strcmp(hex, a->sha256) != 0)
        TRY(err_set(e, ERR_MISSING, "'%s' changed: it was %.12s..., it is %.12s...",
                    buf_text(&path), hex, a->sha256));
out:
    buf_done(&path);
    return rc;
}

/* false: it waits for hashes. */
static bool advance(struct inquiries *q, struct inquiry *i)
{
    bool waits = false;

    i->answer.failure = (struct err){0};
    if (look(q, i, &waits, &i->answer.failure) == 0) {
        if (waits)
            return false;
        i->answer.failure.code = 0;
    }
    q->answer(q->user, &i->answer);
    inquiry_free(i);
    return true;
}

void inquiries_add(struct inquiries *q, enum asset_role role, const char *name)
{
    struct inquiry *i = calloc(1, sizeof *i);

    if (!i || !(i->answer.name = strdup(name))) {
        free(i);
        return; /* asked again when no answer comes */
    }
    i->answer.role = role;
    if (advance(q, i))
        return;
    i->next = q->open;
    q->open = i;
}

bool inquiries_busy(const struct inquiries *q)
{
    return q->first != NULL;
}

/* --- hashing --- */

static int hashing_begin(struct hashing *h, struct err *e)
{
    int rc = 0;

    h->fd = open(h->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (h->fd < 0 || fstat(h->fd, &h->found) != 0)
        TRY(err_errno(e, h->path));
    h->stamp = file_stamp_of(&h->found);
    h->settled = hash_memo_settled(&h->found);
    TRY(hash_run_new(&h->run, e));
out:
    return rc;
}

static int hashing_end(struct inquiries *q, struct hashing *h, struct err *e)
{
    char hex[HASH_HEX_SIZE];
    struct file_stamp now;
    int rc;

    TRY(hash_run_end(h->run, hex, e));
    TRY(file_stamp(h->path, &now, e));
    if (!file_stamp_equal(&h->stamp, &now) || h->done != now.bytes)
        TRY(err_set(e, ERR_MISSING, "'%s' changed while it was read", h->path));
    TRY(files_put(q->files, h->path, &h->stamp, hex, e));
    if (h->settled)
        hash_memo_share(q->hashes, &h->found, hex);
    q->hashed_files++;
out:
    return rc;
}

/* One slice; ret_over: that was the last one. */
static int hashing_step(struct inquiries *q, struct hashing *h, bool *ret_over, struct err *e)
{
    size_t size = 1u << 20;
    char *block = malloc(size);
    int rc = 0;

    if (!block)
        return no_memory(e);
    if (h->fd < 0)
        TRY(hashing_begin(h, e));
    for (uint64_t end = h->done + INQUIRY_SLICE; h->done < end;) {
        ssize_t n = read(h->fd, block, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            TRY(err_errno(e, h->path));
        if (n == 0) {
            *ret_over = true;
            TRY(hashing_end(q, h, e));
            break;
        }
        TRY(hash_run_add(h->run, block, (size_t)n, e));
        h->done += (uint64_t)n;
        q->hashed_bytes += (uint64_t)n;
    }
out:
    free(block);
    return rc;
}

/* Told to everybody who waits: whoever needs the file fails with it. */
static void note_failure(struct inquiries *q, const char *path, const struct err *why)
{
    for (struct inquiry *i = q->open; i; i = i->next) {
        struct failed *f = calloc(1, sizeof *f);

        if (!f || !(f->path = strdup(path))) {
            free(f);
            continue;
        }
        f->why = *why;
        f->next = i->failed;
        i->failed = f;
    }
}

static void advance_all(struct inquiries *q)
{
    struct inquiry *i = q->open, *next;

    q->open = NULL;
    for (; i; i = next) {
        next = i->next;
        if (advance(q, i))
            continue;
        i->next = q->open;
        q->open = i;
    }
}

void inquiries_step(struct inquiries *q)
{
    struct hashing *h = q->first;
    struct err why = {0};
    bool over = false;

    if (!h)
        return;
    if (hashing_step(q, h, &over, &why) != 0) {
        note_failure(q, h->path, &why);
        over = true;
    }
    if (!over)
        return;
    q->first = h->next;
    hashing_free(h);
    advance_all(q);
}

uint64_t inquiries_progress(const struct inquiries *q, uint64_t *ret_total)
{
    uint64_t done = 0;

    *ret_total = 0;
    for (const struct hashing *h = q->first; h; h = h->next) {
        done += h->done;
        *ret_total += h->stamp.bytes;
    }
    return done;
}

void inquiries_done(struct inquiries *q)
{
    while (q->open) {
        struct inquiry *next = q->open->next;

        inquiry_free(q->open);
        q->open = next;
    }
    while (q->first) {
        struct hashing *next = q->first->next;

        hashing_free(q->first);
        q->first = next;
    }
}
