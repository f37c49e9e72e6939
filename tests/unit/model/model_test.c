/* Whole model folders: what opens, what is said about those that do not, and
 * weights by name. */
#include "model/model.h"

#include "base/mem.h"
#include "tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void expect_failure(cr_status status, const char *const *parts) {
    cr_model *model;
    cr_error error = {.message = ""};
    if (cr_model_open(folder.path, &model, &error) != status)
        fail_msg("%s: %s; expected %s", cr_status_name(error.status),
                 error.message, cr_status_name(status));
    assert_null(model);
    assert_int_equal(error.status, status);
    tiny_expect_message(error.message, parts);
}

static cr_model *open_tiny(void) {
    cr_model *model;
    cr_error error = {.message = ""};
    cr_status status = cr_model_open(folder.path, &model, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, CR_OK);
    return model;
}

/* ---- What opens --------------------------------------------------------- */

static void the_tiny_model_opens(void **state) {
    (void)state;
    tiny_write_model(&folder);
    cr_model *model = open_tiny();
    assert_string_equal(cr_model_path(model), folder.path);
    assert_int_equal(cr_model_get_config(model)->vocab_size, TINY_VOCAB_SIZE);
    assert_int_equal(cr_model_get_config(model)->max_length, 16);
    assert_int_equal(cr_tokenizer_vocab_size(cr_model_get_tokenizer(model)),
                     TINY_VOCAB_SIZE);
    float out[48];
    cr_error error;
    assert_int_equal(
        cr_model_read_tensor(model, "bert.embeddings.word_embeddings.weight",
                             12, 4, out, &error),
        CR_OK);
    for (int i = 0; i < 48; i++)
        assert_true(out[i] == (float)i / 64);
    assert_int_equal(
        cr_model_read_tensor(model, "classifier.bias", 1, 0, out, &error),
        CR_OK);
    assert_true(cr_model_has_tensor(model, "bert.pooler.dense.weight"));
    assert_false(cr_model_has_tensor(model, "bert.pooler.dense"));
    assert_false(cr_model_has_tensor(model, ""));
    cr_model_close(model);
    cr_model_close(NULL);
}

