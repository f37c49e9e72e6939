/* The tokenizer that a model folder describes.
 *
 * transformers has two ways to read the same files. For its class
 * BertTokenizer it rebuilds the tokenizer from tokenizer_config.json and takes
 * only the vocabulary from tokenizer.json; for PreTrainedTokenizerFast it takes
 * tokenizer.json whole, as everybody else does. Here tokenizer.json decides,
 * and where a BertTokenizer would come out differently the folder is refused:
 * a score that depends on the reader is no score. */
#include "model/tokenizer_files.h"

#include "base/mem.h"
#include "model/folder.h"
#include "model/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VOCAB_BYTES = 64 << 20, MAX_TOKENIZER_CONFIG_BYTES = 8 << 20 };

/* ---- Files -------------------------------------------------------------- */

static cr_status load_vocab_text(cr_tokenizer_files *files, const char *folder,
                                 cr_error *error) {
    cr_status status =
        cr_folder_path(folder, "vocab.txt", &files->vocab_path, error);
    if (status == CR_OK)
        status = cr_folder_read(files->vocab_path, &files->vocab_text,
                                &files->has_vocab_text, error);
    if (status == CR_OK && !files->has_vocab_text)
        status = cr_fail(error, CR_ERR_MODEL,
                         "%s: tokenizer.json and vocab.txt are missing: one of "
                         "them must give the vocabulary; other files become "
                         "tokenizer.json with transformers: AutoTokenizer."
                         "from_pretrained(DIR).save_pretrained(DIR)",
                         folder);
    return status;
}

cr_status cr_tokenizer_files_load(cr_tokenizer_files *files, const char *folder,
                                  cr_error *error) {
    *files = (cr_tokenizer_files){0};
    cr_buf_init(&files->vocab_text, MAX_VOCAB_BYTES);
    cr_status status = cr_json_load(&files->tokenizer, folder, "tokenizer.json",
                                    CR_MAX_TOKENIZER_BYTES, 0, error);
    if (status == CR_OK)
        status = cr_json_load(&files->config, folder, "tokenizer_config.json",
                              MAX_TOKENIZER_CONFIG_BYTES, CR_JSON_WIDE_INTEGERS,
                              error);
    if (status == CR_OK)
        status =
            cr_json_load(&files->special_map, folder, "special_tokens_map.json",
                         MAX_TOKENIZER_CONFIG_BYTES, 0, error);
    if (status == CR_OK)
        status = cr_json_load(&files->added, folder, "added_tokens.json",
                              MAX_TOKENIZER_CONFIG_BYTES, 0, error);
    if (status == CR_OK && !files->tokenizer.root)
        status = load_vocab_text(files, folder, error);
    return status;
}

void cr_tokenizer_files_fini(cr_tokenizer_files *files) {
    cr_json_fini(&files->tokenizer);
    cr_json_fini(&files->config);
    cr_json_fini(&files->special_map);
    cr_json_fini(&files->added);
    cr_free(files->vocab_path);
    cr_buf_fini(&files->vocab_text);
}

/* ---- What is being read ------------------------------------------------- */

typedef struct reader {
    const cr_tokenizer_files *files;
    const cr_json *config_json;
    const cr_model_config *config;
    bool lowercases;
    bool rebuilds; /* transformers would rebuild it as a BertTokenizer */
    cr_tokenizer_source *source;
    cr_error *error;
} reader;

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* The class that transformers would make of these files. */
static cr_status read_class(reader *r) {
    static const char supported[] =
        "\"BertTokenizer\", \"BertTokenizerFast\", \"PreTrainedTokenizerFast\" "
        "or \"TokenizersBackend\"";
    const cr_json *json = &r->files->config;
    const json_t *name = cr_json_get(json, "tokenizer_class");
    if (!name) {
        json = r->config_json;
        name = cr_json_get(json, "tokenizer_class");
    }
    r->rebuilds = !name || is_text(name, "BertTokenizer") ||
                  is_text(name, "BertTokenizerFast");
    bool whole = is_text(name, "PreTrainedTokenizerFast") ||
                 is_text(name, "TokenizersBackend");
    if (!r->rebuilds && !whole)
        return cr_json_refuse(json, "tokenizer_class", name, supported,
                              r->error);
    if (whole && !r->files->tokenizer.root)
        return cr_json_refuse(json, "tokenizer_class", name,
                              "that class with a tokenizer.json, which is "
                              "missing",
                              r->error);
    return CR_OK;
}

