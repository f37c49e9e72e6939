"""CrossEncoder: the interface of sentence-transformers on the C library."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar, Union
from typing import cast, overload

import numpy as np

from . import _library
from ._errors import ArgumentError, UnsupportedModelError
from ._ranker import Ranker, activate

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    Pair = Union[tuple[str, str], list[str]]
    Pairs = Union[Sequence[tuple[str, str]], Sequence[list[str]],
                  Iterable[Pair], NDArray[Any]]
    Activation = Union[str, Callable[[Any], Any]]
    Scores = NDArray[np.float32]

logger = logging.getLogger("crossrank")

# Calls of the C library should take about a second, so that Ctrl-C and the
# progress bar wait no longer and the lanes are seldom all at an end. A pair's
# cost is its characters, as far as 512 tokens reach, and some for its own; the
# first call costs a lane this much, less where a token costs more than in a
# model of 6 layers of 384, and later ones follow the speed.
FIRST_STEP = 25_000
SECONDS_A_STEP = 1.0
MAX_PAIR_CHARACTERS, PAIR_COST = 2500, 50
GROWTH = 4
SMALL_MODEL = 6 * (4 * 384 * 384 + 2 * 384 * 1536)  # its layers' weights

ACTIVATION_NAMES = {number: name
                    for name, number in _library.ACTIVATIONS.items()}
TORCH_ACTIVATIONS = {"Identity": "none", "Sigmoid": "sigmoid", "Tanh": "tanh"}


@dataclass(frozen=True)
class Info:
    """What an open CrossEncoder runs on, sizes in bytes, and what it has done
    since it was opened: ``n_pairs_cut`` counts pairs that were longer than
    ``max_length``, ``n_tokens_scored`` what was left after cutting."""

    model_path: str
    model_name: str
    backend: str
    device: str
    dtype: str
    isa: str
    threads: int
    max_length: int
    n_layers: int
    n_heads: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    n_labels: int
    truncation: str
    model_activation: str
    weight_bytes: int
    workspace_bytes: int
    n_pairs_scored: int
    n_pairs_cut: int
    n_tokens_scored: int


@dataclass(frozen=True)
class Encoding:
    """One pair as the model sees it: [CLS] query [SEP] passage [SEP].

    ``offsets`` are begin and end in code points of the text that a token is
    from, (0, 0) for tokens of no text; ``n_truncated`` counts the tokens that
    were cut from the pair.
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    n_truncated: int


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _accept(names: Mapping[str, str | None], *,
            deprecated: bool) -> Callable[[_Method], _Method]:
    """Keywords of sentence-transformers under other names here; None: without
    effect."""
    def decorate(method: _Method) -> _Method:
        @functools.wraps(method)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            for theirs, ours in names.items():
                if theirs not in kwargs:
                    continue
                value = kwargs.pop(theirs)
                if ours in kwargs:
                    raise TypeError(f"{theirs} and {ours} are both given")
                if ours is not None:
                    kwargs[ours] = value
                if deprecated:
                    warnings.warn(
                        f"{method.__name__}({theirs}=...) is deprecated: "
                        + (f"use {ours}" if ours else "it has no effect"),
                        DeprecationWarning, stacklevel=2)
            return method(self, *args, **kwargs)

        return cast("_Method", wrapper)

    return decorate


# Of predict and rank: what sentence-transformers renamed or dropped.
_accept_old_names = _accept({"sentences": "inputs", "num_workers": None,
                             "activation_fct": "activation_fn"},
                            deprecated=True)
# Of the constructor: its names there, now and before.
_accept_their_names = _accept({"model_name_or_path": "model",
                               "model_name": "model",
                               "default_activation_function": "activation_fn"},
                              deprecated=False)


