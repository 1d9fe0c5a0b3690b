/*
 * Folders of links that make files look as models do: a diffusers folder whose files lie in the
 * cache by their hash, and the LoRAs and embeddings of one task by their names. DIR/views/XXXXXX,
 * of one process; what a dead one left is removed.
 *
 * view_names is for the thread that renders, the others for the thread that gathers; view_make
 * comes before either.
 */
#ifndef WORKER_VIEW_H
#define WORKER_VIEW_H

#include "proto/buf.h"
#include "worker/given.h"

struct view;

/* Nothing is made on disk yet. dir: of the cache. */
int view_open(const char *dir, struct view **ret_view, struct err *e);
/* Removes it. */
void view_close(struct view *v);

/* Folders in which a task's LoRAs and embeddings appear. Borrowed. */
const char *view_loras(const struct view *v);
const char *view_embeddings(const struct view *v);

/* Makes the folder if it is not there yet. */
int view_make(struct view *v, struct err *e);

/* ret_path: .../FOLDER/NAME, made or checked to lead to target. folder: the asset's hash; name may
 * have '/' inside: a safe path (jobs/listing.h). */
int view_link(struct view *v, const char *folder, const char *name, const char *target,
              struct buf *ret_path, struct err *e);

/* From now on the two folders hold the names with a path, and nothing else. NULL: none. */
int view_names(struct view *v, const struct given *g, struct err *e);

#endif