static void tensors_of_another_shape_are_refused(void **state) {
    (void)state;
    tiny_write_model(&folder);
    cr_model *model = open_tiny();
    static const struct {
        const char *name;
        uint64_t rows, columns;
        const char *parts[4];
    } rows[] = {
        {"classifier.weight", 4, 1, {"classifier.weight", "[1, 4]", "[4, 1]"}},
        {"classifier.weight", 4, 0, {"classifier.weight", "[1, 4]", "[4]"}},
        {"classifier.bias", 1, 1, {"classifier.bias", "[1]", "[1, 1]"}},
        {"classifier.gain", 1, 0, {"classifier.gain", "missing"}},
        {"bert.", 1, 0, {"bert.", "missing"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float out[4];
        cr_error error;
        assert_int_equal(cr_model_read_tensor(model, rows[i].name, rows[i].rows,
                                              rows[i].columns, out, &error),
                         CR_ERR_MODEL);
        tiny_expect_message(error.message, rows[i].parts);
    }
    cr_model_close(model);
}

static void max_length_is_the_least_of_all(void **state) {
    (void)state;
    tiny_write_model(&folder);
    tiny_write_text(&folder, "tokenizer_config.json",
                    "{\"model_max_length\": 9}");
    cr_model *model = open_tiny();
    assert_int_equal(cr_model_get_config(model)->max_length, 9);
    cr_model_close(model);
    tiny_write_text(&folder, "tokenizer_config.json",
                    "{\"model_max_length\": 1e30}");
    model = open_tiny();
    assert_int_equal(cr_model_get_config(model)->max_length, 16);
    cr_model_close(model);
}

static bool without_prefix(const char *name, char *renamed, size_t size) {
    snprintf(renamed, size, "%s",
             strncmp(name, "bert.", 5) == 0 ? name + 5 : name);
    return true;
}

/* LayerNorm as TensorFlow names its weight and bias. */
static bool with_old_names(const char *name, char *renamed, size_t size) {
    const char *at = strstr(name, "LayerNorm.");
    if (at)
        snprintf(renamed, size, "%.*s%s", (int)(at - name) + 10, name,
                 strstr(at, "weight") ? "gamma" : "beta");
    return true;
}

static bool with_both(const char *name, char *renamed, size_t size) {
    char old[128];
    snprintf(old, sizeof old, "%s", name);
    return with_old_names(name, old, sizeof old) &&
           without_prefix(old, renamed, size);
}

static void other_names_of_tensors_are_found(void **state) {
    (void)state;
    tiny_rename *const renames[] = {without_prefix, with_old_names, with_both};
    float expected[4], out[4];
    static const char name[] = "bert.embeddings.LayerNorm.bias";
    tiny_write_model(&folder);
    cr_model *model = open_tiny();
    assert_int_equal(cr_model_read_tensor(model, name, 4, 0, expected, NULL),
                     CR_OK);
    cr_model_close(model);
    for (size_t i = 0; i < 3; i++) {
        tiny_write_weights(&folder, renames[i]);
        model = open_tiny();
        assert_true(cr_model_has_tensor(model, name));
        assert_int_equal(cr_model_read_tensor(model, name, 4, 0, out, NULL),
                         CR_OK);
        assert_memory_equal(out, expected, sizeof out);
        cr_model_close(model);
    }
}

static void the_hash_is_that_of_the_weights(void **state) {
    (void)state;
    tiny_write_model(&folder);
    cr_model *model = open_tiny();
    char hex[CR_SHA256_HEX_BYTES], again[CR_SHA256_HEX_BYTES];
    assert_int_equal(cr_model_sha256(model, hex, NULL), CR_OK);
    assert_int_equal(strlen(hex), 64);
    assert_int_equal(strspn(hex, "0123456789abcdef"), 64);
    /* Another file of that name is not the one that is open. */
    tiny_delete(&folder, "model.safetensors");
    tiny_write_weights(&folder, without_prefix);
    assert_int_equal(cr_model_sha256(model, again, NULL), CR_OK);
    assert_string_equal(hex, again);
    cr_model_close(model);
    model = open_tiny();
    assert_int_equal(cr_model_sha256(model, again, NULL), CR_OK);
    assert_true(strcmp(hex, again) != 0);
    cr_model_close(model);
}

static void the_shipped_model_opens(void **state) {
    (void)state;
    static const char path[] = CR_SOURCE_ROOT "/models/crossrank-minilm-l6";
    cr_model *model;
    cr_error error = {.message = ""};
    cr_status status = cr_model_open(path, &model, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, CR_OK);
    const cr_model_config *config = cr_model_get_config(model);
    assert_int_equal(config->n_layers, 6);
    assert_int_equal(config->n_heads, 12);
    assert_int_equal(config->hidden_size, 384);
    assert_int_equal(config->vocab_size, 30522);
    assert_int_equal(config->max_length, 512);
    assert_int_equal(config->activation, CR_ACTIVATION_NONE);
    char hex[CR_SHA256_HEX_BYTES];
    assert_int_equal(cr_model_sha256(model, hex, NULL), CR_OK);
    assert_string_equal(hex, "1a998503ba7bc9768ed924b1157066490f2e4001ec93f195"
                             "613a9347df4702ba");
    cr_model_close(model);
}

/* ---- What does not ------------------------------------------------------ */

static void no_folder_is_said_plainly(void **state) {
    (void)state;
    cr_model *model;
    cr_error error;
    tiny_write_model(&folder);
    assert_int_equal(cr_model_open("/nonexistent/model", &model, &error),
                     CR_ERR_MODEL);
    tiny_expect_message(error.message, (const char *[]){"/nonexistent/model",
                                                        "No such file", NULL});
    assert_int_equal(
        cr_model_open(tiny_path(&folder, "model.safetensors"), &model, &error),
        CR_ERR_MODEL);
    tiny_expect_message(error.message,
                        (const char *[]){"is not a folder", NULL});
    assert_int_equal(cr_model_open("", &model, &error), CR_ERR_MODEL);
    assert_int_equal(cr_model_open("/nonexistent", &model, NULL), CR_ERR_MODEL);
}

static void missing_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const char *parts[5]; /* up to NULL */
    } rows[] = {
        {"config.json", {"config.json is missing", "model.safetensors"}},
        {"model.safetensors", {"model.safetensors is missing", "vocab.txt"}},
        {"tokenizer.json", {"tokenizer.json and vocab.txt", "missing"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tiny_write_model(&folder);
        tiny_delete(&folder, rows[i].name);
        expect_failure(CR_ERR_MODEL, rows[i].parts);
    }
    tiny_write_model(&folder);
    tiny_delete(&folder, "tokenizer_config.json");
    cr_model_close(open_tiny()); /* BertTokenizer's defaults */
}

static void other_formats_are_told_how_to_convert(void **state) {
    (void)state;
    static const struct {
        const char *name, *what;
        cr_status status;
    } rows[] = {
        {"model-00001-of-00002.safetensors", "another name", CR_ERR_MODEL},
        {"flax_model.msgpack", "Flax", CR_ERR_UNSUPPORTED},
        {"tf_model.h5", "TensorFlow", CR_ERR_UNSUPPORTED},
        {"openvino_model.xml", "OpenVINO", CR_ERR_UNSUPPORTED},
        {"model.gguf", "GGUF", CR_ERR_UNSUPPORTED},
        {"model.onnx", "ONNX", CR_ERR_UNSUPPORTED},
        {"pytorch_model.bin", "PyTorch", CR_ERR_UNSUPPORTED},
        {"pytorch_model.bin.index.json", "sharded PyTorch", CR_ERR_UNSUPPORTED},
        {"model.safetensors.index.json", "sharded safetensors",
         CR_ERR_UNSUPPORTED},
    };
    tiny_write_model(&folder);
    tiny_delete(&folder, "model.safetensors");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tiny_write_text(&folder, rows[i].name, "x");
        expect_failure(rows[i].status,
                       (const char *[]){rows[i].what, folder.path, NULL});
        if (rows[i].status == CR_ERR_UNSUPPORTED)
            expect_failure(rows[i].status,
                           (const char *[]){"save_pretrained", NULL});
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        tiny_delete(&folder, rows[i].name);
}

static void an_adapter_is_no_model(void **state) {
    (void)state;
    tiny_write_model(&folder);
    tiny_write_text(&folder, "adapter_config.json", "{}");
    expect_failure(CR_ERR_UNSUPPORTED,
                   (const char *[]){"adapter_config.json", "merge", NULL});
    tiny_delete(&folder, "adapter_config.json");
}

static void files_that_are_no_files_do_not_hang(void **state) {
    (void)state;
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json", "modules.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tiny_write_model(&folder);
        remove(tiny_path(&folder, names[i]));
        assert_int_equal(mkfifo(tiny_path(&folder, names[i]), 0600), 0);
        expect_failure(CR_ERR_MODEL,
                       (const char *[]){names[i], "regular file", NULL});
        tiny_delete(&folder, names[i]);
    }
}

static void files_that_are_too_large_are_refused(void **state) {
    (void)state;
    tiny_write_model(&folder);
    assert_int_equal(truncate(tiny_path(&folder, "config.json"), 2 << 20), 0);
    expect_failure(CR_ERR_MODEL,
                   (const char *[]){"config.json", "limit", "1048576", NULL});
}

static const char *left_out;

static bool leave_one_out(const char *name, char *renamed, size_t size) {
    (void)renamed;
    (void)size;
    return strcmp(name, left_out) != 0;
}

static void every_missing_tensor_is_named(void **state) {
    (void)state;
    static const char *const names[] = {
        "bert.embeddings.position_embeddings.weight",
        "bert.embeddings.LayerNorm.bias",
        "bert.encoder.layer.0.attention.self.key.bias",
        "bert.encoder.layer.0.output.LayerNorm.weight",
        "bert.pooler.dense.weight",
        "classifier.weight",
        "classifier.bias",
    };
    tiny_write_model(&folder);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        left_out = names[i];
        tiny_write_weights(&folder, leave_one_out);
        expect_failure(CR_ERR_MODEL,
                       (const char *[]){"model.safetensors", names[i],
                                        "missing", "config.json", NULL});
    }
}

