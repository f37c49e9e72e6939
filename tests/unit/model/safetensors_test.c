/* The safetensors reader: exact values, and no file that can hurt it. */
#include "model/safetensors.h"

#include "base/mem.h"
#include "tiny.h"

#include <math.h>
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

static cr_status open_file(cr_safetensors **file, cr_error *error) {
    memset(error, 0, sizeof *error);
    return cr_safetensors_open(tiny_path(&folder, "x"), file, error);
}

/* ---- Sound files -------------------------------------------------------- */

/* Every kind of tensor that a model may have, in no order of names. */
static const char HEADER[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
    "\"half\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},"
    "\"brain\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[32,36]},"
    "\"ids\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":[36,52]},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[52,52]},"
    "\"one\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[52,56]}}  ";

static const struct {
    float w[6];
    uint16_t half[4];
    uint16_t brain[2];
    uint8_t ids[16];
    float one;
} DATA = {{1, -2, 0x1p-140f, -0.0f, 3.5f, 1e30f},
          {0x3c00, 0xc000, 0x0001, 0x7bff},
          {0x3f80, 0xc0a0},
          {0},
          42};
enum { DATA_BYTES = 56 };

static void write_sound_file(void) {
    tiny_write_safetensors(&folder, "x", HEADER, &DATA, DATA_BYTES);
}

static void reads_every_kind_of_tensor(void **state) {
    (void)state;
    cr_safetensors *file;
    cr_error error;
    write_sound_file();
    assert_int_equal(open_file(&file, &error), CR_OK);
    const cr_tensor *w = cr_safetensors_find(file, "w");
    assert_non_null(w);
    assert_int_equal(w->type, CR_TENSOR_F32);
    assert_int_equal(w->n_dims, 2);
    assert_int_equal(w->dims[0], 2);
    assert_int_equal(w->dims[1], 3);
    assert_int_equal(w->n_elements, 6);
    float out[6];
    assert_int_equal(cr_safetensors_read(file, w, out, &error), CR_OK);
    assert_memory_equal(out, DATA.w, sizeof DATA.w);
    const float half[] = {1, -2, 0x1p-24f, 65504};
    assert_int_equal(cr_safetensors_read(
                         file, cr_safetensors_find(file, "half"), out, &error),
                     CR_OK);
    assert_memory_equal(out, half, sizeof half);
    const float brain[] = {1, -5};
    assert_int_equal(cr_safetensors_read(
                         file, cr_safetensors_find(file, "brain"), out, &error),
                     CR_OK);
    assert_memory_equal(out, brain, sizeof brain);
    const cr_tensor *one = cr_safetensors_find(file, "one");
    assert_int_equal(one->n_dims, 0);
    assert_int_equal(one->n_elements, 1);
    assert_int_equal(cr_safetensors_read(file, one, out, &error), CR_OK);
    assert_true(out[0] == 42);
    const cr_tensor *none = cr_safetensors_find(file, "none");
    assert_int_equal(none->n_elements, 0);
    assert_int_equal(cr_safetensors_read(file, none, out, &error), CR_OK);
    const cr_tensor *ids = cr_safetensors_find(file, "ids");
    assert_int_equal(ids->type, CR_TENSOR_OTHER);
    assert_string_equal(ids->type_name, "I64");
    assert_int_equal(cr_safetensors_read(file, ids, out, &error), CR_ERR_MODEL);
    tiny_expect_message(error.message,
                        (const char *[]){"ids", "I64", "F32", NULL});
    assert_null(cr_safetensors_find(file, "__metadata__"));
    assert_null(cr_safetensors_find(file, "W"));
    assert_null(cr_safetensors_find(file, ""));
    cr_safetensors_close(file);
}

static void a_file_without_tensors_is_sound(void **state) {
    (void)state;
    cr_safetensors *file;
    cr_error error;
    tiny_write_safetensors(&folder, "x", "{}", NULL, 0);
    assert_int_equal(open_file(&file, &error), CR_OK);
    assert_null(cr_safetensors_find(file, "w"));
    cr_safetensors_close(file);
    cr_safetensors_close(NULL);
}

