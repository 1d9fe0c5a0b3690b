/*
 * What may help where YAML could not be read: most such lines hold text that YAML takes for
 * something else, such as a prompt [cat:dog:0.5]. Pure.
 */
#ifndef JOBS_YAML_HINT_H
#define JOBS_YAML_HINT_H

#include <stddef.h>

/*
 *   text, size    the document
 *   line, column  from 0: where the parser gave up
 *
 * Returns the end of a message, such as "; text that begins with '%' needs quotes around it", from
 * the line's first letters, or of the line before where the parser gave up at a line's start. ""
 * without an idea.
 */
const char *yaml_hint(const char *text, size_t size, size_t line, size_t column);

#endif
