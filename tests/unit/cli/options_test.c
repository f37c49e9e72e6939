/* Options: what is accepted, and what is said about the rest. */
#include "base/nearest.h"
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_ARGS = 8 };

typedef struct values {
    bool flag;
    const char *text;
    uint32_t number;
    double real;
    uint32_t choice;
    const char *operands[2];
    size_t n_operands;
    bool help;
    cr_error error;
} values;

static const char *const CHOICES[] = {"longest_first", "only_second", NULL};

/* Parses the words of `line`, which are separated by single blanks. */
static cr_status parse(const char *line, values *v) {
    static char copy[256];
    char *argv[MAX_ARGS + 1];
    int argc = 0;
    cr_operands operands = {v->operands, 0, 2};
    cr_option options[] = {
        CR_FLAG("quiet", &v->flag, "h"),
        CR_TEXT_OPTION("model", "DIR", &v->text, "h"),
        CR_NUMBER_OPTION("threads", "N", &v->number, 1, 1024, "h"),
        {.name = "rate",
         .value = "R",
         .kind = CR_OPTION_REAL,
         .target = &v->real,
         .min = 0,
         .max = 10},
        CR_CHOICE_OPTION("truncation", "HOW", &v->choice, CHOICES, "h"),
        CR_ANY_TEXT_OPTION("query", "Q", &v->text, "h"),
    };
    options[1].letter = 'm';
    options[0].letter = 'q';
    assert_true(strlen(line) < sizeof copy);
    memcpy(copy, line, strlen(line) + 1);
    for (char *word = copy; word && argc < MAX_ARGS;) {
        char *blank = strchr(word, ' ');
        argv[argc++] = word;
        if (blank)
            *blank++ = '\0';
        word = blank;
    }
    argv[argc] = NULL;
    cr_status status =
        cr_options_parse(options, sizeof options / sizeof *options, argc, argv,
                         &operands, &v->help, &v->error);
    v->n_operands = operands.n;
    return status;
}

static void test_accepted(void **state) {
    (void)state;
    values v = {.choice = 7};
    assert_int_equal(parse("x --model a --threads=12 in --rate .5", &v), CR_OK);
    assert_string_equal(v.text, "a");
    assert_int_equal(v.number, 12);
    assert_true(v.real == 0.5);
    assert_int_equal(v.choice, 7); /* left alone */
    assert_false(v.flag);
    assert_int_equal(v.n_operands, 1);
    assert_string_equal(v.operands[0], "in");
    assert_int_equal(parse("x --quiet - --truncation only_second", &v), CR_OK);
    assert_true(v.flag);
    assert_int_equal(v.choice, 1);
    assert_string_equal(v.operands[0], "-");
    assert_int_equal(parse("x -- --quiet", &v), CR_OK);
    assert_string_equal(v.operands[0], "--quiet");
    assert_int_equal(parse("x --model=--odd=1 --query= --threads 1", &v),
                     CR_OK);
    assert_string_equal(v.text, "");
    assert_int_equal(parse("x -q -m d1 -md2", &v), CR_OK);
    assert_string_equal(v.text, "d2");
}

static void test_help_comes_first(void **state) {
    (void)state;
    values v = {0};
    assert_int_equal(parse("x --help --nonsense", &v), CR_OK);
    assert_true(v.help);
    assert_int_equal(parse("x -h", &v), CR_OK);
    assert_true(v.help);
    assert_int_equal(parse("x --model --help", &v), CR_OK);
    assert_false(v.help);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *line, *message;
    } CASES[] = {
        {"x --modle a", "unknown option --modle: did you mean --model?"},
        {"x --thread 4", "did you mean --threads?"},
        {"x --thread=4", "did you mean --threads?"},
        {"x --zzzzzzz", "unknown option --zzzzzzz"},
        {"x -z", "unknown option -z"},
        {"x -threads 4", "long options begin with two dashes"},
        {"x --model", "--model needs a value: --model DIR"},
        {"x --model=", "--model is \"\", it must not be empty: give DIR"},
        {"x --model  in", "--model is \"\", it must not be empty: give DIR"},
        {"x --quiet=yes", "--quiet takes no value"},
        {"x --threads 0", "--threads is \"0\", it must be a whole number "
                          "from 1 to 1024"},
        {"x --threads 1025", "from 1 to 1024"},
        {"x --threads -1", "from 1 to 1024"},
        {"x --threads 1x", "from 1 to 1024"},
        {"x --threads=", "from 1 to 1024"},
        {"x --threads 1.5", "from 1 to 1024"},
        {"x --threads 99999999999999999999999", "from 1 to 1024"},
        {"x --rate nan", "--rate is \"nan\", it must be a number from 0 to 10"},
        {"x --rate 11", "from 0 to 10"},
        {"x --truncation only", "one of longest_first, only_second: did you "
                                "mean only_second?"},
        {"x --truncation 1", "one of longest_first, only_second"},
        {"x a b c", "\"c\" is one argument too many, at most 2"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        values v = {0};
        assert_int_equal(parse(CASES[i].line, &v), CR_ERR_ARGUMENT);
        if (!strstr(v.error.message, CASES[i].message))
            fail_msg("%s: \"%s\" has no \"%s\"", CASES[i].line, v.error.message,
                     CASES[i].message);
    }
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const NAMES[] = {"rank",     "score", "eval",
                                        "tokenize", "info",  "serve"};
    static const struct {
        const char *word, *nearest;
    } CASES[] = {
        {"scor", "score"},   {"scroe", "score"}, {"ranks", "rank"},
        {"tok", "tokenize"}, {"evla", "eval"},   {"server", "serve"},
        {"SCORE", "score"},  {"INF", "info"},    {"Evla", "eval"},
        {"xyzzy", NULL},     {"", NULL},         {"q", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *near = cr_nearest(CASES[i].word, NAMES, 6);
        if (CASES[i].nearest)
            assert_string_equal(near ? near : "none", CASES[i].nearest);
        else
            assert_null(near);
    }
    char lengthy[4096];
    memset(lengthy, 'a', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    assert_null(cr_nearest(lengthy, NAMES, 6));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_help_comes_first),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
