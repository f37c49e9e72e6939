/* The promises of the public API, on the shipped model, or what under.h says: a
 * score depends on its pair alone, nothing is allocated while scoring, odd
 * input is defined. */
#include "crossrank.h"

#include "base/mem.h"

#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "skip.h"
#include "under.h"

/* ---- Helpers ------------------------------------------------------------ */

static cr_ranker *open_as(uint32_t threads, const char *isa,
                          const char *dtype) {
    cr_options o;
    under_options(&o);
    o.threads = threads;
    o.isa = isa;
    o.dtype = dtype;
    cr_ranker *r = NULL;
    cr_error error;
    if (cr_ranker_open(&o, &r, &error) != CR_OK)
        fail_msg("%s", error.message);
    return r;
}

static cr_ranker *open_with(uint32_t threads, const char *isa) {
    return open_as(threads, isa, "fp32");
}

static void score(cr_ranker *r, const cr_pair *pairs, size_t n, float *out) {
    cr_error error;
    if (cr_score(r, pairs, n, out, &error) != CR_OK)
        fail_msg("%s", error.message);
}

static cr_text text(const char *s) { return (cr_text){s, strlen(s)}; }

enum { N = 40, TEXT_BYTES = 4096 };

/* Pairs of many lengths, the same at every call; `store` holds their texts. */
static void make_pairs(cr_pair pairs[N], char store[N][TEXT_BYTES]) {
    static const char *const words[] = {
        "the",  "wind",   "tunnel", "tests",  "shear", "flow",
        "over", "plates", "gelato", "Zürich", "东京",  "réchauffé"};
    static const char *const queries[] = {"how does air flow over a plate",
                                          "what is gelato", ""};
    uint32_t seed = 7;
    for (size_t i = 0; i < N; i++) {
        size_t at = 0, n = (i * i) % 97;
        store[i][0] = '\0';
        for (size_t w = 0; w < n; w++) {
            seed = seed * 1664525 + 1013904223;
            at += (size_t)snprintf(store[i] + at, TEXT_BYTES - at, "%s ",
                                   words[(seed >> 16) % 12]);
        }
        pairs[i] = (cr_pair){text(queries[i % 3]), text(store[i])};
    }
}

static void assert_alike(const float *want, const float *got, size_t n) {
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(got[i]));
        if (!under_alike(want[i], got[i]))
            fail_msg("score %zu is %.9g, was %.9g", i, (double)got[i],
                     (double)want[i]);
    }
}

/* ---- A score depends on its pair alone ---------------------------------- */

static void score_is_alike_in_any_company(void **state) {
    (void)state;
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N], mixed[N];
    float want[N], got[N], mixed_got[N];
    make_pairs(pairs, store);
    cr_ranker *one = open_with(1, NULL);
    for (size_t i = 0; i < N; i++)
        score(one, &pairs[i], 1, &want[i]);
    score(one, pairs, N, got);
    assert_alike(want, got, N);
    uint32_t most = under_exact() ? 5 : 2; /* others have one lane */
    for (uint32_t threads = 2; threads <= most; threads++) {
        cr_ranker *r = open_with(threads, NULL);
        score(r, pairs, N, got);
        assert_alike(want, got, N);
        for (size_t i = 0; i < 8; i++) /* a team of lanes on one pair */
            score(r, &pairs[i], 1, &got[i]);
        assert_alike(want, got, N);
        for (size_t step = 3; step <= 11; step += 4) { /* coprime with N */
            for (size_t i = 0; i < N; i++)
                mixed[i] = pairs[i * step % N];
            score(r, mixed, N, mixed_got);
            for (size_t i = 0; i < N; i++)
                got[i * step % N] = mixed_got[i];
            assert_alike(want, got, N);
        }
        for (size_t n = 1; n < 12; n++) {
            score(r, pairs, n, got);
            assert_alike(want, got, n);
        }
        cr_ranker_close(r);
    }
    cr_ranker_close(one);
}

