/* A model's fingerprint: which weights are these?
 *
 * The one user of libcrypto, and not linked into the library: whoever links
 * libcrossrank for scores needs no cryptography. */
#include "model/model.h"

#include "model/safetensors.h"

#include <openssl/evp.h>
#include <stdio.h>

/* Of the file that was opened, even where another has taken its name. */
static cr_status digest_file(const cr_safetensors *file, EVP_MD_CTX *context,
                             unsigned char *digest, cr_error *error) {
    uint64_t n_bytes = cr_safetensors_bytes(file);
    char chunk[65536];
    bool sound = EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (uint64_t at = 0; at < n_bytes && sound; at += sizeof chunk) {
        uint64_t left = n_bytes - at;
        size_t n = left < sizeof chunk ? (size_t)left : sizeof chunk;
        cr_status status = cr_safetensors_read_bytes(file, at, chunk, n, error);
        if (status != CR_OK)
            return status;
        sound = EVP_DigestUpdate(context, chunk, n) == 1;
    }
    if (!sound || EVP_DigestFinal_ex(context, digest, NULL) != 1)
        return cr_fail(error, CR_ERR_INTERNAL,
                       "libcrypto cannot compute SHA-256");
    return CR_OK;
}

cr_status cr_model_sha256(const cr_model *model, char hex[CR_SHA256_HEX_BYTES],
                          cr_error *error) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    hex[0] = '\0';
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context)
        return cr_fail_memory(error, 0, "SHA-256");
    cr_status status =
        digest_file(cr_model_get_weights(model), context, digest, error);
    EVP_MD_CTX_free(context);
    for (size_t i = 0; i < 32 && status == CR_OK; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return status;
}
