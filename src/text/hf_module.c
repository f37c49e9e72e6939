/* libcrossrank-tokenizers.so: Rust's functions under this build's id. */
#include "base/build_id.h"
#include "text/hf.h"

/* Of components/tokenizers/src/lib.rs. */
cr_hf_opened *crossrank_hf_open(const char *json, size_t len,
                                cr_hf_facts *facts,
                                const cr_hf_message *message);
void crossrank_hf_close(cr_hf_opened *opened);
bool crossrank_hf_encode(const cr_hf_opened *opened, const char *text,
                         size_t len, cr_hf_tokens *tokens,
                         const cr_hf_message *message);
void crossrank_hf_free_tokens(const cr_hf_tokens *tokens);
cr_hf_text crossrank_hf_token(const cr_hf_opened *opened, int32_t id);
int32_t crossrank_hf_find(const cr_hf_opened *opened, const char *text,
                          size_t len);
bool crossrank_hf_decode(const cr_hf_opened *opened, const uint32_t *ids,
                         size_t n, bool skip_specials, cr_hf_text *text,
                         const cr_hf_message *message);
void crossrank_hf_free_text(const cr_hf_text *text);

static const cr_hf_ops OPS = {
    .version = CR_TOKENIZERS_VERSION,
    .open = crossrank_hf_open,
    .close = crossrank_hf_close,
    .encode = crossrank_hf_encode,
    .free_tokens = crossrank_hf_free_tokens,
    .token = crossrank_hf_token,
    .find = crossrank_hf_find,
    .decode = crossrank_hf_decode,
    .free_text = crossrank_hf_free_text,
};

extern const cr_hf_module crossrank_hf_module;
__attribute__((visibility("default")))
const cr_hf_module crossrank_hf_module = {{CR_BUILD_ID}, &OPS};