static void precisions_keep_the_promise_too(void **state) {
    (void)state;
    if (!under_exact())
        CR_SKIP("these are precisions of the cpu backend");
    static const char *const dtypes[] = {"bf16", "int8"};
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N];
    float exact[N], want[N], got[N];
    make_pairs(pairs, store);
    cr_ranker *r = open_with(2, NULL);
    score(r, pairs, N, exact);
    cr_ranker_close(r);
    for (size_t d = 0; d < 2; d++) {
        r = open_as(1, NULL, dtypes[d]);
        for (size_t i = 0; i < N; i++)
            score(r, &pairs[i], 1, &want[i]);
        cr_ranker_close(r);
        for (size_t i = 0; i < N; i++)
            assert_true(fabsf(want[i] - exact[i]) < (d ? 0.8f : 0.08f));
        assert_true(memcmp(want, exact, sizeof want) != 0);
        r = open_as(3, NULL, dtypes[d]);
        score(r, pairs, N, got);
        assert_alike(want, got, N);
        score(r, pairs, 3, got);
        assert_alike(want, got, 3);
        cr_ranker_close(r);
        r = open_as(1, "ref", dtypes[d]);
        score(r, pairs, 4, got);
        cr_ranker_close(r);
        if (d == 1) /* int8 is alike to the bit everywhere */
            assert_alike(want, got, 4);
    }
}

static void score_is_alike_on_every_isa(void **state) {
    (void)state;
    if (!under_exact())
        CR_SKIP("instruction sets are of the cpu backend");
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N];
    float want[N], got[N];
    make_pairs(pairs, store);
    cr_ranker *r = open_with(1, NULL);
    score(r, pairs, 6, want);
    cr_ranker_close(r);
    for (const char *const *isa = cr_isa_names(); *isa; isa++) {
        r = open_with(1, *isa);
        score(r, pairs, 6, got);
        cr_ranker_close(r);
        if (strcmp(*isa, "base") != 0) {
            assert_alike(want, got, 6);
            continue;
        }
        for (size_t i = 0; i < 6; i++) /* no fused multiply-add */
            assert_true(fabsf(want[i] - got[i]) <= 1e-4f);
    }
}

static bool all_alike(const float *a, const float *b, size_t n) {
    while (n && under_alike(a[n - 1], b[n - 1]))
        n--;
    return n == 0;
}

typedef struct caller {
    cr_ranker *ranker;
    const cr_pair *pairs;
    const float *want;
    size_t first;
    bool same;
} caller;

static void *call_often(void *argument) {
    caller *c = argument;
    c->same = true;
    for (size_t i = 0; i < 6; i++) {
        size_t first = (c->first + 5 * i) % (N - 8);
        float got[8];
        cr_error error;
        if (cr_score(c->ranker, c->pairs + first, 8, got, &error) != CR_OK ||
            !all_alike(got, c->want + first, 8))
            c->same = false;
    }
    return NULL;
}

static void many_callers_share_a_ranker(void **state) {
    (void)state;
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N];
    float want[N];
    make_pairs(pairs, store);
    cr_ranker *r = open_with(3, NULL);
    score(r, pairs, N, want);
    enum { CALLERS = 8 };
    pthread_t threads[CALLERS];
    caller callers[CALLERS];
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (caller){r, pairs, want, i * 3, false};
        assert_int_equal(
            pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(callers[i].same);
    }
    cr_ranker_close(r);
}

/* Of any rounding, on a small stack. */
typedef struct odd_caller {
    cr_ranker *ranker;
    const cr_pair *pairs;
    float *got;
    int rounding, rounding_after;
} odd_caller;

static void *call_oddly(void *context) {
    odd_caller *c = context;
    fesetround(c->rounding);
    for (size_t i = 0; i < 8; i++)
        score(c->ranker, &c->pairs[i], 1, &c->got[i]);
    score(c->ranker, c->pairs + 8, N - 8, c->got + 8);
    c->rounding_after = fegetround();
    return NULL;
}

