/*
 * Where the files of one lease are on this machine: what stock.h gathered, for the runner. Plain
 * data with paths; a part that is NULL was not in the lease and is looked for in the library by
 * name.
 */
#ifndef WORKER_GIVEN_H
#define WORKER_GIVEN_H

#include <stdbool.h>
#include <stddef.h>

struct given {
    char *model, *config, *vae, *init, *mask; /* owned, as all strings here */
    char *identity;                           /* hashes of the first three: one text, one engine */
    struct given_name {
        bool embedding; /* else a LoRA */
        char *name;
        char *path; /* NULL: where the library finds that name */
    } * names;
    size_t n_names;
};

void given_free(struct given *g);

#endif
