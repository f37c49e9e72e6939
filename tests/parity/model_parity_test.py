"""Model folders: ours against sentence-transformers itself.

Each case is a small generated folder with something changed. Where both open
it, activation, limit on tokens, labels, ids and type ids must be equal and
scores agree to rounding; where we refuse, the case says so. The reference needs torch, so it is looked for in
CROSSRANK_REFERENCE_PYTHON (an interpreter with sentence-transformers)."""

import importlib.util
import json
import os
import pathlib
import subprocess
import typing

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = os.environ.get("CROSSRANK_REFERENCE_PYTHON",
                        "/opt/peers-env/main/bin/python")
PAIRS = [
    ["what is the population of berlin",
     "Berlin had a population of 3,520,031 people in 2019."],
    ["Ünïcode ÉTÉ and Straße", "日本語 mixed with English, 한국어 and שלום"],
    ["a [SEP] b [MASK] c", "[CLS] [cls] [UNK] [PAD] x[Q]y [q]"],
    ["", "the"],
    ["city " * 40, "rank model score " * 30],
    ["tab\there", "a\u00a0b\u200bc d\u0000e \u2028 f"],
]

NEW_KEY = "sentence_transformers"
OLD_KEY = "sbert_ce_default_activation_function"
IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"
TANH = "torch.nn.modules.activation.Tanh"
MODULES = [{"idx": 0, "name": "0", "path": "", "type":
            "sentence_transformers.base.modules.transformer.Transformer"}]
SBERT = {"transformer_task": "sequence-classification",
         "modality_config": {"text": {"method": "forward",
                                      "method_output_name": "logits"}},
         "module_output_name": "scores"}


class Case(typing.NamedTuple):
    name: str
    shape: dict = {}  # of make_tiny_model
    files: dict = {}  # file name: a value to write, or a dict of changes
    whole: dict = {}  # file name: the whole content, text or JSON
    without: tuple = ()  # files to remove
    refused: str = ""  # what our message says; the reference may do as it likes


def config(**changes):
    return {"config.json": changes}


def tokenizer_config(**changes):
    return {"tokenizer_config.json": changes}


def saved(st_config, sbert=SBERT, modules=MODULES):
    return {"modules.json": modules,
            "config_sentence_transformers.json": st_config,
            "sentence_bert_config.json": sbert}


CROSS = {"model_type": "CrossEncoder"}
NONE = {"activation": ""}
DROP = object()  # as a change: the field is removed


def activation_cases():
    def new(name, value):
        return Case(f"activation-{name}", NONE, config(**{NEW_KEY: value}))

    for cls in (IDENTITY, SIGMOID, TANH, "torch.nn.Identity",
                "torch.nn.Sigmoid", "torch.nn.Tanh",
                "torch.nn.modules.Identity", "torch.nn.modules.Sigmoid",
                "torch.nn.modules.Tanh"):
        yield new(cls, {"activation_fn": cls})
        yield Case(f"activation-old-{cls}", NONE, config(**{OLD_KEY: cls}))
    yield new("null", {"activation_fn": None})
    yield new("foreign", {"activation_fn": "my.package.Act"})
    yield new("absent", {"version": "5.0.0"})
    yield Case("activation-none-stated", NONE)
    yield Case("activation-old-null", NONE, config(**{OLD_KEY: None}))
    yield Case("activation-old-foreign", NONE, config(**{OLD_KEY: "my.Act"}))
    yield Case("activation-both", NONE, config(
        **{NEW_KEY: {"activation_fn": IDENTITY}, OLD_KEY: TANH}))
    yield Case("activation-null-hides-old", NONE, config(
        **{NEW_KEY: {"activation_fn": None}, OLD_KEY: TANH}))
    yield Case("activation-absent-shows-old", NONE, config(
        **{NEW_KEY: {"version": "4"}, OLD_KEY: TANH}))
    inner = config(**{NEW_KEY: {"activation_fn": TANH}})
    yield Case("saved", NONE, inner,
               saved({**CROSS, "activation_fn": IDENTITY}))
    yield Case("saved-null", NONE, inner,
               saved({**CROSS, "activation_fn": None}))
    yield Case("saved-absent", NONE, inner, saved(CROSS))
    yield Case("saved-foreign", NONE, inner,
               saved({**CROSS, "activation_fn": "my.Act"}))
    yield Case("saved-foreign-all", NONE, {},
               saved({**CROSS, "activation_fn": "my.Act"}))
    yield Case("saved-without-modules", NONE, inner,
               {"config_sentence_transformers.json":
                {**CROSS, "activation_fn": IDENTITY}})
    yield Case("saved-as-another-kind", NONE, inner,
               saved({"model_type": "SentenceTransformer",
                      "activation_fn": IDENTITY}))
    yield Case("saved-without-kind", NONE, inner,
               saved({"activation_fn": IDENTITY}))
    yield Case("saved-limit", NONE, inner,
               saved(CROSS, {**SBERT, "max_seq_length": 11}))
    yield Case("saved-empty-prompt", NONE, inner,
               saved({**CROSS, "prompts": {"q": ""},
                      "default_prompt_name": "q"}))
    yield Case("saved-prompt", NONE, inner,
               saved({**CROSS, "prompts": {"q": "query: "},
                      "default_prompt_name": "q"}),
               refused="default_prompt_name")
    yield Case("saved-cased-lowercasing", {"cased": True}, {},
               saved(CROSS, {**SBERT, "do_lower_case": True}),
               refused="do_lower_case")
    yield Case("saved-lowercasing", {}, {},
               saved(CROSS, {**SBERT, "do_lower_case": True}))
    for cls in ("torch.nn.modules.activation.ReLU", "torch.nn.Softmax",
                "torch.sigmoid", "torch.nn.modules.linear.Sigmoid"):
        yield Case(f"refused-{cls}", NONE,
                   config(**{NEW_KEY: {"activation_fn": cls}}),
                   refused="torch.nn.Identity")


