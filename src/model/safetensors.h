/* The safetensors container: a checked table of tensors in one file.
 *
 * Everything in the header is checked on open: its length, JSON, data types,
 * shapes, products without overflow, offsets inside the file, in order and
 * without overlap or gap. Data is read by pread; nothing is mapped. */
#ifndef CR_MODEL_SAFETENSORS_H
#define CR_MODEL_SAFETENSORS_H

#include "base/error.h"

typedef enum cr_tensor_type {
    CR_TENSOR_F32,
    CR_TENSOR_F16,
    CR_TENSOR_BF16,
    CR_TENSOR_OTHER /* held by the file, but no weights that we read */
} cr_tensor_type;

enum { CR_TENSOR_MAX_DIMS = 8 };

typedef struct cr_tensor {
    const char *name;
    cr_tensor_type type;
    const char *type_name; /* as the file spells it */
    uint32_t n_dims;
    uint64_t dims[CR_TENSOR_MAX_DIMS];
    uint64_t n_elements;
    uint64_t offset; /* of the data, from the start of the file */
    uint64_t n_bytes;
} cr_tensor;

typedef struct cr_safetensors cr_safetensors;

/* CR_ERR_IO, CR_ERR_MODEL, CR_ERR_MEMORY. */
cr_status cr_safetensors_open(const char *path, cr_safetensors **file,
                              cr_error *error);
void cr_safetensors_close(cr_safetensors *file);

/* Size of the whole file as it was opened. */
uint64_t cr_safetensors_bytes(const cr_safetensors *file);
/* Raw bytes of the file from `offset`, all of them or an error. Thread-safe. */
cr_status cr_safetensors_read_bytes(const cr_safetensors *file, uint64_t offset,
                                    void *out, size_t n_bytes, cr_error *error);

/* NULL where there is none of that name. */
const cr_tensor *cr_safetensors_find(const cr_safetensors *file,
                                     const char *name);
/* The data of `tensor` (not CR_TENSOR_OTHER) as float32 into
 * out[n_elements]; exact. Thread-safe. */
cr_status cr_safetensors_read(const cr_safetensors *file,
                              const cr_tensor *tensor, float *out,
                              cr_error *error);

#endif
