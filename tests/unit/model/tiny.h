/* Small files and folders for tests of src/model: temporary folders, one
 * whole model of a few kilobytes, safetensors files from a header and data.
 * Everything asserts; nothing is kept after tiny_folder_remove. */
#ifndef CR_TESTS_TINY_H
#define CR_TESTS_TINY_H

#include "base/error.h"

typedef struct tiny_folder {
    char path[64];
} tiny_folder;

void tiny_folder_make(tiny_folder *folder);
void tiny_folder_remove(tiny_folder *folder);
/* The path of a file in the folder; lives until the next call. */
const char *tiny_path(const tiny_folder *folder, const char *name);
void tiny_write(const tiny_folder *folder, const char *name, const void *data,
                size_t len);
void tiny_write_text(const tiny_folder *folder, const char *name,
                     const char *text);
void tiny_delete(const tiny_folder *folder, const char *name);

/* A safetensors file: header length, header, data. The header is text. */
void tiny_write_safetensors(const tiny_folder *folder, const char *name,
                            const char *header, const void *data, size_t len);

/* A whole model: 1 layer, 2 heads of 2, 12 tokens, 16 positions. */
extern const char TINY_CONFIG[];
extern const char TINY_VOCAB[];
extern const char TINY_TOKENIZER[];
extern const char TINY_TOKENIZER_CONFIG[];
enum { TINY_VOCAB_SIZE = 12 };
void tiny_write_model(const tiny_folder *folder);

/* The same with a score for each of n labels, n < 10; after
 * tiny_watch_jansson. */
void tiny_write_classifier(const tiny_folder *folder, const char *const *labels,
                           unsigned n);

/* The same weights with names passed through `rename` (NULL: as they are),
 * which writes the new name, or returns false to leave the tensor out. */
typedef bool tiny_rename(const char *name, char *renamed, size_t size);
void tiny_write_weights(const tiny_folder *folder, tiny_rename *rename);

/* Fails unless the message holds all of the parts, which end with NULL. */
void tiny_expect_message(const char *message, const char *const *parts);

/* Fails unless the error is what a failed allocation may be: jansson blames
 * the text for some of its own. */
void tiny_expect_no_memory(cr_status status, const cr_error *error);

/* jansson allocates through base/mem.h from here on, so that its allocations
 * can be made to fail too. */
void tiny_watch_jansson(void);

#endif
