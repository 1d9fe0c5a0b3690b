#include "proto/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void to_hex(const unsigned char *digest, char *ret_hex)
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 32; i++) {
        ret_hex[2 * i] = digits[digest[i] >> 4];
        ret_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_hex[64] = 0;
}

int hash_bytes(const void *data, size_t size_bytes, char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (!EVP_Digest(data, size_bytes, digest, NULL, EVP_sha256(), NULL))
        return err_set(e, ERR_INTERNAL, "SHA-256 is not available in libcrypto");
    to_hex(digest, ret_hex);
    return 0;
}

static int hash_fd(int fd, EVP_MD_CTX *ctx, char *chunk, size_t chunk_size, const char *path,
                   struct err *e)
{
    ssize_t n;

    while ((n = read(fd, chunk, chunk_size)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, path);
        if (!EVP_DigestUpdate(ctx, chunk, (size_t)n))
            return err_set(e, ERR_INTERNAL, "%s: SHA-256 failed", path);
    }
    return 0;
}

int hash_file(const char *path, char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    enum { CHUNK = 1 << 20 };
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    char *chunk = malloc(CHUNK);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would be waited for */
    struct stat st;
    int rc = 0;

    if (fd < 0 || fstat(fd, &st) != 0)
        TRY(err_errno(e, path));
    if (!S_ISREG(st.st_mode))
        TRY(err_set(e, ERR_INPUT, "%s: not a regular file", path));
    if (!ctx || !chunk || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
        TRY(err_set(e, ERR_OOM, "%s: no memory for SHA-256", path));
    TRY(hash_fd(fd, ctx, chunk, CHUNK, path, e));
    if (!EVP_DigestFinal_ex(ctx, digest, NULL))
        TRY(err_set(e, ERR_INTERNAL, "%s: SHA-256 failed", path));
    to_hex(digest, ret_hex);
out:
    if (fd >= 0)
        close(fd);
    free(chunk);
    EVP_MD_CTX_free(ctx);
    return rc;
}

/* The two types are one: OpenSSL's header stays in this file. */
static EVP_MD_CTX *context(struct hash_run *run)
{
    return (EVP_MD_CTX *)run;
}

int hash_run_new(struct hash_run **ret_run, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(ctx);
        return err_set(e, ERR_OOM, "no memory for SHA-256");
    }
    *ret_run = (struct hash_run *)ctx;
    return 0;
}

int hash_run_add(struct hash_run *run, const void *data, size_t size_bytes, struct err *e)
{
    return EVP_DigestUpdate(context(run), data, size_bytes)
               ? 0
               : err_set(e, ERR_INTERNAL, "SHA-256 failed");
}

int hash_run_end(struct hash_run *run, char ret_hex[HASH_HEX_SIZE], struct err *e)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (!EVP_DigestFinal_ex(context(run), digest, NULL))
        return err_set(e, ERR_INTERNAL, "SHA-256 failed");
    to_hex(digest, ret_hex);
    return 0;
}

void hash_run_free(struct hash_run *run)
{
    EVP_MD_CTX_free(context(run));
}
