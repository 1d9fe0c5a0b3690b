/*
 * For tests of whole models: copies of a recorded model folder with one thing changed. A copy is
 * symbolic links to the original's files, but for the file that the test rewrites.
 */
#ifndef TESTS_ENGINE_FOLDERS_H
#define TESTS_ENGINE_FOLDERS_H

#include "proto/buf.h"
#include "proto/json.h"
#include "tests/engine/models.h"
#include "tests/engine/nets.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_SIZE 512

static inline void write_file(const char *path, const void *data, size_t size)
{
    FILE *f;

    unlink(path); /* it may be a link to the original */
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline void read_file(const char *path, struct buf *ret_data)
{
    assert_ok(buf_read_file(ret_data, path, 64u << 20, e));
}

/* Links in folder TO to every file of folder FROM; subfolders are made. */
static inline void folder_link(const char *from, const char *to)
{
    char source[PATH_MAX], path[PATH_MAX];
    struct dirent *entry;
    DIR *d = opendir(from);

    assert_non_null(d);
    assert_true(mkdir(to, 0777) == 0 || errno == EEXIST);
    while ((entry = readdir(d)) != NULL) {
        struct stat st;

        if (entry->d_name[0] == '.')
            continue;
        assert_ok(part_path(source, from, entry->d_name, e));
        assert_ok(part_path(path, to, entry->d_name, e));
        assert_int_equal(stat(source, &st), 0);
        if (S_ISDIR(st.st_mode))
            folder_link(source, path);
        else
            assert_int_equal(symlink(source, path), 0);
    }
    closedir(d);
}

static inline void folder_remove(const char *folder)
{
    struct dirent *entry;
    DIR *d = opendir(folder);

    if (d == NULL)
        return;
    while ((entry = readdir(d)) != NULL) {
        char path[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        assert_ok(part_path(path, folder, entry->d_name, e));
        if (unlink(path) != 0)
            folder_remove(path);
    }
    closedir(d);
    assert_int_equal(rmdir(folder), 0);
}

/* BINARY_DIR/models-test/NAME: links to every file of GOLDEN_DIR/models/MODEL, nothing else. */
static inline void folder_make(char ret_folder[FOLDER_SIZE], const char *model, const char *name)
{
    char from[FOLDER_SIZE];

    mkdir(BINARY_DIR "/models-test", 0777);
    /* One folder per process: tests may run side by side. */
    snprintf(ret_folder, FOLDER_SIZE, BINARY_DIR "/models-test/%s-%ld", name, (long)getpid());
    folder_remove(ret_folder);
    snprintf(from, sizeof from, GOLDEN_DIR "/models/%s", model);
    folder_link(from, ret_folder);
}

/* Sets key of a JSON file to value (JSON text); NULL removes it. */
static inline void folder_set(const char *folder, const char *file, const char *key,
                              const char *value)
{
    char path[2 * FOLDER_SIZE], *text;
    json_t *root = NULL;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    assert_ok(json_read_file(path, &root, e));
    if (value == NULL)
        assert_int_equal(json_object_del(root, key), 0);
    else
        assert_int_equal(json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL)),
                         0);
    text = json_dumps(root, 0);
    assert_non_null(text);
    write_file(path, text, strlen(text));
    free(text);
    json_decref(root);
}

/* How folder_rewrite writes a safetensors file again. */
struct rewrite {
    /* New name of a tensor in ret_name; NULL: as it was. */
    void (*rename)(const char *name, char ret_name[256]);
    bool float32;     /* numbers as float32, else as they are */
    bool convolution; /* [out, in] as [out, in, 1, 1] where the new name differs */
};

static inline void folder_rewrite(const char *folder, const char *file, const struct rewrite *how)
{
    struct buf data = {0}, all = {0};
    json_t *header = json_object();
    struct weights *w = NULL;
    char path[2 * FOLDER_SIZE], name[256], *text;
    uint64_t size;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    assert_ok(weights_open(path, &w, e));
    for (size_t i = 0; i < weights_count(w); i++) {
        json_t *shape = json_array(), *entry;
        size_t begin = data.size, n;
        struct tensor t;
        float *values;

        assert_true(weights_find(w, weights_name(w, i), &t));
        n = (size_t)tensor_count(&t);
        snprintf(name, sizeof name, "%s", weights_name(w, i));
        if (how->rename != NULL)
            how->rename(weights_name(w, i), name);
        for (int j = 0; j < t.rank; j++)
            json_array_append_new(shape, json_integer(t.shape[j]));
        if (how->convolution && t.rank == 2 && strcmp(name, weights_name(w, i)) != 0) {
            json_array_append_new(shape, json_integer(1));
            json_array_append_new(shape, json_integer(1));
        }
        values = malloc(n * sizeof *values);
        assert_non_null(values);
        tensor_to_f32(&t, values);
        if (how->float32)
            buf_append(&data, values, n * sizeof *values);
        else
            buf_append(&data, t.data, n * dtype_size(t.dtype));
        free(values);
        entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", how->float32 ? "F32" : "F16", "shape",
                          shape, "data_offsets", (json_int_t)begin, (json_int_t)data.size);
        assert_non_null(entry);
        json_object_set_new(header, name, entry);
    }
    text = json_dumps(header, 0);
    assert_non_null(text);
    size = strlen(text);
    buf_append(&all, &size, sizeof size);
    buf_append(&all, text, size);
    buf_append(&all, data.data, data.size);
    assert_ok(buf_check(&all, e));
    write_file(path, all.data, all.size);
    free(text);
    weights_close(w);
    json_decref(header);
    buf_done(&data);
    buf_done(&all);
}

/* Where tensor NAME's bytes begin in a safetensors file's bytes. */
static inline size_t tensor_place(const struct buf *file, const char *name)
{
    json_t *header = NULL;
    uint64_t size;
    size_t at;

    memcpy(&size, file->data, sizeof size);
    assert_ok(json_read("header", file->data + sizeof size, size, &header, e));
    at = (size_t)json_integer_value(
        json_array_get(json_object_get(json_object_get(header, name), "data_offsets"), 0));
    json_decref(header);
    return sizeof size + size + at;
}

#endif
