/* A text as one row of ids, as transformers' tokenizer pads and cuts it. */
#ifndef TESTS_ENGINE_TEXT_PADDED_H
#define TESTS_ENGINE_TEXT_PADDED_H

#include "engine/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/*
 * bos, ids, eos, then pad up to the tokenizer's length; what is past its length - 2 ids is cut off.
 * ret_ids: [length]. ret_cut (may be NULL): how many ids were cut off.
 */
static inline int encode_padded(const struct tokenizer *t, const char *text, int32_t *ret_ids,
                                size_t *ret_cut, struct err *e)
{
    size_t n, length = (size_t)tokenizer_max_length(t), kept;
    int32_t *ids;
    int rc = tokenizer_encode(t, text, strlen(text), &ids, &n, e);

    if (rc != 0)
        return rc;
    kept = n < length - 2 ? n : length - 2;
    ret_ids[0] = tokenizer_bos(t);
    memcpy(ret_ids + 1, ids, kept * sizeof *ids);
    ret_ids[kept + 1] = tokenizer_eos(t);
    for (size_t i = kept + 2; i < length; i++)
        ret_ids[i] = tokenizer_pad(t);
    if (ret_cut)
        *ret_cut = n - kept;
    free(ids);
    return 0;
}

#endif