/* What a half is worth, by arithmetic that has nothing to do with bits. */
static float half_value(unsigned bits) {
    int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    float value = exponent == 0 ? ldexpf((float)mantissa, -24)
                  : exponent < 31
                      ? ldexpf((float)(1024 + mantissa), exponent - 25)
                  : mantissa ? NAN
                             : INFINITY;
    return bits & 0x8000 ? -value : value;
}

/* All 65,536 values of a 16-bit type, each alone: finite ones come out exact,
 * the others are refused by their index. */
static void check_all_narrow(const char *type, bool is_half) {
    static uint16_t all[65536];
    static float out[65536];
    char header[128];
    snprintf(header, sizeof header,
             "{\"t\":{\"dtype\":\"%s\",\"shape\":[65536],"
             "\"data_offsets\":[0,131072]}}",
             type);
    for (size_t i = 0; i < 65536; i++) {
        uint32_t wide = (uint32_t)i << 16;
        memcpy(&out[i], &wide, sizeof wide);
        if (is_half)
            out[i] = half_value((unsigned)i);
        all[i] = isfinite(out[i]) ? (uint16_t)i : 0;
    }
    static float read[65536];
    cr_safetensors *file;
    cr_error error;
    tiny_write_safetensors(&folder, "x", header, all, sizeof all);
    assert_int_equal(open_file(&file, &error), CR_OK);
    const cr_tensor *t = cr_safetensors_find(file, "t");
    assert_int_equal(cr_safetensors_read(file, t, read, &error), CR_OK);
    cr_safetensors_close(file);
    for (size_t i = 0; i < 65536; i++) {
        float zero = 0;
        const float *expected = isfinite(out[i]) ? &out[i] : &zero;
        if (memcmp(&read[i], expected, sizeof read[i]) != 0)
            fail_msg("%s %04zx is %.9g, not %.9g", type, i, (double)read[i],
                     (double)*expected);
    }
    for (size_t i = 0; i < 65536; i++) {
        if (isfinite(out[i]))
            continue;
        uint16_t bad = (uint16_t)i;
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[1],"
                 "\"data_offsets\":[0,2]}}",
                 type);
        tiny_write_safetensors(&folder, "x", header, &bad, 2);
        assert_int_equal(open_file(&file, &error), CR_OK);
        t = cr_safetensors_find(file, "t");
        assert_int_equal(cr_safetensors_read(file, t, read, &error),
                         CR_ERR_MODEL);
        tiny_expect_message(error.message,
                            (const char *[]){"\"t\"", "element 0",
                                             isnan(out[i]) ? "NaN" : "infinite",
                                             NULL});
        cr_safetensors_close(file);
        i += isnan(out[i]) ? 37 : 0; /* a sample of the many NaN */
    }
}

static void every_f16_is_exact(void **state) {
    (void)state;
    check_all_narrow("F16", true);
}

static void every_bf16_is_exact(void **state) {
    (void)state;
    check_all_narrow("BF16", false);
}

static void values_that_are_no_numbers_are_named(void **state) {
    (void)state;
    enum { N = 10000 };
    static float data[N], out[N];
    static const size_t places[] = {0, 1, 4095, 4096, 4097, 8191, N - 1};
    const char *header = "{\"layer.weight\":{\"dtype\":\"F32\",\"shape\":"
                         "[100,100],\"data_offsets\":[0,40000]}}";
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const float bad[] = {NAN, INFINITY, -INFINITY};
        data[places[i]] = bad[i % 3];
        tiny_write_safetensors(&folder, "x", header, data, sizeof data);
        data[places[i]] = 0;
        cr_safetensors *file;
        cr_error error;
        char index[32];
        snprintf(index, sizeof index, "element %zu ", places[i]);
        assert_int_equal(open_file(&file, &error), CR_OK);
        const cr_tensor *t = cr_safetensors_find(file, "layer.weight");
        assert_int_equal(cr_safetensors_read(file, t, out, &error),
                         CR_ERR_MODEL);
        tiny_expect_message(error.message,
                            (const char *[]){"layer.weight", index, NULL});
        cr_safetensors_close(file);
    }
}

