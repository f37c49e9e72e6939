/* The watch of GPUs, where there is none: loading NVML and calling it, against
 * a library of the tests' own. What a real one says was never seen. */
#include "server/gpu.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "skip.h"

/* How often the library is open; it stays loaded for that. */
static int n_open(void) {
    void *library = dlopen(CR_FAKE_NVML, RTLD_NOW);
    assert_non_null(library);
    const int *open = dlsym(library, "fake_nvml_open");
    assert_non_null(open);
    return *open;
}

static int needs_nvml(void) {
#ifdef __APPLE__
    return 0;
#else
    return 1;
#endif
}

static void the_use_is_read(void **state) {
    (void)state;
    if (!needs_nvml())
        CR_SKIP("NVML is not for macOS");
    double percent = -1;
    setenv("FAKE_NVML", "37", 1);
    assert_int_equal(n_open(), 0);
    cr_gpu *gpu = cr_gpu_open(CR_FAKE_NVML);
    assert_non_null(gpu);
    assert_int_equal(n_open(), 1);
    assert_string_equal(cr_gpu_source(gpu), "nvml");
    assert_true(cr_gpu_read(gpu, &percent));
    assert_true(percent == 37);
    setenv("FAKE_NVML", "100", 1);
    assert_true(cr_gpu_read(gpu, &percent));
    assert_true(percent == 100);
    setenv("FAKE_NVML", "101", 1); /* no percentage */
    assert_false(cr_gpu_read(gpu, &percent));
    setenv("FAKE_NVML", "rates", 1); /* it fell off the bus */
    assert_false(cr_gpu_read(gpu, &percent));
    setenv("FAKE_NVML", "0", 1);
    assert_true(cr_gpu_read(gpu, &percent));
    assert_true(percent == 0);
    cr_gpu_close(gpu);
    assert_int_equal(n_open(), 0);
}

static void nothing_to_watch(void **state) {
    (void)state;
    if (!needs_nvml())
        CR_SKIP("NVML is not for macOS");
    static const char *const failing[] = {"init", "device", "rates"};
    for (size_t i = 0; i < sizeof failing / sizeof *failing; i++) {
        setenv("FAKE_NVML", failing[i], 1);
        assert_null(cr_gpu_open(CR_FAKE_NVML));
        assert_int_equal(n_open(), 0);
    }
    setenv("FAKE_NVML", "50", 1);
    assert_null(cr_gpu_open(CR_FAKE_NVML ".is-not-there"));
    assert_null(cr_gpu_open(CR_FAKE_OLD_NVML)); /* lacks a call */
    assert_null(cr_gpu_open(CR_SOURCE_ROOT "/meson.build"));
    cr_gpu_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_use_is_read),
        cmocka_unit_test(nothing_to_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
