/* Tokens of any bytes: the first bytes choose the switches and the limits, the
 * rest is a pair. All ways to encode it agree, offsets lie in the text and
 * never fall, and nothing is read behind the first token too many. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/mem.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { N_SWITCHES = 16, MAX_LENGTH = 64, MAX_WORDS = 40000 };

static cr_tokenizer *tokenizers[N_SWITCHES];

static int32_t id_of(const cr_tokenizer_spec *spec, const char *text) {
    int32_t id = 0;
    while (spec->vocab[id].len != strlen(text) ||
           memcmp(spec->vocab[id].data, text, strlen(text)) != 0)
        id++;
    return id;
}

static void open_tokenizers(void) {
    static const char *const TEXTS[] = {"[PAD]", "[UNK]",     "[CLS]",
                                        "[SEP]", "[MASK]",    "[M",
                                        "of",    "\xC3\xA9t", "<a>"};
    enum { N_SPECIALS = sizeof TEXTS / sizeof TEXTS[0] };
    static cr_text vocab[MAX_WORDS];
    static cr_special_token specials[N_SPECIALS];
    cr_buf file;
    cr_buf_init(&file, 1 << 20);
    cr_status status = cr_buf_read_file(
        &file, CR_SOURCE_ROOT "/models/crossrank-minilm-l6/vocab.txt", NULL);
    assert(status == CR_OK);
    cr_tokenizer_spec spec = {.vocab = vocab,
                              .specials = specials,
                              .n_specials = N_SPECIALS,
                              .continuing_prefix = {"##", 2}};
    for (char *p = file.data; p < file.data + file.len;) {
        char *end = strchr(p, '\n');
        vocab[spec.n_vocab++] = (cr_text){p, (size_t)(end - p)};
        p = end + 1;
    }
    spec.unk_id = id_of(&spec, "[UNK]");
    spec.cls_id = id_of(&spec, "[CLS]");
    spec.sep_id = id_of(&spec, "[SEP]");
    for (int32_t i = 0; i < N_SPECIALS; i++) {
        bool known = i < 5 || i == 6;
        specials[i] =
            (cr_special_token){.text = {TEXTS[i], strlen(TEXTS[i])},
                               .id = known ? id_of(&spec, TEXTS[i]) : 50000 + i,
                               .single_word = i == 6,
                               .lstrip = i == 4 || i == 8,
                               .rstrip = i == 5 || i == 8};
    }
    for (int i = 0; i < N_SWITCHES; i++) {
        spec.clean_text = i & 1;
        spec.split_cjk = i & 2;
        spec.strip_accents = i & 4;
        spec.lowercase = i & 8;
        spec.max_word_chars = i & 2 ? 100 : 6;
        status = cr_tokenizer_new(&spec, &tokenizers[i], NULL);
        assert(status == CR_OK);
    }
    cr_buf_fini(&file);
}

static uint32_t count_code_points(cr_text text) {
    const uint8_t *p = (const uint8_t *)text.data, *end = p + text.len;
    uint32_t n = 0, n_bytes;
    for (; p < end; p += n_bytes, n++)
        cr_utf8_decode(p, end, &n_bytes);
    return n;
}

static void check_offsets(const cr_encoding *e, const cr_pair *pair) {
    uint32_t ends[2] = {count_code_points(pair->query),
                        count_code_points(pair->passage)};
    uint32_t begins[2] = {0, 0};
    for (size_t i = 1; i + 1 < e->n_tokens; i++) {
        const uint32_t *offset = e->offsets[i];
        uint8_t side = e->type_ids[i];
        assert(offset[1] <= ends[side]);
        if (!offset[1])
            continue; /* the [SEP] between */
        assert(offset[0] < offset[1] && offset[0] >= begins[side]);
        begins[side] = offset[0];
    }
}

static void check_stop(const cr_tokenizer *t, cr_token_scratch *scratch,
                       cr_text text, size_t capacity) {
    int32_t ids[2][MAX_LENGTH];
    cr_tokens some = {.ids = ids[0], .capacity = capacity};
    cr_tokens all = {.ids = ids[1], .capacity = capacity};
    cr_tokenizer_encode(t, scratch, text, false, &some);
    cr_tokenizer_encode(t, scratch, text, true, &all);
    assert(all.n_bytes_read == text.len && some.n_bytes_read <= text.len);
    assert(some.n == all.n && some.cut == all.cut);
    assert(some.n_beyond <= all.n_beyond);
    assert(memcmp(ids[0], ids[1], some.n * sizeof ids[0][0]) == 0);
}

static void check_pair(const cr_tokenizer *t, const cr_pair *pair,
                       uint32_t max_length, cr_truncation truncation) {
    cr_encoding *e;
    cr_token_scratch *scratch;
    int32_t ids[MAX_LENGTH], query_ids[MAX_LENGTH];
    uint8_t type_ids[MAX_LENGTH];
    cr_tokens query = {.ids = query_ids, .capacity = max_length};
    bool truncated;
    cr_status status =
        cr_tokenizer_explain_pair(t, pair, max_length, truncation, &e, NULL);
    assert(status == CR_OK && e->n_tokens <= max_length);
    status = cr_token_scratch_new(max_length, &scratch, NULL);
    assert(status == CR_OK);
    check_offsets(e, pair);
    cr_tokenizer_encode(t, scratch, pair->query, true, &query);
    for (int given = 0; given < 2; given++) {
        size_t n = cr_tokenizer_encode_pair(
            t, scratch, pair, given ? &query : NULL, max_length, truncation,
            ids, type_ids, &truncated);
        assert(n == e->n_tokens && truncated == (e->n_truncated > 0));
        assert(memcmp(ids, e->ids, n * sizeof ids[0]) == 0);
        assert(memcmp(type_ids, e->type_ids, n) == 0);
    }
    check_stop(t, scratch, pair->passage, max_length);
    cr_token_scratch_free(scratch);
    cr_encoding_free(e);
}

/* Bytes: switches and truncation, max_length, length of the query, pair. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3)
        return 0;
    if (!tokenizers[0])
        open_tokenizers();
    uint32_t max_length =
        CR_MIN_PAIR_TOKENS + data[1] % (MAX_LENGTH - CR_MIN_PAIR_TOKENS + 1);
    size_t n_query = data[2] < size - 3 ? data[2] : size - 3;
    size_t n_passage = size - 3 - n_query;
    /* Blocks of their own, so that a byte read beyond one is seen. */
    char *query = cr_strndup((const char *)data + 3, n_query);
    char *passage = cr_alloc(n_passage);
    memcpy(passage, data + 3 + n_query, n_passage);
    cr_pair pair = {{query, n_query}, {passage, n_passage}};
    check_pair(tokenizers[data[0] % N_SWITCHES], &pair, max_length,
               (cr_truncation)(data[0] >> 4 & 1));
    cr_free(query);
    cr_free(passage);
    return 0;
}
