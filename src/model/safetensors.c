/* The safetensors container: a checked table of tensors in one file.
 *
 * A file is: 8 bytes of header length (little endian), a JSON header, data.
 * All that the reference implementation checks is checked here, before any
 * data is read, with its limit on the header. */
#include "model/safetensors.h"

#include "base/mem.h"
#include "model/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "safetensors data is little endian and is read as it is");

enum {
    PREFIX_BYTES = 8,
    /* The reference implementation's limit. */
    MAX_HEADER_BYTES = 100000000,
    /* Elements widened at a time: fits L1 with its result. */
    CHUNK_ELEMENTS = 4096
};

struct cr_safetensors {
    int fd;
    uint64_t n_bytes;
    char *path;
    cr_tensor *tensors; /* [n_tensors] by name */
    size_t n_tensors;
    char *names; /* of all tensors, each with its NUL */
};

/* Every type the format has, so that files which hold some tensor of another
 * type beside the weights (position ids, I64) are read and checked whole. */
static const struct {
    const char *name;
    cr_tensor_type type;
    unsigned bits;
} TYPES[] = {
    {"F32", CR_TENSOR_F32, 32},          {"F16", CR_TENSOR_F16, 16},
    {"BF16", CR_TENSOR_BF16, 16},        {"F64", CR_TENSOR_OTHER, 64},
    {"I64", CR_TENSOR_OTHER, 64},        {"I32", CR_TENSOR_OTHER, 32},
    {"I16", CR_TENSOR_OTHER, 16},        {"I8", CR_TENSOR_OTHER, 8},
    {"U64", CR_TENSOR_OTHER, 64},        {"U32", CR_TENSOR_OTHER, 32},
    {"U16", CR_TENSOR_OTHER, 16},        {"U8", CR_TENSOR_OTHER, 8},
    {"BOOL", CR_TENSOR_OTHER, 8},        {"C64", CR_TENSOR_OTHER, 64},
    {"F8_E5M2", CR_TENSOR_OTHER, 8},     {"F8_E4M3", CR_TENSOR_OTHER, 8},
    {"F8_E8M0", CR_TENSOR_OTHER, 8},     {"F8_E4M3FNUZ", CR_TENSOR_OTHER, 8},
    {"F8_E5M2FNUZ", CR_TENSOR_OTHER, 8}, {"F6_E2M3", CR_TENSOR_OTHER, 6},
    {"F6_E3M2", CR_TENSOR_OTHER, 6},     {"F4", CR_TENSOR_OTHER, 4},
};
enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

/* ---- Bytes -------------------------------------------------------------- */

cr_status cr_safetensors_read_bytes(const cr_safetensors *file, uint64_t offset,
                                    void *out, size_t n_bytes,
                                    cr_error *error) {
    char *to = out;
    while (n_bytes) {
        ssize_t n = pread(file->fd, to, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cr_fail(error, CR_ERR_IO, "%s: cannot read: %s", file->path,
                           strerror(errno));
        if (n == 0)
            return cr_fail(error, CR_ERR_MODEL,
                           "%s: ends at byte %" PRIu64 " of %" PRIu64
                           ": it became shorter while it was read",
                           file->path, offset, file->n_bytes);
        to += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return CR_OK;
}

uint64_t cr_safetensors_bytes(const cr_safetensors *file) {
    return file->n_bytes;
}

/* ---- Header ------------------------------------------------------------- */

static cr_status header_length(const cr_safetensors *file, uint64_t *len,
                               cr_error *error) {
    if (file->n_bytes < PREFIX_BYTES)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: %" PRIu64 " bytes are no safetensors file, which "
                       "begins with 8 bytes of header length: it is cut off",
                       file->path, file->n_bytes);
    cr_status status =
        cr_safetensors_read_bytes(file, 0, len, PREFIX_BYTES, error);
    if (status != CR_OK)
        return status;
    if (memcmp(len, "version ", PREFIX_BYTES) == 0)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: is a Git LFS pointer of %" PRIu64 " bytes, not the "
                       "weights: fetch them with git lfs pull or crossrank "
                       "pull",
                       file->path, file->n_bytes);
    if (*len > MAX_HEADER_BYTES)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: a header of %" PRIu64 " bytes is over the limit of "
                       "%d: not a safetensors file",
                       file->path, *len, MAX_HEADER_BYTES);
    if (*len > file->n_bytes - PREFIX_BYTES)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: a header of %" PRIu64 " bytes does not fit into "
                       "the file's %" PRIu64 ": it is cut off",
                       file->path, *len, file->n_bytes);
    return CR_OK;
}