/* ---- Files that lie ----------------------------------------------------- */

#define T(rest) "{\"t\":{" rest "}}"
#define F32(shape, begin, end)                                                 \
    "\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end \
    "]"

static const struct {
    const char *header;
    const char *parts[5]; /* up to NULL */
} FAULTY[] = {
    {"", {"'{'"}},
    {" {}", {"'{'"}},
    {"[]", {"'{'"}},
    {"{", {"not valid JSON"}},
    {"{}x", {"not valid JSON"}},
    {"{\"t\":1}", {"\"t\"", "1", "object"}},
    {"{\"t\":null}", {"\"t\"", "null"}},
    {"{\"t\":{}}", {"\"t\"", "shape", "missing"}},
    {"{\"__metadata__\":7}", {"__metadata__", "strings"}},
    {"{\"__metadata__\":{\"a\":1}}", {"__metadata__", "strings"}},
    {"{\"t\":{},\"t\":{}}", {"duplicate"}},
    {"{\"t\\u0000\":{}}", {"not valid JSON"}},
    {"{\"t\xff\":{}}", {"not valid JSON"}},
    {T("\"dtype\":\"F32\",\"shape\":7,\"data_offsets\":[0,8]"),
     {"\"t\"", "shape", "7"}},
    {T("\"dtype\":\"F32\",\"shape\":[2]"),
     {"\"t\"", "data_offsets", "missing"}},
    {T("\"shape\":[2],\"data_offsets\":[0,8]"), {"dtype", "missing"}},
    {T("\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]"),
     {"dtype", "F31", "BF16"}},
    {T("\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]"), {"dtype", "32"}},
    {T(F32("-2", "0", "8")), {"shape", "-2"}},
    {T(F32("2.0", "0", "8")), {"shape", "2"}},
    {T(F32("\"2\"", "0", "8")), {"shape", "\"2\""}},
    {T(F32("18446744073709551616", "0", "8")), {"not valid JSON"}},
    {T(F32("4294967296,4294967296,4", "0", "8")), {"shape", "64 bits"}},
    {T(F32("4611686018427387904", "0", "8")), {"shape", "64 bits"}},
    {T(F32("4611686018427387906,2", "0", "16")), {"shape", "64 bits"}},
    {T(F32("1,1,1,1,1,1,1,1,2", "0", "8")), {"shape", "at most 8"}},
    {T(F32("2", "8", "0")), {"data_offsets"}},
    {T(F32("2", "-8", "0")), {"data_offsets"}},
    {T(F32("2", "0", "8.0")), {"data_offsets"}},
    {T(F32("2", "0", "8,9")), {"data_offsets"}},
    {T(F32("2", "0", "4")), {"2 elements", "8 bytes", "4"}},
    {T(F32("3", "0", "8")), {"3 elements", "12 bytes", "8"}},
    {T(F32("2", "4", "12")), {"begins at byte 4", "ends at 0"}},
    {T(F32("1", "0", "4")), {"4 bytes follow"}},
    {T(F32("3", "0", "12")), {"ends at byte 12", "there are 8"}},
    {T(F32("1000000000000", "0", "4000000000000")), {"there are 8"}},
    {"{\"a\":{" F32("1", "0", "4") "},\"b\":{" F32("2", "0", "8") "}}",
     {"\"b\"", "begins at byte 0", "ends at 4"}},
    {"{\"a\":{" F32("1", "0", "4") "},\"b\":{" F32("1", "0", "4") "}}",
     {"begins at byte 0", "ends at 4"}},
    {"{\"a\":{" F32("1", "4", "8") "},\"b\":{" F32("1", "4", "8") "}}",
     {"begins at byte 4", "ends at 0"}},
    {T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,8]"),
     {"shape", "whole bytes"}},
};

