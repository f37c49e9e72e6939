/* Names of the Hub: which texts are names, where the cache is, and which of its
 * snapshots a revision means. */
#include "model/hub.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static char root[] = "/tmp/cr_hub_test_XXXXXX";

/* ---- Names -------------------------------------------------------------- */

static void names_have_an_owner_and_a_revision(void **state) {
    (void)state;
    static const struct {
        const char *text, *repo, *revision;
    } good[] = {
        {"cross-encoder/ms-marco-MiniLM-L-6-v2",
         "cross-encoder/ms-marco-MiniLM-L-6-v2", "main"},
        {"bert-base_uncased", "bert-base_uncased", "main"},
        {"org/name@v1.0", "org/name", "v1.0"},
        {"org/name@refs/pr/7", "org/name", "refs/pr/7"},
        {"name@" COMMIT, "name", COMMIT},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_hub_name name;
        assert_true(cr_hub_parse(good[i].text, &name));
        assert_string_equal(name.repo, good[i].repo);
        assert_string_equal(name.revision, good[i].revision);
    }
}

/* What would lead out of the cache, or into options, above all. */
static void other_texts_are_no_names(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "/",
        "/abs/path",
        "./here",
        "../there",
        "org/",
        "/name",
        "a/b/c",
        "org/..",
        "org/.hidden",
        "-o/name",
        "org/-n",
        "org name",
        "org/na%20e",
        "n@",
        "@v1",
        "n@/v1",
        "n@.v1",
        "n@a/../b",
        "n@a b",
        "org/n\xc3\xa4me",
    };
    cr_hub_name name;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (cr_hub_parse(bad[i], &name))
            fail_msg("'%s' passes for a name", bad[i]);
}

static void names_have_a_longest_one(void **state) {
    (void)state;
    char text[3 * CR_HUB_NAME_BYTES];
    cr_hub_name name;
    memset(text, 'a', sizeof text);
    text[CR_HUB_NAME_BYTES - 1] = '\0';
    assert_true(cr_hub_parse(text, &name));
    assert_string_equal(name.repo, text);
    text[CR_HUB_NAME_BYTES - 1] = 'a';
    text[CR_HUB_NAME_BYTES] = '\0';
    assert_false(cr_hub_parse(text, &name));
    memset(text, 'a', sizeof text);
    memcpy(text, "n@", 2);
    text[CR_HUB_NAME_BYTES + 1] = '\0';
    assert_true(cr_hub_parse(text, &name));
    assert_string_equal(name.revision, text + 2);
    text[CR_HUB_NAME_BYTES + 1] = 'a';
    text[CR_HUB_NAME_BYTES + 2] = '\0';
    assert_false(cr_hub_parse(text, &name));
}

/* ---- The cache ---------------------------------------------------------- */

static const char *const VARIABLES[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
                                        "HF_HOME", "XDG_CACHE_HOME", "HOME"};
enum { N_VARIABLES = sizeof VARIABLES / sizeof *VARIABLES };

static int forget_all(void **state) {
    (void)state;
    for (size_t i = 0; i < N_VARIABLES; i++)
        unsetenv(VARIABLES[i]);
    return 0;
}

static void the_first_variable_names_the_cache(void **state) {
    (void)state;
    static const char *const want[N_VARIABLES] = {"/v", "/v", "/v/hub",
                                                  "/v/huggingface/hub",
                                                  "/v/.cache/huggingface/hub"};
    char path[CR_HUB_PATH_BYTES];
    cr_error error;
    assert_int_equal(cr_hub_cache(path, &error), CR_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "HF_HOME"));
    for (size_t i = N_VARIABLES; i-- > 0;) {
        setenv(VARIABLES[i], "", 1); /* as good as not set */
        assert_int_equal(cr_hub_cache(path, &error),
                         i + 1 < N_VARIABLES ? CR_OK : CR_ERR_ARGUMENT);
        setenv(VARIABLES[i], "/v", 1);
        assert_int_equal(cr_hub_cache(path, &error), CR_OK);
        assert_string_equal(path, want[i]);
    }
}

static void a_cache_too_deep_is_refused(void **state) {
    (void)state;
    static char deep[CR_HUB_PATH_BYTES];
    char path[CR_HUB_PATH_BYTES];
    cr_error error;
    memset(deep, 'a', sizeof deep - 1);
    setenv("HF_HOME", deep, 1);
    assert_int_equal(cr_hub_cache(path, &error), CR_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "HF_HOME is longer than"));
}

