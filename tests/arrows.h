/*
 * The tables of states in proto/PROTOCOL.md, as tests hold them: | from | by | to |. Each arrow of
 * a test is taken from the row of its cause; at the end every row must have been taken from each of
 * its states and to each of them, so that no arrow of the page is without a test.
 *
 *     rules_read(&r, "**Jobs' states**", states, n_states);
 *     rules_take(&r, "queued", "pause", "paused");
 *     assert_int_equal(rules_left(&r), 0);
 */
#ifndef TESTS_ARROWS_H
#define TESTS_ARROWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RULES_MAX 40
#define CELL_MAX  200

struct rule {
    char from[CELL_MAX], by[CELL_MAX], to[CELL_MAX];
    unsigned taken_from, taken_to; /* bits by states */
};

struct rules {
    struct rule at[RULES_MAX];
    size_t n;
    const char *const *states; /* borrowed */
    size_t n_states;
};

/* The state stands in the cell as a word of its own. */
static inline bool cell_names(const char *cell, const char *state)
{
    size_t size = strlen(state);

    for (const char *p = cell; (p = strstr(p, state)); p++)
        if ((p == cell || strchr(" ,;", p[-1])) && (!p[size] || strchr(" ,;", p[size])))
            return true;
    return false;
}

/* From `*line`, which is behind a bar, to the next one. */
static inline void cell_read(const char **line, char ret_cell[CELL_MAX])
{
    const char *end = strchr(*line, '|'), *from = *line + strspn(*line, " ");
    size_t size;

    assert_non_null(end);
    *line = end + 1;
    while (end > from && end[-1] == ' ')
        end--;
    size = (size_t)(end - from);
    assert_true(size < CELL_MAX);
    memcpy(ret_cell, from, size);
    ret_cell[size] = 0;
}

/* The table behind the paragraph that begins with `title`. */
static inline void rules_read(struct rules *r, const char *title, const char *const *states,
                              size_t n_states)
{
    FILE *f = fopen(SOURCE_DIR "/proto/PROTOCOL.md", "r");
    bool found = false;
    char line[2000];
    int heads = 0;

    *r = (struct rules){.states = states, .n_states = n_states};
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        const char *p = line + 1;

        found |= strncmp(line, title, strlen(title)) == 0;
        if (!found || (line[0] != '|' && r->n == 0))
            continue;
        if (line[0] != '|')
            break;
        if (heads++ < 2) /* the words above the columns, and the line below them */
            continue;
        assert_true(r->n < RULES_MAX);
        cell_read(&p, r->at[r->n].from);
        cell_read(&p, r->at[r->n].by);
        cell_read(&p, r->at[r->n++].to);
    }
    fclose(f);
    if (r->n == 0)
        fail_msg("no table behind '%s'", title);
}

static inline unsigned rules_bit(const struct rules *r, const char *state)
{
    for (size_t i = 0; i < r->n_states; i++)
        if (strcmp(r->states[i], state) == 0)
            return 1u << i;
    fail_msg("'%s' is no state", state);
    return 0;
}

/* false, and a line that says so: no row leads from there by that to there. */
static inline bool rules_take(struct rules *r, const char *from, const char *by, const char *to)
{
    for (size_t i = 0; i < r->n; i++) {
        struct rule *rule = &r->at[i];
        unsigned any = 0;

        if (strcmp(rule->by, by) != 0 || !cell_names(rule->from, from))
            continue;
        for (size_t k = 0; k < r->n_states; k++)
            any |= cell_names(rule->to, r->states[k]);
        if (any && !cell_names(rule->to, to))
            continue;
        rule->taken_from |= rules_bit(r, from);
        rule->taken_to |= rules_bit(r, to);
        return true;
    }
    print_error("no row of the protocol leads from '%s' by '%s' to '%s'\n", from, by, to);
    return false;
}

/* How many states of rows no arrow was taken from, or to; each is printed. */
static inline size_t rules_left(const struct rules *r)
{
    size_t left = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct rule *rule = &r->at[i];

        for (size_t k = 0; k < r->n_states; k++) {
            bool from = cell_names(rule->from, r->states[k]) && !(rule->taken_from >> k & 1);
            bool to = cell_names(rule->to, r->states[k]) && !(rule->taken_to >> k & 1);

            if (from || to)
                print_error("no arrow %s '%s' of the row %s | %s | %s\n", from ? "from" : "to",
                            r->states[k], rule->from, rule->by, rule->to);
            left += from + to;
        }
    }
    return left;
}

#endif
