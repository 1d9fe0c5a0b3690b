/* A message whose text is to be shown: proto/plain.h for all of it. */
#ifndef PROTO_MSG_PLAIN_H
#define PROTO_MSG_PLAIN_H

#include "proto/msg.h"

/* Every string of a decoded message, in place. */
void msg_plain(struct msg *m);

#endif
