#include "jobs/suggest.h"

#include <ctype.h>
#include <string.h>

static int least(int a, int b)
{
    return a < b ? a : b;
}

int suggest_distance(const char *a, const char *b)
{
    int rows[3][SUGGEST_WORD_MAX + 1]; /* of a's letters i-2, i-1, i */
    size_t n = strlen(a), m = strlen(b);

    if (n > SUGGEST_WORD_MAX || m > SUGGEST_WORD_MAX)
        return SUGGEST_WORD_MAX + 1;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        int x = tolower((unsigned char)a[i - 1]);

        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int y = tolower((unsigned char)b[j - 1]);

            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *suggest_nearest(const char *word, const char *const *choices, size_t n)
{
    size_t length = strlen(word);
    int limit = length < 6 ? 1 : (int)length / 3, best_distance = limit + 1;
    const char *best = NULL;

    for (size_t i = 0; i < n; i++) {
        int distance = suggest_distance(word, choices[i]);

        /* A word with every letter changed is another word. */
        if (distance < best_distance && (size_t)distance < strlen(choices[i])) {
            best = choices[i];
            best_distance = distance;
        }
    }
    return best;
}

void suggest_text(const char *word, const char *const *choices, size_t n, struct buf *ret_text)
{
    const char *nearest = suggest_nearest(word, choices, n);

    if (nearest)
        buf_printf(ret_text, ", did you mean '%s'?", nearest);
}