static void the_calling_thread_does_not_matter(void **state) {
    (void)state;
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N];
    float want[N], got[N];
    make_pairs(pairs, store);
    static const struct {
        const char *dtype;
        int rounding;
    } ODD[] = {{"fp32", FE_UPWARD}, {"int8", FE_TOWARDZERO}};
    for (size_t i = 0; i < (under_exact() ? 2 : 1); i++) {
        cr_ranker *usual = open_as(2, NULL, ODD[i].dtype);
        score(usual, pairs, N, want);
        cr_ranker_close(usual);
        fesetround(ODD[i].rounding); /* which new threads inherit */
        cr_ranker *r = open_as(2, NULL, ODD[i].dtype);
        odd_caller odd = {.ranker = r,
                          .pairs = pairs,
                          .got = got,
                          .rounding = ODD[i].rounding};
        pthread_attr_t small;
        pthread_attr_init(&small);
        assert_int_equal(pthread_attr_setstacksize(&small, 128 * 1024), 0);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, &small, call_oddly, &odd), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&small);
        fesetround(FE_TONEAREST);
        assert_int_equal(odd.rounding_after, ODD[i].rounding);
        assert_alike(want, got, N);
        cr_ranker_close(r);
    }
}

/* ---- Memory ------------------------------------------------------------- */

static void scoring_allocates_nothing(void **state) {
    (void)state;
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N];
    float got[N];
    make_pairs(pairs, store);
    cr_ranker *r = open_with(2, NULL);
    score(r, pairs, N, got);
    uint64_t before = cr_mem_count();
    score(r, pairs, N, got);
    assert_int_equal(cr_mem_count(), before);
    cr_ranker_close(r);
}

/* ---- Odd input ---------------------------------------------------------- */

static void odd_texts_have_scores(void **state) {
    (void)state;
    enum { MB = 1 << 20 };
    char *large = malloc(MB);
    assert_non_null(large);
    for (size_t i = 0; i < MB; i++)
        large[i] = "flow over plates "[i % 17];
    cr_pair pairs[] = {
        {text(""), text("")},          {text("   \n"), text("\t")},
        {text("flow"), {large, MB}},   {{large, 3000}, text("short")},
        {{large, MB}, {large, MB}},    {{"a\0b", 3}, {"\xff\xfe\x00[SEP]", 8}},
        {text("flow"), {large, 4096}}, {text("flow"), {large, 4096}},
    };
    enum { PAIRS = sizeof pairs / sizeof *pairs };
    float got[PAIRS];
    cr_ranker *r = open_with(2, NULL);
    score(r, pairs, PAIRS, got);
    for (size_t i = 0; i < PAIRS; i++)
        assert_true(isfinite(got[i]));
    assert_true(under_alike(got[6], got[7]));
    assert_true(under_alike(got[2], got[6])); /* the same 512 tokens */
    score(r, pairs, 0, got);
    cr_ranker_close(r);
    free(large);
}

/* Which side is longer decides who keeps the odd token of a budget of 509, so
 * a query must be counted beyond what is kept of it. */
static void a_long_query_is_cut_as_the_longer_side(void **state) {
    (void)state;
    enum { N_QUERY = 700, N_PASSAGE = 600, KEPT_QUERY = 255, KEPT = 254 };
    static char query[N_QUERY * 5], passage[N_PASSAGE * 5];
    for (size_t i = 0; i < N_QUERY; i++)
        memcpy(query + i * 5, "flow ", 5);
    for (size_t i = 0; i < N_PASSAGE; i++)
        memcpy(passage + i * 5, "wind ", 5);
    cr_pair pairs[] = {
        {{query, sizeof query}, {passage, sizeof passage}},
        {{query, KEPT_QUERY * 5}, {passage, KEPT * 5}},
    };
    float got[2];
    cr_ranker *r = open_with(1, NULL);
    score(r, pairs, 2, got);
    assert_alike(&got[1], &got[0], 1);
    cr_ranker_close(r);
}