/* ---- tokenizer_config.json ---------------------------------------------- */

/* The text of a token given as a string or as an object; NULL: neither. */
static const char *token_text(const json_t *token) {
    return json_string_value(
        json_is_object(token) ? json_object_get(token, "content") : token);
}

/* A special token by its role ("cls_token"), as transformers finds it. */
static const char *named_token(const reader *r, const char *role,
                               const char *fallback) {
    const cr_tokenizer_files *files = r->files;
    const json_t *token = NULL;
    if (!cr_json_get(&files->config, "added_tokens_decoder"))
        token = cr_json_get(&files->special_map, role);
    if (!token)
        token = cr_json_get(&files->config, role);
    const char *text = token_text(token);
    return text ? text : fallback;
}

static cr_status read_max_length(const cr_json *json, uint32_t least,
                                 uint32_t *max_length, cr_error *error) {
    const char *key = "model_max_length";
    const json_t *value = cr_json_get(json, key);
    if (!value)
        value = cr_json_get(json, key = "max_len");
    *max_length = UINT32_MAX;
    if (!value)
        return CR_OK;
    double length = json_is_number(value) ? json_number_value(value) : 0;
    char supported[64];
    snprintf(supported, sizeof supported,
             "at least %u, for the tokens around texts", least);
    if (!(length >= least))
        return cr_json_refuse(json, key, value, supported, error);
    /* 1e30 is how transformers writes "no limit". */
    if (length < UINT32_MAX)
        *max_length = (uint32_t)length;
    return CR_OK;
}

/* Whether the passage's side is told from the query's: only where the model
 * has two types and the tokenizer hands them on. Where that is not said a
 * BertTokenizer does; the other class did in transformers 4 and no longer does
 * in 5. */
static cr_status read_input_names(const reader *r) {
    const cr_json *json = &r->files->config;
    const json_t *names = cr_json_get(json, "model_input_names");
    bool types = names ? false : r->rebuilds;
    for (size_t i = 0; i < json_array_size(names); i++)
        types |= is_text(json_array_get(names, i), "token_type_ids");
    r->source->spec.one_type = !types || r->config->n_types == 1;
    if (json_is_array(names) || r->rebuilds || r->config->n_types == 1)
        return CR_OK;
    return cr_json_refuse(json, "model_input_names", names,
                          "a list, with \"token_type_ids\" if the model was "
                          "trained with them",
                          r->error);
}

/* "truncation" and "padding" are set anew by every caller, but the side from
 * which is cut is kept. */
static cr_status check_truncation(const cr_json *json, cr_error *error) {
    const json_t *part = cr_json_get(json, "truncation");
    const json_t *direction = json_object_get(part, "direction");
    if (part && direction && !is_text(direction, "Right"))
        return cr_json_refuse(json, "truncation.direction", direction,
                              "\"Right\"", error);
    return CR_OK;
}

cr_status cr_tokenizer_settings_read(const cr_tokenizer_files *files,
                                     uint32_t least, uint32_t *max_length,
                                     cr_error *error) {
    const cr_json *json = &files->config;
    cr_status status = read_max_length(json, least, max_length, error);
    if (status != CR_OK)
        return status;
    const json_t *side = cr_json_get(json, "truncation_side");
    if (side && !is_text(side, "right"))
        return cr_json_refuse(json, "truncation_side", side, "\"right\"",
                              error);
    bool split;
    status =
        cr_json_get_bool(json, "split_special_tokens", false, &split, error);
    if (status == CR_OK && split)
        status = cr_json_refuse(json, "split_special_tokens",
                                cr_json_get(json, "split_special_tokens"),
                                "false", error);
    return status == CR_OK ? check_truncation(&files->tokenizer, error)
                           : status;
}

/* How a BertTokenizer would clean text. */
typedef struct cleaning {
    bool clean_text, split_cjk, strip_accents, lowercase;
} cleaning;

