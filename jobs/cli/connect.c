#include "jobs/cli/connect.h"

#include <stdlib.h>

#define ANSWER_TIMEOUT_MS 5000

int connect_open(struct cli *c, struct client **ret_client, struct err *e)
{
    struct client_options o = {.endpoint = c->options.value[OPTION_CONNECT],
                               .timeout_ms = ANSWER_TIMEOUT_MS};

    if (o.endpoint == NULL)
        o.endpoint = getenv("LITHO_CONNECT");
    if (o.endpoint == NULL || o.endpoint[0] == '\0')
        return err_set(
            e, ERR_ARG,
            "which coordinator? Name it with --connect tcp://HOST:PORT or LITHO_CONNECT");
    return client_open(&o, ret_client, e);
}
