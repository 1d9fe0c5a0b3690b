#include "jobs/yaml.h"

#include "jobs/utf8.h"
#include "jobs/yaml_hint.h"

#include <string.h>
#include <yaml.h>

/* A list or mapping whose end has not come yet. */
struct open_node {
    struct node *node;
    struct node *key; /* of a mapping, when its value is next */
};

struct anchor {
    const char *name;
    struct node *node;
    bool open; /* still being read: an alias to it would be a circle */
};

struct loader {
    yaml_parser_t parser;
    struct pool *pool;
    struct diagnostics *d;
    const char *file;
    bool in_file;
    struct open_node stack[YAML_DEPTH_MAX];
    size_t depth;
    struct anchor anchors[YAML_ANCHORS_MAX];
    size_t n_anchors;
    struct node *root;
    bool stop; /* a mistake after which reading on makes no sense */
};

bool text_check(const char *text, size_t size, int *ret_line, int *ret_column)
{
    *ret_line = *ret_column = 1;
    for (size_t i = 0; i < size;) {
        uint32_t code;
        size_t n = utf8_next(text + i, size - i, &code);

        if (n == 0 || code == 0)
            return false;
        if (text[i] == '\n') {
            ++*ret_line;
            *ret_column = 1;
        } else {
            ++*ret_column;
        }
        i += n;
    }
    return true;
}

static int characters(const char *text, size_t size)
{
    int n = 0;

    for (size_t i = 0; i < size; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

struct place node_place(const struct node *scalar, size_t offset)
{
    struct place at = scalar->at;

    if (scalar->exact)
        at.column = scalar->text_column + characters(scalar->text, offset);
    return at;
}

struct node *node_get(const struct node *map, const char *key)
{
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->items[2 * i]->text, key) == 0)
            return map->items[2 * i + 1];
    }
    return NULL;
}

static int append(struct pool *pool, struct node *parent, struct node *item, size_t at,
                  struct err *e)
{
    struct node **items = pool_grow(pool, parent->items, at, sizeof(struct node *));

    if (!items)
        return err_set(e, ERR_OOM, "out of memory");
    parent->items = items;
    items[at] = item;
    return 0;
}

int node_set(struct pool *pool, struct node *map, const struct node *key, struct node *value,
             struct err *e)
{
    int rc;

    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->items[2 * i]->text, key->text) == 0) {
            map->items[2 * i] = (struct node *)key;
            map->items[2 * i + 1] = value;
            return 0;
        }
    }
    TRY(append(pool, map, (struct node *)key, 2 * map->n, e));
    TRY(append(pool, map, value, 2 * map->n + 1, e));
    map->n++;
out:
    return rc;
}

static struct place place_of(const struct loader *l, yaml_mark_t mark)
{
    return (struct place){l->file, l->in_file ? (int)mark.line + 1 : 0, (int)mark.column + 1};
}

static void refuse(struct loader *l, struct place at, const char *problem)
{
    diagnose(l->d, at, "%s", problem);
    l->stop = true;
}

static void parser_problem(struct loader *l, const char *text, size_t size)
{
    const yaml_parser_t *p = &l->parser;
    struct place at = place_of(l, p->problem_mark);
    bool lines = p->context && p->context_mark.line != p->problem_mark.line;
    bool helps = p->error != YAML_READER_ERROR && !(lines && strstr(p->context, "flow"));
    const char *hint =
        helps ? yaml_hint(text, size, p->problem_mark.line, p->problem_mark.column) : "";
    size_t offset = p->problem_mark.index; /* characters: bytes only in ASCII, good for a tab */

    if (p->error == YAML_READER_ERROR) {
        at = (struct place){l->file, l->in_file, 1};
        for (size_t i = 0; i < p->problem_offset && i < size; i++) {
            at.line += l->in_file && text[i] == '\n';
            at.column = text[i] == '\n' ? 1 : at.column + (((unsigned char)text[i] & 0xc0) != 0x80);
        }
    }
    if (p->error == YAML_SCANNER_ERROR && offset < size && text[offset] == '\t')
        refuse(l, at, "a tab; YAML is indented with spaces");
    else if (lines)
        diagnose(l->d, at, "%s, %s that starts in line %d%s", p->problem, p->context,
                 (int)p->context_mark.line + 1, hint);
    else
        diagnose(l->d, at, "%s%s", p->problem ? p->problem : "not YAML", hint);
    l->stop = true;
}

/* Puts a finished or opened node where the tree expects one. */
static int attach(struct loader *l, struct node *node, struct err *e)
{
    struct open_node *top = l->depth ? &l->stack[l->depth - 1] : NULL;
    struct node *map;
    int rc = 0;

    if (!top) {
        l->root = node;
        return 0;
    }
    if (top->node->type == NODE_LIST) {
        TRY(append(l->pool, top->node, node, top->node->n, e));
        top->node->n++;
        goto out;
    }
    map = top->node;
    if (top->key) {
        TRY(node_set(l->pool, map, top->key, node, e));
        top->key = NULL;
        goto out;
    }
    if (node->type != NODE_SCALAR || !*node->text)
        refuse(l, node->at, "a key must be a word");
    else if (node->plain && strcmp(node->text, "<<") == 0)
        refuse(l, node->at, "merge keys (<<) are not part of the language; repeat the keys");
    else if (map->n >= YAML_KEYS_MAX)
        refuse(l, node->at, "too many keys in one mapping (at most 256)");
    else
        for (size_t i = 0; i < map->n; i++) {
            const struct node *other = map->items[2 * i];

            if (strcmp(other->text, node->text) == 0)
                diagnose(l->d, node->at, "key '%s' is here twice, first in line %d", node->text,
                         other->at.line);
        }
    top->key = node;
out:
    return rc;
}