/* Shapes are checked before anybody allocates by what config.json says. */
static void configurations_must_fit_the_weights(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        const char *parts[4]; /* up to NULL */
    } rows[] = {
        {"\"vocab_size\": 12",
         "\"vocab_size\": 2000000",
         {"word_embeddings", "[12, 4]", "[2000000, 4]"}},
        {"\"hidden_size\": 4",
         "\"hidden_size\": 8192",
         {"word_embeddings", "[12, 4]", "[12, 8192]"}},
        {"\"intermediate_size\": 8",
         "\"intermediate_size\": 9",
         {"intermediate.dense.weight", "[8, 4]", "[9, 4]"}},
        {"\"num_hidden_layers\": 1",
         "\"num_hidden_layers\": 2",
         {"bert.encoder.layer.1.", "missing"}},
        {"\"max_position_embeddings\": 16",
         "\"max_position_embeddings\": 17",
         {"position_embeddings", "[16, 4]", "[17, 4]"}},
        {"\"type_vocab_size\": 2",
         "\"type_vocab_size\": 1",
         {"token_type_embeddings", "[2, 4]", "[1, 4]"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[2048];
        const char *at = strstr(TINY_CONFIG, rows[i].from);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - TINY_CONFIG),
                 TINY_CONFIG, rows[i].to, at + strlen(rows[i].from));
        tiny_write_model(&folder);
        tiny_write_text(&folder, "config.json", text);
        expect_failure(CR_ERR_MODEL, rows[i].parts);
    }
}