def added(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False,
            "single_word": False, "normalized": False, "special": True,
            **flags}


def tokenizer_cases():
    for files in ("both", "tokenizer.json", "vocab.txt"):
        for cased in (False, True):
            for dtype in ("F32", "BF16"):
                yield Case(f"{files}-cased-{cased}-{dtype}",
                           {"files": files, "cased": cased, "dtype": dtype})
    text = {"files": "vocab.txt"}
    yield Case("no-tokenizer-config", text, without=("tokenizer_config.json",))
    yield Case("no-tokenizer-config-json", {"files": "tokenizer.json"},
               without=("tokenizer_config.json",))
    yield Case("fast-class", {}, tokenizer_config(
        tokenizer_class="BertTokenizerFast"))
    yield Case("no-class", {}, tokenizer_config(tokenizer_class=DROP))
    for key in ("strip_accents", "tokenize_chinese_chars"):
        for value in (False, True):
            yield Case(f"{key}-{value}", text,
                       tokenizer_config(**{key: value}))
    yield Case("cased-strip", {**text, "cased": True},
               tokenizer_config(strip_accents=True))
    for limit in (20, 64, 1000, 10**30, 1e30, None):
        yield Case(f"limit-{limit}", {}, tokenizer_config(
            model_max_length=limit))
    yield Case("no-limit", {}, tokenizer_config(model_max_length=DROP))
    yield Case("limit-max-len", {}, tokenizer_config(
        model_max_length=DROP, max_len=17))
    truncation = {"direction": "Right", "max_length": 8,
                  "strategy": "OnlySecond", "stride": 2}
    yield Case("truncation", {}, {"tokenizer.json": {
        "truncation": truncation, "padding": {
            "strategy": {"Fixed": 9}, "direction": "Right",
            "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "[PAD]"}}})
    yield Case("decoder", {"vocab_extra": 3}, tokenizer_config(
        added_tokens_decoder={"277": added("[Q]"), "4": added("[MASK]")}))
    yield Case("decoder-text", {**text, "vocab_extra": 3}, tokenizer_config(
        added_tokens_decoder={"277": added("[Q]"), "4": added("[MASK]")}))
    yield Case("decoder-lstrip", {**text, "vocab_extra": 3}, tokenizer_config(
        added_tokens_decoder={"277": added("[Q]", lstrip=True),
                              "4": added("[MASK]", lstrip=True)}))
    yield Case("extra", {"vocab_extra": 3}, tokenizer_config(
        extra_special_tokens=["[Q]", "city"]))
    yield Case("additional", {"vocab_extra": 3}, tokenizer_config(
        additional_special_tokens=["[Q]"]))
    yield Case("extra-map", {"vocab_extra": 3}, tokenizer_config(
        extra_special_tokens={"q_token": "[Q]"}))
    yield Case("special-map", text, tokenizer_config(sep_token="[SEP]"),
               {"special_tokens_map.json": {"sep_token": "city"}})
    yield Case("special-map-and-decoder", text, tokenizer_config(
        sep_token="[SEP]", added_tokens_decoder={"4": added("[MASK]")}),
        {"special_tokens_map.json": {"sep_token": "city"}})
    extra = {"additional_special_tokens": ["[Q]"]}
    yield Case("special-map-extra", {**text, "vocab_extra": 3}, {},
               {"special_tokens_map.json": extra})
    yield Case("special-map-extra-and-added", {**text, "vocab_extra": 3}, {},
               {"special_tokens_map.json": extra,
                "added_tokens.json": {"[Q]": 277}},
               refused="added without being special")
    yield Case("added-and-extra", {**text, "vocab_extra": 3},
               tokenizer_config(extra_special_tokens=["[Q]"]),
               {"added_tokens.json": {"[Q]": 277}})
    yield Case("bos", {"vocab_extra": 2}, tokenizer_config(bos_token="[Q]"))
    types = {"model_input_names": ["input_ids", "token_type_ids",
                                   "attention_mask"]}
    yield Case("whole", {"files": "tokenizer.json"}, {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                  "do_lower_case": True, **types},
        "tokenizer.json": {"normalizer": {
            "type": "BertNormalizer", "clean_text": False,
            "handle_chinese_chars": False, "strip_accents": True,
            "lowercase": False}}})
    yield Case("no-types", {}, tokenizer_config(
        model_input_names=["input_ids", "attention_mask"]))
    yield Case("whole-no-types", {}, tokenizer_config(
        tokenizer_class="PreTrainedTokenizerFast",
        model_input_names=["input_ids", "attention_mask"]))
    yield Case("bert-processing", {"files": "tokenizer.json"}, {
        "tokenizer_config.json": {"tokenizer_class": "TokenizersBackend",
                                  **types},
        "tokenizer.json": {"post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2]}}})


def shape_cases():
    """Shapes that the shipped model does not have."""
    def shape(name, **fields):
        return Case(f"shape-{name}", fields)

    yield shape("one-type", types=1)
    yield shape("one-type-text", types=1, files="vocab.txt", cased=True)
    for act in ("gelu", "gelu_new", "relu"):
        yield shape(act, act=act, layers=3)
    for heads, hidden in ((1, 1), (1, 7), (3, 9), (2, 34), (12, 312), (1, 64),
                          (5, 5), (16, 16)):
        yield shape(f"heads-{heads}-hidden-{hidden}", heads=heads,
                    hidden=hidden)
    yield shape("one-layer", layers=1)
    yield shape("seven-layers", layers=7)
    yield shape("inner-1", intermediate=1)
    yield shape("inner-17", intermediate=17)
    yield shape("eps", eps=1e-3)
    yield shape("f16", dtype="F16", heads=3, hidden=48)
    yield shape("bf16", dtype="BF16", heads=3, hidden=48)
    yield shape("no-prefix", prefix="")
    yield shape("five-positions", positions=5)
    yield shape("many-positions", positions=333)


def label_cases():
    """Models that classify: a pair has a score for each label."""
    def case(name, n, activation="", **changes):
        return Case(f"labels-{name}", {"labels": n, "activation": activation},
                    config(**changes))

    for n in (1, 2, 3, 16, 17, 32):
        yield case(f"{n}", n)
    yield case("identity", 3, IDENTITY)
    yield case("sigmoid", 3, SIGMOID)
    yield case("tanh", 2, TANH)
    yield case("names", 3, id2label={"2": "neutral", "0": "contradiction",
                                     "1": "Größe 1"}, label2id=DROP)
    yield case("number", 3, id2label=DROP, label2id=DROP, num_labels=3)
    yield case("number-one", 1, id2label=DROP, label2id=DROP, num_labels=1)
    yield case("both", 3, num_labels=3)
    yield case("neither", 2, id2label=DROP, label2id=DROP)
    for kind in ("roberta", "xlm-roberta"):
        yield Case(f"labels-{kind}", {"labels": 3, "activation": "", "types": 1,
                                      "kind": kind, "pad_id": 0})
    yield case("one-class", 3, problem_type="single_label_classification")
    yield case("many-classes", 3, problem_type="multi_label_classification")
    yield Case("labels-saved", {"labels": 3, "activation": ""}, {},
               saved({**CROSS, "activation_fn": SIGMOID}))


def vocab_cases():
    base = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\na\nb\nc\n##b\n"

    def case(name, text, **more):
        return Case(f"vocab-{name}", {"files": "vocab.txt"},
                    whole={"vocab.txt": text}, **more)

    yield case("small", base)
    yield case("crlf", base.replace("\n", "\r\n"))
    yield case("no-end", base.rstrip())
    yield case("blank-lines", base + "\n\ncity\n")
    yield case("duplicates", base + "the\nb\ncity\n")
    yield case("trailing-space", base + "city  \nmodel\t\n")
    yield case("no-mask", base.replace("[MASK]\n", ""))
    yield case("no-pad-no-mask", base.replace("[PAD]\n[UNK]\n", "[UNK]\n")
               .replace("[MASK]\n", ""))
    yield case("no-mask-blank", base.replace("[MASK]\n", "\n") + "\n")
    yield case("no-unk", base.replace("[UNK]\n", ""), refused="[UNK]")
    yield case("too-long", base + "x\n" * 0 + "".join(
        f"t{i}\n" for i in range(300)), refused="vocab_size")


def refused_cases():
    def refused(name, message, **more):
        return Case(f"refused-{name}", refused=message, **more)

    yield refused("lowercase", "do_lower_case",
                  files=tokenizer_config(do_lower_case=False))
    yield refused("side", "truncation_side",
                  files=tokenizer_config(truncation_side="left"))
    yield refused("whole-without-types", "model_input_names",
                  files=tokenizer_config(
                      tokenizer_class="PreTrainedTokenizerFast"))
    yield refused("normalized", "normalized", files=tokenizer_config(
        added_tokens_decoder={"5": added("[unused0]", normalized=True)}))
    # The reference opens these: it counts the names and looks none up.
    yield refused("label-gap", '"1" and instead "2"', shape={"labels": 2},
                  files=config(id2label={"0": "a", "2": "b"}))
    yield refused("label-from-1", '"0" and instead "2"', shape={"labels": 2},
                  files=config(id2label={"1": "a", "2": "b"}))
    yield refused("label-partial", 'each name of "id2label"',
                  shape={"labels": 3},
                  files=config(id2label={"0": "a", "1": "b"}))
    yield refused("label-twice", "id2label", shape={"labels": 2}, files=config(
        id2label={"0": "a", "1": "a"}))
    yield refused("label-counts", "num_labels", shape={"labels": 2},
                  files=config(num_labels=3))
    yield refused("act", "hidden_act", shape={"act": "silu"})
    yield refused("architecture", "BertForSequenceClassification",
                  files=config(architectures=["BertModel"]))
    yield refused("position", "relative_key",
                  files=config(position_embedding_type="relative_key"))
    yield refused("decoder", "is_decoder", files=config(is_decoder=True))
    yield refused("heads", "num_attention_heads",
                  files=config(num_attention_heads=5))


CASES = [*activation_cases(), *tokenizer_cases(), *vocab_cases(),
         *shape_cases(), *label_cases(), *refused_cases()]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def make(case, folder, tiny):
    tiny.make(folder, tiny.Shape(**case.shape))
    for name, changes in case.files.items():
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        content.update(changes)
        content = {k: v for k, v in content.items() if v is not DROP}
        write_json(folder / name, content)
    for name, content in case.whole.items():
        if isinstance(content, str):
            (folder / name).write_bytes(content.encode())
        else:
            write_json(folder / name, content)
    for name in case.without:
        (folder / name).unlink()


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines()
             if line.startswith("{")]
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def results(root, build, wrapper, tmp_path_factory):
    """(ours, reference) by the case's name."""
    if not pathlib.Path(PYTHON).exists():
        pytest.skip(f"no interpreter with sentence-transformers at {PYTHON}: "
                    "set CROSSRANK_REFERENCE_PYTHON")
    top = tmp_path_factory.mktemp("models")
    tiny = load(root / "tools/make_tiny_model.py")
    folders = [top / f"{i:03}" for i in range(len(CASES))]
    for case, folder in zip(CASES, folders):
        make(case, folder, tiny)
    write_json(top / "pairs.json", PAIRS)
    ours = run(*wrapper, build / "tests/parity/model_driver",
               top / "pairs.json",
               *folders)
    reference = run(PYTHON, HERE / "model_reference.py", top / "pairs.json",
                    *folders)
    assert len(ours) == len(reference) == len(CASES)
    return dict(zip((case.name for case in CASES), zip(ours, reference)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_folder_is_read_as_sentence_transformers_reads_it(case, results):
    ours, reference = results[case.name]
    if case.refused:
        assert ours["status"] in ("CR_ERR_MODEL", "CR_ERR_UNSUPPORTED")
        assert case.refused in ours["message"]
        return
    assert reference["status"] == "CR_OK", reference["message"]
    assert ours["status"] == "CR_OK", ours["message"]
    assert ours["activation"] == reference["activation"]
    assert ours["labels"] == reference["labels"]
    assert ours["max_length"] == reference["max_length"]
    for pair, a, b in zip(PAIRS, ours["pairs"], reference["pairs"]):
        assert a == b, pair
    # float32 sums in another order; scores here are some units wide.
    assert ours["scores"] == pytest.approx(reference["scores"], abs=1e-4)


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)
