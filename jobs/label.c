#include "jobs/label.h"

#include <string.h>
#include <strings.h>

int label_term(enum term_kind kind, const char *text)
{
    int id = term_from_name(kind, text);

    for (int i = 0; id < 0 && i < term_count(kind); i++)
        if (strcasecmp(term_label(kind, i), text) == 0)
            id = i;
    return id;
}

bool label_sampler(const char *text, int *ret_sampler, int *ret_scheduler)
{
    *ret_scheduler = -1;
    *ret_sampler = label_term(TERM_SAMPLER, text);
    for (int i = 0; *ret_sampler < 0 && i < SAMPLER_COUNT; i++) {
        const char *label = term_label(TERM_SAMPLER, i);
        size_t n = strlen(label);

        if (strncasecmp(label, text, n) != 0 || text[n] != ' ')
            continue;
        *ret_scheduler = label_term(TERM_SCHEDULER, text + n + 1);
        if (*ret_scheduler >= 0)
            *ret_sampler = i;
    }
    return *ret_sampler >= 0;
}
