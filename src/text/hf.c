/* Hugging Face `tokenizers`: loading its module once. */
#include "text/hf.h"

#include <pthread.h>

cr_status cr_hf_find(const cr_hf_ops **ops, cr_error *error) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const cr_hf_ops *loaded; /* under the lock */
    static const cr_module_request request = {
        .name = "tokenizers",
        .symbol = CR_HF_SYMBOL,
        .what = "component 'tokenizers', which byte-level BPE and Unigram "
                "tokenizers need,",
        .advice = "./run deps-tokenizers, then build with "
                  "-Dtokenizers=enabled"};
    cr_status status = CR_OK;
    const cr_module_head *head;
    pthread_mutex_lock(&lock);
    if (!loaded)
        status = cr_module_load(&request, &head, error);
    if (!loaded && status == CR_OK)
        loaded = ((const cr_hf_module *)(const void *)head)->ops;
    *ops = loaded;
    pthread_mutex_unlock(&lock);
    return status;
}