def _refuse(arguments: Mapping[str, Any]) -> None:
    """Arguments of sentence-transformers' constructor that cannot apply; what
    asks for nothing is passed over."""
    theirs = {
        "cache_folder": "the cache is $HF_HUB_CACHE, or $HF_HOME/hub",
        "token": "crossrank pull fetches models, and reads $HF_TOKEN",
        "model_kwargs": "dtype= and device= say how a model is opened",
        "automodel_args": "dtype= and device= say how a model is opened",
        "tokenizer_kwargs": "the tokenizer is as the model's folder says",
        "processor_kwargs": "the tokenizer is as the model's folder says",
        "tokenizer_args": "the tokenizer is as the model's folder says",
        "config_kwargs": "the configuration is as the model's folder says",
        "config_args": "the configuration is as the model's folder says",
        "prompts": "put the text before the query yourself",
        "default_prompt_name": "put the text before the query yourself",
        "model_card_data": "there is no training here",
        "classifier_dropout": "there is no training here"}
    for name, value in arguments.items():
        if name not in theirs:
            raise TypeError("CrossEncoder.__init__() got an unexpected keyword "
                            f"argument {name!r}")
        if value is not None and value != {}:
            raise ArgumentError(f"{name} is not supported: {theirs[name]}")


class CrossEncoder:
    """Scores (query, passage) pairs with a BERT cross-encoder on the CPU.

    A drop-in for inference with ``sentence_transformers.CrossEncoder``: the
    same arguments and results of ``predict`` and ``rank``, with
    ``dtype="fp32"`` the scores of its float32 model to 1e-4, and equal to the
    bit however the pairs are batched.
    It may be used from any number of threads at once, which share its lanes;
    after a fork, or unpickled, it opens its model again.

    Args:
        model: A model folder in Hugging Face layout, or a name of the Hub
            that is in the local cache (``crossrank pull`` fetches it; no
            connection is opened here). By default ``$CROSSRANK_MODEL``, else
            the model that is shipped.
        num_labels: None, or how many labels the model has.
        revision: Branch, tag or commit of a model of the Hub.
        dtype: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"int8"``. ``"auto"`` is
            bf16 where the CPU gains by it (logits then differ by some
            hundredths), else fp32.
        threads: Lanes that score; 0: as many as CPU quota and affinity give.
        max_length: Tokens of a pair, the rest is cut; by default the model's
            own limit.
        device: Device of the backend; ``"cpu"``.
        activation_fn: What makes logits scores, unless ``predict`` is told
            otherwise: ``"model"`` (the default: as the model's configuration
            asks), ``"identity"``, ``"sigmoid"``, ``"tanh"``, a
            ``torch.nn.Module``, or a callable that is given float32 logits of
            the shape [pairs, labels] and returns as many rows.
        truncation: ``"longest_first"`` as sentence-transformers does, or
            ``"only_second"``: the passage alone is cut, never the query.
        backend: What computes, one of ``crossrank.backend_names()``.
        isa: Instruction set, one of ``crossrank.isa_names()``.
        local_files_only: Without effect: no connection is opened here.
        trust_remote_code: Without effect: no code of a model is ever run.

    Raises:
        ModelError, UnsupportedModelError: about the folder.
        UnavailableError: about backend, device, dtype or isa, which are never
            replaced by another silently.
        ArgumentError: an argument is out of its limits, or one of
            sentence-transformers that cannot apply.
    """

    @_accept_their_names
    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Activation | None = None,
        device: object = None,
        *,
        dtype: str = "auto",
        threads: int = 0,
        truncation: Literal["longest_first", "only_second"] = "longest_first",
        backend: str | None = None,
        isa: str | None = None,
        revision: str | None = None,
        local_files_only: bool = True,
        trust_remote_code: bool = False,
        **refused: Any,
    ) -> None:
        _refuse(refused)
        name = None if model is None else os.fspath(model)
        if name is not None and revision is not None:
            if os.path.isdir(name):
                raise ArgumentError(
                    f"revision is {revision!r}, and {name} is a folder: it is "
                    "for names of the Hub, leave it out")
            name = f"{name}@{revision}"
        self._arguments: dict[str, Any] = {
            "model": name,
            "dtype": dtype, "threads": threads, "max_length": max_length,
            "device": None if device is None else str(device),
            "activation_fn": activation_fn, "truncation": truncation,
            "backend": backend, "isa": isa}
        self.activation_fn: Activation = "model"
        if activation_fn is not None:
            self._check_activation(activation_fn)
            self.activation_fn = activation_fn
        self._ranker = Ranker(_options(self._arguments))
        self._info = self._read_info()
        if num_labels is not None and num_labels != self.num_labels:
            self._ranker.close()
            raise ArgumentError(
                f"num_labels is {num_labels}, the model has {self.num_labels}: "
                "there is no training here, leave it out")

    # ---- Scores -------------------------------------------------------------

    @overload
    def predict(
        self, inputs: tuple[str, str],
        prompt_name: None = ..., prompt: None = ..., batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        activation_fn: Activation | None = ...,
        apply_softmax: bool | None = ...,
        convert_to_numpy: Literal[True] = ...,
        convert_to_tensor: Literal[False] = ..., device: object = ...,
        pool: None = ..., chunk_size: int | None = ...,
    ) -> np.float32: ...

    @overload
    def predict(
        self, inputs: Pairs,
        prompt_name: None = ..., prompt: None = ..., batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        activation_fn: Activation | None = ...,
        apply_softmax: bool | None = ...,
        convert_to_numpy: Literal[True] = ...,
        convert_to_tensor: Literal[False] = ..., device: object = ...,
        pool: None = ..., chunk_size: int | None = ...,
    ) -> Scores: ...

    @overload
    def predict(
        self, inputs: Pairs | Pair,
        prompt_name: None = ..., prompt: None = ..., batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        activation_fn: Activation | None = ...,
        apply_softmax: bool | None = ..., convert_to_numpy: bool = ...,
        convert_to_tensor: bool = ..., device: object = ...,
        pool: None = ..., chunk_size: int | None = ...,
    ) -> Any: ...

    @_accept_old_names
    def predict(
        self,
        inputs: Pairs | Pair,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        pool: None = None,
        chunk_size: int | None = None,
    ) -> Any:
        """Scores one pair or many, in their order.

        Args:
            inputs: One pair of two strings, or any number of pairs.
            prompt_name: Not supported: must be None.
            prompt: Not supported: must be None.
            batch_size: Accepted and checked, without effect: there is no
                padding, so there are no batches to size.
            show_progress_bar: None: where the logger ``crossrank`` is at
                level INFO or DEBUG.
            activation_fn: As for the class; None: ``self.activation_fn``. A
                callable is given all logits at once.
            apply_softmax: Softmax over a pair's labels, after the activation,
                where there are several.
            convert_to_numpy: False: a list of torch tensors.
            convert_to_tensor: True: one torch tensor.
            device: None, or the device that the model was opened on.
            pool: Not supported: must be None; ``threads`` is the way.
            chunk_size: Accepted, without effect.

        Returns:
            numpy.ndarray of float32 with a score a pair; for one pair a
            numpy.float32. Of a model with several labels (``num_labels``) a
            row of scores a pair, in the order of ``id2label``; for one pair a
            row. Torch tensors where they were asked for.
        """
        self._check_call(prompt_name, prompt, batch_size, device, pool)
        wants_torch = convert_to_tensor or not convert_to_numpy
        torch = _import_torch() if wants_torch else None
        pairs, is_single = _read_pairs(inputs)
        logits = self._score(pairs, show_progress_bar)
        scores = self._activate(activation_fn, logits)
        if apply_softmax and scores.ndim > 1:
            scores = _softmax(scores)
        if torch is not None:
            tensor = torch.from_numpy(scores)
            if is_single:
                return tensor[0]
            return tensor if convert_to_tensor else list(tensor)
        return scores[0] if is_single else scores

    @_accept_old_names
    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        device: object = None,
        pool: None = None,
        chunk_size: int | None = None,
    ) -> list[dict[str, Any]]:
        """Ranks documents by their scores for a query, best first.

        Args:
            query: The query.
            documents: The documents.
            top_k: How many to return; None: all.
            return_documents: Whether the result has the texts.
            activation_fn: As in ``predict``, which explains the others too.

        Returns:
            A list of ``{"corpus_id": int, "score": float}``, with ``"text"``
            where asked for. Equal scores keep the order of the documents.
            Scores of the library's own activations are ordered by their
            logits, which still differ where a sigmoid is 1 twice.

        Raises:
            UnsupportedModelError: The model has several labels. It is a
                ValueError, as sentence-transformers has it.
        """
        if self.num_labels != 1:
            raise UnsupportedModelError(
                f"rank() needs a model with num_labels=1, {self._info.model_name}"
                f" has {self.num_labels}: predict() gives a score for each")
        self._check_call(prompt_name, prompt, batch_size, device, pool)
        if isinstance(documents, (str, bytes, Mapping)):
            raise TypeError("documents must be a list of strings, got a "
                            f"{type(documents).__name__}")
        texts = documents if isinstance(documents, (list, tuple)) \
            else list(documents)
        pairs, _ = _read_pairs([(query, text) for text in texts])
        logits = self._score(pairs, show_progress_bar)
        scores = self._activate(activation_fn, logits)
        is_ours = self._named(activation_fn or self.activation_fn) is not None
        order = np.argsort(-(logits if is_ours else scores), kind="stable")
        results: list[dict[str, Any]] = []
        for index in order[:top_k].tolist():
            result = {"corpus_id": index, "score": float(scores[index])}
            if return_documents:
                result["text"] = texts[index]
            results.append(result)
        return results

    # ---- Tokens and facts ---------------------------------------------------

    def tokenize(self, query: str, passage: str) -> Encoding:
        """One pair as ``predict`` gives it to the model."""
        pairs, _ = _read_pairs((query, passage))
        return Encoding(**self._ranker.encoding(*pairs[0]))

    @property
    def info(self) -> Info:
        """What is open, what it runs on, and what it has done so far."""
        return self._read_info()

    @property
    def device(self) -> str:
        return self._info.device

    @property
    def max_length(self) -> int:
        """Tokens of a pair, the rest is cut. Setting it opens the model again
        (None: the model's own limit); no other thread may be scoring then."""
        return self._info.max_length

    @max_length.setter
    def max_length(self, value: int | None) -> None:
        arguments = {**self._arguments, "max_length": value}
        ranker = Ranker(_options(arguments))
        old, self._ranker = self._ranker, ranker
        self._arguments = arguments
        self._info = self._read_info()
        old.close()

    @property
    def max_seq_length(self) -> int:
        """The same, as sentence-transformers has it."""
        return self.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        self.max_length = value

    @property
    def num_labels(self) -> int:
        return self._info.n_labels

    @property
    def id2label(self) -> dict[int, str]:
        """What the scores of a row are for, as in the model's config.json."""
        return dict(enumerate(self._ranker.label_names(self.num_labels)))

    # ---- Lifetime -----------------------------------------------------------

    def close(self) -> None:
        """Frees the model once no other thread is scoring; garbage collection
        does the same. Later calls raise ValueError."""
        self._ranker.close()

    def __enter__(self) -> CrossEncoder:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self._info
        return (f"CrossEncoder({info.model_path!r}, dtype={info.dtype!r}, "
                f"threads={info.threads}, max_length={info.max_length})")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._arguments, self.activation_fn)

    # ---- Inner parts --------------------------------------------------------

    def _read_info(self) -> Info:
        read = self._ranker.info()
        fields: dict[str, Any] = {}
        for name in Info.__dataclass_fields__:
            value = getattr(read, name)
            fields[name] = os.fsdecode(value) if isinstance(value, bytes) \
                else value
        fields["truncation"] = list(_library.TRUNCATIONS)[read.truncation]
        fields["model_activation"] = ACTIVATION_NAMES[read.model_activation]
        return Info(**fields)

    def _check_call(self, prompt_name: object, prompt: object,
                    batch_size: int, device: object, pool: object) -> None:
        if prompt_name is not None or prompt is not None:
            raise ArgumentError("prompts are not supported: put the text "
                                "before the query yourself")
        if batch_size <= 0:
            raise ArgumentError(
                f"batch_size must be a positive integer, got {batch_size}")
        if device is not None and str(device) != self.device:
            raise ArgumentError(
                f"device is {device}, but the model is open on {self.device}: "
                "open another CrossEncoder(device=...)")
        if pool is not None:
            raise ArgumentError("pool is not supported: one CrossEncoder uses "
                                "all its threads for every call")

    def _score(self, pairs: Sequence[tuple[str, str]],
               show_progress_bar: bool | None) -> Scores:
        if show_progress_bar is None:
            show_progress_bar = logger.getEffectiveLevel() in (
                logging.INFO, logging.DEBUG)
        return self._in_steps(
            len(pairs),
            lambda: np.fromiter((len(query) + len(passage)
                                 for query, passage in pairs), float),
            lambda first, end: self._ranker.logits(
                pairs, first, end, self._info.n_labels), show_progress_bar)

    def _predict_at(self, table: NDArray[np.uintp]) -> Scores:
        """``predict`` of texts in memory that the caller keeps: a row of the
        table is address and bytes of a query, then of a passage."""
        logits = self._in_steps(
            len(table),
            lambda: table[:, 1].astype(float) + table[:, 3].astype(float),
            lambda first, end: self._ranker.logits_at(
                table[first:end], self._info.n_labels), False)
        return self._activate(None, logits)

    def _first_budget(self) -> float:
        info = self._info
        weights = info.n_layers * info.hidden_size * (
            4 * info.hidden_size + 2 * info.intermediate_size)
        return FIRST_STEP * info.threads * min(1.0, SMALL_MODEL / weights)

    def _in_steps(self, n: int,
                  lengths_of: Callable[[], NDArray[np.float64]],
                  logits_of: Callable[[int, int], Scores],
                  show_progress_bar: bool) -> Scores:
        budget, first, spent = self._first_budget(), 0, 0.0
        logits = np.empty((n, self._info.n_labels), np.float32)
        if n * (MAX_PAIR_CHARACTERS + PAIR_COST) <= budget:
            costs = np.arange(1.0, n + 1)  # one step, however long they are
        else:
            costs = np.cumsum(
                np.minimum(lengths_of(), MAX_PAIR_CHARACTERS) + PAIR_COST)
        with _progress(n, show_progress_bar) as bar:
            while first < n:
                end = int(np.searchsorted(costs, spent + budget, "right"))
                end = max(end, first + 1)
                start = time.perf_counter()
                logits[first:end] = logits_of(first, end)
                seconds = max(time.perf_counter() - start, 1e-9)
                bar.update(end - first)
                cost = float(costs[end - 1]) - spent
                budget = min(cost / seconds * SECONDS_A_STEP,
                             GROWTH * max(budget, cost))
                first, spent = end, float(costs[end - 1])
        return logits if self._info.n_labels > 1 else logits[:, 0]

    def _check_activation(self, activation: object) -> None:
        if isinstance(activation, str):
            if activation != "identity" \
                    and activation not in _library.ACTIVATIONS:
                raise ArgumentError(
                    f"activation_fn is {activation!r}, it must be a callable "
                    "or one of model, identity, none, sigmoid, tanh")
        elif not callable(activation):
            raise TypeError(
                "activation_fn must be a name or a callable, got "
                f"{type(activation).__name__}")

    def _named(self, activation: Activation) -> str | None:
        """Its name in the C library, None for a callable of the user's."""
        if isinstance(activation, str):
            if activation == "model":
                return self._info.model_activation
            return "none" if activation == "identity" else activation
        kind = type(activation)
        if kind.__module__.startswith("torch.nn."):
            return TORCH_ACTIVATIONS.get(kind.__name__)
        return None

    def _activate(self, activation: Activation | None,
                  logits: Scores) -> Scores:
        if activation is None:
            activation = self.activation_fn
        self._check_activation(activation)
        name = self._named(activation)
        if name is not None:
            return activate(name, logits)
        return _call(cast("Callable[[Any], Any]", activation), logits)


