/* Small files and folders for tests of src/model. */
#include "tiny.h"

#include "base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

const char TINY_CONFIG[] =
    "{\"architectures\": [\"BertForSequenceClassification\"], "
    "\"model_type\": \"bert\", \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 2, \"hidden_size\": 4, "
    "\"intermediate_size\": 8, \"vocab_size\": 12, "
    "\"max_position_embeddings\": 16, \"type_vocab_size\": 2, "
    "\"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12, "
    "\"id2label\": {\"0\": \"LABEL_0\"}}";

const char TINY_VOCAB[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\nthe\ncat\n.\n";

const char TINY_TOKENIZER_CONFIG[] =
    "{\"tokenizer_class\": \"BertTokenizer\", \"do_lower_case\": true, "
    "\"model_max_length\": 16}";

#define ADDED(id, text)                                                        \
    "{\"id\": " #id ", \"content\": \"" text "\", \"single_word\": false, "    \
    "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, "            \
    "\"special\": true}"
#define SPECIAL(text, type)                                                    \
    "{\"SpecialToken\": {\"id\": \"" text "\", \"type_id\": " #type "}}"
#define SEQUENCE(text, type)                                                   \
    "{\"Sequence\": {\"id\": \"" text "\", \"type_id\": " #type "}}"

/* clang-format off */
const char TINY_TOKENIZER[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, "
    "\"added_tokens\": [" ADDED(0, "[PAD]") ", " ADDED(1, "[UNK]") ", "
    ADDED(2, "[CLS]") ", " ADDED(3, "[SEP]") ", " ADDED(4, "[MASK]") "], "
    "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, "
    "\"handle_chinese_chars\": true, \"strip_accents\": null, "
    "\"lowercase\": true}, "
    "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, "
    "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [], "
    "\"pair\": [" SPECIAL("[CLS]", 0) ", " SEQUENCE("A", 0) ", "
    SPECIAL("[SEP]", 0) ", " SEQUENCE("B", 1) ", " SPECIAL("[SEP]", 1) "], "
    "\"special_tokens\": {\"[CLS]\": {\"id\": \"[CLS]\", \"ids\": [2], "
    "\"tokens\": [\"[CLS]\"]}, \"[SEP]\": {\"id\": \"[SEP]\", \"ids\": [3], "
    "\"tokens\": [\"[SEP]\"]}}}, "
    "\"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\"}, "
    "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", "
    "\"continuing_subword_prefix\": \"##\", "
    "\"max_input_chars_per_word\": 100, \"vocab\": {\"[PAD]\": 0, "
    "\"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"[MASK]\": 4, \"a\": 5, "
    "\"b\": 6, \"##a\": 7, \"##b\": 8, \"the\": 9, \"cat\": 10, "
    "\".\": 11}}}";
/* clang-format on */

/* ---- Folders ------------------------------------------------------------ */

void tiny_folder_make(tiny_folder *folder) {
    snprintf(folder->path, sizeof folder->path, "/tmp/cr_model_test_XXXXXX");
    assert_non_null(mkdtemp(folder->path));
}

const char *tiny_path(const tiny_folder *folder, const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    return path;
}

void tiny_delete(const tiny_folder *folder, const char *name) {
    assert_int_equal(remove(tiny_path(folder, name)), 0);
}

void tiny_folder_remove(tiny_folder *folder) {
    DIR *dir = opendir(folder->path);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            tiny_delete(folder, entry->d_name);
    closedir(dir);
    assert_int_equal(rmdir(folder->path), 0);
}

void tiny_write(const tiny_folder *folder, const char *name, const void *data,
                size_t len) {
    /* Not by truncation to nothing, after which ext4 writes to the disk. */
    int fd = open(tiny_path(folder, name), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, 0), len);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(close(fd), 0);
}

void tiny_write_text(const tiny_folder *folder, const char *name,
                     const char *text) {
    tiny_write(folder, name, text, strlen(text));
}

void tiny_write_safetensors(const tiny_folder *folder, const char *name,
                            const char *header, const void *data, size_t len) {
    uint64_t header_len = strlen(header);
    size_t n = 8 + header_len + len;
    char *bytes = cr_alloc(n);
    assert_non_null(bytes);
    memcpy(bytes, &header_len, 8);
    memcpy(bytes + 8, header, header_len);
    if (len)
        memcpy(bytes + 8 + header_len, data, len);
    tiny_write(folder, name, bytes, n);
    cr_free(bytes);
}

/* ---- A whole model ------------------------------------------------------ */

static const struct {
    const char *name;
    unsigned rows, columns;
} TENSORS[] = {
    {"bert.embeddings.word_embeddings.weight", 12, 4},
    {"bert.embeddings.position_embeddings.weight", 16, 4},
    {"bert.embeddings.token_type_embeddings.weight", 2, 4},
    {"bert.embeddings.LayerNorm.weight", 4, 0},
    {"bert.embeddings.LayerNorm.bias", 4, 0},
    {"bert.encoder.layer.0.attention.self.query.weight", 4, 4},
    {"bert.encoder.layer.0.attention.self.query.bias", 4, 0},
    {"bert.encoder.layer.0.attention.self.key.weight", 4, 4},
    {"bert.encoder.layer.0.attention.self.key.bias", 4, 0},
    {"bert.encoder.layer.0.attention.self.value.weight", 4, 4},
    {"bert.encoder.layer.0.attention.self.value.bias", 4, 0},
    {"bert.encoder.layer.0.attention.output.dense.weight", 4, 4},
    {"bert.encoder.layer.0.attention.output.dense.bias", 4, 0},
    {"bert.encoder.layer.0.attention.output.LayerNorm.weight", 4, 0},
    {"bert.encoder.layer.0.attention.output.LayerNorm.bias", 4, 0},
    {"bert.encoder.layer.0.intermediate.dense.weight", 8, 4},
    {"bert.encoder.layer.0.intermediate.dense.bias", 8, 0},
    {"bert.encoder.layer.0.output.dense.weight", 4, 8},
    {"bert.encoder.layer.0.output.dense.bias", 4, 0},
    {"bert.encoder.layer.0.output.LayerNorm.weight", 4, 0},
    {"bert.encoder.layer.0.output.LayerNorm.bias", 4, 0},
    {"bert.pooler.dense.weight", 4, 4},
    {"bert.pooler.dense.bias", 4, 0},
    {"classifier.weight", 1, 4}, /* rows: labels */
    {"classifier.bias", 1, 0},
};
enum { N_TENSORS = sizeof TENSORS / sizeof TENSORS[0] };

static void write_weights(const tiny_folder *folder, unsigned n_labels,
                          tiny_rename *rename) {
    char header[8192];
    float data[1024];
    size_t len = (size_t)snprintf(header, sizeof header, "{"), n = 0;
    for (size_t i = 0; i < N_TENSORS; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s", TENSORS[i].name);
        if (rename && !rename(TENSORS[i].name, name, sizeof name))
            continue;
        unsigned rows = TENSORS[i].rows == 1 ? n_labels : TENSORS[i].rows;
        size_t size = rows * (TENSORS[i].columns ? TENSORS[i].columns : 1);
        char shape[32];
        snprintf(shape, sizeof shape, TENSORS[i].columns ? "%u, %u" : "%u",
                 rows, TENSORS[i].columns);
        len +=
            (size_t)snprintf(header + len, sizeof header - len,
                             "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [%s], "
                             "\"data_offsets\": [%zu, %zu]}",
                             n ? ", " : "", name, shape, 4 * n, 4 * (n + size));
        n += size;
        assert_true(len < sizeof header && n <= 1024);
    }
    snprintf(header + len, sizeof header - len, "}");
    for (size_t i = 0; i < n; i++)
        data[i] = (float)i / 64;
    tiny_write_safetensors(folder, "model.safetensors", header, data, 4 * n);
}

void tiny_write_weights(const tiny_folder *folder, tiny_rename *rename) {
    write_weights(folder, 1, rename);
}

static void write_model(const tiny_folder *folder, const char *config,
                        unsigned n_labels) {
    tiny_write_text(folder, "config.json", config);
    tiny_write_text(folder, "tokenizer.json", TINY_TOKENIZER);
    tiny_write_text(folder, "tokenizer_config.json", TINY_TOKENIZER_CONFIG);
    write_weights(folder, n_labels, NULL);
}

void tiny_write_model(const tiny_folder *folder) {
    write_model(folder, TINY_CONFIG, 1);
}

void tiny_write_classifier(const tiny_folder *folder, const char *const *labels,
                           unsigned n) {
    json_t *config = json_loads(TINY_CONFIG, 0, NULL);
    json_t *names = json_object();
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(json_object_set_new(names,
                                             (char[]){(char)('0' + i), '\0'},
                                             json_string(labels[i])),
                         0);
    assert_int_equal(json_object_set_new(config, "id2label", names), 0);
    char *text = json_dumps(config, 0);
    assert_non_null(text);
    write_model(folder, text, n);
    cr_free(text);
    json_decref(config);
}

/* ---- Expectations ------------------------------------------------------- */

void tiny_expect_message(const char *message, const char *const *parts) {
    for (size_t i = 0; parts[i]; i++)
        if (!strstr(message, parts[i]))
            fail_msg("\"%s\" does not hold \"%s\"", message, parts[i]);
}

void tiny_expect_no_memory(cr_status status, const cr_error *error) {
    if (status != CR_ERR_MEMORY &&
        !(status == CR_ERR_MODEL && strstr(error->message, "not valid JSON")))
        fail_msg("%s: %s", cr_status_name(status), error->message);
    assert_int_equal(error->status, status);
    assert_true(error->message[0] != '\0');
}

void tiny_watch_jansson(void) { json_set_alloc_funcs(cr_alloc, cr_free); }