/* One tensor's fault, named. */
static cr_status bad_tensor(const cr_safetensors *file, const char *name,
                            const char *field, const json_t *value,
                            const char *expected, cr_error *error) {
    char picture[CR_JSON_PICTURE_BYTES];
    return cr_fail(error, CR_ERR_MODEL,
                   "%s: tensor \"%.120s\": \"%s\" is %s; expected: %s",
                   file->path, name, field, cr_json_picture(value, picture),
                   expected);
}

/* A JSON integer >= 0. */
static bool as_u64(const json_t *value, uint64_t *number) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static cr_status read_shape(const cr_safetensors *file, const json_t *info,
                            cr_tensor *tensor, cr_error *error) {
    const json_t *shape = json_object_get(info, "shape");
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > CR_TENSOR_MAX_DIMS)
        return bad_tensor(file, tensor->name, "shape", shape,
                          "a list of at most 8 sizes", error);
    tensor->n_dims = (uint32_t)n;
    tensor->n_elements = 1;
    for (size_t i = 0; i < n; i++) {
        if (!as_u64(json_array_get(shape, i), &tensor->dims[i]))
            return bad_tensor(file, tensor->name, "shape",
                              json_array_get(shape, i), "sizes >= 0", error);
        if (__builtin_mul_overflow(tensor->n_elements, tensor->dims[i],
                                   &tensor->n_elements))
            return bad_tensor(file, tensor->name, "shape",
                              json_array_get(shape, i),
                              "a product that fits 64 bits", error);
    }
    return CR_OK;
}

static cr_status read_type(const cr_safetensors *file, const json_t *info,
                           cr_tensor *tensor, cr_error *error) {
    const json_t *dtype = json_object_get(info, "dtype");
    const char *name = json_string_value(dtype);
    size_t i = 0;
    while (i < N_TYPES && !(name && strcmp(TYPES[i].name, name) == 0))
        i++;
    if (i == N_TYPES)
        return bad_tensor(file, tensor->name, "dtype", dtype,
                          "a type of the safetensors format, such as F32, F16 "
                          "or BF16",
                          error);
    tensor->type = TYPES[i].type;
    tensor->type_name = TYPES[i].name;
    uint64_t n_bits;
    if (__builtin_mul_overflow(tensor->n_elements, TYPES[i].bits, &n_bits) ||
        n_bits % 8)
        return bad_tensor(file, tensor->name, "shape",
                          json_object_get(info, "shape"),
                          "whole bytes that fit 64 bits", error);
    tensor->n_bytes = n_bits / 8;
    return CR_OK;
}

/* Begin and end as written, from the end of the header; that they meet their
 * neighbours is checked when all are known. */
static cr_status read_offsets(const cr_safetensors *file, const json_t *info,
                              cr_tensor *tensor, cr_error *error) {
    const json_t *offsets = json_object_get(info, "data_offsets");
    uint64_t begin, end;
    if (json_array_size(offsets) != 2 ||
        !as_u64(json_array_get(offsets, 0), &begin) ||
        !as_u64(json_array_get(offsets, 1), &end) || begin > end)
        return bad_tensor(file, tensor->name, "data_offsets", offsets,
                          "[begin, end] with 0 <= begin <= end", error);
    if (end - begin != tensor->n_bytes)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: tensor \"%.120s\": %s with %" PRIu64
                       " elements is %" PRIu64 " bytes, but \"data_offsets\" "
                       "give it %" PRIu64,
                       file->path, tensor->name, tensor->type_name,
                       tensor->n_elements, tensor->n_bytes, end - begin);
    tensor->offset = begin;
    return CR_OK;
}

static cr_status read_tensor_info(const cr_safetensors *file,
                                  const json_t *info, cr_tensor *tensor,
                                  cr_error *error) {
    if (!json_is_object(info))
        return bad_tensor(file, tensor->name, "value", info,
                          "an object with dtype, shape and data_offsets",
                          error);
    cr_status status = read_shape(file, info, tensor, error);
    if (status == CR_OK)
        status = read_type(file, info, tensor, error);
    if (status == CR_OK)
        status = read_offsets(file, info, tensor, error);
    return status;
}

/* The one key of the header that is no tensor: strings by name. */
static const char METADATA[] = "__metadata__";

static cr_status check_metadata(const cr_safetensors *file, json_t *metadata,
                                cr_error *error) {
    bool sound =
        !metadata || json_is_null(metadata) || json_is_object(metadata);
    const char *key;
    json_t *value;
    if (sound && metadata) {
        json_object_foreach(metadata, key, value) sound =
            sound && json_is_string(value);
    }
    if (!sound)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: \"__metadata__\" is not an object of strings",
                       file->path);
    return CR_OK;
}