static int add_anchor(struct loader *l, const yaml_char_t *name, struct node *node, struct err *e)
{
    struct anchor *a;

    if (!name)
        return 0;
    if (l->n_anchors == YAML_ANCHORS_MAX) {
        refuse(l, node->at, "too many anchors (at most 256)");
        return 0;
    }
    a = &l->anchors[l->n_anchors];
    a->name = pool_text(l->pool, (const char *)name, strlen((const char *)name));
    if (!a->name)
        return err_set(e, ERR_OOM, "out of memory");
    a->node = node;
    a->open = node->type != NODE_SCALAR;
    l->n_anchors++;
    return 0;
}

static int on_alias(struct loader *l, const yaml_event_t *event, struct err *e)
{
    const char *name = (const char *)event->data.alias.anchor;

    for (size_t i = l->n_anchors; i-- > 0;) {
        if (strcmp(l->anchors[i].name, name) != 0)
            continue;
        if (l->anchors[i].open) {
            refuse(l, place_of(l, event->start_mark),
                   "an alias inside the node that it stands for");
            return 0;
        }
        return attach(l, l->anchors[i].node, e);
    }
    diagnose(l->d, place_of(l, event->start_mark), "alias '*%s' has no anchor before it", name);
    l->stop = true;
    return 0;
}

static int on_scalar(struct loader *l, const yaml_event_t *event, struct node *node, struct err *e)
{
    size_t size = event->data.scalar.length;
    const char *text = (const char *)event->data.scalar.value;
    int rc = 0, quotes;

    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    quotes = node->plain ? 0 : 1;
    node->text = pool_text(l->pool, text, size);
    if (!node->text)
        TRY(err_set(e, ERR_OOM, "out of memory"));
    if (memchr(text, 0, size))
        refuse(l, node->at, "text cannot hold a NUL character");
    node->text_column = node->at.column + quotes;
    node->exact = event->start_mark.line == event->end_mark.line &&
                  characters(text, size) + 2 * quotes ==
                      (int)(event->end_mark.column - event->start_mark.column);
    TRY(attach(l, node, e));
out:
    return rc;
}

static int on_open(struct loader *l, struct node *node, struct err *e)
{
    int rc;

    TRY(attach(l, node, e));
    if (l->depth == YAML_DEPTH_MAX)
        refuse(l, node->at, "nested too deeply");
    else
        l->stack[l->depth++] = (struct open_node){.node = node};
out:
    return rc;
}

static void on_close(struct loader *l)
{
    const struct node *node = l->stack[--l->depth].node;

    for (size_t i = 0; i < l->n_anchors; i++) {
        if (l->anchors[i].node == node)
            l->anchors[i].open = false;
    }
}

/* Scalars, lists and mappings: everything that becomes a node. */
static int on_node(struct loader *l, const yaml_event_t *event, struct err *e)
{
    struct node *node = pool_alloc(l->pool, sizeof *node);
    const yaml_char_t *anchor, *tag;
    int rc = 0;

    if (!node)
        return err_set(e, ERR_OOM, "out of memory");
    node->at = place_of(l, event->start_mark);
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        node->type = NODE_LIST;
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else {
        node->type = NODE_MAP;
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (tag)
        diagnose(l->d, node->at, "tags (%s) are not part of the language", (const char *)tag);
    TRY(add_anchor(l, anchor, node, e));
    if (node->type == NODE_SCALAR)
        TRY(on_scalar(l, event, node, e));
    else
        TRY(on_open(l, node, e));
out:
    return rc;
}

static int on_event(struct loader *l, const yaml_event_t *event, struct err *e)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return on_alias(l, event, e);
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return on_node(l, event, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_close(l);
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        if (l->root)
            refuse(l, place_of(l, event->start_mark),
                   "a second document starts here; a manifest is one document");
        return 0;
    default:
        return 0;
    }
}

static int read_events(struct loader *l, const char *text, size_t size, struct err *e)
{
    bool end = false;
    int rc = 0;

    while (!end && !l->stop) {
        yaml_event_t event;

        if (!yaml_parser_parse(&l->parser, &event)) {
            if (l->parser.error == YAML_MEMORY_ERROR)
                return err_set(e, ERR_OOM, "out of memory");
            parser_problem(l, text, size);
            return 0;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        rc = on_event(l, &event, e);
        yaml_event_delete(&event);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int yaml_load(struct pool *pool, const char *file, bool in_file, const char *text, size_t size,
              struct diagnostics *d, struct node **ret_root, struct err *e)
{
    struct loader *l;
    int line, column, rc;

    *ret_root = NULL;
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* libyaml takes it for content */
        text += 3;
        size -= 3;
    }
    if (!text_check(text, size, &line, &column)) {
        diagnose(d, (struct place){file, in_file ? line : 0, column},
                 "not UTF-8 text; save the file as UTF-8");
        return 0;
    }
    l = pool_alloc(pool, sizeof *l);
    if (!l || !yaml_parser_initialize(&l->parser))
        return err_set(e, ERR_OOM, "out of memory");
    l->pool = pool;
    l->d = d;
    l->file = file;
    l->in_file = in_file;
    yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l->parser, (const unsigned char *)text, size);
    rc = read_events(l, text, size, e);
    yaml_parser_delete(&l->parser);
    if (rc == 0 && !l->stop)
        *ret_root = l->root;
    return rc;
}
