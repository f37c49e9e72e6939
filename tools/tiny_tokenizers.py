"""Small tokenizers as RoBERTa and XLM-RoBERTa have them, for make_tiny_model.

Byte-level BPE whose merges are learned from a list of words, and Unigram whose
scores fall with a piece's rank. Nothing but Python; equal arguments give equal
texts. tokenizer_json(kind, words, charsmap) is a whole tokenizer.json.
"""

import base64
import collections
import lzma
import pathlib

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
MASK = "<mask>"  # the last id, as in both models
SPACE = "▁"


# ---- Byte-level BPE ---------------------------------------------------------


def byte_letters():
    """The letter that stands for each byte, as GPT-2 chose them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    letters = {b: chr(b) for b in plain}
    letters.update({b: chr(256 + i) for i, b in enumerate(others)})
    return letters


def learn_merges(words, n):
    """The n merges that a trainer would make of the words, each of which
    stands at the start and behind a space."""
    letters = byte_letters()
    texts = [p + w for i, w in enumerate(words) for p in ("", " ")
             for _ in range(1 + len(words) // (10 + i))]
    pieces = collections.Counter(
        tuple(letters[b] for b in text.encode()) for text in texts)
    merges = []
    while len(merges) < n:
        pairs = collections.Counter()
        for word, count in pieces.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        merged = collections.Counter()
        for word, count in pieces.items():
            out, i = [], 0
            while i < len(word):
                both = word[i:i + 2] == best
                out.append("".join(word[i:i + 2]) if both else word[i])
                i += 2 if both else 1
            merged[tuple(out)] += count
        pieces = merged
    return merges


def bpe_model(words):
    merges = learn_merges(words, 300)
    vocab = SPECIALS + list(byte_letters().values())
    vocab += [a + b for a, b in merges if a + b not in vocab]
    vocab = list(dict.fromkeys(vocab)) + [MASK]
    return vocab, {
        "type": "BPE", "dropout": None, "unk_token": None,
        "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(vocab)},
        "merges": [f"{a} {b}" for a, b in merges]}


# ---- Unigram ----------------------------------------------------------------


def unigram_model(words, letters):
    pieces = [SPACE] + [SPACE + w for w in words] + words
    pieces += [w[:n] for w in words for n in (2, 3, 4) if len(w) > n]
    pieces += [SPACE + c for c in letters[:26]] + list(letters)
    pieces = [p for p in dict.fromkeys(pieces) if p not in SPECIALS]
    vocab = [[token, 0.0] for token in SPECIALS]
    vocab += [[p, -3.0 - i / 64 - (2.5 if len(p) == 1 else 0)]
              for i, p in enumerate(pieces)]
    vocab.append([MASK, 0.0])
    return [token for token, _ in vocab], {
        "type": "Unigram", "unk_id": 3, "vocab": vocab,
        "byte_fallback": False}


def precompiled(charsmap):
    """SentencePiece's normalization, from a file that xz packed."""
    if not charsmap:
        return None
    text = base64.b64encode(lzma.decompress(pathlib.Path(charsmap)
                                            .read_bytes()))
    return {"type": "Precompiled", "precompiled_charsmap": text.decode()}


# ---- tokenizer.json ---------------------------------------------------------


def added_token(token, index):
    return {"id": index, "content": token, "single_word": False,
            "lstrip": token == MASK, "rstrip": False, "normalized": False,
            "special": True}


def template(*names):
    return [{"Sequence": {"id": n, "type_id": 0}} if len(n) == 1 else
            {"SpecialToken": {"id": n, "type_id": 0}} for n in names]


def byte_level(add_prefix_space):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space,
            "trim_offsets": True, "use_regex": True}


def roberta_parts():
    return {"normalizer": None, "pre_tokenizer": byte_level(False),
            "post_processor": {
                "type": "RobertaProcessing", "sep": ["</s>", 2],
                "cls": ["<s>", 0], "trim_offsets": True,
                "add_prefix_space": False},
            "decoder": byte_level(True)}


def xlm_roberta_parts(charsmap):
    metaspace = {"type": "Metaspace", "replacement": SPACE,
                 "prepend_scheme": "always", "split": True}
    single = ["<s>", "A", "</s>"]
    return {"normalizer": precompiled(charsmap),
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"}, metaspace]},
            "post_processor": {
                "type": "TemplateProcessing", "single": template(*single),
                "pair": template(*single, "</s>", "B", "</s>"),
                "special_tokens": {
                    t: {"id": t, "ids": [i], "tokens": [t]}
                    for t, i in (("<s>", 0), ("</s>", 2))}},
            "decoder": metaspace}


def tokenizer_json(kind, words, letters, charsmap=""):
    """(vocabulary, tokenizer.json); kind is "bpe" or "unigram"."""
    if kind == "bpe":
        vocab, model = bpe_model(words)
        parts = roberta_parts()
    else:
        vocab, model = unigram_model(words, letters)
        parts = xlm_roberta_parts(charsmap)
    return vocab, {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added_token(t, vocab.index(t))
                         for t in (*SPECIALS, MASK)],
        **parts, "model": model}


def tokenizer_config(kind, max_length):
    return {"tokenizer_class": "RobertaTokenizer" if kind == "bpe"
            else "XLMRobertaTokenizer",
            "model_max_length": max_length, "bos_token": "<s>",
            "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
            "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": {
                "__type": "AddedToken", "content": MASK, "lstrip": True,
                "normalized": False, "rstrip": False, "single_word": False,
                "special": True}}
