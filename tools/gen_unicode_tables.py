#!/usr/bin/env python3
"""Write src/text/unicode_tables.h: what `tokenizers` does with each code point.

Hugging Face's BERT tokenizer mixes three versions of Unicode (categories,
decompositions, lower case), so no Unicode library gives its words. The tables
are therefore read out of the package itself, by asking it about every code
point, and hold the single steps of BertNormalizer, not their results: any
combination of clean_text, handle_chinese_chars, strip_accents and lowercase is
put together from them at run time.

    gen_unicode_tables.py            rewrite the header in the source tree
    gen_unicode_tables.py OUTPUT     write it somewhere else

Needs the package at exactly VERSION; takes some seconds."""
import itertools
import pathlib
import sys
import unicodedata

VERSION = "0.23.3"
ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "src/text/unicode_tables.h"

# As in src/text/unicode.h.
DROP, SPACE, PUNCT, IDEOGRAPH, STRIP, WORD = 1, 2, 4, 8, 16, 32
HANGUL = range(0xAC00, 0xD7A4)
DOTTED_I = 0x130
BLOCK_BITS = 6
# Stands between the strings that are asked about at once: not a character,
# left alone by every step, and it ends a run of marks.
BETWEEN = "\U0010FFFF"
AT_ONCE = 1 << 12


def scalars():
    return itertools.chain(range(0xD800), range(0xE000, 0x110000))


def each(function, strings):
    """function(s) for every s, by few calls of it."""
    strings = list(strings)
    for i in range(0, len(strings), AT_ONCE):
        part = strings[i:i + AT_ONCE]
        alone = [j for j, s in enumerate(part) if BETWEEN in s]
        out = function(BETWEEN.join(
            "" if j in alone else s for j, s in enumerate(part)))
        out = out.split(BETWEEN)
        assert len(out) == len(part)
        for j in alone:
            out[j] = function(part[j])
        yield from out


def step(**on):
    from tokenizers.normalizers import BertNormalizer
    steps = dict(clean_text=False, handle_chinese_chars=False,
                 strip_accents=False, lowercase=False)
    steps.update(on)
    return BertNormalizer(**steps).normalize_str


def find_splits():
    """"space", "punct" or "" for each: how "a" + it + "b" is split."""
    from tokenizers.pre_tokenizers import BertPreTokenizer
    split = BertPreTokenizer().pre_tokenize_str
    every = list(scalars())
    for i in range(0, len(every), AT_ONCE):
        part = [chr(c) for c in every[i:i + AT_ONCE]]
        words = iter([w for w, _ in split(" ".join(
            "a" + s + "b" for s in part))])
        for s in part:
            word = next(words)
            if word == "a":
                word = next(words)
                if word == s:
                    word = next(words)
                    yield "punct"
                else:
                    yield "space"
                assert word == "b", ascii(s)
            else:
                assert word == "a" + s + "b", ascii(s)
                yield ""


def find_flags():
    flags = {}
    for c, split, cleaned, surrounded, stripped in zip(
            scalars(), find_splits(),
            each(step(clean_text=True), map(chr, scalars())),
            each(step(handle_chinese_chars=True), map(chr, scalars())),
            each(step(strip_accents=True), map(chr, scalars()))):
        s, space = chr(c), split == "space"
        assert cleaned == ("" if cleaned == "" else " " if space else s), hex(c)
        assert surrounded in (s, " " + s + " "), hex(c)
        flags[c] = (DROP * (cleaned == "") | SPACE * space |
                    PUNCT * (split == "punct") |
                    IDEOGRAPH * (surrounded != s) | STRIP * (stripped == ""))
    return flags


