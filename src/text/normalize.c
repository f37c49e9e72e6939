/* Raw text to words: a fast path for plain ASCII, and one code point's parts
 * at a time for everything else. */
#include "text/normalize.h"

#include <assert.h>
#include <string.h>

void cr_normalizer_init(cr_normalizer *n) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        n->fold[byte] = 0;
        n->is_space[byte] = false;
        if (byte >= 0x80 || n->specials->first_byte[byte])
            continue;
        const cr_unicode_entry *e = cr_unicode_get(byte);
        if (n->clean_text && (e->flags & CR_UNICODE_DROP))
            continue;
        n->is_space[byte] = e->flags & CR_UNICODE_SPACE;
        if (!(e->flags & (CR_UNICODE_SPACE | CR_UNICODE_PUNCT)))
            n->fold[byte] =
                (uint8_t)((int32_t)byte + (n->lowercase ? e->lower_delta : 0));
    }
}

void cr_word_reader_start(cr_word_reader *r, const cr_normalizer *normalizer,
                          cr_text text, bool want_offsets) {
    static const uint8_t nothing[1] = {0};
    r->normalizer = normalizer;
    r->begin = text.len ? (const uint8_t *)text.data : nothing;
    r->pos = r->begin;
    r->end = r->begin + text.len;
    r->n_extra = 0;
    r->last_wide = 0;
    r->match_from = r->begin;
    r->match_stop = r->begin;
    r->want_offsets = want_offsets;
    r->n_parts = 0;
    r->i_part = 0;
    r->n_bytes = 0;
    r->n_chars = 0;
    r->too_long = false;
    r->run_open = false;
    r->run_overflow = false;
    r->n_marks = 0;
    r->before_run = 0;
}

/* Index of the code point at pos. */
static uint32_t index_here(const cr_word_reader *r) {
    return (uint32_t)((size_t)(r->pos - r->begin) - r->n_extra);
}

/* ---- The word ----------------------------------------------------------- */

static void note_source(cr_word_reader *r, uint32_t source) {
    if (!r->n_chars)
        r->first_source = source;
    r->last_source = source;
}

static void append(cr_word_reader *r, uint32_t code_point, uint32_t source) {
    note_source(r, source);
    if (r->n_chars == r->normalizer->max_word_chars) {
        r->too_long = true;
        return;
    }
    r->sources[r->n_chars++] = source;
    r->n_bytes += cr_utf8_encode(code_point, r->bytes + r->n_bytes);
}

/* ---- The run of marks --------------------------------------------------- */

static void open_run(cr_word_reader *r) {
    r->run_open = true;
    r->run_overflow = false;
    r->n_marks = 0;
    r->n_run_sources = 0;
    r->run_pos = NULL;
    if (r->want_offsets)
        memset(r->run_counts, 0, sizeof r->run_counts);
}

/* Stable: behind all marks of the same or a lower class. */
static void insert_mark(cr_word_reader *r, cr_mark mark) {
    if (!r->n_marks || mark.combining_class < r->run_first.combining_class)
        r->run_first = mark;
    if (!r->n_marks || mark.combining_class >= r->run_last.combining_class)
        r->run_last = mark;
    /* One mark more than a word may have proves it too long. */
    if (r->n_marks > r->normalizer->max_word_chars) {
        r->run_overflow = true;
        return;
    }
    uint32_t i = r->n_marks++;
    for (; i > 0 && r->marks[i - 1].combining_class > mark.combining_class; i--)
        r->marks[i] = r->marks[i - 1];
    r->marks[i] = mark;
}

/* Takes a part with a combining class, kept or stripped: stripped ones count
 * only for where `tokenizers` says that the others come from. */