static cr_status configured_cleaning(const reader *r, cleaning *c) {
    const cr_json *json = &r->files->config;
    c->clean_text = true;
    cr_status status =
        cr_json_get_bool(json, "do_lower_case", true, &c->lowercase, r->error);
    if (status == CR_OK)
        status = cr_json_get_bool(json, "tokenize_chinese_chars", true,
                                  &c->split_cjk, r->error);
    if (status == CR_OK)
        status = cr_json_get_bool(json, "strip_accents", c->lowercase,
                                  &c->strip_accents, r->error);
    return status;
}

/* ---- tokenizer.json ----------------------------------------------------- */

/* A part of tokenizer.json that is refused: its name and its "type". */
static cr_status refuse_part(const reader *r, const char *key,
                             const char *supported) {
    const json_t *part = cr_json_get(&r->files->tokenizer, key);
    const json_t *type = json_object_get(part, "type");
    char name[64];
    snprintf(name, sizeof name, "%s%s", key, type ? ".type" : "");
    return cr_json_refuse(&r->files->tokenizer, name, type ? type : part,
                          supported, r->error);
}

/* A switch of "normalizer", which tokenizers wants to be there. */
static cr_status normalizer_switch(const reader *r, const char *key,
                                   bool *value) {
    const json_t *normalizer = cr_json_get(&r->files->tokenizer, "normalizer");
    const json_t *field = json_object_get(normalizer, key);
    char name[64];
    snprintf(name, sizeof name, "normalizer.%s", key);
    *value = json_is_true(field);
    if (!json_is_boolean(field))
        return cr_json_refuse(&r->files->tokenizer, name, field,
                              "true or false", r->error);
    return CR_OK;
}

static cr_status read_normalizer(const reader *r, cleaning *c) {
    const json_t *part = cr_json_get(&r->files->tokenizer, "normalizer");
    if (!is_text(json_object_get(part, "type"), "BertNormalizer"))
        return refuse_part(r, "normalizer", "\"BertNormalizer\"");
    cr_status status = normalizer_switch(r, "clean_text", &c->clean_text);
    if (status == CR_OK)
        status = normalizer_switch(r, "handle_chinese_chars", &c->split_cjk);
    if (status == CR_OK)
        status = normalizer_switch(r, "lowercase", &c->lowercase);
    c->strip_accents = c->lowercase;
    if (status == CR_OK &&
        !json_is_null(json_object_get(part, "strip_accents")))
        status = normalizer_switch(r, "strip_accents", &c->strip_accents);
    return status;
}

/* Fails where a BertTokenizer would clean text in another way. */
static cr_status compare_cleaning(const reader *r, const cleaning *c) {
    cleaning other;
    cr_status status = configured_cleaning(r, &other);
    if (status != CR_OK || !r->rebuilds)
        return status;
    const struct {
        const char *part, *key;
        bool is, would_be;
    } rows[] = {
        {"clean_text", "clean_text", c->clean_text, other.clean_text},
        {"lowercase", "do_lower_case", c->lowercase, other.lowercase},
        {"strip_accents", "strip_accents", c->strip_accents,
         other.strip_accents},
        {"handle_chinese_chars", "tokenize_chinese_chars", c->split_cjk,
         other.split_cjk},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].is != rows[i].would_be)
            return cr_fail(r->error, CR_ERR_MODEL,
                           "%s: \"normalizer.%s\" is %s, but by "
                           "tokenizer_config.json \"%s\" is %s (which is the "
                           "default): set both to what the model was trained "
                           "with",
                           r->files->tokenizer.path, rows[i].part,
                           rows[i].is ? "true" : "false", rows[i].key,
                           rows[i].would_be ? "true" : "false");
    return CR_OK;
}

/* One piece of the pair template: a special token or a sequence. */
static bool piece_is(const json_t *piece, const char *kind, const char *id,
                     json_int_t type_id) {
    const json_t *inner = json_object_get(piece, kind);
    const json_t *type = json_object_get(inner, "type_id");
    return is_text(json_object_get(inner, "id"), id) && json_is_integer(type) &&
           json_integer_value(type) == type_id;
}

static const char *special_piece(const json_t *pair, size_t i) {
    const json_t *inner =
        json_object_get(json_array_get(pair, i), "SpecialToken");
    return json_string_value(json_object_get(inner, "id"));
}

