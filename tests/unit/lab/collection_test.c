/* Collections: tables, joining, and what is said about folders that are
 * wrong. Folders are written to a temporary place. */
#include "base/mem.h"
#include "lab/eval.h"
#include "lab/trec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/cr_collection_XXXXXX";

static const char *const FILES[] = {"corpus.jsonl", "queries.jsonl",
                                    "qrels.test.tsv", "run.bm25.tsv"};

static const char CORPUS[] =
    "{\"_id\":\"d1\",\"title\":\"T\",\"text\":\"one\"}\n"
    "{\"_id\":\"d2\",\"title\":\"\",\"text\":\"two\"}\n"
    "{\"_id\":\"d3\",\"text\":\"three\"}\n"
    "{\"_id\":\"unused\",\"text\":\"four\"}\n";
static const char QUERIES[] = "{\"_id\":\"q1\",\"text\":\"first\"}\n"
                              "{\"_id\":\"q2\",\"text\":\"second\"}\n";
static const char QRELS[] = "query-id\tcorpus-id\tscore\n"
                            "q1\td1\t2\nq1\td3\t0\nq2\td2\t1\nq9\td1\t1\n";
static const char RUN[] = "q1\td1\t1\t0.5\nq1\td2\t2\t0.5\nq1\td3\t3\t0.9\n"
                          "q2\td2\t1\t7\nq8\td1\t1\t1\n";

static void write_file(const char *name, const char *content) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static int write_folder(void **state) {
    (void)state;
    const char *contents[] = {CORPUS, QUERIES, QRELS, RUN};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++)
        write_file(FILES[i], contents[i]);
    return 0;
}

static void expect_text(cr_text text, const char *expected) {
    assert_string_equal(text.data, expected);
    assert_int_equal(text.len, strlen(expected));
}

static void test_open(void **state) {
    (void)state;
    cr_collection c;
    assert_int_equal(cr_collection_open(folder, NULL, 100, &c, NULL), CR_OK);
    assert_int_equal(c.n_queries, 2);
    assert_int_equal(c.n_candidates, 4);
    assert_int_equal(c.n_not_judged, 1);
    assert_int_equal(c.n_not_retrieved, 1);
    assert_int_equal(c.max_grade, 2);
    const cr_collection_query *q = &c.queries[0];
    expect_text(q->id, "q1");
    expect_text(q->text, "first");
    assert_int_equal(q->n, 3);
    assert_int_equal(q->n_judged, 1);
    assert_int_equal(q->judged[0], 2);
    /* By score, the tie by the greater id. */
    expect_text(c.doc_names.list[q->candidates[0].doc], "d3");
    expect_text(c.doc_names.list[q->candidates[1].doc], "d2");
    expect_text(c.doc_names.list[q->candidates[2].doc], "d1");
    assert_int_equal(q->candidates[2].grade, 2);
    expect_text(c.doc_texts[q->candidates[2].doc], "T one");
    expect_text(c.doc_texts[q->candidates[1].doc], "two");
    expect_text(c.doc_texts[q->candidates[0].doc], "three");
    assert_int_equal(cr_names_find(&c.doc_names, (cr_text){"unused", 6}),
                     CR_NO_NAME);
    cr_collection_close(&c);
}

static void test_depth(void **state) {
    (void)state;
    cr_collection c;
    assert_int_equal(cr_collection_open(folder, NULL, 1, &c, NULL), CR_OK);
    assert_int_equal(c.n_candidates, 2);
    assert_int_equal(c.queries[1].candidates - c.candidates, 1);
    cr_collection_close(&c);
}

static void test_evaluate(void **state) {
    (void)state;
    cr_collection c;
    cr_evaluation e;
    /* q1 in the run's order d3, d2, d1: the relevant d1 goes up to the front;
     * then two equal scores, of which the greater id comes first. */
    const float best[] = {1, 2, 3, 0}, tie[] = {1, 3, 3, 0};
    assert_int_equal(cr_collection_open(folder, NULL, 100, &c, NULL), CR_OK);
    assert_int_equal(cr_eval_collection(&c, best, &e, NULL), CR_OK);
    assert_int_equal(e.n_queries, 2);
    assert_true(fabs(e.first_stage[CR_METRIC_NDCG] - (0.5 + 1) / 2) < 1e-12);
    assert_true(fabs(e.reranked[CR_METRIC_NDCG] - 1.0) < 1e-12);
    /* Grades go to 2, so MRR counts from 2 and q2 has nothing to find. */
    assert_true(fabs(e.first_stage[CR_METRIC_MRR] - (1. / 3) / 2) < 1e-12);
    assert_true(fabs(e.reranked[CR_METRIC_MAP] - 1.0) < 1e-12);
    assert_true(e.difference_ci95[CR_METRIC_NDCG].low == 0.0);
    assert_true(fabs(e.difference_ci95[CR_METRIC_NDCG].high - 0.5) < 1e-12);
    assert_int_equal(cr_eval_collection(&c, tie, &e, NULL), CR_OK);
    assert_true(fabs(e.reranked[CR_METRIC_MAP] - 0.75) < 1e-12);
    cr_collection_close(&c);
}

