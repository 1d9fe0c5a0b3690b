/*
 * A YAML document as a tree of nodes with places. The language is YAML's block and flow syntax;
 * every scalar stays text (a `no` is never a boolean), and its reader decides what it means.
 * Aliases share their anchor's node, so they cost nothing however they are nested. Behind it:
 * libyaml.
 *
 *     TRY(yaml_load(&pool, "job.yaml", true, text, size, d, &root, e));
 *     if (root && (value = node_get(root, "prompt")))
 *         ...value->text, value->at...
 */
#ifndef JOBS_YAML_H
#define JOBS_YAML_H

#include "jobs/diagnostic.h"
#include "proto/pool.h"

#define YAML_DEPTH_MAX   32  /* nesting of lists and mappings */
#define YAML_KEYS_MAX    256 /* keys of one mapping */
#define YAML_ANCHORS_MAX 256

enum node_type { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_type type;
    struct place at;
    const char *text; /* of a scalar, UTF-8 without NUL inside; else NULL */
    bool plain;       /* a scalar without quotes */
    bool exact;       /* the scalar is written as its text is, from text_column on one line */
    int text_column;
    struct node **items; /* list: n values; mapping: n pairs, key then value */
    size_t n;
};

/*
 * Reads the one document of `text`, which `file` names in messages; if it is no file (in_file
 * false), places have line 0. What is wrong goes to d.
 * *ret_root is NULL when that leaves nothing to read on with, or the document is empty. Returns 0,
 * or ERR_OOM. Nodes live in the pool; `file` must live as long.
 */
int yaml_load(struct pool *pool, const char *file, bool in_file, const char *text, size_t size,
              struct diagnostics *d, struct node **ret_root, struct err *e);

/* The value of a mapping's key, or NULL. */
struct node *node_get(const struct node *map, const char *key);

/* Replaces or adds a key's value. 0, or ERR_OOM. */
int node_set(struct pool *pool, struct node *map, const struct node *key, struct node *value,
             struct err *e);

/* Where byte `offset` of a scalar's text is, as near as is known. */
struct place node_place(const struct node *scalar, size_t offset);

/*
 * Checks that text is UTF-8 without NUL. Returns true, or false with the line and column (from 1)
 * of the first byte that is not.
 */
bool text_check(const char *text, size_t size, int *ret_line, int *ret_column);

#endif
