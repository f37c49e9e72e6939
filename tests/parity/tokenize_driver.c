/* Encodes pairs from standard input, for comparison with `tokenizers`.
 *
 *     tokenize_driver VOCAB CLEAN,CJK,STRIP,LOWER,MAX_WORD_CHARS, SPECIAL...
 *
 * VOCAB is a vocab.txt, SPECIAL is ID,SINGLE_WORD,LSTRIP,RSTRIP,TEXT; the
 * tokens [CLS], [SEP] and [UNK] are looked up by name. Input, repeated:
 * uint32 max_length, truncation, query bytes, passage bytes; then the bytes.
 * Output for each: uint32 n_tokens, n_truncated; int32 ids[], uint8
 * type_ids[], uint32 offsets[][2]. Everything in the machine's byte order.
 * Ids come from cr_tokenizer_explain_pair; the driver stops with exit code 1
 * where cr_tokenizer_encode_pair, with or without the query encoded before,
 * says something else. */
#include "base/buf.h"
#include "base/mem.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VOCAB_BYTES = 64 << 20, MAX_SPECIALS = 64 };

static _Noreturn void die(const char *why) {
    fprintf(stderr, "tokenize_driver: %s\n", why);
    exit(2);
}

static void *need(void *block) {
    if (!block)
        die("out of memory");
    return block;
}

static int32_t id_of(const cr_text *vocab, size_t n, const char *text) {
    for (size_t i = 0; i < n; i++)
        if (vocab[i].len == strlen(text) &&
            memcmp(vocab[i].data, text, vocab[i].len) == 0)
            return (int32_t)i;
    die("a special token is not in the vocabulary");
}

static cr_text *split_lines(const cr_buf *file, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < file->len; i++)
        *n += file->data[i] == '\n';
    cr_text *lines = need(cr_calloc(*n, sizeof *lines));
    const char *p = file->data;
    for (size_t i = 0; i < *n; i++) {
        const char *end = memchr(p, '\n', file->len);
        lines[i] = (cr_text){p, (size_t)(end - p)};
        p = end + 1;
    }
    return lines;
}

/* The numbers of "1,0,23,": n of them, each before a comma. Returns what
 * stands behind. */
static const char *parse_numbers(const char *arg, long *numbers, int n) {
    for (int i = 0; i < n; i++) {
        char *end;
        numbers[i] = strtol(arg, &end, 10);
        if (end == arg || *end != ',' || numbers[i] < 0 ||
            numbers[i] > INT32_MAX)
            die("an argument is not made of numbers and commas");
        arg = end + 1;
    }
    return arg;
}

static cr_special_token parse_special(const char *arg) {
    long numbers[4];
    const char *text = parse_numbers(arg, numbers, 4);
    return (cr_special_token){.text = {text, strlen(text)},
                              .id = (int32_t)numbers[0],
                              .single_word = numbers[1],
                              .lstrip = numbers[2],
                              .rstrip = numbers[3]};
}

static cr_tokenizer *open_tokenizer(int argc, char **argv) {
    long flags[5];
    cr_special_token specials[MAX_SPECIALS];
    cr_error error;
    cr_buf file;
    cr_tokenizer *tokenizer;
    size_t n_vocab;
    if (argc < 3 || argc - 3 > MAX_SPECIALS)
        die("usage: tokenize_driver VOCAB C,C,S,L,MAX, SPECIAL...");
    parse_numbers(argv[2], flags, 5);
    cr_buf_init(&file, MAX_VOCAB_BYTES);
    if (cr_buf_read_file(&file, argv[1], &error) != CR_OK)
        die(error.message);
    for (int i = 3; i < argc; i++)
        specials[i - 3] = parse_special(argv[i]);
    cr_text *vocab = split_lines(&file, &n_vocab);
    cr_tokenizer_spec spec = {.vocab = vocab,
                              .n_vocab = n_vocab,
                              .specials = specials,
                              .n_specials = (size_t)argc - 3,
                              .cls_id = id_of(vocab, n_vocab, "[CLS]"),
                              .sep_id = id_of(vocab, n_vocab, "[SEP]"),
                              .unk_id = id_of(vocab, n_vocab, "[UNK]"),
                              .clean_text = flags[0],
                              .split_cjk = flags[1],
                              .strip_accents = flags[2],
                              .lowercase = flags[3],
                              .max_word_chars = (uint32_t)flags[4],
                              .continuing_prefix = {"##", 2}};
    if (cr_tokenizer_new(&spec, &tokenizer, &error) != CR_OK)
        die(error.message);
    cr_free(vocab);
    cr_buf_fini(&file);
    return tokenizer;
}

