/* tokenizer_config.json, special_tokens_map.json, added_tokens.json and, to the
 * end of the input, vocab.txt, parted by NUL. */
#include "tokenizer.h"

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cr_tokenizer_files files = {.has_vocab_text = true};
    cr_buf_init(&files.vocab_text, 1 << 20);
    bool sound =
        fuzz_next_json(&files.config, &data, &size, CR_JSON_WIDE_INTEGERS) &&
        fuzz_next_json(&files.special_map, &data, &size, 0) &&
        fuzz_next_json(&files.added, &data, &size, 0) && data;
    files.vocab_path = cr_strndup("vocab.txt", 9);
    if (sound && files.vocab_path &&
        cr_buf_append(&files.vocab_text, data, size, NULL) == CR_OK)
        fuzz_tokenizer_files(&files);
    cr_tokenizer_files_fini(&files);
    return 0;
}
