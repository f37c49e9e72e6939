"""Texts that tokenizers get wrong, made from a seed.

A text is a handful of parts, each from one of the kinds below: real words,
marks in any order, scripts, controls, bytes that are no UTF-8, added tokens in
raw text, words about and far beyond the limit of WordPiece. Texts are bytes;
what Python reads in them with errors="replace" is what `tokenizers` gets."""

import random
import sys
import unicodedata

# First and last of blocks in which scripts, marks and symbols live.
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58A), (0x591, 0x5F4),
    (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7FA), (0x800, 0x85E),
    (0x8A0, 0x8FF), (0x900, 0x97F), (0x980, 0xA76), (0xA81, 0xBFA),
    (0xC00, 0xD7F), (0xD81, 0xE5B), (0xE81, 0xFDA), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x167F),
    (0x1680, 0x17F9), (0x1800, 0x1AAD), (0x1AB0, 0x1AFF), (0x1B00, 0x1CFF),
    (0x1D00, 0x1DFF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F),
    (0x2070, 0x214F), (0x2150, 0x23FF), (0x2460, 0x27BF), (0x2900, 0x2BFF),
    (0x2C00, 0x2DFF), (0x2E00, 0x2E7F), (0x2E80, 0x2FFF), (0x3000, 0x30FF),
    (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA6FF),
    (0xA700, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF), (0xFE00, 0xFFFF), (0x10000, 0x107FF), (0x10800, 0x10FFF),
    (0x11000, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1BFFF),
    (0x1D000, 0x1D7FF), (0x1DA00, 0x1EFFF), (0x1F000, 0x1FAFF),
    (0x20000, 0x2A6FF), (0x2A700, 0x2EBFF), (0x2F800, 0x2FA1F),
    (0x30000, 0x323AF), (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF),
]
SPACES = [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000,
          0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x600, 0x61C, 0x180E,
            0x200B, 0x200C, 0x200D, 0x200E, 0x2060, 0xFEFF, 0xFFFC, 0xFFFD,
            0xFFFE, 0xE0001, 0x110BD]
BROKEN = [b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xe0\x80\x80",
          b"\xe0\xa0", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xbf\xbf",
          b"\xef\xbf", b"\xf0\x80\x80\x80", b"\xf0\x9f", b"\xf0\x9f\x98",
          b"\xf4\x90\x80\x80", b"\xf5\x80", b"\xff", b"\xfe\xff", b"\xe3\x80"]
EMOJI = ["\U0001F600", "\u2764\uFE0F", "\U0001F468\u200D\U0001F469\u200D"
         "\U0001F467", "\U0001F1EB\U0001F1F7", "\U0001F44D\U0001F3FD", "5\uFE0F"
         "\u20E3"]
# Marks with a class that accents are not stripped from (so their order shows),
# marks that are stripped, and what comes apart into marks.
MARKS = [c for c in range(0x300, 0x1F000) if unicodedata.combining(chr(c))]
KEPT_MARKS = [c for c in MARKS if unicodedata.category(chr(c)) != "Mn"]
KEPT_MARKS += [0x7FD, 0x8D3, 0x1ABF, 0x1DF6, 0x1D166, 0x302E, 0x302F]
COMPOSED = [c for c in range(0xA0, 0x30000)
            if unicodedata.decomposition(chr(c))[:1] not in ("", "<")]
CASED = [c for c in range(0x80, 0x1F000) if chr(c).lower() != chr(c)]