static void faulty_headers_are_named(void **state) {
    (void)state;
    const uint8_t data[8] = {0};
    for (size_t i = 0; i < sizeof FAULTY / sizeof FAULTY[0]; i++) {
        cr_safetensors *file;
        cr_error error;
        tiny_write_safetensors(&folder, "x", FAULTY[i].header, data, 8);
        if (open_file(&file, &error) != CR_ERR_MODEL)
            fail_msg("accepted: %s", FAULTY[i].header);
        assert_null(file);
        tiny_expect_message(error.message, FAULTY[i].parts);
        tiny_expect_message(error.message,
                            (const char *[]){tiny_path(&folder, "x"), NULL});
    }
}

static void deep_nesting_is_an_error(void **state) {
    (void)state;
    static char header[1 << 20];
    memset(header, '[', sizeof header - 1);
    memcpy(header, "{\"t\":", 5);
    cr_safetensors *file;
    cr_error error;
    tiny_write_safetensors(&folder, "x", header, NULL, 0);
    assert_int_equal(open_file(&file, &error), CR_ERR_MODEL);
}

static void header_lengths_are_checked(void **state) {
    (void)state;
    static const struct {
        uint64_t len;
        const char *part;
    } rows[] = {{3, "does not fit"},       {100000000, "does not fit"},
                {100000001, "limit"},      {UINT64_MAX, "limit"},
                {UINT64_MAX - 7, "limit"}, {1ull << 63, "limit"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t bytes[10] = {0};
        memcpy(bytes, &rows[i].len, 8);
        memcpy(bytes + 8, "{}", 2);
        tiny_write(&folder, "x", bytes, sizeof bytes);
        cr_safetensors *file;
        cr_error error;
        assert_int_equal(open_file(&file, &error), CR_ERR_MODEL);
        tiny_expect_message(error.message,
                            (const char *[]){rows[i].part, NULL});
    }
}

static void pointers_of_git_lfs_are_told(void **state) {
    (void)state;
    cr_safetensors *file;
    cr_error error;
    tiny_write_text(&folder, "x",
                    "version https://git-lfs.github.com/spec/v1\n"
                    "oid sha256:1a9985\nsize 45437760\n");
    assert_int_equal(open_file(&file, &error), CR_ERR_MODEL);
    tiny_expect_message(
        error.message,
        (const char *[]){"Git LFS pointer of 75 bytes", "git lfs pull", NULL});
}

static void every_truncation_is_an_error(void **state) {
    (void)state;
    write_sound_file();
    const char *path = tiny_path(&folder, "x");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t len = st.st_size - 1; len >= 0; len--) {
        assert_int_equal(truncate(path, len), 0);
        cr_safetensors *file;
        cr_error error;
        assert_int_equal(open_file(&file, &error), CR_ERR_MODEL);
        assert_null(file);
        assert_true(error.message[0] != '\0');
    }
}

static void a_file_that_shrinks_while_open_is_an_error(void **state) {
    (void)state;
    write_sound_file();
    cr_safetensors *file;
    cr_error error;
    assert_int_equal(open_file(&file, &error), CR_OK);
    const cr_tensor *one = cr_safetensors_find(file, "one");
    off_t end = (off_t)(one->offset + one->n_bytes);
    assert_int_equal(truncate(tiny_path(&folder, "x"), end - 1), 0);
    float out[6];
    assert_int_equal(cr_safetensors_read(file, one, out, &error), CR_ERR_MODEL);
    tiny_expect_message(error.message, (const char *[]){"shorter", NULL});
    cr_safetensors_close(file);
}

static void only_regular_files_are_read(void **state) {
    (void)state;
    cr_safetensors *file;
    cr_error error;
    assert_int_equal(cr_safetensors_open(folder.path, &file, &error),
                     CR_ERR_MODEL);
    assert_int_equal(
        cr_safetensors_open(tiny_path(&folder, "fifo"), &file, &error),
        CR_ERR_IO);
    assert_int_equal(mkfifo(tiny_path(&folder, "fifo"), 0600), 0);
    assert_int_equal(
        cr_safetensors_open(tiny_path(&folder, "fifo"), &file, &error),
        CR_ERR_MODEL);
    tiny_expect_message(error.message, (const char *[]){"regular file", NULL});
}

