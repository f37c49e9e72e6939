/* Experiment files: what each key becomes, sweeps in their order, the
 * predecessor's names, and complaints that say where. */
#include "lab/experiment.h"
#include "lab/dataset.h"
#include "lab/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/cr-experiment-XXXXXX";

static cr_status read_text(const char *text, cr_experiment *e,
                           cr_error *error) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return cr_experiment_read(path, e, error);
}

static void expect_good(const char *text, cr_experiment *e) {
    cr_error error = {.message = ""};
    if (read_text(text, e, &error) != CR_OK)
        fail_msg("%s", error.message);
}

static void expect_fault(const char *text, size_t line, size_t column,
                         const char *words) {
    cr_experiment e;
    cr_error error = {.message = ""};
    assert_int_equal(read_text(text, &e, &error), CR_ERR_INPUT);
    if (!strstr(error.message, words))
        fail_msg("\"%s\" is not in: %s", words, error.message);
    assert_int_equal(error.line, line);
    assert_int_equal(error.column, column);
}

static void test_defaults_are_said(void **state) {
    cr_experiment e;
    (void)state;
    expect_good("description: x\n", &e);
    assert_string_equal(e.name, strrchr(path, '/') + 1);
    assert_int_equal(e.load.batch_sizes.n, 1);
    assert_true(e.load.requests == 100 && e.load.duration_s == 0);
    assert_true(e.load.rates.n == 0 && e.load.warmup == 10);
    assert_null(e.load.dataset);
    assert_int_equal(e.load.request, CR_REQUEST_PAIRS);
    assert_int_equal(cr_experiment_combinations(&e), 1);
    cr_experiment_fini(&e);
}

static void test_load_lists_are_no_sweep(void **state) {
    cr_experiment e;
    (void)state;
    expect_good("load: {batch_sizes: [8, 16], concurrency_levels: [1, 2, 4],"
                " rate: [5, 7.5], arrival: fixed, duration_s: 2.5,"
                " warmup: 0, dataset: 'synthetic:fixed:40'}\n",
                &e);
    assert_int_equal(cr_experiment_combinations(&e), 1);
    assert_true(e.load.batch_sizes.n == 2 &&
                e.load.batch_sizes.values[1] == 16);
    assert_true(e.load.concurrency.n == 3 && e.load.concurrency.values[2] == 4);
    assert_true(e.load.rates.n == 2 && e.load.rates.values[1] == 7.5);
    assert_true(e.load.requests == 0 && e.load.duration_s == 2.5);
    assert_true(e.load.warmup == 0);
    assert_int_equal(e.load.arrival, CR_ARRIVAL_FIXED);
    assert_string_equal(e.load.dataset, "synthetic:fixed:40");
    cr_experiment_fini(&e);
}

static void test_sweep_is_every_combination(void **state) {
    static const char *const WANT[6][2] = {{"fp32", "0"},  {"fp32", "5"},
                                           {"fp32", "20"}, {"int8", "0"},
                                           {"int8", "5"},  {"int8", "20"}};
    cr_experiment e;
    (void)state;
    expect_good("dtype: [fp32, int8]\nbatching: {timeout_ms: [0, 5, 20]}\n",
                &e);
    assert_int_equal(cr_experiment_combinations(&e), 6);
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 2; k++)
            assert_string_equal(cr_experiment_value(&e, i, k), WANT[i][k]);
    assert_string_equal(e.keys[1].flag, "--batching-timeout-ms");
    assert_null(cr_experiment_single(&e, "dtype"));
    assert_int_equal(cr_experiment_set(&e, "dtype", "bf16", NULL), CR_OK);
    assert_int_equal(cr_experiment_combinations(&e), 3);
    assert_string_equal(cr_experiment_single(&e, "dtype"), "bf16");
    cr_experiment_fini(&e);
}