/* The one id of a template's special token, or -1. */
static int64_t template_id(const json_t *part, const char *token) {
    const json_t *entry =
        json_object_get(json_object_get(part, "special_tokens"), token);
    const json_t *ids = json_object_get(entry, "ids");
    const json_t *id = json_array_get(ids, 0);
    return json_array_size(ids) == 1 && json_is_integer(id)
               ? json_integer_value(id)
               : -1;
}

/* [CLS] A [SEP] B [SEP], types 0 0 0 1 1, or all 0 where the template counts.
 */
static bool template_is_bert(const reader *r, const json_t *part,
                             const char **cls, const char **sep) {
    const json_t *pair = json_object_get(part, "pair");
    *cls = special_piece(pair, 0);
    *sep = special_piece(pair, 2);
    if (json_array_size(pair) != 5 || !*cls || !*sep)
        return false;
    json_int_t second = 1;
    if (!r->rebuilds && piece_is(json_array_get(pair, 3), "Sequence", "B", 0)) {
        second = 0;
        r->source->spec.one_type = true;
    }
    return piece_is(json_array_get(pair, 0), "SpecialToken", *cls, 0) &&
           piece_is(json_array_get(pair, 1), "Sequence", "A", 0) &&
           piece_is(json_array_get(pair, 2), "SpecialToken", *sep, 0) &&
           piece_is(json_array_get(pair, 3), "Sequence", "B", second) &&
           piece_is(json_array_get(pair, 4), "SpecialToken", *sep, second);
}

/* ["[SEP]", 102] of a BertProcessing. */
static int64_t processing_pair(const json_t *part, const char *key,
                               const char **token) {
    const json_t *pair = json_object_get(part, key);
    const json_t *id = json_array_get(pair, 1);
    *token = json_string_value(json_array_get(pair, 0));
    return json_array_size(pair) == 2 && *token && json_is_integer(id)
               ? json_integer_value(id)
               : -1;
}

static cr_status read_post_processor(const reader *r) {
    static const char supported[] =
        "\"TemplateProcessing\" with the pair [CLS] $A [SEP] $B:1 [SEP]:1, or "
        "\"BertProcessing\"";
    const json_t *part = cr_json_get(&r->files->tokenizer, "post_processor");
    const json_t *type = json_object_get(part, "type");
    const char *cls = NULL, *sep = NULL;
    int64_t cls_id = -1, sep_id = -1;
    if (is_text(type, "TemplateProcessing") &&
        template_is_bert(r, part, &cls, &sep)) {
        cls_id = template_id(part, cls);
        sep_id = template_id(part, sep);
    } else if (is_text(type, "BertProcessing")) {
        cls_id = processing_pair(part, "cls", &cls);
        sep_id = processing_pair(part, "sep", &sep);
    }
    if (cls_id < 0 || sep_id < 0)
        return refuse_part(r, "post_processor", supported);
    const char *wants_cls = named_token(r, "cls_token", "[CLS]");
    const char *wants_sep = named_token(r, "sep_token", "[SEP]");
    bool same = strcmp(cls, wants_cls) == 0 && strcmp(sep, wants_sep) == 0;
    if (cls_id != cr_vocab_find_any(r->source, cls) ||
        sep_id != cr_vocab_find_any(r->source, sep) || (r->rebuilds && !same))
        return cr_fail(r->error, CR_ERR_MODEL,
                       "%s: \"post_processor\" has \"%.40s\" %lld and "
                       "\"%.40s\" %lld, which the vocabulary or "
                       "tokenizer_config.json contradicts",
                       r->files->tokenizer.path, cls, (long long)cls_id, sep,
                       (long long)sep_id);
    r->source->spec.cls_id = (int32_t)cls_id;
    r->source->spec.sep_id = (int32_t)sep_id;
    return CR_OK;
}

static cr_status read_model_settings(const reader *r) {
    const cr_json *json = &r->files->tokenizer;
    const json_t *model = cr_json_get(json, "model");
    cr_tokenizer_spec *spec = &r->source->spec;
    const json_t *chars = json_object_get(model, "max_input_chars_per_word");
    const json_t *prefix = json_object_get(model, "continuing_subword_prefix");
    json_int_t limit = json_is_integer(chars) ? json_integer_value(chars) : -1;
    /* transformers' own BertTokenizer does not read these two. */
    bool kept = !r->rebuilds || (limit == 100 && is_text(prefix, "##"));
    if (limit < 1 || limit > CR_MAX_WORD_CHARS || !kept)
        return cr_json_refuse(json, "model.max_input_chars_per_word", chars,
                              r->rebuilds ? "100 with the prefix \"##\""
                                          : "a whole number in 1..1000",
                              r->error);
    if (!json_is_string(prefix) || json_string_length(prefix) == 0)
        return cr_json_refuse(json, "model.continuing_subword_prefix", prefix,
                              "\"##\" or another text", r->error);
    spec->max_word_chars = (uint32_t)limit;
    spec->continuing_prefix =
        (cr_text){json_string_value(prefix), json_string_length(prefix)};
    return CR_OK;
}

