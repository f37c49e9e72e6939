/* Tokenizer files: what they say is what the spec says, and what our tokenizer
 * would do differently from Hugging Face is refused by name. */
#include "model/tokenizer_files.h"

#include "base/mem.h"
#include "tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static tiny_folder folder;

static int set_up(void **state) {
    (void)state;
    tiny_watch_jansson();
    tiny_folder_make(&folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tiny_folder_remove(&folder);
    return 0;
}

/* ---- Reading one folder ------------------------------------------------- */

typedef struct result {
    cr_tokenizer_files files;
    cr_tokenizer_source source;
    cr_status status;
    cr_error error;
} result;

/* As cr_model_open does it, with another config.json ("" for {}). */
static void read_with(result *r, const char *config_json, uint32_t n_types,
                      bool lowercases) {
    cr_json config = {0};
    const char *text = config_json[0] ? config_json : "{}";
    const cr_model_config model = {.vocab_size = TINY_VOCAB_SIZE + 4,
                                   .n_types = n_types};
    *r = (result){.error.message = ""};
    r->status = cr_json_parse(&config, "DIR/config.json",
                              (cr_text){text, strlen(text)}, 0, &r->error);
    if (r->status == CR_OK)
        r->status = cr_tokenizer_files_load(&r->files, folder.path, &r->error);
    if (r->status == CR_OK)
        r->status = cr_tokenizer_source_read(&r->files, &config, &model,
                                             lowercases, &r->source, &r->error);
    cr_json_fini(&config);
}

static void read_folder(result *r) { read_with(r, "", 2, false); }

static void fini(result *r) {
    cr_tokenizer_source_fini(&r->source);
    cr_tokenizer_files_fini(&r->files);
}

static void expect(cr_status status, const char *const *parts) {
    result r;
    read_folder(&r);
    if (r.status != status)
        fail_msg("%s: %s; expected %s", cr_status_name(r.status),
                 r.error.message, cr_status_name(status));
    tiny_expect_message(r.error.message, parts);
    fini(&r);
}

static void write_json(const char *name, json_t *root) {
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    tiny_write_text(&folder, name, text);
    cr_free(text);
}

/* ---- Sound folders ------------------------------------------------------ */

static bool spec_has(const cr_tokenizer_spec *spec, const char *token,
                     int32_t id) {
    for (size_t i = 0; i < spec->n_specials; i++)
        if (spec->specials[i].text.len == strlen(token) &&
            memcmp(spec->specials[i].text.data, token, strlen(token)) == 0)
            return spec->specials[i].id == id;
    return false;
}

static void check_tiny_spec(const cr_tokenizer_spec *spec) {
    static const char *const vocab[] = {"[PAD]",  "[UNK]", "[CLS]", "[SEP]",
                                        "[MASK]", "a",     "b",     "##a",
                                        "##b",    "the",   "cat",   "."};
    assert_int_equal(spec->n_vocab, TINY_VOCAB_SIZE);
    for (size_t i = 0; i < TINY_VOCAB_SIZE; i++) {
        assert_int_equal(spec->vocab[i].len, strlen(vocab[i]));
        assert_memory_equal(spec->vocab[i].data, vocab[i], strlen(vocab[i]));
    }
    assert_int_equal(spec->n_specials, 5);
    for (int i = 0; i < 5; i++)
        assert_true(spec_has(spec, vocab[i], i));
    assert_int_equal(spec->cls_id, 2);
    assert_int_equal(spec->sep_id, 3);
    assert_int_equal(spec->unk_id, 1);
    assert_int_equal(spec->max_word_chars, 100);
    assert_int_equal(spec->continuing_prefix.len, 2);
    assert_memory_equal(spec->continuing_prefix.data, "##", 2);
    assert_true(spec->clean_text && spec->split_cjk);
    assert_true(spec->lowercase && spec->strip_accents);
}

static void clear_folder(void) {
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.txt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove(tiny_path(&folder, names[i]));
}

/* tokenizer.json and tokenizer_config.json of the tiny model, nothing else. */
static void write_json_folder(void) {
    clear_folder();
    tiny_write_text(&folder, "tokenizer.json", TINY_TOKENIZER);
    tiny_write_text(&folder, "tokenizer_config.json", TINY_TOKENIZER_CONFIG);
}

static void write_text_folder(const char *vocab, const char *config) {
    clear_folder();
    tiny_write_text(&folder, "vocab.txt", vocab);
    if (config)
        tiny_write_text(&folder, "tokenizer_config.json", config);
}

static void both_formats_give_the_same_spec(void **state) {
    (void)state;
    result r;
    write_json_folder();
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    check_tiny_spec(&r.source.spec);
    assert_int_equal(r.source.max_length, 16);
    fini(&r);
    write_text_folder(TINY_VOCAB, TINY_TOKENIZER_CONFIG);
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    check_tiny_spec(&r.source.spec);
    fini(&r);
    write_text_folder(TINY_VOCAB, NULL);
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    check_tiny_spec(&r.source.spec);
    assert_true(r.source.max_length == UINT32_MAX);
    fini(&r);
}

static void no_vocabulary_is_said_plainly(void **state) {
    (void)state;
    clear_folder();
    expect(CR_ERR_MODEL,
           (const char *[]){"tokenizer.json", "vocab.txt", "missing", NULL});
}

static void cleaning_follows_the_configuration(void **state) {
    (void)state;
    static const struct {
        const char *config;
        bool lowercase, strip_accents, split_cjk;
    } rows[] = {
        {"{}", true, true, true},
        {"{\"do_lower_case\": false}", false, false, true},
        {"{\"do_lower_case\": true, \"strip_accents\": false}", true, false,
         true},
        {"{\"do_lower_case\": false, \"strip_accents\": true}", false, true,
         true},
        {"{\"strip_accents\": null, \"tokenize_chinese_chars\": false}", true,
         true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        result r;
        write_text_folder(TINY_VOCAB, rows[i].config);
        read_folder(&r);
        assert_string_equal(r.error.message, "");
        assert_int_equal(r.source.spec.lowercase, rows[i].lowercase);
        assert_int_equal(r.source.spec.strip_accents, rows[i].strip_accents);
        assert_int_equal(r.source.spec.split_cjk, rows[i].split_cjk);
        assert_true(r.source.spec.clean_text);
        fini(&r);
    }
}

static void max_length_may_be_huge(void **state) {
    (void)state;
    static const struct {
        const char *config;
        uint32_t expected;
    } rows[] = {
        {"{\"model_max_length\": 512}", 512},
        {"{\"model_max_length\": 3}", 3},
        {"{\"max_len\": 77}", 77},
        {"{\"max_len\": 77, \"model_max_length\": 78}", 78},
        {"{\"model_max_length\": null}", UINT32_MAX},
        {"{\"model_max_length\": 1000000000000000019884624838656}", UINT32_MAX},
        {"{\"model_max_length\": 1e30}", UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        result r;
        write_text_folder(TINY_VOCAB, rows[i].config);
        read_folder(&r);
        assert_string_equal(r.error.message, "");
        assert_true(r.source.max_length == rows[i].expected);
        fini(&r);
    }
}

/* ---- vocab.txt ---------------------------------------------------------- */

static void lines_of_vocab_txt_are_ids(void **state) {
    (void)state;
    result r;
    write_text_folder("[PAD]\r\n[UNK]\r\n[CLS]  \r\n[SEP]\t\n[MASK]\n\n\na\n"
                      "dup\nx\ndup",
                      NULL);
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    const cr_tokenizer_spec *spec = &r.source.spec;
    assert_int_equal(spec->n_vocab, 11);
    assert_int_equal(spec->cls_id, 2);
    assert_int_equal(spec->vocab[5].len, 0);
    assert_int_equal(spec->vocab[6].len, 0);
    assert_memory_equal(spec->vocab[7].data, "a", 1);
    assert_int_equal(spec->vocab[8].len, 0); /* the later id counts */
    assert_int_equal(spec->vocab[10].len, 3);
    fini(&r);
}

static void faulty_vocab_txt_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *vocab;
        const char *parts[4]; /* up to NULL */
    } rows[] = {
        {"", {"unk_token", "[UNK]"}},
        {"[PAD]\n[CLS]\n[SEP]\n[MASK]\na\n", {"unk_token", "[UNK]"}},
        {"[UNK]\nx\xff\n", {"line 2", "UTF-8"}},
        {"[UNK]\nx\n\xed\xa0\x80\n", {"line 3", "UTF-8"}},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n5\n6\n7\n8\n9\n10\n11\n12\n13\n"
         "14\n15\n16\n",
         {"\"16\"", "id 16", "\"vocab_size\""}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_text_folder(rows[i].vocab, NULL);
        expect(CR_ERR_MODEL, rows[i].parts);
    }
    clear_folder();
    tiny_write(&folder, "vocab.txt", "[UNK]\na\0b\n", 10);
    expect(CR_ERR_MODEL, (const char *[]){"line 2", "NUL", NULL});
}

/* Hugging Face would number a missing token behind the vocabulary. */
static void missing_special_tokens_get_the_next_id(void **state) {
    (void)state;
    result r;
    write_text_folder("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", NULL);
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    assert_true(spec_has(&r.source.spec, "[MASK]", 5));
    assert_int_equal(r.source.spec.n_vocab, 6);
    assert_int_equal(r.source.spec.vocab[5].len, 0);
    fini(&r);
    write_text_folder("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n5\n6\n7\n8\n9\n10\n11\n"
                      "12\n13\n14\n15\n",
                      NULL);
    expect(CR_ERR_MODEL,
           (const char *[]){"[MASK]", "id 16", "vocab_size", NULL});
}

/* ---- Fields of tokenizer.json ------------------------------------------- */

static const struct {
    const char *path;  /* keys and indices, parted by '.' */
    const char *value; /* JSON, NULL: taken away */
    cr_status status;
    const char *parts[5]; /* up to NULL */
} JSON_FIELDS[] = {
    {"normalizer", "null", CR_ERR_UNSUPPORTED, {"normalizer", "missing"}},
    {"normalizer.type",
     "\"Sequence\"",
     CR_ERR_UNSUPPORTED,
     {"normalizer.type", "\"Sequence\"", "BertNormalizer"}},
    {"normalizer.clean_text",
     NULL,
     CR_ERR_UNSUPPORTED,
     {"normalizer.clean_text", "missing"}},
    {"normalizer.clean_text",
     "false",
     CR_ERR_MODEL,
     {"normalizer.clean_text", "false"}},
    {"normalizer.lowercase",
     "false",
     CR_ERR_MODEL,
     {"normalizer.lowercase", "false", "do_lower_case"}},
    {"normalizer.lowercase",
     "\"yes\"",
     CR_ERR_UNSUPPORTED,
     {"normalizer.lowercase", "\"yes\""}},
    {"normalizer.strip_accents",
     "false",
     CR_ERR_MODEL,
     {"normalizer.strip_accents", "false"}},
    {"normalizer.strip_accents", "true", CR_OK, {""}},
    {"normalizer.handle_chinese_chars",
     "false",
     CR_ERR_MODEL,
     {"handle_chinese_chars", "tokenize_chinese_chars"}},
    {"pre_tokenizer", "null", CR_ERR_UNSUPPORTED, {"pre_tokenizer", "missing"}},
    {"pre_tokenizer.type",
     "\"Whitespace\"",
     CR_ERR_UNSUPPORTED,
     {"pre_tokenizer.type", "\"Whitespace\"", "BertPreTokenizer"}},
    {"post_processor",
     "null",
     CR_ERR_UNSUPPORTED,
     {"post_processor", "missing", "TemplateProcessing"}},
    {"post_processor.type",
     "\"RobertaProcessing\"",
     CR_ERR_UNSUPPORTED,
     {"post_processor.type", "\"RobertaProcessing\""}},
    {"post_processor.pair.3.Sequence.type_id",
     "0",
     CR_ERR_UNSUPPORTED,
     {"post_processor"}},
    {"post_processor.pair.3.Sequence.id",
     "\"A\"",
     CR_ERR_UNSUPPORTED,
     {"post_processor"}},
    {"post_processor.pair.4", NULL, CR_ERR_UNSUPPORTED, {"post_processor"}},
    {"post_processor.special_tokens.[CLS].ids",
     "[5]",
     CR_ERR_MODEL,
     {"post_processor", "[CLS]", "5", "contradict"}},
    {"post_processor.special_tokens.[SEP].ids",
     "[3, 3]",
     CR_ERR_UNSUPPORTED,
     {"post_processor"}},
    {"post_processor",
     "{\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 3], \"cls\": "
     "[\"[CLS]\", 2]}",
     CR_OK,
     {""}},
    {"post_processor",
     "{\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 2], \"cls\": "
     "[\"[CLS]\", 2]}",
     CR_ERR_MODEL,
     {"post_processor", "contradict"}},
    {"truncation",
     "{\"direction\": \"Right\", \"max_length\": 8, \"strategy\": "
     "\"LongestFirst\", \"stride\": 0}",
     CR_OK,
     {""}},
    {"truncation",
     "{\"direction\": \"Left\"}",
     CR_ERR_UNSUPPORTED,
     {"truncation.direction", "\"Left\"", "\"Right\""}},
    {"padding", "{\"direction\": \"Left\"}", CR_OK, {""}},
    {"decoder", "null", CR_OK, {""}},
    {"model", "null", CR_ERR_UNSUPPORTED, {"model", "WordPiece"}},
    {"model.type",
     "\"BPE\"",
     CR_ERR_UNSUPPORTED,
     {"model.type", "\"BPE\"", "WordPiece"}},
    {"model.type", NULL, CR_OK, {""}},
    {"model.unk_token", "\"a\"", CR_ERR_UNSUPPORTED, {"unk_token", "\"a\""}},
    {"model.unk_token", NULL, CR_ERR_UNSUPPORTED, {"unk_token", "missing"}},
    {"model.continuing_subword_prefix",
     "\"@@\"",
     CR_ERR_UNSUPPORTED,
     {"model.", "##"}},
    {"model.max_input_chars_per_word",
     "50",
     CR_ERR_UNSUPPORTED,
     {"max_input_chars_per_word", "50", "100"}},
    {"model.max_input_chars_per_word",
     "0",
     CR_ERR_UNSUPPORTED,
     {"max_input_chars_per_word", "0"}},
    {"model.vocab", "[]", CR_ERR_UNSUPPORTED, {"model.vocab", "a list of 0"}},
    {"model.vocab.cat", "16", CR_ERR_MODEL, {"cat", "id 16", "vocab_size"}},
    {"model.vocab.cat", "-1", CR_ERR_MODEL, {"cat", "-1"}},
    {"model.vocab.cat", "1.5", CR_ERR_MODEL, {"cat"}},
    {"model.vocab.cat", "9", CR_ERR_MODEL, {"cat", "the", "same id 9"}},
    {"model.vocab.cat", "15", CR_OK, {""}},
    {"model.vocab.[UNK]", NULL, CR_ERR_MODEL, {"[UNK]", "vocabulary"}},
    {"model.vocab.[CLS]", NULL, CR_ERR_MODEL, {"[CLS]", "id 2", "11"}},
    {"added_tokens", "{}", CR_ERR_UNSUPPORTED, {"added_tokens", "a list"}},
    {"added_tokens", "[]", CR_OK, {""}},
    {"added_tokens.0.id", "7", CR_ERR_MODEL, {"[PAD]", "id 7", "0"}},
    {"added_tokens.0.id", "\"0\"", CR_ERR_UNSUPPORTED, {"added_tokens.id"}},
    {"added_tokens.0.content", "7", CR_ERR_UNSUPPORTED, {"added_tokens"}},
    {"added_tokens.0.content", "\"\"", CR_ERR_MODEL, {"empty"}},
    {"added_tokens.4.normalized",
     "true",
     CR_ERR_UNSUPPORTED,
     {"[MASK]", "normalized"}},
    {"added_tokens.4.lstrip", "true", CR_OK, {""}},
};

/* Sets or removes the value at `path` below root. */
static void change(json_t *root, const char *path, const char *value) {
    json_t *at = root;
    char key[64];
    for (;;) {
        size_t n = strcspn(path, ".");
        assert_true(n < sizeof key);
        memcpy(key, path, n);
        key[n] = '\0';
        if (!path[n])
            break;
        at = json_is_array(at) ? json_array_get(at, (size_t)(key[0] - '0'))
                               : json_object_get(at, key);
        assert_non_null(at);
        path += n + 1;
    }
    json_t *field = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    assert_true(!value || field);
    size_t index = (size_t)(key[0] - '0');
    int failed = json_is_array(at)
                     ? (field ? json_array_set_new(at, index, field)
                              : json_array_remove(at, index))
                     : (field ? json_object_set_new(at, key, field)
                              : json_object_del(at, key));
    assert_int_equal(failed, 0);
}

static void fields_of_tokenizer_json_are_checked(void **state) {
    (void)state;
    write_json_folder();
    for (size_t i = 0; i < sizeof JSON_FIELDS / sizeof JSON_FIELDS[0]; i++) {
        json_t *root = json_loads(TINY_TOKENIZER, 0, NULL);
        change(root, JSON_FIELDS[i].path, JSON_FIELDS[i].value);
        write_json("tokenizer.json", root);
        json_decref(root);
        result r;
        read_folder(&r);
        if (r.status != JSON_FIELDS[i].status)
            fail_msg("%s = %s: %s", JSON_FIELDS[i].path, JSON_FIELDS[i].value,
                     r.error.message);
        tiny_expect_message(r.error.message, JSON_FIELDS[i].parts);
        if (r.status != CR_OK)
            tiny_expect_message(r.error.message,
                                (const char *[]){"tokenizer.json", NULL});
        fini(&r);
    }
}

/* The whole of tokenizer.json counts where transformers takes it whole. */
static void a_whole_tokenizer_json_decides_alone(void **state) {
    (void)state;
    static const char whole[] =
        "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", "
        "\"model_input_names\": [\"input_ids\", \"token_type_ids\"]}";
    static const char *const changes[][2] = {
        {"normalizer.lowercase", "false"},
        {"normalizer.clean_text", "false"},
        {"normalizer.handle_chinese_chars", "false"},
        {"model.max_input_chars_per_word", "50"},
        {"model.continuing_subword_prefix", "\"@@\""}};
    json_t *root = json_loads(TINY_TOKENIZER, 0, NULL);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        change(root, changes[i][0], changes[i][1]);
    clear_folder();
    tiny_write_text(&folder, "tokenizer_config.json", whole);
    write_json("tokenizer.json", root);
    json_decref(root);
    result r;
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    assert_false(r.source.spec.lowercase);
    assert_false(r.source.spec.strip_accents);
    assert_false(r.source.spec.clean_text);
    assert_false(r.source.spec.split_cjk);
    assert_int_equal(r.source.spec.max_word_chars, 50);
    assert_memory_equal(r.source.spec.continuing_prefix.data, "@@", 2);
    fini(&r);
    /* Without the class the same file is a contradiction. */
    tiny_write_text(&folder, "tokenizer_config.json", "{}");
    expect(CR_ERR_UNSUPPORTED,
           (const char *[]){"max_input_chars_per_word", "50", NULL});
}

/* ---- tokenizer_config.json ---------------------------------------------- */

static const struct {
    const char *config;
    cr_status status;
    const char *parts[5]; /* up to NULL */
} CONFIGS[] = {
    {"{\"tokenizer_class\": \"BertTokenizerFast\"}", CR_OK, {""}},
    {"{\"tokenizer_class\": \"RobertaTokenizer\"}",
     CR_ERR_UNSUPPORTED,
     {"tokenizer_class", "\"RobertaTokenizer\"", "\"BertTokenizer\""}},
    {"{\"tokenizer_class\": 7}", CR_ERR_UNSUPPORTED, {"tokenizer_class", "7"}},
    {"{\"do_lower_case\": false}",
     CR_ERR_MODEL,
     {"do_lower_case", "normalizer.lowercase"}},
    {"{\"do_lower_case\": 1}",
     CR_ERR_UNSUPPORTED,
     {"do_lower_case", "1", "true or false"}},
    {"{\"strip_accents\": \"x\"}",
     CR_ERR_UNSUPPORTED,
     {"strip_accents", "\"x\""}},
    {"{\"truncation_side\": \"left\"}",
     CR_ERR_UNSUPPORTED,
     {"truncation_side", "\"left\"", "\"right\""}},
    {"{\"split_special_tokens\": true}",
     CR_ERR_UNSUPPORTED,
     {"split_special_tokens", "true", "false"}},
    {"{\"model_input_names\": [\"input_ids\", \"attention_mask\"]}",
     CR_OK,
     {""}},
    {"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}",
     CR_ERR_UNSUPPORTED,
     {"model_input_names", "missing", "token_type_ids"}},
    {"{\"tokenizer_class\": \"PreTrainedTokenizerFast\", "
     "\"model_input_names\": \"input_ids\"}",
     CR_ERR_UNSUPPORTED,
     {"model_input_names", "\"input_ids\"", "token_type_ids"}},
    {"{\"model_max_length\": 2}",
     CR_ERR_UNSUPPORTED,
     {"model_max_length", "2", "3"}},
    {"{\"model_max_length\": \"512\"}",
     CR_ERR_UNSUPPORTED,
     {"model_max_length", "\"512\""}},
    {"{\"cls_token\": \"a\"}", CR_ERR_MODEL, {"post_processor", "[CLS]"}},
    {"{\"cls_token\": {\"content\": \"[CLS]\", \"lstrip\": false, "
     "\"normalized\": false}}",
     CR_OK,
     {""}},
    {"{\"mask_token\": {\"content\": \"[MASK]\", \"normalized\": true}}",
     CR_ERR_UNSUPPORTED,
     {"[MASK]", "normalized"}},
    {"{\"mask_token\": {\"content\": \"[MASK]\", \"lstrip\": true, "
     "\"normalized\": false}}",
     CR_ERR_MODEL,
     {"[MASK]", "lstrip"}},
    {"{\"unk_token\": \"a\"}", CR_ERR_UNSUPPORTED, {"model.unk_token"}},
    {"{\"pad_token\": null}", CR_OK, {""}},
    {"{\"added_tokens_decoder\": {\"4\": {\"content\": \"[MASK]\", "
     "\"special\": true}}}",
     CR_OK,
     {""}},
    {"{\"added_tokens_decoder\": {\"5\": {\"content\": \"[MASK]\", "
     "\"special\": true}}}",
     CR_ERR_MODEL,
     {"[MASK]", "id 5", "4"}},
    {"{\"added_tokens_decoder\": {\"12\": {\"content\": \"[Q]\", "
     "\"special\": true}}}",
     CR_OK,
     {""}},
    {"{\"added_tokens_decoder\": {\"13\": {\"content\": \"[Q]\", "
     "\"special\": true}}}",
     CR_ERR_MODEL,
     {"[Q]", "id 13", "12"}},
    {"{\"added_tokens_decoder\": {\"12\": {\"content\": \"word\"}}}",
     CR_ERR_UNSUPPORTED,
     {"word", "normalized"}},
    {"{\"added_tokens_decoder\": {\"x\": {\"content\": \"[MASK]\"}}}",
     CR_ERR_UNSUPPORTED,
     {"added_tokens_decoder"}},
    {"{\"added_tokens_decoder\": []}",
     CR_ERR_UNSUPPORTED,
     {"added_tokens_decoder"}},
    {"{\"extra_special_tokens\": [\"[A]\", \"[B]\", \"[C]\", \"[D]\"]}",
     CR_OK,
     {""}},
    {"{\"extra_special_tokens\": [\"[A]\", \"[B]\", \"[C]\", \"[D]\", "
     "\"[E]\"]}",
     CR_ERR_MODEL,
     {"[E]", "id 16", "vocab_size"}},
    {"{\"additional_special_tokens\": [\"a\"]}", CR_OK, {""}},
    {"{\"extra_special_tokens\": {\"q_token\": \"[Q]\"}}", CR_OK, {""}},
    {"{\"extra_special_tokens\": [7]}",
     CR_ERR_UNSUPPORTED,
     {"extra_special_tokens", "7"}},
    {"[]", CR_ERR_MODEL, {"tokenizer_config.json", "object"}},
    {"{", CR_ERR_MODEL, {"tokenizer_config.json", "not valid JSON"}},
    {"version https://git-lfs.github.com/spec/v1\noid sha256:1a\nsize 9\n",
     CR_ERR_MODEL,
     {"tokenizer_config.json", "Git LFS pointer"}},
};

static void fields_of_tokenizer_config_are_checked(void **state) {
    (void)state;
    write_json_folder();
    for (size_t i = 0; i < sizeof CONFIGS / sizeof CONFIGS[0]; i++) {
        tiny_write_text(&folder, "tokenizer_config.json", CONFIGS[i].config);
        result r;
        read_folder(&r);
        if (r.status != CONFIGS[i].status)
            fail_msg("%s: %s", CONFIGS[i].config, r.error.message);
        tiny_expect_message(r.error.message, CONFIGS[i].parts);
        fini(&r);
    }
}

/* The passage has type 1 only where model and tokenizer both know types. */
static void types_are_told_from_the_files(void **state) {
    (void)state;
    static const struct {
        const char *config;
        uint32_t n_types;
        bool one_type;
    } rows[] = {
        {"{}", 2, false},
        {"{}", 1, true},
        {"{\"model_input_names\": [\"input_ids\"]}", 2, true},
        {"{\"model_input_names\": [\"input_ids\", \"token_type_ids\"]}", 2,
         false},
        {"{\"model_input_names\": [\"token_type_ids\"]}", 1, true},
        {"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}", 1, true},
        {"{\"tokenizer_class\": \"PreTrainedTokenizerFast\", "
         "\"model_input_names\": [\"token_type_ids\"]}",
         2, false},
    };
    write_json_folder();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        result r;
        tiny_write_text(&folder, "tokenizer_config.json", rows[i].config);
        read_with(&r, "", rows[i].n_types, false);
        assert_string_equal(r.error.message, "");
        assert_int_equal(r.source.spec.one_type, rows[i].one_type);
        fini(&r);
    }
}