class Texts:
    def __init__(self, seed, vocabulary, specials):
        self.random = random.Random(seed)
        self.words = vocabulary
        self.specials = specials
        self.kinds = [
            (self.word, 30), (self.pieces, 6), (self.block, 12),
            (self.any_code_point, 3), (self.marked, 6), (self.kept_marks, 3),
            (self.composed, 4), (self.cased, 3), (self.hangul, 2),
            (self.ideographs, 3), (self.emoji, 1), (self.control, 3),
            (self.broken, 3), (self.special, 4), (self.punctuation, 5),
            (self.digits, 3), (self.near_limit, 0.6), (self.long, 0.08),
            (self.long_marks, 0.08)]
        self.makers = [k for k, _ in self.kinds]
        self.weights = [w for _, w in self.kinds]

    def some(self, code_points, most):
        n = self.random.randint(1, most)
        return "".join(map(chr, self.random.choices(code_points, k=n)))

    def word(self):
        w = self.random.choice(self.words).removeprefix("##")
        return self.random.choice([w, w, w, w.capitalize(), w.upper()])

    def pieces(self):
        return "".join(self.word() for _ in range(self.random.randint(2, 4)))

    def block(self):
        return self.some(range(*self.random.choice(BLOCKS)), 6)

    def any_code_point(self):
        c = self.random.randrange(0x110000)
        return chr(c if c < 0xD800 or c > 0xDFFF else 0xFFFD)

    def marked(self):
        return "".join(
            self.random.choice(["", self.word(), self.block(), "a"])
            + self.some(MARKS, 4) for _ in range(self.random.randint(1, 3)))

    def kept_marks(self):
        parts = [*self.random.choices(KEPT_MARKS, k=4),
                 *self.random.choices(MARKS, k=3), 0x344, 0xE0, 0x1D15E, 0,
                 0x200D, 0x34F, 0x61]
        self.random.shuffle(parts)
        return "".join(map(chr, parts[:self.random.randint(1, 12)]))

    def composed(self):
        return self.some(COMPOSED, 5)

    def cased(self):
        return self.some([*CASED, 0x130, 0x49, 0x131, 0x3A3, 0x1E9E], 4)

    def hangul(self):
        return self.some(range(0xAC00, 0xD7A4), 4) + self.random.choice(
            ["", self.some(range(0x1100, 0x1200), 3)])

    def ideographs(self):
        return self.some([*range(0x4E00, 0x4E80), *range(0xF900, 0xFA6E),
                          0x3400, 0x2F800, 0x2B820, 0x2A700, 0x3007], 4)

    def emoji(self):
        return self.random.choice(EMOJI)

    def control(self):
        return self.some(CONTROLS, 3)

    def broken(self):
        return b"".join(self.random.choices(BROKEN,
                                            k=self.random.randint(1, 3)))

    def special(self):
        s = self.random.choice(self.specials)
        space = self.some(SPACES, 3)
        return self.random.choice(
            [s, s, s, s.lower(), s[1:], s[:-1], space + s + space, s + s,
             s + "x", "x" + s, "\u0301" + s + "\u0301"])

    def punctuation(self):
        return self.some(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 3)

    def digits(self):
        return str(self.random.randrange(10 ** self.random.randint(1, 12)))

    def near_limit(self):
        c = self.random.choice(["a", "ab", "\u00e9", "a\u0301", "\uac00",
                                "\u302e", "a\x01"])
        n = self.random.randint(96, 104)
        return (c * n)[:self.random.choice([n, 100, 101, 102])]

    def long(self):
        return self.random.choice([self.word(), self.block()]) * (
            self.random.randint(100, 1000))

    def long_marks(self):
        return "a" + self.some([*KEPT_MARKS[:8], *MARKS[:40], 0x344, 1], 700)

    def text(self):
        if self.random.random() < 0.01:
            return b""
        n = 1 + int(self.random.expovariate(0.16))
        if self.random.random() < 0.01:
            n *= 20
        out = []
        for make in self.random.choices(self.makers, self.weights, k=n):
            part = make()
            out.append(part if isinstance(part, bytes) else part.encode(
                "utf-8", "replace"))
            if self.random.random() < 0.6:
                out.append(b" " if self.random.random() < 0.8 else chr(
                    self.random.choice(SPACES)).encode())
        if self.random.random() < 0.05:  # cut anywhere
            whole = b"".join(out)
            return whole[:self.random.randint(0, len(whole))]
        return b"".join(out)


if __name__ == "__main__":  # a look at some of them
    texts = Texts(int(sys.argv[1]), ["word", "##ing"], ["[SEP]"])
    for _ in range(20):
        print(texts.text())