static cr_status read_unk(const reader *r, const cr_json *json, const char *key,
                          const char *token) {
    r->source->spec.unk_id = cr_vocab_find(r->source, token);
    if (r->source->spec.unk_id < 0)
        return cr_fail(r->error, CR_ERR_MODEL,
                       "%s: \"%s\" is \"%.60s\", which is not in the "
                       "vocabulary",
                       json->path, key, token);
    return CR_OK;
}

static cr_status read_model(const reader *r) {
    const cr_json *json = &r->files->tokenizer;
    const json_t *model = cr_json_get(json, "model");
    const json_t *type = json_object_get(model, "type");
    /* Files of 2019 and 2020 do not name the type; this field does. */
    bool old = !type && json_object_get(model, "max_input_chars_per_word");
    if (!old && !is_text(type, "WordPiece"))
        return refuse_part(r, "model", "\"WordPiece\", the tokenizer of BERT");
    cr_status status = cr_vocab_from_json(
        r->source, json, json_object_get(model, "vocab"), r->error);
    if (status == CR_OK)
        status = read_model_settings(r);
    if (status != CR_OK)
        return status;
    const json_t *unk = json_object_get(model, "unk_token");
    const char *token = json_string_value(unk);
    const char *wants = named_token(r, "unk_token", "[UNK]");
    if (!token || (r->rebuilds && strcmp(token, wants) != 0))
        return cr_json_refuse(json, "model.unk_token", unk,
                              "the \"unk_token\" of tokenizer_config.json",
                              r->error);
    return read_unk(r, json, "model.unk_token", token);
}

/* ---- Special tokens ----------------------------------------------------- */

static bool is_special(const reader *r, const char *text) {
    for (size_t i = 0; i < r->source->spec.n_specials; i++)
        if (strcmp(r->source->specials[i].text.data, text) == 0)
            return true;
    return false;
}

/* Whether it is looked for in cleaned text, as tokens are by default that are
 * not special. */
static bool is_normalized(const json_t *token, bool by_default) {
    const json_t *normalized = json_object_get(token, "normalized");
    const json_t *special = json_object_get(token, "special");
    if (normalized)
        return json_is_true(normalized);
    return special ? !json_is_true(special) : !by_default;
}

/* One special token, a string or an object. `has_role` stands for the object's
 * word on being special where it has none. */
static cr_status add_token(const reader *r, const cr_json *json,
                           const char *key, const json_t *token,
                           int64_t stated_id, bool has_role) {
    const char *text = token_text(token);
    char where[CR_ERROR_MESSAGE_BYTES];
    snprintf(where, sizeof where, "%.300s: \"%s\"", json->path, key);
    if (!text)
        return cr_json_refuse(json, key, token, "a token", r->error);
    /* A mere text has the switches of the object that describes it. */
    if (json_is_string(token) && is_special(r, text))
        return CR_OK;
    if (is_normalized(token, has_role))
        return cr_fail(r->error, CR_ERR_UNSUPPORTED,
                       "%s: token \"%.60s\" has \"normalized\" true; "
                       "supported: false",
                       where, text);
    const cr_special_token special = {
        .text = {text, strlen(text)},
        .id = stated_id > INT32_MAX ? INT32_MAX : (int32_t)stated_id,
        .single_word = json_is_true(json_object_get(token, "single_word")),
        .lstrip = json_is_true(json_object_get(token, "lstrip")),
        .rstrip = json_is_true(json_object_get(token, "rstrip")),
    };
    return cr_vocab_add_special(r->source, where, &special, r->error);
}

