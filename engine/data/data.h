/* Published data that is built in: engine/data/README.md says what and whence. */
#ifndef ENGINE_DATA_DATA_H
#define ENGINE_DATA_DATA_H

/* engine/data/families/NAME.json. The list ends with a NULL name. */
struct data_family {
    const char *name, *json;
};
extern const struct data_family data_families[];

/* engine/data/clip/merges.txt. */
extern const char data_clip_merges[];

#endif