/* Both ways of encode_pair must agree with the explanation. */
static void check_encode_pair(const cr_tokenizer *tokenizer,
                              const cr_pair *pair, uint32_t max_length,
                              cr_truncation truncation,
                              const cr_encoding *expected) {
    cr_error error;
    cr_token_scratch *scratch;
    int32_t *ids = need(cr_calloc(max_length, sizeof *ids));
    uint8_t *type_ids = need(cr_calloc(max_length, 1));
    cr_tokens query = {.capacity = max_length};
    query.ids = need(cr_calloc(max_length, sizeof *ids));
    if (cr_token_scratch_new(max_length, &scratch, &error) != CR_OK)
        die(error.message);
    uint64_t n_allocations = cr_mem_count();
    cr_tokenizer_encode(tokenizer, scratch, pair->query, true, &query);
    for (int with_query = 0; with_query < 2; with_query++) {
        bool truncated;
        size_t n = cr_tokenizer_encode_pair(
            tokenizer, scratch, pair, with_query ? &query : NULL, max_length,
            truncation, ids, type_ids, &truncated);
        if (n != expected->n_tokens ||
            truncated != (expected->n_truncated > 0) ||
            memcmp(ids, expected->ids, n * sizeof *ids) != 0 ||
            memcmp(type_ids, expected->type_ids, n) != 0) {
            fprintf(stderr, "encode_pair differs, query given: %d\n",
                    with_query);
            exit(1);
        }
    }
    if (cr_mem_count() != n_allocations)
        die("encoding allocates");
    cr_free(ids);
    cr_free(type_ids);
    cr_free(query.ids);
    cr_token_scratch_free(scratch);
}

static void write_encoding(const cr_encoding *e) {
    uint32_t head[2] = {(uint32_t)e->n_tokens, (uint32_t)e->n_truncated};
    fwrite(head, sizeof head, 1, stdout);
    fwrite(e->ids, sizeof *e->ids, e->n_tokens, stdout);
    fwrite(e->type_ids, 1, e->n_tokens, stdout);
    fwrite(e->offsets, sizeof *e->offsets, e->n_tokens, stdout);
    fflush(stdout); /* whoever asks waits for it */
}

int main(int argc, char **argv) {
    cr_tokenizer *tokenizer = open_tokenizer(argc, argv);
    cr_error error;
    cr_encoding *encoding;
    uint32_t head[4];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        /* Exact sizes, so that a sanitizer sees any byte read beyond. */
        char *query = need(cr_alloc(head[2]));
        char *passage = need(cr_alloc(head[3]));
        if (fread(query, 1, head[2], stdin) != head[2] ||
            fread(passage, 1, head[3], stdin) != head[3])
            die("the input ends inside a pair");
        cr_pair pair = {{query, head[2]}, {passage, head[3]}};
        if (cr_tokenizer_explain_pair(tokenizer, &pair, head[0],
                                      (cr_truncation)head[1], &encoding,
                                      &error) != CR_OK)
            die(error.message);
        check_encode_pair(tokenizer, &pair, head[0], (cr_truncation)head[1],
                          encoding);
        write_encoding(encoding);
        cr_encoding_free(encoding);
        cr_free(query);
        cr_free(passage);
    }
    cr_tokenizer_free(tokenizer);
    return fflush(stdout) == 0 ? 0 : 2;
}
