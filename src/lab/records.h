/* Records: one line of a file to a pair or a passage.
 *
 * Two formats. In a line of columns (TSV, no quoting) the last two are query
 * and passage; where only a passage is wanted the whole line is it. In JSON
 * lines an object has "query" and one of "passage", "text", "document".
 * Invalid UTF-8 is an error in JSON and is passed on from columns, where the
 * tokenizer reads it as U+FFFD. Other members of an object are ignored.
 *
 * Threads: pure. Ownership: texts of a record are in its line or in its JSON
 * tree, so they live until the line goes or cr_record_fini. */
#ifndef CR_LAB_RECORDS_H
#define CR_LAB_RECORDS_H

#include "base/error.h"

#include <jansson.h>

typedef enum cr_record_format {
    CR_FORMAT_AUTO = 0,
    CR_FORMAT_COLUMNS,
    CR_FORMAT_JSON
} cr_record_format;

typedef enum cr_record_kind {
    CR_RECORD_PAIR = 0,
    CR_RECORD_PASSAGE
} cr_record_kind;

typedef struct cr_record {
    cr_text query; /* empty in a passage record */
    cr_text passage;
    json_t *json; /* keeps the texts of a JSON line, else NULL */
} cr_record;

/* Whether the name's end says it. */
bool cr_record_is_named(const char *name);
/* By the name's end (.jsonl and .ndjson are JSON, .tsv is columns), else by
 * the first line: JSON where its first byte that is not blank is '{'. */
cr_record_format cr_record_detect(const char *name, cr_text first_line);

/* CR_ERR_INPUT says what is wrong with the line, without its file and number.
 * After success the record needs cr_record_fini; after failure it may have
 * it. */
cr_status cr_record_parse(cr_text line, cr_record_kind kind,
                          cr_record_format format, cr_record *record,
                          cr_error *error);
void cr_record_fini(cr_record *record);

/* For other JSON lines: the object on `line`, which the caller drops by
 * json_decref; and its member `key`, which must be a string. Where `optional`
 * a missing member is an empty text. */
cr_status cr_json_line(cr_text line, json_t **object, cr_error *error);
cr_status cr_json_member(const json_t *object, const char *key, bool optional,
                         cr_text *text, cr_error *error);

#endif
