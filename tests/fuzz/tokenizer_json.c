/* tokenizer.json, tokenizer_config.json, special_tokens_map.json and
 * added_tokens.json, parted by NUL. */
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cr_tokenizer_files files = {.has_vocab_text = false};
    bool sound =
        fuzz_next_json(&files.tokenizer, &data, &size, 0) &&
        fuzz_next_json(&files.config, &data, &size, CR_JSON_WIDE_INTEGERS) &&
        fuzz_next_json(&files.special_map, &data, &size, 0) &&
        fuzz_next_json(&files.added, &data, &size, 0);
    if (sound)
        fuzz_tokenizer_files(&files);
    cr_tokenizer_files_fini(&files);
    return 0;
}
