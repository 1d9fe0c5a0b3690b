/* For tests of LoRA: safetensors files written by hand, and copies with other names. */
#ifndef TESTS_ENGINE_LORA_FILES_H
#define TESTS_ENGINE_LORA_FILES_H

#include "tests/engine/folders.h"

struct st_file {
    json_t *header, *notes;
    struct buf data;
};

static inline void st_begin(struct st_file *f)
{
    *f = (struct st_file){.header = json_object(), .notes = json_object()};
    assert_non_null(f->header);
    assert_non_null(f->notes);
}

static inline void st_add(struct st_file *f, const char *name, const struct tensor *t)
{
    json_t *shape = json_array(), *entry;
    size_t begin = f->data.size;

    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    buf_append(&f->data, t->data, (size_t)tensor_count(t) * dtype_size(t->dtype));
    entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->dtype), "shape", shape,
                      "data_offsets", (json_int_t)begin, (json_int_t)f->data.size);
    assert_non_null(entry);
    assert_int_equal(json_object_set_new(f->header, name, entry), 0);
}

static inline void st_add_floats(struct st_file *f, const char *name, const float *values, int rank,
                                 const int64_t *shape)
{
    struct tensor t = {.data = values, .dtype = DTYPE_F32, .rank = rank};

    if (rank > 0)
        memcpy(t.shape, shape, (size_t)rank * sizeof *shape);
    st_add(f, name, &t);
}

static inline void st_note(struct st_file *f, const char *key, const char *text)
{
    assert_int_equal(json_object_set_new(f->notes, key, json_string(text)), 0);
}

static inline void st_save(struct st_file *f, const char *path)
{
    struct buf all = {0};
    uint64_t size;
    char *text;

    if (json_object_size(f->notes) > 0)
        assert_int_equal(json_object_set(f->header, "__metadata__", f->notes), 0);
    text = json_dumps(f->header, 0);
    assert_non_null(text);
    size = strlen(text);
    buf_append(&all, &size, sizeof size);
    buf_append(&all, text, size);
    buf_append(&all, buf_text(&f->data), f->data.size);
    assert_ok(buf_check(&all, e));
    write_file(path, all.data, all.size);
    free(text);
    buf_done(&all);
    buf_done(&f->data);
    json_decref(f->header);
    json_decref(f->notes);
    *f = (struct st_file){0};
}

/* A folder of this process and name under BINARY_DIR, empty but for what a test puts there. */
static inline void lora_folder(char ret_folder[FOLDER_SIZE], const char *name)
{
    mkdir(BINARY_DIR "/loras-test", 0777);
    snprintf(ret_folder, FOLDER_SIZE, BINARY_DIR "/loras-test/%s-%ld", name, (long)getpid());
    assert_true(mkdir(ret_folder, 0777) == 0 || errno == EEXIST);
}

static inline void lora_folder_remove(const char *folder)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *d = opendir(folder);

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        assert_ok(part_path(path, folder, entry->d_name, e));
        if (unlink(path) != 0)
            lora_folder_remove(path);
    }
    closedir(d);
    assert_int_equal(rmdir(folder), 0);
}

#endif
