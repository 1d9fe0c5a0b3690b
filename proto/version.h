/* The project's version. The engine's is part of each picture's record: a change of pixels changes
 * it. */
#ifndef PROTO_VERSION_H
#define PROTO_VERSION_H

#define LITHO_VERSION  "0.1.0"
#define ENGINE_VERSION "0.5.0"

#endif