/* The file that made the seed's report, as its makers wrote it. */
static void test_predecessor(void **state) {
    cr_experiment e;
    (void)state;
    expect_good("name: 08b\n"
                "model_pool:\n"
                "  routing_strategy: round_robin\n"
                "  instances:\n"
                "    - {name: m, backend: cpu, quantization: fp32}\n"
                "    - {name: m, backend: cpu, quantization: fp32}\n"
                "batching: {enabled: true, max_batch_size: 96,"
                " timeout_ms: 20, length_aware: true}\n"
                "server: {grpc_port: 50051}\n"
                "experiment:\n"
                "  batch_sizes: [8, 16, 32, 64]\n"
                "  concurrency_levels: [2, 4, 8]\n"
                "  benchmark_requests: 100\n"
                "  warmup_iterations: 5\n",
                &e);
    assert_string_equal(cr_experiment_single(&e, "threads"), "2");
    assert_string_equal(cr_experiment_single(&e, "model"), "m");
    assert_string_equal(cr_experiment_single(&e, "dtype"), "fp32");
    assert_string_equal(cr_experiment_single(&e, "batching.max_batch"), "96");
    assert_true(e.load.batch_sizes.n == 4 && e.load.concurrency.n == 3);
    /* What has no meaning here is never dropped in silence. */
    assert_int_equal(e.n_notes, 4);
    assert_non_null(strstr(e.notes[0], "routing_strategy is left out"));
    cr_experiment_fini(&e);
}

static void test_faults_have_a_place(void **state) {
    (void)state;
    expect_fault("a: 1\n", 1, 1, "unknown key a");
    expect_fault("name: x\nload:\n  batch_size: [1]\n", 3, 3,
                 "did you mean load.batch_sizes?");
    expect_fault("load: {requests: 0}\n", 1, 18, "it must be from 1");
    expect_fault("load: {requests: 2.5}\n", 1, 18, "whole number");
    expect_fault("load: {requests: 1e400}\n", 1, 18, "it must be from");
    expect_fault("load: {batch_sizes: []}\n", 1, 21, "empty list");
    expect_fault("load: {batch_sizes: [1, x]}\n", 1, 25, "\"x\"");
    expect_fault("load: {requests: [1, 2]}\n", 1, 18, "the limit is 1");
    expect_fault("load: {protocol: http}\n", 1, 18,
                 "must be one of rest, grpc, in-process");
    expect_fault("dtype: {a: 1}\n", 1, 9, "unknown key dtype.a");
    expect_fault("dtype: ''\n", 1, 8, "dtype is empty");
    expect_fault("threads: 1\ninstances: 2\n", 2, 12, "there twice");
    expect_fault("sequence_packing: true\n", 1, 1, "always packed");
    expect_fault("model: {quantized: true}\n", 1, 9, "say dtype: int8");
    expect_fault("- 1\n", 1, 1, "a mapping is expected");
    expect_fault("a: [\n", 2, 1, "not YAML");
}

static void test_keys_that_exclude_each_other(void **state) {
    (void)state;
    expect_fault("", 0, 0, "the file is empty");
    expect_fault("load: {requests: 5, duration_s: 5}\n", 0, 0,
                 "exclude each other");
    expect_fault("load: {mode: tokenization_only}\n", 0, 0, "in-process");
    expect_fault("load: {dialect: jina, request: pairs}\n", 0, 0,
                 "load.request: rerank");
    expect_fault("load: {batch_sizes: [1, 2]}\n"
                 "experiment:\n  batch_sizes: [8]\n",
                 3, 3, "say the same");
    expect_fault("model_pool:\n  instances:\n"
                 "    - {backend: cpu, quantization: int8}\n"
                 "    - {backend: mps, quantization: fp32}\n",
                 4, 7, "instance 2 is another than the first");
    /* Aliases of their own parents have no end. */
    expect_fault("model_pool:\n  instances:\n"
                 "    - &a {backend: cpu, x: *a}\n"
                 "    - &b {backend: cpu, x: *b}\n",
                 4, 7, "instance 2 is another than the first");
    cr_experiment e;
    expect_good("model_pool:\n  instances:\n"
                "    - {backend: cpu, quantization: [fp32, int8]}\n"
                "    - {quantization: [fp32, int8], backend: cpu}\n",
                &e);
    cr_experiment_fini(&e);
}

