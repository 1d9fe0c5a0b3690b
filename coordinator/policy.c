#include "coordinator/policy.h"

#include "proto/err.h"

#include <stddef.h>

/*
 * A lost worker costs its task no try: POLICY_LOSSES_MAX counts workers instead. oom is never cured
 * by another algorithm, since bytes must stay: only a worker with more memory helps.
 */
static const struct policy table[] = {
    {ERR_LOST, POLICY_ANYWHERE, POLICY_LOSSES_MAX, .costs = false, .blocks = false},
    {ERR_OOM, POLICY_LARGER, 16, .costs = true, .blocks = true},
    {ERR_OUTPUT, POLICY_ANYWHERE, 3, .costs = true, .blocks = true},
    {ERR_INPUT, POLICY_NOWHERE, 1, .costs = true, .blocks = false},
    {ERR_ARG, POLICY_NOWHERE, 1, .costs = true, .blocks = false},
    {ERR_CONFLICT, POLICY_NOWHERE, 1, .costs = true, .blocks = false},
    {ERR_MISSING, POLICY_ELSEWHERE, 16, .costs = true, .blocks = true},
    {ERR_TIMEOUT, POLICY_ANYWHERE, 3, .costs = true, .blocks = true},
    {ERR_IO, POLICY_ANYWHERE, 3, .costs = true, .blocks = true},
    {ERR_CANCELLED, POLICY_ANYWHERE, UINT32_MAX, .costs = false, .blocks = false},
    {ERR_DEVICE, POLICY_ANYWHERE, 3, .costs = true, .blocks = false},
    {ERR_INTERNAL, POLICY_ANYWHERE, 3, .costs = true, .blocks = true},
};

const struct policy *policy_of(int code)
{
    size_t n = sizeof table / sizeof *table;

    for (size_t i = 0; i < n; i++)
        if (table[i].code == code)
            return &table[i];
    return &table[n - 1];
}
