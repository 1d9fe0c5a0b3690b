/*
 * Writes safetensors files for tests: tensors are added one by one, then all is saved.
 *
 *     struct writer w = {0};
 *     writer_add(&w, "conv_in.weight", &t);
 *     writer_save(&w, path);                    // and forgets them
 */
#ifndef TESTS_ENGINE_WRITER_H
#define TESTS_ENGINE_WRITER_H

#include "tests/engine/folders.h"

struct writer {
    json_t *header;
    struct buf data;
};

static inline void writer_add(struct writer *w, const char *name, const struct tensor *t)
{
    size_t begin = w->data.size;
    json_t *shape = json_array();

    if (w->header == NULL)
        w->header = json_object();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    buf_append(&w->data, t->data, (size_t)tensor_count(t) * dtype_size(t->dtype));
    assert_null(json_object_get(w->header, name));
    assert_int_equal(
        json_object_set_new(w->header, name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->dtype),
                                      "shape", shape, "data_offsets", (json_int_t)begin,
                                      (json_int_t)w->data.size)),
        0);
}

static inline void writer_save(struct writer *w, const char *path)
{
    char *text = json_dumps(w->header != NULL ? w->header : json_object(), 0);
    uint64_t size = strlen(text);
    struct buf all = {0};

    buf_append(&all, &size, sizeof size);
    buf_append(&all, text, size);
    buf_append(&all, w->data.data, w->data.size);
    assert_ok(buf_check(&all, e));
    write_file(path, all.data, all.size);
    free(text);
    json_decref(w->header);
    buf_done(&w->data);
    buf_done(&all);
    *w = (struct writer){0};
}

#endif