/* ---- Data, and how it is dealt out --------------------------------------- */

static void test_batches_go_on_and_on(void **state) {
    cr_dataset d;
    uint32_t taken[3];
    (void)state;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("q1\ta\nq1\tb\nq2\tc\nq2\td\nq2\te\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cr_dataset_open(path, &d, NULL), CR_OK);
    assert_true(d.n == 5 && d.n_groups == 2 && !d.synthetic);
    cr_dataset_take(&d, true, 1, 3, taken);
    assert_true(taken[0] == 3 && taken[1] == 4 && taken[2] == 0);
    /* Requests of one query never mix in another's passages. */
    cr_dataset_take(&d, false, 1, 3, taken);
    assert_true(taken[0] == 2 && taken[1] == 3 && taken[2] == 4);
    cr_dataset_take(&d, false, 2, 3, taken);
    assert_true(taken[0] == 1 && taken[1] == 0 && taken[2] == 1);
    cr_dataset_close(&d);
}

static void test_synthetic_says_so(void **state) {
    cr_dataset d;
    (void)state;
    assert_int_equal(cr_dataset_open("synthetic:fixed:40", &d, NULL), CR_OK);
    assert_true(d.synthetic && d.n == CR_SYNTHETIC_PAIRS);
    cr_dataset_close(&d);
    assert_int_equal(cr_dataset_open("synthetic:fixed:3", &d, NULL),
                     CR_ERR_ARGUMENT);
    assert_int_equal(cr_dataset_open("synthetic:", &d, NULL), CR_ERR_ARGUMENT);
    assert_int_equal(cr_dataset_open("/no/such/file", &d, NULL), CR_ERR_IO);
}

/* ---- Scores come back in the order of the pairs ---------------------------
 */

static cr_status read_scores(uint32_t dialect, bool as_pairs,
                             const char *answer, float scores[2]) {
    return cr_wire_read(dialect, as_pairs, (cr_text){answer, strlen(answer)},
                        scores, 2, NULL);
}

static void test_order_is_restored(void **state) {
    float s[2];
    (void)state;
    assert_int_equal(read_scores(CR_WIRE_TEI, false,
                                 "[{\"index\":1,\"score\":0.5},"
                                 "{\"index\":0,\"score\":-2}]",
                                 s),
                     CR_OK);
    assert_true(s[0] == -2 && s[1] == 0.5F);
    assert_int_equal(read_scores(CR_WIRE_JINA, false,
                                 "{\"results\":[{\"index\":1,"
                                 "\"relevance_score\":0.25},{\"index\":0,"
                                 "\"relevance_score\":0.75}]}",
                                 s),
                     CR_OK);
    assert_true(s[0] == 0.75F && s[1] == 0.25F);
    /* Twice the same index, one score too few, none at all. */
    assert_int_equal(read_scores(CR_WIRE_TEI, false,
                                 "[{\"index\":1,\"score\":1},"
                                 "{\"index\":1,\"score\":1}]",
                                 s),
                     CR_ERR_INPUT);
    assert_int_equal(
        read_scores(CR_WIRE_TEI, false, "[{\"index\":0,\"score\":1}]", s),
        CR_ERR_INPUT);
    assert_int_equal(read_scores(CR_WIRE_VLLM, true, "{}", s), CR_ERR_INPUT);
    assert_int_equal(read_scores(CR_WIRE_TEI, true, "<html>", s), CR_ERR_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_said),
        cmocka_unit_test(test_load_lists_are_no_sweep),
        cmocka_unit_test(test_sweep_is_every_combination),
        cmocka_unit_test(test_predecessor),
        cmocka_unit_test(test_faults_have_a_place),
        cmocka_unit_test(test_keys_that_exclude_each_other),
        cmocka_unit_test(test_batches_go_on_and_on),
        cmocka_unit_test(test_synthetic_says_so),
        cmocka_unit_test(test_order_is_restored),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
