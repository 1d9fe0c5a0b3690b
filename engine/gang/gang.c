#include "engine/gang/host.h"

#include <stdlib.h>
#include <string.h>

struct gang_offer {
    enum gang_kind kind;
    struct host_door door;
};

int gang_offer_new(enum gang_kind kind, const char *address, struct gang_offer **ret_offer,
                   struct err *e)
{
    struct gang_offer *offer;
    int rc = 0;

    if (kind != GANG_UNIX && kind != GANG_TCP)
        return err_set(e, ERR_ARG, "this build has no NCCL: gangs of GPUs cannot be formed");
    offer = calloc(1, sizeof *offer);
    if (offer == NULL)
        return err_set(e, ERR_OOM, "no memory for a gang's meeting place");
    offer->kind = kind;
    offer->door.fd = -1;
    TRY(host_door_open(&offer->door, kind == GANG_UNIX, address, NULL, e));
    *ret_offer = offer;
    offer = NULL;
out:
    gang_offer_free(offer);
    return rc;
}

void gang_offer_free(struct gang_offer *offer)
{
    if (offer == NULL)
        return;
    host_door_close(&offer->door);
    free(offer);
}

int gang_address_check(const char *address, struct err *e)
{
    struct host_place place;

    return host_place_read(address, &place, e);
}

const char *gang_offer_text(const struct gang_offer *offer)
{
    return offer->door.address;
}

int gang_join(const struct gang_place *place, struct gang **ret_gang, struct err *e)
{
    struct gang_place p = *place;

    if (p.size < 2 || p.size > GANG_SIZE_MAX || p.rank < 0 || p.rank >= p.size)
        return err_set(e, ERR_ARG, "a gang's member %d of %d: there are 2 to %d members", p.rank,
                       p.size, GANG_SIZE_MAX);
    if ((p.rank == 0) != (p.offer != NULL) || (p.rank > 0 && p.meeting == NULL))
        return err_set(e, ERR_ARG, "a gang's rank 0 brings the offer, the others its text");
    if (p.patience_ms == 0)
        p.patience_ms = GANG_PATIENCE_MS;
    return host_join(&p, p.offer != NULL ? &p.offer->door : NULL, ret_gang, e);
}