static void take_mark(cr_word_reader *r, uint32_t code_point,
                      const cr_unicode_entry *e) {
    uint8_t combining_class = e->combining_class;
    bool inserted = r->i_part > 0;
    if (!r->run_open)
        open_run(r);
    if (!inserted && !r->run_pos) {
        r->run_pos = r->part_pos;
        r->run_source = r->part_source;
    }
    if (!(e->flags & CR_UNICODE_STRIP)) {
        uint32_t rank = r->want_offsets ? r->run_counts[combining_class] : 0;
        insert_mark(r, (cr_mark){code_point, rank, combining_class, inserted});
    }
    if (r->want_offsets && !inserted) {
        r->run_counts[combining_class]++;
        r->n_run_sources++;
    }
}

/* A walk over the source characters of a run, in order. */
typedef struct run_walk {
    const uint8_t *pos;
    uint32_t source;  /* index of the code point at pos */
    uint32_t n_taken; /* source characters of the run before pos */
} run_walk;

/* Index of the run's source character `n`; dropped code points, which may
 * stand anywhere between them, do not count. n must not fall from call to
 * call. */
static uint32_t walk_to(const cr_word_reader *r, run_walk *walk, uint32_t n) {
    for (;;) {
        uint32_t n_bytes;
        assert(walk->pos < r->end);
        uint32_t c = cr_utf8_decode(walk->pos, r->end, &n_bytes);
        bool dropped = r->normalizer->clean_text &&
                       (cr_unicode_get(c)->flags & CR_UNICODE_DROP);
        if (!dropped && walk->n_taken == n)
            return walk->source;
        walk->n_taken += !dropped;
        walk->source++;
        walk->pos += n_bytes;
    }
}

/* Where `tokenizers` says that a mark comes from: it lets the run's source
 * characters go by in text order while the marks go by sorted, one for each
 * mark that was the first part of its character. */
static uint32_t source_of_mark(const cr_word_reader *r, const cr_mark *mark,
                               run_walk *walk) {
    uint32_t n_before = mark->rank;
    for (uint32_t c = 0; c < mark->combining_class; c++)
        n_before += r->run_counts[c];
    if (!mark->inserted)
        return walk_to(r, walk, n_before);
    return n_before ? walk_to(r, walk, n_before - 1) : r->before_run;
}

static void close_run(cr_word_reader *r) {
    if (!r->run_open)
        return;
    r->run_open = false;
    if (!r->n_marks)
        return;
    run_walk walk = {r->run_pos, r->run_source, 0};
    uint32_t source = 0;
    bool word_begins = !r->n_chars;
    if (r->want_offsets && r->run_overflow && word_begins) {
        run_walk first = walk;
        r->first_source = source_of_mark(r, &r->run_first, &first);
    }
    uint32_t first_source = r->first_source;
    for (uint32_t i = 0; i < r->n_marks; i++) {
        if (r->want_offsets && !r->run_overflow)
            source = source_of_mark(r, &r->marks[i], &walk);
        append(r, r->marks[i].code_point, source);
    }
    if (r->want_offsets && r->run_overflow) {
        r->first_source = first_source;
        r->last_source = source_of_mark(r, &r->run_last, &walk);
    }
}

/* ---- Parts of a code point ---------------------------------------------- */

typedef enum step {
    STEP_ON,     /* the word goes on */
    STEP_BEFORE, /* the word ends before what is next */
    STEP_AFTER   /* the word ends after what was taken */
} step;

static step end_word(cr_word_reader *r) {
    close_run(r);
    return r->n_chars ? STEP_BEFORE : STEP_ON;
}

/* Takes the next part of the source character, unless it begins a word of its
 * own while another is open. */