/* Fills file->tensors in the header's order. */
static cr_status read_table(cr_safetensors *file, json_t *root,
                            cr_error *error) {
    json_t *metadata = json_object_get(root, METADATA);
    cr_status status = check_metadata(file, metadata, error);
    if (status != CR_OK)
        return status;
    const char *key;
    json_t *info;
    size_t n_tensors = 0, name_bytes = 0;
    json_object_foreach(root, key, info) {
        n_tensors += strcmp(key, METADATA) != 0;
        name_bytes += strlen(key) + 1;
    }
    file->tensors = cr_calloc(n_tensors, sizeof *file->tensors);
    file->names = cr_alloc(name_bytes);
    if (!file->tensors || !file->names)
        return cr_fail_memory(error, n_tensors * sizeof *file->tensors,
                              "the table of tensors");
    char *name = file->names;
    json_object_foreach(root, key, info) {
        if (strcmp(key, METADATA) == 0)
            continue;
        cr_tensor *tensor = &file->tensors[file->n_tensors++];
        size_t bytes = strlen(key) + 1;
        tensor->name = memcpy(name, key, bytes);
        name += bytes;
        status = read_tensor_info(file, info, tensor, error);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

static int by_offset(const void *a, const void *b) {
    const cr_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const cr_tensor *)a)->name, ((const cr_tensor *)b)->name);
}

/* Tensors must fill the data without gap or overlap, to the last byte. Makes
 * offsets those of the file. */
static cr_status check_layout(cr_safetensors *file, uint64_t data_begin,
                              cr_error *error) {
    uint64_t end = 0, n_data = file->n_bytes - data_begin;
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_offset);
    for (size_t i = 0; i < file->n_tensors; i++) {
        cr_tensor *tensor = &file->tensors[i];
        if (tensor->offset != end)
            return cr_fail(error, CR_ERR_MODEL,
                           "%s: tensor \"%.120s\": begins at byte %" PRIu64
                           " of the data, but the one before it ends at "
                           "%" PRIu64 ": the header is faulty",
                           file->path, tensor->name, tensor->offset, end);
        if (tensor->n_bytes > n_data - end)
            return cr_fail(error, CR_ERR_MODEL,
                           "%s: tensor \"%.120s\": ends at byte %" PRIu64
                           " of the data, of which there are %" PRIu64
                           ": the file is cut off",
                           file->path, tensor->name, end + tensor->n_bytes,
                           n_data);
        end += tensor->n_bytes;
        tensor->offset += data_begin;
    }
    if (end != n_data)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: %" PRIu64 " bytes follow the last tensor: the file "
                       "and its header do not belong together",
                       file->path, n_data - end);
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_name);
    return CR_OK;
}

static cr_status read_header(cr_safetensors *file, cr_error *error) {
    uint64_t len;
    char *header = NULL;
    cr_json json = {0};
    cr_status status = header_length(file, &len, error);
    if (status != CR_OK)
        goto done;
    header = cr_alloc((size_t)len);
    if (!header) {
        status = cr_fail_memory(error, (size_t)len, "a safetensors header");
        goto done;
    }
    status = cr_safetensors_read_bytes(file, PREFIX_BYTES, header, (size_t)len,
                                       error);
    if (status != CR_OK)
        goto done;
    if (len == 0 || header[0] != '{') {
        status = cr_fail(error, CR_ERR_MODEL,
                         "%s: the header does not begin with '{': not a "
                         "safetensors file",
                         file->path);
        goto done;
    }
    cr_text text = {header, (size_t)len};
    status = cr_json_parse(&json, file->path, text, 0, error);
    if (status != CR_OK)
        goto done;
    status = read_table(file, json.root, error);
    if (status == CR_OK)
        status = check_layout(file, PREFIX_BYTES + len, error);
done:
    cr_json_fini(&json);
    cr_free(header);
    return status;
}

/* ---- Opening ------------------------------------------------------------ */

/* O_NONBLOCK: a FIFO in the file's place must not make us wait. */
static cr_status open_file(cr_safetensors *file, cr_error *error) {
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (file->fd < 0 || fstat(file->fd, &st) != 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot open: %s", file->path,
                       strerror(errno));
    if (!S_ISREG(st.st_mode))
        return cr_fail(error, CR_ERR_MODEL, "%s: is not a regular file",
                       file->path);
    file->n_bytes = (uint64_t)st.st_size;
    return CR_OK;
}