static void ranking_is_sorted_and_stable(void **state) {
    (void)state;
    cr_text passages[] = {text("gelato is frozen"), text("air flows"),
                          text("gelato is frozen"), text("")};
    cr_ranked ranked[4];
    size_t n = 0;
    cr_error error;
    cr_ranker *r = open_with(2, NULL);
    assert_int_equal(
        cr_rank(r, text("what is gelato"), passages, 4, 3, ranked, &n, &error),
        CR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(
        cr_rank(r, text("what is gelato"), passages, 4, 4, ranked, &n, &error),
        CR_OK);
    assert_int_equal(n, 4);
    size_t first = 0; /* of the two equal ones: wherever the model has them */
    while (first < 2 && ranked[first].index != 0)
        first++;
    assert_int_equal(ranked[first].index, 0);
    assert_int_equal(ranked[first + 1].index, 2);
    assert_true(under_alike(ranked[first].score, ranked[first + 1].score));
    for (size_t i = 1; i < n; i++)
        assert_true(ranked[i - 1].score >= ranked[i].score);
    assert_int_equal(cr_rank(r, text("q"), passages, 0, 0, ranked, &n, &error),
                     CR_OK);
    assert_int_equal(n, 0);
    cr_ranker_close(r);
}

/* ---- Options ------------------------------------------------------------ */

/* By address: options of a later version are longer than a copy would be. */
static void assert_refused_at(const cr_options *o, cr_status status,
                              const char *word) {
    cr_ranker *r = NULL;
    cr_error error;
    assert_int_equal(cr_ranker_open(o, &r, &error), status);
    assert_null(r);
    if (!strstr(error.message, word))
        fail_msg("'%s' does not name '%s'", error.message, word);
}

static void assert_refused(cr_options o, cr_status status, const char *word) {
    assert_refused_at(&o, status, word);
}

static void wrong_options_name_themselves(void **state) {
    (void)state;
    cr_options base;
    cr_options_init(&base);
    assert_refused(base, CR_ERR_ARGUMENT, "model");
    base.model = under_model();
    cr_options o = base;
    o.backend = "tpu";
    assert_refused(o, CR_ERR_UNAVAILABLE, "tpu");
    o = base;
    o.device = "cuda";
    assert_refused(o, CR_ERR_UNAVAILABLE, "cuda");
    o = base;
    o.dtype = "fp64";
    assert_refused(o, CR_ERR_UNAVAILABLE, "fp64");
    o = base;
    o.max_length = 513;
    assert_refused(o, CR_ERR_ARGUMENT, "513");
    o.max_length = 2;
    assert_refused(o, CR_ERR_ARGUMENT, "2");
    o = base;
    o.threads = 100000;
    assert_refused(o, CR_ERR_ARGUMENT, "100000");
    o = base;
    o.model = "/nonexistent";
    assert_refused(o, CR_ERR_MODEL, "/nonexistent");
    o = base;
    o.struct_bytes = 1;
    assert_refused(o, CR_ERR_ARGUMENT, "struct_bytes");
}

/* ---- Other versions ----------------------------------------------------- */

/* What callers with the headers of later versions would pass. */
static void options_of_later_versions(void **state) {
    (void)state;
    struct {
        cr_options options;
        uint64_t later[2];
    } o = {.later = {0, 0}};
    cr_options_init(&o.options);
    o.options.model = under_model();
    o.options.threads = 1;
    o.options.struct_bytes = sizeof o;
    cr_ranker *r;
    cr_error error;
    if (cr_ranker_open(&o.options, &r, &error) != CR_OK)
        fail_msg("%s", error.message);
    cr_ranker_close(r);
    o.later[1] = 1;
    assert_refused_at(&o.options, CR_ERR_ARGUMENT, "does not know");
}

static void info_fills_what_the_caller_knows(void **state) {
    (void)state;
    struct {
        cr_ranker_info info;
        unsigned char later[8];
    } wide;
    cr_ranker_info whole, some;
    cr_ranker *r = open_with(1, NULL);
    cr_ranker_get_info(r, &whole);
    assert_int_equal(whole.n_layers, 6);
    assert_int_equal(whole.model_activation, CR_ACTIVATION_NONE);
    memset(&wide, 0xff, sizeof wide);
    cr_ranker_read_info(r, &wide.info, sizeof wide);
    assert_memory_equal(&wide.info, &whole, sizeof whole);
    assert_memory_equal(wide.later, (unsigned char[8]){0}, 8);
    memset(&some, 0xff, sizeof some);
    cr_ranker_read_info(r, &some, offsetof(cr_ranker_info, n_layers));
    assert_int_equal(some.threads, 1);
    assert_int_equal(some.n_layers, UINT32_MAX);
    cr_ranker_close(r);
}

static void info_counts_what_is_scored_and_cut(void **state) {
    (void)state;
    static const char LONG[] = "a b c d e f g h i j";
    const cr_pair pairs[] = {{{"q", 1}, {"a", 1}},
                             {{"q", 1}, {LONG, sizeof LONG - 1}},
                             {{"q", 1}, {LONG, 7}}}; /* a b c d fits */
    float scores[3];
    cr_options o;
    cr_ranker *r;
    cr_ranker_info info;
    under_options(&o);
    o.threads = 2;
    o.max_length = 8;
    assert_int_equal(cr_ranker_open(&o, &r, NULL), CR_OK);
    for (uint64_t round = 1; round <= 2; round++) {
        assert_int_equal(cr_score(r, pairs, 3, scores, NULL), CR_OK);
        cr_ranker_get_info(r, &info);
        assert_int_equal(info.n_pairs_scored, 3 * round);
        assert_int_equal(info.n_pairs_cut, round);
        assert_int_equal(info.n_tokens_scored, (5 + 8 + 8) * round);
    }
    cr_ranker_close(r);
}

/* ---- After a fork ------------------------------------------------------- */

/* 0 where the child's call was refused with the reason. */
static int score_in_child(cr_ranker *r) {
    const cr_pair pair = {text("query"), text("passage")};
    float got;
    cr_error error;
    if (cr_score(r, &pair, 1, &got, &error) != CR_ERR_ARGUMENT)
        return 1;
    if (!strstr(error.message, "after the fork"))
        return 2;
    cr_ranker_info info;
    cr_ranker_get_info(r, &info);
    cr_ranker_close(r); /* as destructors do */
    return info.n_layers ? 0 : 3;
}

static void a_fork_is_refused_instead_of_waiting(void **state) {
    (void)state;
    cr_ranker *r = open_with(2, NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(score_in_child(r));
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    cr_ranker_close(r);
}

/* ---- Activations -------------------------------------------------------- */

static void activations_are_those_of_scoring(void **state) {
    (void)state;
    static char store[N][TEXT_BYTES];
    cr_pair pairs[N];
    float logits[N], want[N];
    make_pairs(pairs, store);
    cr_options o;
    under_options(&o);
    o.dtype = "fp32"; /* as open_with() has it */
    o.activation = CR_ACTIVATION_SIGMOID;
    cr_ranker *r;
    assert_int_equal(cr_ranker_open(&o, &r, NULL), CR_OK);
    score(r, pairs, N, want);
    cr_ranker_close(r);
    r = open_with(0, NULL); /* of the model: none */
    score(r, pairs, N, logits);
    cr_ranker_close(r);
    assert_int_equal(
        cr_apply_activation(CR_ACTIVATION_SIGMOID, logits, N, NULL), CR_OK);
    assert_alike(want, logits, N);
    assert_int_equal(cr_apply_activation(CR_ACTIVATION_NONE, logits, N, NULL),
                     CR_OK);
    assert_alike(want, logits, N);
    cr_error error;
    assert_int_equal(
        cr_apply_activation(CR_ACTIVATION_MODEL, logits, N, &error),
        CR_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "activation 0"));
    assert_int_equal(cr_apply_activation((cr_activation)7, logits, N, &error),
                     CR_ERR_ARGUMENT);
    assert_alike(want, logits, N);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(score_is_alike_in_any_company),
        cmocka_unit_test(precisions_keep_the_promise_too),
        cmocka_unit_test(score_is_alike_on_every_isa),
        cmocka_unit_test(many_callers_share_a_ranker),
        cmocka_unit_test(the_calling_thread_does_not_matter),
        cmocka_unit_test(scoring_allocates_nothing),
        cmocka_unit_test(odd_texts_have_scores),
        cmocka_unit_test(a_long_query_is_cut_as_the_longer_side),
        cmocka_unit_test(ranking_is_sorted_and_stable),
        cmocka_unit_test(wrong_options_name_themselves),
        cmocka_unit_test(options_of_later_versions),
        cmocka_unit_test(info_fills_what_the_caller_knows),
        cmocka_unit_test(info_counts_what_is_scored_and_cut),
        cmocka_unit_test(a_fork_is_refused_instead_of_waiting),
        cmocka_unit_test(activations_are_those_of_scoring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
