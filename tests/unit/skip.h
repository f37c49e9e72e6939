/* Skipping a unit test with its reason, which tests/check.py shows. cmocka's
 * own skip() takes none. For use inside a test function, after cmocka.h. */
#ifndef CR_TESTS_SKIP_H
#define CR_TESTS_SKIP_H

#define CR_SKIP(reason)                                                        \
    do {                                                                       \
        print_message("# skip: %s\n", reason);                                 \
        skip();                                                                \
    } while (0)

#endif