cr_status cr_safetensors_open(const char *path, cr_safetensors **opened,
                              cr_error *error) {
    *opened = NULL;
    cr_safetensors *file = cr_calloc(1, sizeof *file);
    if (!file)
        return cr_fail_memory(error, sizeof *file, "a safetensors file");
    file->fd = -1;
    file->path = cr_strndup(path, strlen(path));
    cr_status status =
        file->path ? CR_OK : cr_fail_memory(error, strlen(path), "a path");
    if (status == CR_OK)
        status = open_file(file, error);
    if (status == CR_OK)
        status = read_header(file, error);
    if (status != CR_OK)
        cr_safetensors_close(file);
    else
        *opened = file;
    return status;
}

void cr_safetensors_close(cr_safetensors *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    cr_free(file->path);
    cr_free(file->tensors);
    cr_free(file->names);
    cr_free(file);
}

static int name_against_tensor(const void *name, const void *tensor) {
    return strcmp(name, ((const cr_tensor *)tensor)->name);
}

const cr_tensor *cr_safetensors_find(const cr_safetensors *file,
                                     const char *name) {
    return bsearch(name, file->tensors, file->n_tensors, sizeof *file->tensors,
                   name_against_tensor);
}

/* ---- Data --------------------------------------------------------------- */

/* The loops below are integer and exact float arithmetic without branches,
 * which compilers turn into vector code. Each says whether all is finite. */

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static bool widen_f16(const uint16_t *restrict in, float *restrict out,
                      size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t half = in[i];
        uint32_t exponent = half & 0x7c00u;
        /* Exponent 5 -> 8 bits: bias 15 -> 127. */
        uint32_t normal = ((half & 0x7fffu) << 13) + (112u << 23);
        /* All ones stays all ones, so that what is refused can be named. */
        uint32_t special = exponent == 0x7c00u ? 0x7f800000u : 0;
        /* Subnormals are mantissa * 2^-24, exact in float32. */
        float tiny = (float)(int32_t)(half & 0x3ffu) * 0x1p-24f;
        uint32_t magnitude = exponent ? normal | special : bits_of(tiny);
        out[i] = float_of(magnitude | (half & 0x8000u) << 16);
        bad |= special;
    }
    return !bad;
}

static bool widen_bf16(const uint16_t *restrict in, float *restrict out,
                       size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)in[i] << 16;
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
        out[i] = float_of(bits);
    }
    return !bad;
}

static bool all_finite(const float *values, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (bits_of(values[i]) & 0x7f800000u) == 0x7f800000u;
    return !bad;
}

static cr_status refuse_not_finite(const cr_safetensors *file,
                                   const cr_tensor *tensor, uint64_t first,
                                   const float *values, cr_error *error) {
    size_t i = 0;
    while (isfinite(values[i]))
        i++;
    return cr_fail(error, CR_ERR_MODEL,
                   "%s: tensor \"%.120s\": element %" PRIu64 " is %s: the "
                   "model is broken, no score could be trusted",
                   file->path, tensor->name, first + i,
                   isnan(values[i]) ? "NaN" : "infinite");
}

/* Elements first .. first + n, n <= CHUNK_ELEMENTS, through `narrow`. */
static cr_status read_chunk(const cr_safetensors *file, const cr_tensor *tensor,
                            uint64_t first, size_t n, uint16_t *narrow,
                            float *out, cr_error *error) {
    bool wide = tensor->type == CR_TENSOR_F32;
    size_t size = wide ? sizeof(float) : sizeof(uint16_t);
    cr_status status =
        cr_safetensors_read_bytes(file, tensor->offset + first * size,
                                  wide ? (void *)out : narrow, n * size, error);
    if (status != CR_OK)
        return status;
    bool finite = wide                            ? all_finite(out, n)
                  : tensor->type == CR_TENSOR_F16 ? widen_f16(narrow, out, n)
                                                  : widen_bf16(narrow, out, n);
    return finite ? CR_OK : refuse_not_finite(file, tensor, first, out, error);
}

cr_status cr_safetensors_read(const cr_safetensors *file,
                              const cr_tensor *tensor, float *out,
                              cr_error *error) {
    if (tensor->type == CR_TENSOR_OTHER)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: tensor \"%.120s\" is %s; supported: F32, F16, BF16",
                       file->path, tensor->name, tensor->type_name);
    uint16_t narrow[CHUNK_ELEMENTS];
    for (uint64_t first = 0; first < tensor->n_elements;) {
        uint64_t left = tensor->n_elements - first;
        size_t n = left < CHUNK_ELEMENTS ? (size_t)left : CHUNK_ELEMENTS;
        cr_status status =
            read_chunk(file, tensor, first, n, narrow, out + first, error);
        if (status != CR_OK)
            return status;
        first += n;
    }
    return CR_OK;
}