static step take_part(cr_word_reader *r) {
    const cr_normalizer *n = r->normalizer;
    uint32_t code_point = r->parts[r->i_part];
    const cr_unicode_entry *e = cr_unicode_get(code_point);
    if (n->strip_accents && e->combining_class) {
        take_mark(r, code_point, e);
        r->i_part++;
        return STEP_ON;
    }
    close_run(r);
    r->before_run = r->part_source;
    if (n->strip_accents && (e->flags & CR_UNICODE_STRIP)) {
        r->i_part++;
        return STEP_ON;
    }
    if (n->lowercase && e->lower_delta) {
        code_point = (uint32_t)((int32_t)code_point + e->lower_delta);
        e = cr_unicode_get(code_point);
    }
    bool alone = r->alone || (e->flags & CR_UNICODE_PUNCT);
    if (alone && r->n_chars)
        return STEP_BEFORE;
    append(r, code_point, r->part_source);
    r->i_part++;
    return alone ? STEP_AFTER : STEP_ON;
}

static void set_parts(cr_word_reader *r, uint32_t c,
                      const cr_unicode_entry *e) {
    const cr_normalizer *n = r->normalizer;
    r->i_part = 0;
    r->n_parts = 1;
    r->parts[0] = c;
    if (n->strip_accents && c >= CR_UNICODE_HANGUL_FIRST &&
        c <= CR_UNICODE_HANGUL_LAST) {
        /* 21 vowels and 28 endings, one of them none, to each consonant. */
        uint32_t i = c - CR_UNICODE_HANGUL_FIRST;
        r->parts[0] = 0x1100 + i / (21 * 28);
        r->parts[1] = 0x1161 + i % (21 * 28) / 28;
        r->parts[2] = 0x11A7 + i % 28;
        r->n_parts = i % 28 ? 3 : 2;
    } else if (n->strip_accents && e->decomposition) {
        const uint32_t *pool = cr_unicode_pool + e->decomposition;
        r->n_parts = pool[0];
        memcpy(r->parts, pool + 1, pool[0] * sizeof *r->parts);
    } else if (n->lowercase && c == CR_UNICODE_DOTTED_I) {
        r->parts[0] = 'i';
        r->parts[1] = CR_UNICODE_DOT_ABOVE;
        r->n_parts = 2;
    }
}

/* Takes the code point at pos, or makes it the source of parts to take. */
static step take_code_point(cr_word_reader *r) {
    const cr_normalizer *n = r->normalizer;
    uint32_t n_bytes;
    uint32_t c = cr_utf8_decode(r->pos, r->end, &n_bytes);
    const cr_unicode_entry *e = cr_unicode_get(c);
    r->part_pos = r->pos;
    r->part_source = index_here(r);
    r->pos += n_bytes;
    r->n_extra += n_bytes - 1;
    if (c >= 0x80)
        r->last_wide = c;
    if (n->clean_text && (e->flags & CR_UNICODE_DROP))
        return STEP_ON;
    if (e->flags & CR_UNICODE_SPACE)
        return end_word(r);
    r->alone = n->split_cjk && (e->flags & CR_UNICODE_IDEOGRAPH);
    set_parts(r, c, e);
    return STEP_ON;
}

/* ---- Plain ASCII -------------------------------------------------------- */

/* Takes the plain word bytes at pos; at least one is there. */
static void take_plain(cr_word_reader *r) {
    const uint8_t *fold = r->normalizer->fold;
    const uint8_t *p = r->pos;
    close_run(r);
    uint8_t *out = r->bytes + r->n_bytes, folded;
    size_t room = r->normalizer->max_word_chars - r->n_chars;
    const uint8_t *stop = (size_t)(r->end - p) > room ? p + room : r->end;
    while (p < stop && (folded = fold[*p])) {
        *out++ = folded;
        p++;
    }
    uint32_t n = (uint32_t)(p - r->pos);
    if (r->want_offsets) {
        uint32_t source = index_here(r);
        note_source(r, source);
        for (uint32_t i = 0; i < n; i++)
            r->sources[r->n_chars + i] = source + i;
    }
    r->n_chars += n;
    r->n_bytes += n;
    while (p < r->end && fold[*p]) { /* only what there was no room for */
        r->too_long = true;
        p++;
    }
    r->pos = p;
    if (r->want_offsets)
        r->last_source = index_here(r) - 1;
}