def find_word_characters():
    """The regular expression \\w of the matcher of added tokens, seen through
    an added token that must be a single word."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordPiece
    t = Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    t.add_tokens([AddedToken("XX", single_word=True, normalized=False)])
    words, every = set(), list(scalars())
    for i in range(0, len(every), AT_ONCE):
        part = every[i:i + AT_ONCE]
        found = t.encode("".join(" XX" + chr(c) for c in part),
                         add_special_tokens=False)
        whole = {begin for n, (begin, _) in zip(found.ids, found.offsets)
                 if n == 1}
        words.update(c for j, c in enumerate(part) if 4 * j + 1 not in whole)
    return words


def find_decompositions():
    from tokenizers.normalizers import NFD
    nfd = NFD().normalize_str
    out = {}
    for c, whole in zip(scalars(), each(nfd, map(chr, scalars()))):
        if c in HANGUL:
            i = c - HANGUL[0]
            jamo = [0x1100 + i // 588, 0x1161 + i % 588 // 28]
            jamo += [0x11A7 + i % 28] if i % 28 else []
            assert [ord(x) for x in whole] == jamo, hex(c)
        elif whole != chr(c):
            out[c] = tuple(ord(x) for x in whole)
    return out


def find_combining_classes(decompositions):
    """The package tells order only: x sorts before y. Python's unicodedata
    (of another version) proposes a class, and the order against one mark of
    every class confirms it."""
    from tokenizers.normalizers import NFD
    nfd = NFD().normalize_str

    # Whatever has a class moves before U+0345 (240) or behind U+0334 (1).
    plain = [c for c in scalars() if c not in decompositions and
             c not in HANGUL]
    marks = [c for c, before, behind in zip(
                 plain, each(nfd, ("\u0345" + chr(c) for c in plain)),
                 each(nfd, (chr(c) + "\u0334" for c in plain)))
             if c in (0x345, 0x334) or before == chr(c) + "\u0345" or
             behind == "\u0334" + chr(c)]
    proposed = {c: unicodedata.combining(chr(c)) for c in marks}
    one_of = {}
    for c in marks:
        assert 0 < proposed[c] < 255, hex(c)
        one_of.setdefault(proposed[c], chr(c))
    for c in marks:
        s = chr(c)
        for other, o in one_of.items():
            first = s + o if proposed[c] < other else o + s
            keep = proposed[c] == other
            assert nfd(s + o) == (s + o if keep else first), hex(c)
            assert nfd(o + s) == (o + s if keep else first), hex(c)
    return proposed


def find_lower():
    lower = step(lowercase=True)
    out = {}
    for c, s in zip(scalars(), each(lower, map(chr, scalars()))):
        if c == DOTTED_I:
            assert s == "i\u0307"
        else:
            assert len(s) == 1, hex(c)
            if ord(s) != c:
                out[c] = ord(s) - c
    return out


def check_promises(flags, decompositions, classes, lower):
    """What src/text/normalize.c takes for granted."""
    for c, parts in decompositions.items():
        assert len(parts) <= 4, hex(c)
        assert not any(p in decompositions or p in HANGUL for p in parts)
        assert not any(flags[p] & SPACE for p in parts) or flags[c] & SPACE
        assert flags[c] & IDEOGRAPH or not any(
            flags[p] & IDEOGRAPH for p in parts) or len(parts) == 1, hex(c)
        got = [classes.get(p, 0) for p in parts]
        assert got[1:] == sorted(got[1:]), hex(c)
        # A mark that decomposes never leads with a mark of a higher class.
        assert got[0] == 0 or got == sorted(got), hex(c)
    for c in classes:
        assert c not in lower and not flags[c] & (SPACE | PUNCT | IDEOGRAPH)
    for c, delta in lower.items():
        assert not (flags[c] | flags[c + delta]) & (SPACE | IDEOGRAPH), hex(c)


def rows(numbers, form="%d"):
    line = ""
    for n in numbers:
        item = form % n + ","
        if len(line) + len(item) > 79:
            yield line
            line = ""
        line += item
    yield line


def render():
    flags = find_flags()
    for c in find_word_characters():
        flags[c] |= WORD
    decompositions = find_decompositions()
    classes = find_combining_classes(decompositions)
    lower = find_lower()
    check_promises(flags, decompositions, classes, lower)

    pool, pool_at = [0], {}
    for parts in decompositions.values():
        if parts not in pool_at:
            pool_at[parts] = len(pool)
            pool += [len(parts), *parts]
    # A decomposing code point is replaced before its own flag can matter.
    entries, index = {(0, 0, 0, 0): 0}, []
    for c in range(0x110000):
        f = flags.get(c, 0)
        if c in decompositions:
            f &= ~STRIP
        entry = (lower.get(c, 0), pool_at.get(decompositions.get(c), 0),
                 classes.get(c, 0), f)
        index.append(entries.setdefault(entry, len(entries)))
    blocks, first = {}, []
    size = 1 << BLOCK_BITS
    for i in range(0, len(index), size):
        first.append(blocks.setdefault(tuple(index[i:i + size]), len(blocks)))
    second = [x for block in blocks for x in block]
    assert len(entries) < 65536 and len(blocks) < 65536 and len(pool) < 65536

    yield "/* What `tokenizers` %s does with each code point." % VERSION
    yield " *"
    yield " * Generated by tools/gen_unicode_tables.py; do not edit. Meaning: see"
    yield " * unicode.h, the only file that includes this one. */"
    yield "#ifndef CR_TEXT_UNICODE_TABLES_H"
    yield "#define CR_TEXT_UNICODE_TABLES_H"
    yield ""
    yield '#define CR_UNICODE_TOKENIZERS_VERSION "%s"' % VERSION
    yield "#define CR_UNICODE_BLOCK_BITS %d" % BLOCK_BITS
    yield ""
    yield "/* clang-format off */"
    for kind, name, numbers in (("uint16_t", "blocks", first),
                                ("uint16_t", "indexes", second)):
        yield "static const %s cr_unicode_%s[%d] = {" % (
            kind, name, len(numbers))
        yield from rows(numbers)
        yield "};"
    yield "static const cr_unicode_entry cr_unicode_entries[%d] = {" % (
        len(entries))
    line = ""
    for entry in entries:
        item = "{%d,%d,%d,%d}," % entry
        if len(line) + len(item) > 79:
            yield line
            line = ""
        line += item
    yield line
    yield "};"
    yield "static const uint32_t cr_unicode_pool[%d] = {" % len(pool)
    yield from rows(pool)
    yield "};"
    yield "/* clang-format on */"
    yield ""
    yield "#endif"
    print("%d blocks, %d entries, pool %d; %d bytes of tables" % (
        len(blocks), len(entries), len(pool),
        2 * len(first) + 2 * len(second) + 8 * len(entries) + 4 * len(pool)),
        file=sys.stderr)


def main():
    import tokenizers
    if tokenizers.__version__ != VERSION:
        sys.exit("tokenizers %s is installed, %s is needed: "
                 "pip install tokenizers==%s" % (
                     tokenizers.__version__, VERSION, VERSION))
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HEADER
    out.write_text("\n".join(render()) + "\n")


if __name__ == "__main__":
    main()