def _reopen(arguments: Mapping[str, Any],
            activation_fn: Activation) -> CrossEncoder:
    encoder = CrossEncoder(**arguments)
    encoder.activation_fn = activation_fn
    return encoder


def _options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a cr_options; logits are asked for, since each call may
    have an activation of its own."""
    model = arguments["model"]
    if model is None:
        model = _library.default_model()
    truncation = arguments["truncation"]
    if truncation not in _library.TRUNCATIONS:
        raise ArgumentError(f"truncation is {truncation!r}, it must be one of "
                            + ", ".join(_library.TRUNCATIONS))
    options = {"model": os.fsencode(model),
               "truncation": _library.TRUNCATIONS[truncation],
               "activation": _library.ACTIVATIONS["none"]}
    for name in ("threads", "max_length"):
        value = arguments[name] or 0
        if not 0 <= value < 2**32:
            raise ArgumentError(f"{name} is {value}, it must be 0 to 2**32 - 1")
        options[name] = value
    for name in ("dtype", "device", "backend", "isa"):
        if arguments[name] is not None:
            options[name] = arguments[name].encode()
    for name, value in options.items():
        if isinstance(value, bytes) and b"\0" in value:
            raise ArgumentError(f"{name} is {os.fsdecode(value)!r}, it must "
                                "hold no NUL")
    return options


def _read_pairs(inputs: Any) -> tuple[list[tuple[str, str]], bool]:
    """The pairs, and whether a single one was given."""
    if isinstance(inputs, np.ndarray):
        inputs = inputs.tolist()
    if isinstance(inputs, (str, bytes, Mapping)):
        raise TypeError("inputs must be a pair of two strings, or pairs, got "
                        f"a {type(inputs).__name__}")
    if not isinstance(inputs, (list, tuple)):
        inputs = list(inputs)
    is_single = len(inputs) > 0 and isinstance(inputs[0], str)
    pairs = [inputs] if is_single else inputs
    return [_read_pair(pair, i) for i, pair in enumerate(pairs)], is_single


def _read_pair(pair: Any, index: int) -> tuple[str, str]:
    if not isinstance(pair, (str, bytes)):
        try:
            query, passage = pair
        except (TypeError, ValueError):
            pass
        else:
            if isinstance(query, str) and isinstance(passage, str):
                return query, passage
    raise TypeError(f"pair {index} must be two strings (query, passage), got "
                    f"{_picture(pair)}")


def _picture(pair: Any) -> str:
    if isinstance(pair, (list, tuple)):
        return f"({', '.join(type(part).__name__ for part in pair)})"
    return f"a {type(pair).__name__}"


def _is_of_torch(torch: Any, activation: object) -> bool:
    """A module, or a function such as torch.sigmoid: both want tensors."""
    if isinstance(activation, torch.nn.Module):
        return True
    places = [getattr(activation, "__module__", None),
              getattr(getattr(activation, "__self__", None), "__module__", None)]
    return any(str(place).split(".")[0] == "torch" for place in places)


def _call(activation: Callable[[Any], Any], logits: Scores) -> Scores:
    """What a callable makes of the logits, which it gets as [pairs, labels]."""
    if len(logits) == 0:
        return logits
    rows: Any = logits.reshape(len(logits), -1).copy()
    torch = sys.modules.get("torch")
    if torch is not None and _is_of_torch(torch, activation):
        with torch.inference_mode():
            result = activation(torch.from_numpy(rows)).cpu().numpy()
    else:
        result = activation(rows)
    scores = np.ascontiguousarray(result, np.float32)
    if scores.ndim == 0 or len(scores) != len(logits):
        raise ValueError(f"activation_fn returned the shape {scores.shape} "
                         f"for {len(logits)} pairs")
    if logits.ndim == 1 and scores.ndim > 1 and scores.shape[-1] == 1:
        scores = scores.squeeze(-1)
    return scores


def _softmax(scores: Scores) -> Scores:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return cast("Scores", raised / raised.sum(axis=1, keepdims=True))


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise ImportError(
            "convert_to_tensor=True and convert_to_numpy=False return torch "
            "tensors, and torch is not installed: leave them out to get numpy "
            "arrays, or pip install torch") from None


class _Lines:
    """Progress without tqdm: one line on standard error."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total, self.shown, self.done = total, shown, 0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            sys.stderr.write("\n")

    def update(self, n: int) -> None:
        self.done += n
        if self.shown:
            sys.stderr.write(f"\rcrossrank: {self.done} of {self.total} pairs")
            sys.stderr.flush()


def _progress(total: int, shown: bool) -> Any:
    if shown:
        try:
            tqdm = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            pass
        else:
            return tqdm(total=total, desc="Pairs", unit="pair")
    return _Lines(total, shown)