/* ---- Added tokens ------------------------------------------------------- */

static bool is_word_at(const uint8_t *p, const uint8_t *end) {
    uint32_t n_bytes;
    return p < end && (cr_unicode_get(cr_utf8_decode(p, end, &n_bytes))->flags &
                       CR_UNICODE_WORD);
}

static bool is_word_before(const cr_word_reader *r) {
    if (r->pos == r->begin)
        return false;
    uint32_t c = r->pos[-1] < 0x80 ? r->pos[-1] : r->last_wide;
    return cr_unicode_get(c)->flags & CR_UNICODE_WORD;
}

/* The added token at pos, or NULL. One that must be a whole word and is not
 * still keeps others from beginning inside it. */
static const cr_special_token *find_special(cr_word_reader *r) {
    const cr_specials *specials = r->normalizer->specials;
    if (!specials->first_byte[*r->pos] || r->pos < r->match_from)
        return NULL;
    const cr_special_token *token = cr_specials_match(specials, r->pos, r->end);
    if (!token)
        return NULL;
    const uint8_t *stop = r->pos + token->text.len;
    if (token->single_word && (is_word_before(r) || is_word_at(stop, r->end))) {
        r->match_from = stop;
        return NULL;
    }
    return token;
}

static void take_special(cr_word_reader *r, const cr_special_token *token,
                         cr_word *word) {
    const uint8_t *stop = r->pos + token->text.len;
    size_t n_before = 0, n_after = 0, n_inside = 0;
    if (token->lstrip)
        cr_specials_space_before(r->match_stop, r->pos, &n_before);
    word->special = token;
    word->begin = index_here(r) - (uint32_t)n_before;
    while (r->pos < stop) {
        uint32_t n_bytes;
        uint32_t c = cr_utf8_decode(r->pos, stop, &n_bytes);
        if (c >= 0x80)
            r->last_wide = c;
        r->pos += n_bytes;
        r->n_extra += n_bytes - 1;
        n_inside++;
    }
    r->match_stop = stop;
    if (token->rstrip)
        r->match_stop = cr_specials_space_after(stop, r->end, &n_after);
    word->end = word->begin + (uint32_t)(n_before + n_inside + n_after);
}

/* ---- The reader --------------------------------------------------------- */

static bool yield_word(cr_word_reader *r, cr_word *word) {
    *word = (cr_word){.bytes = r->bytes,
                      .n_bytes = r->n_bytes,
                      .n_chars = r->n_chars,
                      .too_long = r->too_long,
                      .begin = r->first_source,
                      .end = r->last_source + 1,
                      .sources = r->sources};
    return true;
}

/* One thing at pos. STEP_AFTER with word->special set where it is one. */
static step take_next(cr_word_reader *r, cr_word *word) {
    const cr_special_token *special = find_special(r);
    if (!special)
        return take_code_point(r);
    if (end_word(r) == STEP_BEFORE)
        return STEP_BEFORE;
    take_special(r, special, word);
    return STEP_AFTER;
}

bool cr_word_reader_next(cr_word_reader *r, cr_word *word) {
    const cr_normalizer *n = r->normalizer;
    step s = STEP_ON;
    word->special = NULL;
    r->n_bytes = 0;
    r->n_chars = 0;
    r->too_long = false;
    while (s == STEP_ON) {
        if (r->i_part < r->n_parts) {
            s = take_part(r);
        } else if (r->pos == r->end) {
            return end_word(r) == STEP_BEFORE && yield_word(r, word);
        } else if (n->fold[*r->pos]) {
            take_plain(r);
        } else if (n->is_space[*r->pos]) {
            r->pos++;
            s = end_word(r);
        } else {
            s = take_next(r, word);
        }
    }
    return word->special || yield_word(r, word);
}