static void test_other_forms_of_tables(void **state) {
    (void)state;
    static const char *const RUNS[] = {
        "q1\td1\t0.5\nq2\td2\t1\n",
        "query\tdoc\trank\tscore\nq1\td1\t1\t0.5\nq2\td2\t1\t1\n",
        "q1 Q0 d1 1 0.5 tag\nq2 Q0 d2 1 1e0 tag\n",
        "q1  Q0\td1 x\n",
    };
    cr_collection c;
    for (size_t i = 0; i < 3; i++) {
        write_file("run.bm25.tsv", RUNS[i]);
        assert_int_equal(cr_collection_open(folder, NULL, 100, &c, NULL),
                         CR_OK);
        assert_int_equal(c.n_candidates, 2);
        assert_true(c.queries[0].candidates[0].score == 0.5f);
        cr_collection_close(&c);
    }
    write_file("run.bm25.tsv", RUNS[3]);
    assert_int_equal(cr_collection_open(folder, NULL, 100, &c, NULL),
                     CR_ERR_INPUT);
    write_file("run.bm25.tsv", RUN);
    write_file("qrels.test.tsv", "q1 0 d1 2\nq2 0 d2 1\n");
    assert_int_equal(cr_collection_open(folder, NULL, 100, &c, NULL), CR_OK);
    assert_int_equal(c.n_queries, 2);
    cr_collection_close(&c);
}

static void test_bad_folders(void **state) {
    (void)state;
    static const struct {
        const char *name, *content, *message;
    } CASES[] = {
        {"qrels.test.tsv", "q1\td1\n", "qrels.test.tsv:1: 2 columns"},
        {"qrels.test.tsv", "h\th\th\nq1\td1\t1.5\n", ":2: grade 1.5"},
        {"qrels.test.tsv", "h\th\th\nq1\td1\tx\n", ":2: \"x\" is not"},
        {"qrels.test.tsv", "q1\td1\t1\nq1\td1\t2\n", ":2: document \"d1\""},
        {"qrels.test.tsv", "q7\td1\t1\n", "no query of the run is judged"},
        {"run.bm25.tsv", "q1\td1\t1\t1\nq1\td1\t2\t1\n",
         ":2: document \"d1\" stands in line 1"},
        {"run.bm25.tsv", "q1\td1\t1\t1\nq1\td2\t2\tnan\n", ":2: \"nan\""},
        {"run.bm25.tsv", "q1\tnope\t1\t1\n", "has no _id \"nope\""},
        {"run.bm25.tsv", "", "no query of the run is judged"},
        {"queries.jsonl", "{\"_id\":\"q1\",\"text\":\"x\"}\n",
         "has no _id \"q2\""},
        {"queries.jsonl", "{\"_id\":1,\"text\":\"x\"}\n",
         "queries.jsonl:1: \"_id\" is a number"},
        {"corpus.jsonl", "\n{\"_id\":\"d1\"}\n", "corpus.jsonl:2: no \"text\""},
        {"corpus.jsonl",
         "{\"_id\":\"d1\",\"text\":\"\"}\n{\"_id\":\"d1\",\"text\":\"\"}\n",
         ":2: _id \"d1\" stands there for the second time"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cr_collection c;
        cr_error error;
        write_folder(NULL);
        write_file(CASES[i].name, CASES[i].content);
        assert_int_equal(cr_collection_open(folder, NULL, 100, &c, &error),
                         CR_ERR_INPUT);
        if (!strstr(error.message, CASES[i].message))
            fail_msg("\"%s\" has no \"%s\"", error.message, CASES[i].message);
    }
}

static void test_missing_files(void **state) {
    (void)state;
    cr_collection c;
    cr_error error;
    char path[256];
    assert_int_equal(cr_collection_open("/nowhere", NULL, 1, &c, &error),
                     CR_ERR_INPUT);
    assert_non_null(strstr(error.message, "qrels.test.tsv"));
    assert_int_equal(cr_collection_open(folder, "/nowhere", 1, &c, &error),
                     CR_ERR_IO);
    snprintf(path, sizeof path, "%s/run.bm25.tsv", folder);
    unlink(path);
    assert_int_equal(cr_collection_open(folder, NULL, 1, &c, &error),
                     CR_ERR_INPUT);
    assert_non_null(strstr(error.message, "--run"));
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    for (uint64_t n = 0;; n++) {
        cr_collection c;
        cr_mem_fail_after(n);
        cr_status status = cr_collection_open(folder, NULL, 100, &c, NULL);
        cr_mem_fail_never();
        if (status == CR_OK) {
            assert_true(n > 20);
            cr_collection_close(&c);
            return;
        }
        assert_int_equal(status, CR_ERR_MEMORY);
    }
}

static void test_many_names(void **state) {
    (void)state;
    cr_names names;
    uint32_t index;
    cr_names_init(&names);
    assert_int_equal(cr_names_find(&names, (cr_text){"a", 1}), CR_NO_NAME);
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 20000; i++) {
            char name[16];
            int len = snprintf(name, sizeof name, "%u", i);
            cr_text text = {name, (size_t)len};
            assert_int_equal(cr_names_add(&names, text, &index, NULL), CR_OK);
            assert_int_equal(index, i);
        }
    assert_int_equal(names.n, 20000);
    cr_names_fini(&names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_open, write_folder),
        cmocka_unit_test_setup(test_depth, write_folder),
        cmocka_unit_test_setup(test_evaluate, write_folder),
        cmocka_unit_test_setup(test_other_forms_of_tables, write_folder),
        cmocka_unit_test_setup(test_bad_folders, write_folder),
        cmocka_unit_test_setup(test_missing_files, write_folder),
        cmocka_unit_test_setup(test_every_allocation_may_fail, write_folder),
        cmocka_unit_test(test_many_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
