/* A number that may be left to what it belongs to. */
#ifndef ENGINE_SAMPLING_OPTIONAL_H
#define ENGINE_SAMPLING_OPTIONAL_H

#include <stdbool.h>

struct optional {
    bool set;
    double value;
};

#endif