static void other_files_have_their_say(void **state) {
    (void)state;
    result r;
    write_json_folder();
    read_with(&r, "{\"tokenizer_class\": \"T5Tokenizer\"}", 2, false);
    assert_string_equal(r.error.message, ""); /* the nearer file names one */
    fini(&r);
    tiny_write_text(&folder, "tokenizer_config.json", "{}");
    read_with(&r, "{\"tokenizer_class\": \"T5Tokenizer\"}", 2, false);
    assert_int_equal(r.status, CR_ERR_UNSUPPORTED);
    tiny_expect_message(r.error.message,
                        (const char *[]){"config.json", "T5Tokenizer", NULL});
    fini(&r);
    read_with(&r, "", 2, true);
    assert_int_equal(r.status, CR_OK);
    fini(&r);
    tiny_write_text(&folder, "tokenizer_config.json",
                    "{\"model_input_names\": [\"input_ids\"]}");
    read_with(&r, "", 1, false);
    assert_int_equal(r.status, CR_OK);
    fini(&r);
    write_text_folder(TINY_VOCAB, "{\"do_lower_case\": false}");
    read_with(&r, "", 2, true);
    assert_int_equal(r.status, CR_ERR_UNSUPPORTED);
    tiny_expect_message(r.error.message,
                        (const char *[]){"do_lower_case", "cased", NULL});
    fini(&r);
    write_text_folder(TINY_VOCAB,
                      "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
    expect(CR_ERR_UNSUPPORTED,
           (const char *[]){"tokenizer_class", "tokenizer.json", NULL});
}

static void old_files_name_special_tokens(void **state) {
    (void)state;
    result r;
    write_text_folder(TINY_VOCAB, "{\"sep_token\": \"[SEP]\"}");
    tiny_write_text(&folder, "special_tokens_map.json",
                    "{\"sep_token\": \"cat\", "
                    "\"additional_special_tokens\": [\"[Q]\"]}");
    tiny_write_text(&folder, "added_tokens.json", "{\"cat\": 10}");
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    assert_int_equal(r.source.spec.sep_id, 10);
    assert_true(spec_has(&r.source.spec, "[Q]", 12));
    assert_false(spec_has(&r.source.spec, "[SEP]", 3));
    fini(&r);
    /* A decoder makes transformers pass over the older files. */
    tiny_write_text(&folder, "tokenizer_config.json",
                    "{\"sep_token\": \"[SEP]\", \"added_tokens_decoder\": {}}");
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    assert_int_equal(r.source.spec.sep_id, 3);
    assert_false(spec_has(&r.source.spec, "[Q]", 12));
    fini(&r);
    tiny_write_text(&folder, "tokenizer_config.json", "{}");
    tiny_write_text(&folder, "added_tokens.json", "{\"cat\": 13}");
    expect(CR_ERR_MODEL, (const char *[]){"cat", "id 13", "10", NULL});
    tiny_write_text(&folder, "added_tokens.json", "{\"word\": 12}");
    expect(CR_ERR_UNSUPPORTED, (const char *[]){"word", "special", NULL});
}

static void a_repeated_special_token_is_one(void **state) {
    (void)state;
    json_t *root = json_object(), *list = json_array();
    for (int i = 0; i < 5000; i++)
        json_array_append_new(list, json_string("[PAD]"));
    json_object_set_new(root, "extra_special_tokens", list);
    write_json_folder();
    write_json("tokenizer_config.json", root);
    json_decref(root);
    result r;
    read_folder(&r);
    assert_string_equal(r.error.message, "");
    assert_int_equal(r.source.spec.n_specials, 5);
    fini(&r);
}

static void every_failing_allocation_is_an_error(void **state) {
    (void)state;
    for (int text = 0; text < 2; text++) {
        if (text)
            write_text_folder(TINY_VOCAB, TINY_TOKENIZER_CONFIG);
        else
            write_json_folder();
        for (uint64_t n = 0;; n++) {
            result r;
            cr_mem_fail_after(n);
            read_folder(&r);
            cr_mem_fail_never();
            bool done = r.status == CR_OK;
            if (!done)
                tiny_expect_no_memory(r.status, &r.error);
            fini(&r);
            if (done)
                break;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_formats_give_the_same_spec),
        cmocka_unit_test(no_vocabulary_is_said_plainly),
        cmocka_unit_test(cleaning_follows_the_configuration),
        cmocka_unit_test(max_length_may_be_huge),
        cmocka_unit_test(lines_of_vocab_txt_are_ids),
        cmocka_unit_test(faulty_vocab_txt_is_refused),
        cmocka_unit_test(missing_special_tokens_get_the_next_id),
        cmocka_unit_test(fields_of_tokenizer_json_are_checked),
        cmocka_unit_test(a_whole_tokenizer_json_decides_alone),
        cmocka_unit_test(fields_of_tokenizer_config_are_checked),
        cmocka_unit_test(types_are_told_from_the_files),
        cmocka_unit_test(other_files_have_their_say),
        cmocka_unit_test(old_files_name_special_tokens),
        cmocka_unit_test(a_repeated_special_token_is_one),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