static void folders_are_named_as_the_hub_s_tools_do(void **state) {
    (void)state;
    char path[CR_HUB_PATH_BYTES];
    cr_hub_name name;
    setenv("HF_HUB_CACHE", "/c", 1);
    assert_true(cr_hub_parse("org/a--b@v1", &name));
    assert_int_equal(cr_hub_folder(&name, path, NULL), CR_OK);
    assert_string_equal(path, "/c/models--org--a--b");
    assert_true(cr_hub_parse("alone", &name));
    assert_int_equal(cr_hub_folder(&name, path, NULL), CR_OK);
    assert_string_equal(path, "/c/models--alone");
}

/* ---- Snapshots ---------------------------------------------------------- */

static void make_folder(const char *rest) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", root, rest);
    if (mkdir(path, 0777) != 0)
        fail_msg("cannot make %s", path);
}

static void write_ref(const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/models--org--name/refs/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_cache(void **state) {
    forget_all(state);
    if (!mkdtemp(root))
        return -1;
    make_folder("models--org--name");
    make_folder("models--org--name/refs");
    make_folder("models--org--name/refs/pr");
    make_folder("models--org--name/snapshots");
    make_folder("models--org--name/snapshots/" COMMIT);
    write_ref("main", COMMIT "\n");
    write_ref("pr/7", COMMIT);
    write_ref("gone", "ffff");
    write_ref("out", "../../../secret");
    write_ref("empty", "");
    setenv("HF_HUB_CACHE", root, 1);
    return 0;
}

/* Innermost first. */
static int remove_cache(void **state) {
    static const char *const made[] = {"/models--org--name/refs/main",
                                       "/models--org--name/refs/pr/7",
                                       "/models--org--name/refs/gone",
                                       "/models--org--name/refs/out",
                                       "/models--org--name/refs/empty",
                                       "/models--org--name/refs/pr",
                                       "/models--org--name/refs",
                                       ("/models--org--name/snapshots/" COMMIT),
                                       "/models--org--name/snapshots",
                                       "/models--org--name",
                                       ""};
    forget_all(state);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s%s", root, made[i]);
        if (remove(path) != 0)
            return -1;
    }
    return 0;
}

static cr_status find(const char *text, char path[CR_HUB_PATH_BYTES],
                      cr_error *error) {
    cr_hub_name name;
    assert_true(cr_hub_parse(text, &name));
    return cr_hub_find(&name, path, error);
}

static void a_revision_means_a_snapshot(void **state) {
    (void)state;
    static const char *const there[] = {"org/name", "org/name@pr/7",
                                        ("org/name@" COMMIT)};
    char path[CR_HUB_PATH_BYTES], want[PATH_MAX];
    snprintf(want, sizeof want, "%s/models--org--name/snapshots/%s", root,
             COMMIT);
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        cr_error error;
        if (find(there[i], path, &error) != CR_OK)
            fail_msg("%s", error.message);
        assert_string_equal(path, want);
    }
}

static void what_is_not_there_says_how_to_get_it(void **state) {
    (void)state;
    char path[CR_HUB_PATH_BYTES];
    cr_error error;
    assert_int_equal(find("org/other", path, &error), CR_ERR_MODEL);
    assert_non_null(strstr(error.message, "crossrank pull org/other"));
    assert_null(strstr(error.message, "revision"));
    static const char *const gone[] = {"gone", "out", "empty", "never"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        char text[64], want[64];
        snprintf(text, sizeof text, "org/name@%s", gone[i]);
        snprintf(want, sizeof want, "pull org/name --revision %s", gone[i]);
        assert_int_equal(find(text, path, &error), CR_ERR_MODEL);
        if (!strstr(error.message, want))
            fail_msg("'%s' lacks '%s'", error.message, want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_an_owner_and_a_revision),
        cmocka_unit_test(other_texts_are_no_names),
        cmocka_unit_test(names_have_a_longest_one),
        cmocka_unit_test_setup_teardown(the_first_variable_names_the_cache,
                                        forget_all, forget_all),
        cmocka_unit_test_setup_teardown(a_cache_too_deep_is_refused, forget_all,
                                        forget_all),
        cmocka_unit_test_setup_teardown(folders_are_named_as_the_hub_s_tools_do,
                                        forget_all, forget_all),
    };
    const struct CMUnitTest snapshots[] = {
        cmocka_unit_test(a_revision_means_a_snapshot),
        cmocka_unit_test(what_is_not_there_says_how_to_get_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) +
           cmocka_run_group_tests(snapshots, make_cache, remove_cache);
}
