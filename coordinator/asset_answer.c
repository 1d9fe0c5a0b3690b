#include "coordinator/asset_answer.h"

#include <stdlib.h>

void asset_answer_done(struct asset_answer *a)
{
    free(a->name);
    free(a->label);
    listing_done(&a->files);
    *a = (struct asset_answer){0};
}
