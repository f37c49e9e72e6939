/* WordPiece: an open hash table of short byte strings, whose first eight bytes
 * stand in the slot itself. */
#include "text/wordpiece.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <string.h>

/* The slot of a text; empty where n_bytes_kind is 0. */
typedef struct cr_wordpiece_slot {
    uint64_t head;         /* first 8 bytes, zero behind the text's end */
    uint32_t n_bytes_kind; /* bytes * 2 + continuing */
    int32_t id;
} slot;

enum { HEAD_BYTES = 8 };

/* The first n <= 8 bytes at p, from where 8 can be read. */
static inline uint64_t load_head(const uint8_t *p, uint32_t n) {
    uint64_t head;
    memcpy(&head, p, HEAD_BYTES);
    if (n >= HEAD_BYTES)
        return head;
    uint64_t mask = (UINT64_C(1) << 8 * n) - 1;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    mask = ~(UINT64_MAX >> 8 * n);
#endif
    return head & mask;
}

/* Multiplying by an odd constant of random bits spreads to the upper half; the
 * shift brings it down again. */
static inline uint64_t mix(uint64_t h) {
    h *= UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

static inline uint64_t hash(const uint8_t *p, uint32_t n, uint64_t head,
                            uint32_t n_bytes_kind) {
    uint64_t h = mix(head ^ (uint64_t)n_bytes_kind << 48);
    for (uint32_t i = HEAD_BYTES; i < n; i += HEAD_BYTES)
        h = mix(h ^ load_head(p + i, n - i));
    return h;
}

/* The bytes of a key beyond its head, compared with those in the pool. */
static bool same_tail(const cr_wordpiece *w, const slot *s, const uint8_t *p,
                      uint32_t n) {
    size_t skip = s->n_bytes_kind & 1 ? w->prefix_bytes : 0;
    const char *text = w->pool + w->offsets[s->id] + skip;
    return memcmp(text + HEAD_BYTES, p + HEAD_BYTES, n - HEAD_BYTES) == 0;
}

/* The slot of a key, or the empty one where it would go. */
static inline slot *find(const cr_wordpiece *w, const uint8_t *p, uint32_t n,
                         bool continuing) {
    uint64_t head = load_head(p, n);
    uint32_t n_bytes_kind = n * 2 + continuing;
    uint64_t i = hash(p, n, head, n_bytes_kind) & w->slot_mask;
    for (;; i = (i + 1) & w->slot_mask) {
        slot *s = &w->slots[i];
        if (!s->n_bytes_kind)
            return s;
        if (s->head == head && s->n_bytes_kind == n_bytes_kind &&
            (n <= HEAD_BYTES || same_tail(w, s, p, n)))
            return s;
    }
}

static void insert(cr_wordpiece *w, int32_t id, bool continuing) {
    cr_text text = cr_wordpiece_text(w, id);
    size_t skip = continuing ? w->prefix_bytes : 0;
    const uint8_t *p = (const uint8_t *)text.data + skip;
    uint32_t n = (uint32_t)(text.len - skip);
    slot *s = find(w, p, n, continuing);
    *s = (slot){load_head(p, n), n * 2 + continuing, id};
    if (n > w->max_bytes[continuing])
        w->max_bytes[continuing] = n;
}

static cr_status copy_texts(cr_wordpiece *w, const cr_text *vocab,
                            cr_error *error) {
    size_t n_bytes = HEAD_BYTES;
    for (size_t i = 0; i < w->n; i++)
        n_bytes += vocab[i].len;
    w->pool = cr_calloc(n_bytes, 1);
    w->offsets = cr_calloc(w->n + 1, sizeof *w->offsets);
    if (!w->pool || !w->offsets)
        return cr_fail_memory(error, n_bytes, "the vocabulary");
    for (size_t i = 0; i < w->n; i++) {
        const uint8_t *text = (const uint8_t *)vocab[i].data;
        if (vocab[i].len > CR_MAX_TOKEN_BYTES)
            return cr_fail(error, CR_ERR_MODEL,
                           "the text of token %zu has %zu bytes, the limit is "
                           "%d; check the vocabulary file",
                           i, vocab[i].len, (int)CR_MAX_TOKEN_BYTES);
        if (!cr_utf8_is_valid(text, vocab[i].len))
            return cr_fail(error, CR_ERR_MODEL,
                           "the text of token %zu is not valid UTF-8; check "
                           "the vocabulary file",
                           i);
        if (vocab[i].len)
            memcpy(w->pool + w->offsets[i], text, vocab[i].len);
        w->offsets[i + 1] = w->offsets[i] + vocab[i].len;
    }
    return CR_OK;
}

static bool has_prefix(cr_text text, cr_text prefix) {
    return text.len > prefix.len &&
           (!prefix.len || memcmp(text.data, prefix.data, prefix.len) == 0);
}

cr_status cr_wordpiece_init(cr_wordpiece *w, const cr_text *vocab, size_t n,
                            cr_text prefix, cr_error *error) {
    memset(w, 0, sizeof *w);
    w->n = n;
    w->prefix_bytes = prefix.len;
    cr_status status = copy_texts(w, vocab, error);
    if (status != CR_OK)
        goto done;
    /* At most two entries a text, and half of the slots stay empty. */
    uint64_t n_slots = 16;
    while (n_slots < 4 * (uint64_t)n)
        n_slots *= 2;
    w->slot_mask = n_slots - 1;
    w->slots = cr_alloc_aligned(n_slots * sizeof *w->slots);
    if (!w->slots) {
        status = cr_fail_memory(error, n_slots * sizeof *w->slots,
                                "the vocabulary's hash table");
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        if (!vocab[i].len)
            continue;
        insert(w, (int32_t)i, false);
        if (has_prefix(vocab[i], prefix))
            insert(w, (int32_t)i, true);
    }
done:
    if (status != CR_OK)
        cr_wordpiece_fini(w);
    return status;
}

void cr_wordpiece_fini(cr_wordpiece *w) {
    cr_free(w->pool);
    cr_free(w->offsets);
    cr_free_aligned(w->slots);
    memset(w, 0, sizeof *w);
}

cr_text cr_wordpiece_text(const cr_wordpiece *w, int32_t id) {
    if (id < 0 || (size_t)id >= w->n)
        return (cr_text){"", 0};
    size_t begin = w->offsets[id];
    return (cr_text){w->pool + begin, w->offsets[id + 1] - begin};
}

/* The longest piece that word[begin, n_bytes) begins with; id -1: none. */
static cr_piece longest_piece(const cr_wordpiece *w, const uint8_t *word,
                              uint32_t begin, uint32_t n_bytes) {
    bool continuing = begin > 0;
    uint32_t n = n_bytes - begin;
    if (n > w->max_bytes[continuing])
        n = w->max_bytes[continuing];
    for (; n > 0; n--) {
        uint32_t end = begin + n;
        if (end < n_bytes && cr_utf8_is_continuation(word[end]))
            continue; /* inside a character */
        const slot *s = find(w, word + begin, n, continuing);
        if (s->n_bytes_kind)
            return (cr_piece){s->id, end};
    }
    return (cr_piece){-1, begin};
}

size_t cr_wordpiece_split(const cr_wordpiece *w, const uint8_t *word,
                          uint32_t n_bytes, cr_piece *pieces) {
    size_t n = 0;
    for (uint32_t begin = 0; begin < n_bytes;) {
        cr_piece piece = longest_piece(w, word, begin, n_bytes);
        if (piece.id < 0)
            return 0;
        pieces[n++] = piece;
        begin = piece.end_bytes;
    }
    return n;
}