static void every_truncated_file_is_an_error(void **state) {
    (void)state;
    static const char *const names[] = {"model.safetensors", "config.json",
                                        "tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tiny_write_model(&folder);
        struct stat st;
        assert_int_equal(stat(tiny_path(&folder, names[i]), &st), 0);
        for (off_t len = st.st_size - 1; len >= 0; len -= len % 7 + 1) {
            assert_int_equal(truncate(tiny_path(&folder, names[i]), len), 0);
            expect_failure(CR_ERR_MODEL, (const char *[]){names[i], NULL});
        }
    }
}

static void every_failing_allocation_is_an_error(void **state) {
    (void)state;
    tiny_write_model(&folder);
    for (uint64_t n = 0;; n++) {
        cr_model *model;
        cr_error error = {.message = ""};
        cr_mem_fail_after(n);
        cr_status status = cr_model_open(folder.path, &model, &error);
        cr_mem_fail_never();
        if (status == CR_OK) {
            assert_true(n > 100);
            cr_model_close(model);
            break;
        }
        assert_null(model);
        tiny_expect_no_memory(status, &error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tiny_model_opens),
        cmocka_unit_test(tensors_of_another_shape_are_refused),
        cmocka_unit_test(max_length_is_the_least_of_all),
        cmocka_unit_test(other_names_of_tensors_are_found),
        cmocka_unit_test(the_hash_is_that_of_the_weights),
        cmocka_unit_test(the_shipped_model_opens),
        cmocka_unit_test(no_folder_is_said_plainly),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(other_formats_are_told_how_to_convert),
        cmocka_unit_test(an_adapter_is_no_model),
        cmocka_unit_test(files_that_are_no_files_do_not_hang),
        cmocka_unit_test(files_that_are_too_large_are_refused),
        cmocka_unit_test(every_missing_tensor_is_named),
        cmocka_unit_test(configurations_must_fit_the_weights),
        cmocka_unit_test(every_truncated_file_is_an_error),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
