/* The weights' container: any file opens into tensors that lie inside it, or
 * is refused with a message. */
#include "fuzz.h"

#include "base/mem.h"
#include "model/safetensors.h"

/* Names that the seeds use. */
static const char *const NAMES[] = {"a", "b", "w"};

static void read_all(const cr_safetensors *file, const cr_tensor *tensor) {
    uint64_t bytes = cr_safetensors_bytes(file);
    assert(tensor->offset <= bytes &&
           tensor->n_bytes <= bytes - tensor->offset);
    assert(tensor->n_dims <= CR_TENSOR_MAX_DIMS);
    if (tensor->type == CR_TENSOR_OTHER)
        return;
    assert(tensor->n_elements <= tensor->n_bytes);
    float *values = cr_alloc((size_t)tensor->n_elements * sizeof *values + 1);
    assert(values);
    cr_error error = {.message = ""};
    /* NaN and infinity are refused. */
    cr_status status = cr_safetensors_read(file, tensor, values, &error);
    assert(status == CR_OK || error.message[0] != '\0');
    cr_free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cr_error error = {.message = ""};
    cr_safetensors *tensors;
    fuzz_file file;
    fuzz_file_open(&file, data, size);
    cr_status status = cr_safetensors_open(file.path, &tensors, &error);
    assert(status == CR_OK || error.message[0] != '\0');
    assert((status == CR_OK) == (tensors != NULL));
    for (size_t i = 0; status == CR_OK && i < sizeof NAMES / sizeof *NAMES;
         i++) {
        const cr_tensor *tensor = cr_safetensors_find(tensors, NAMES[i]);
        if (tensor)
            read_all(tensors, tensor);
    }
    cr_safetensors_close(tensors);
    fuzz_file_close(&file);
    return 0;
}