static cr_status add_tokenizer_json_tokens(const reader *r) {
    const cr_json *json = &r->files->tokenizer;
    const json_t *list = cr_json_get(json, "added_tokens");
    if (list && !json_is_array(list))
        return cr_json_refuse(json, "added_tokens", list, "a list", r->error);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i);
        const json_t *id = json_object_get(token, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return cr_json_refuse(json, "added_tokens.id", id, "an id",
                                  r->error);
        cr_status status = add_token(r, json, "added_tokens", token,
                                     json_integer_value(id), false);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

/* "added_tokens_decoder": tokens by id, in the order of their ids. */
static cr_status add_decoder_tokens(const reader *r, const json_t *decoder) {
    const cr_json *json = &r->files->config;
    static const char key[] = "added_tokens_decoder";
    if (!json_is_object(decoder))
        return cr_json_refuse(json, key, decoder, "an object", r->error);
    json_t *object = (json_t *)(uintptr_t)decoder;
    const char *name;
    json_t *token;
    json_object_foreach(object, name, token) {
        char *end;
        long long id = strtoll(name, &end, 10);
        if (*end || end == name || id < 0 || !json_is_object(token))
            return cr_json_refuse(json, key, token, "tokens by their ids",
                                  r->error);
        cr_status status = add_token(r, json, key, token, id, false);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

/* Every "..._token" of a file whose value is a token. */
static cr_status add_role_tokens(const reader *r, const cr_json *json) {
    static const char ending[] = "_token";
    const char *key;
    json_t *value;
    json_object_foreach(json->root, key, value) {
        size_t len = strlen(key), n = sizeof ending - 1;
        if (len < n || strcmp(key + len - n, ending) != 0 || !token_text(value))
            continue;
        /* Another file may have the last word on the role. */
        if (strcmp(named_token(r, key, ""), token_text(value)) != 0)
            continue;
        cr_status status = add_token(r, json, key, value, -1, true);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

static cr_status add_extra_tokens(const reader *r, const cr_json *json,
                                  const char *key) {
    const json_t *extra = cr_json_get(json, key);
    json_t *object = (json_t *)(uintptr_t)extra;
    const char *name;
    json_t *token;
    size_t i;
    cr_status status = CR_OK;
    json_object_foreach(object, name, token) {
        status = add_token(r, json, key, token, -1, true);
        if (status != CR_OK)
            return status;
    }
    json_array_foreach(object, i, token) {
        status = add_token(r, json, key, token, -1, true);
        if (status != CR_OK)
            return status;
    }
    return status;
}

/* added_tokens.json: ids by token; those without a role are not special. */
static cr_status add_old_added_tokens(const reader *r) {
    const cr_json *json = &r->files->added;
    const char *token;
    json_t *id;
    json_object_foreach(json->root, token, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return cr_json_refuse(json, token, id, "an id", r->error);
        if (!is_special(r, token))
            return cr_fail(r->error, CR_ERR_UNSUPPORTED,
                           "%s: token \"%.60s\" is added without being "
                           "special; supported: special tokens",
                           json->path, token);
        int32_t known = cr_vocab_find_any(r->source, token);
        if (json_integer_value(id) != known)
            return cr_fail(r->error, CR_ERR_MODEL,
                           "%s: token \"%.60s\" has the id %lld here, but %d "
                           "elsewhere: the files contradict each other",
                           json->path, token, (long long)json_integer_value(id),
                           (int)known);
    }
    return CR_OK;
}

static cr_status add_bert_tokens(const reader *r) {
    static const char *const roles[][2] = {{"unk_token", "[UNK]"},
                                           {"sep_token", "[SEP]"},
                                           {"pad_token", "[PAD]"},
                                           {"cls_token", "[CLS]"},
                                           {"mask_token", "[MASK]"}};
    const cr_json *json =
        r->files->config.root ? &r->files->config : &r->files->tokenizer;
    const char *path = json->path ? json->path : r->files->vocab_path;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const char *text = named_token(r, roles[i][0], roles[i][1]);
        if (is_special(r, text))
            continue;
        const cr_special_token token = {.text = {text, strlen(text)}, .id = -1};
        cr_status status =
            cr_vocab_add_special(r->source, path, &token, r->error);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

static cr_status add_specials(const reader *r) {
    static const char *const extras[] = {"extra_special_tokens",
                                         "additional_special_tokens"};
    const cr_tokenizer_files *files = r->files;
    const json_t *decoder = cr_json_get(&files->config, "added_tokens_decoder");
    cr_status status = add_tokenizer_json_tokens(r);
    if (status == CR_OK && decoder)
        status = add_decoder_tokens(r, decoder);
    if (status == CR_OK)
        status = add_role_tokens(r, &files->config);
    if (status == CR_OK && r->rebuilds)
        status = add_bert_tokens(r);
    for (size_t i = 0; i < 2 && status == CR_OK; i++)
        status = add_extra_tokens(r, &files->config, extras[i]);
    if (decoder || status != CR_OK)
        return status;
    status = add_role_tokens(r, &files->special_map);
    if (status == CR_OK)
        status = add_old_added_tokens(r);
    for (size_t i = 0; i < 2 && status == CR_OK; i++)
        status = add_extra_tokens(r, &files->special_map, extras[i]);
    return status;
}

/* ---- The whole ---------------------------------------------------------- */

static cr_status read_tokenizer_json(const reader *r, cleaning *c) {
    const json_t *pre = cr_json_get(&r->files->tokenizer, "pre_tokenizer");
    cr_status status = read_normalizer(r, c);
    if (status == CR_OK &&
        !is_text(json_object_get(pre, "type"), "BertPreTokenizer"))
        status = refuse_part(r, "pre_tokenizer", "\"BertPreTokenizer\"");
    if (status == CR_OK)
        status = read_model(r);
    if (status == CR_OK)
        status = compare_cleaning(r, c);
    if (status == CR_OK)
        status = add_specials(r);
    if (status == CR_OK)
        status = read_post_processor(r);
    return status;
}

static cr_status read_vocab_text(const reader *r, cleaning *c) {
    const cr_tokenizer_files *files = r->files;
    cr_tokenizer_spec *spec = &r->source->spec;
    cr_text text = {files->vocab_text.data, files->vocab_text.len};
    spec->max_word_chars = 100;
    spec->continuing_prefix = (cr_text){"##", 2};
    cr_status status =
        cr_vocab_from_text(r->source, files->vocab_path, text, r->error);
    if (status == CR_OK)
        status = configured_cleaning(r, c);
    const cr_json vocab = {.path = files->vocab_path};
    const char *unk = named_token(r, "unk_token", "[UNK]");
    if (status == CR_OK)
        status = read_unk(r, &vocab, "unk_token", unk);
    if (status == CR_OK)
        status = add_specials(r);
    if (status != CR_OK)
        return status;
    spec->cls_id =
        cr_vocab_find_any(r->source, named_token(r, "cls_token", "[CLS]"));
    spec->sep_id =
        cr_vocab_find_any(r->source, named_token(r, "sep_token", "[SEP]"));
    return CR_OK;
}

cr_status cr_tokenizer_source_read(const cr_tokenizer_files *files,
                                   const cr_json *config_json,
                                   const cr_model_config *config,
                                   bool lowercases, cr_tokenizer_source *source,
                                   cr_error *error) {
    *source = (cr_tokenizer_source){.vocab_limit = config->vocab_size};
    reader r = {.files = files,
                .config_json = config_json,
                .config = config,
                .lowercases = lowercases,
                .source = source,
                .error = error};
    cleaning c = {0};
    cr_status status = read_class(&r);
    if (status == CR_OK)
        status = cr_tokenizer_settings_read(files, CR_MIN_PAIR_TOKENS,
                                            &source->max_length, error);
    if (status == CR_OK)
        status = read_input_names(&r);
    if (status == CR_OK)
        status = files->tokenizer.root ? read_tokenizer_json(&r, &c)
                                       : read_vocab_text(&r, &c);
    if (status == CR_OK && lowercases && !c.lowercase)
        status = cr_fail(error, CR_ERR_UNSUPPORTED,
                         "sentence_bert_config.json: \"do_lower_case\" is true "
                         "with a cased tokenizer; supported: false");
    source->spec.clean_text = c.clean_text;
    source->spec.split_cjk = c.split_cjk;
    source->spec.strip_accents = c.strip_accents;
    source->spec.lowercase = c.lowercase;
    return status;
}

void cr_tokenizer_source_fini(cr_tokenizer_source *source) {
    cr_free(source->vocab);
    cr_free(source->specials);
    cr_free(source->by_text);
    *source = (cr_tokenizer_source){0};
}