/* ---- Files that were damaged -------------------------------------------- */

static uint32_t draw(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Whatever was accepted must lie inside the file and be readable or refused
 * with a message. */
static void check_accepted(const cr_safetensors *file, uint64_t n_bytes) {
    static const char *const names[] = {"w",   "half", "brain",
                                        "ids", "none", "one"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const cr_tensor *t = cr_safetensors_find(file, names[i]);
        if (!t)
            continue;
        assert_true(t->offset <= n_bytes);
        assert_true(t->n_bytes <= n_bytes - t->offset);
        assert_true(t->n_elements <= DATA_BYTES * 2);
        float out[DATA_BYTES * 2];
        cr_error error = {.message = ""};
        if (cr_safetensors_read(file, t, out, &error) != CR_OK)
            assert_true(error.message[0] != '\0');
    }
}

static void damaged_headers_never_hurt(void **state) {
    (void)state;
    static const char useful[] = "{}[]\",:0123456789-.eE\\uF \n\0\x80\xff";
    enum { VARIANTS = 20000, LEN = sizeof HEADER - 1 };
    uint64_t seed = 12;
    size_t n_accepted = 0;
    for (int i = 0; i < VARIANTS; i++) {
        char header[LEN + 16];
        size_t len = LEN;
        memcpy(header, HEADER, LEN);
        for (uint32_t n = draw(&seed) % 3 + 1; n; n--) {
            size_t at = draw(&seed) % len;
            char byte = draw(&seed) % 4 ? useful[draw(&seed) % sizeof useful]
                                        : (char)draw(&seed);
            uint32_t how = draw(&seed) % 4;
            if (how == 0 && len > 1) /* a byte less */
                memmove(header + at, header + at + 1, --len - at);
            else if (how == 1 && len < sizeof header - 1) { /* one more */
                memmove(header + at + 1, header + at, len++ - at);
                header[at] = byte;
            } else
                header[at] = byte;
        }
        uint8_t bytes[8 + sizeof header + DATA_BYTES];
        uint64_t header_len = len;
        memcpy(bytes, &header_len, 8);
        memcpy(bytes + 8, header, len);
        memcpy(bytes + 8 + len, &DATA, DATA_BYTES);
        tiny_write(&folder, "x", bytes, 8 + len + DATA_BYTES);
        cr_safetensors *file;
        cr_error error;
        if (open_file(&file, &error) == CR_OK) {
            n_accepted++;
            check_accepted(file, 8 + len + DATA_BYTES);
            cr_safetensors_close(file);
        } else {
            assert_true(error.message[0] != '\0');
        }
    }
    /* Damage to names and metadata is not damage; most of it is. */
    assert_true(n_accepted > 0 && n_accepted < VARIANTS / 2);
}

static void every_failing_allocation_is_an_error(void **state) {
    (void)state;
    write_sound_file();
    for (uint64_t n = 0;; n++) {
        cr_safetensors *file;
        cr_error error;
        cr_mem_fail_after(n);
        cr_status status = open_file(&file, &error);
        cr_mem_fail_never();
        cr_safetensors_close(file);
        if (status == CR_OK) {
            assert_true(n > 10);
            break;
        }
        tiny_expect_no_memory(status, &error);
        assert_null(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_tensor),
        cmocka_unit_test(a_file_without_tensors_is_sound),
        cmocka_unit_test(every_f16_is_exact),
        cmocka_unit_test(every_bf16_is_exact),
        cmocka_unit_test(values_that_are_no_numbers_are_named),
        cmocka_unit_test(faulty_headers_are_named),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(header_lengths_are_checked),
        cmocka_unit_test(pointers_of_git_lfs_are_told),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(a_file_that_shrinks_while_open_is_an_error),
        cmocka_unit_test(only_regular_files_are_read),
        cmocka_unit_test(damaged_headers_never_hurt),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
