"""An open ranker of the C library: closed once, never while in use, opened
anew after a fork.

The C library lets any number of threads score at once but wants
cr_ranker_close to be alone; a counter keeps that. Its own threads do not
survive a fork, so the child opens the same model again when it first calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _library
from ._errors import InputError
from ._library import check, lib

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Locks that another thread held during a fork stay held in the child.
_opening = threading.Lock()


def _after_fork() -> None:
    global _opening
    _opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Handle:
    """One cr_ranker of one process."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = _library.Options(struct_bytes=ctypes.sizeof(_library.Options))
        for name, value in options.items():
            setattr(given, name, value)
        pointer, error = ctypes.c_void_p(), _library.Error()
        self.pid = os.getpid()
        check(lib.cr_ranker_open(given, pointer, error), error)
        self.pointer = pointer
        self.n_users = 0
        self.idle = threading.Condition()
        # Not at exit: a thread may still be scoring, and the system frees all.
        self.closer = weakref.finalize(self, _close, pointer, self.pid)
        self.closer.atexit = False

    def close(self) -> None:
        with self.idle:
            self.idle.wait_for(lambda: self.n_users == 0)
            self.closer()


def _close(pointer: ctypes.c_void_p, pid: int) -> None:
    # In a forked child the threads that closing waits for do not exist.
    if os.getpid() == pid:
        lib.cr_ranker_close(pointer)


class Ranker:
    """Logits of pairs, tokens of pairs, facts: what CrossEncoder stands on."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._handle: _Handle | None = _Handle(options)

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and handle.pid == os.getpid():
            handle.close()

    def _current(self) -> _Handle:
        handle = self._handle
        if handle is not None and handle.pid != os.getpid():
            with _opening:
                handle = self._handle
                if handle is not None and handle.pid != os.getpid():
                    handle = self._handle = _Handle(self._options)
        if handle is None:
            raise ValueError("this CrossEncoder is closed")
        return handle

    @contextlib.contextmanager
    def _use(self) -> Iterator[ctypes.c_void_p]:
        handle = self._current()
        with handle.idle:
            if not handle.closer.alive:
                raise ValueError("this CrossEncoder is closed")
            handle.n_users += 1
        try:
            yield handle.pointer
        finally:
            with handle.idle:
                handle.n_users -= 1
                handle.idle.notify_all()

    def info(self) -> _library.Info:
        info = _library.Info()
        with self._use() as pointer:
            lib.cr_ranker_read_info(pointer, info, ctypes.sizeof(info))
        return info

    def label_names(self, n_labels: int) -> list[str]:
        with self._use() as pointer:
            return [lib.cr_label_name(pointer, i).decode()
                    for i in range(n_labels)]

    def logits(self, pairs: Sequence[tuple[str, str]], first: int, end: int,
               n_labels: int) -> NDArray[np.float32]:
        """[pairs, labels] of pairs[first:end], as the C library gives them."""
        data, table = _pack(pairs, first, end)
        out = self.logits_at(table, n_labels)
        del data  # The table points into it.
        return out

    def logits_at(self, table: NDArray[np.uintp],
                  n_labels: int) -> NDArray[np.float32]:
        """Of texts that the caller keeps: a row of the table [pairs, 4], in C
        order, is a cr_pair."""
        out = np.empty((len(table), n_labels), np.float32)
        error = _library.Error()
        with self._use() as pointer:
            status = lib.cr_score_labels(pointer, table.ctypes.data,
                                         len(table), n_labels,
                                         out.ctypes.data, error)
        check(status, error)
        return out

    def encoding(self, query: str, passage: str) -> dict[str, Any]:
        """The fields of a cr_encoding and the vocabulary's texts."""
        data, table = _pack([(query, passage)], 0, 1)
        pair = _library.Pair.from_address(table.ctypes.data)
        found = ctypes.POINTER(_library.Encoding)()
        error = _library.Error()
        with self._use() as pointer:
            check(lib.cr_tokenize(pointer, pair, found, error), error)
            del data  # The pair points into it.
            try:
                encoding = found.contents
                n = encoding.n_tokens
                ids = encoding.ids[:n]
                return {
                    "ids": ids,
                    "type_ids": encoding.type_ids[:n],
                    "offsets": [tuple(o) for o in encoding.offsets[:n]],
                    "tokens": [_text(lib.cr_token_text(pointer, i))
                               for i in ids],
                    "n_truncated": encoding.n_truncated,
                }
            finally:
                lib.cr_encoding_free(found)


def _text(text: _library.Text) -> str:
    if not text.len:
        return ""
    return ctypes.string_at(text.data, text.len).decode(errors="replace")


def _encode(text: str, index: int, side: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"pair {index}: the {side} is no Unicode text: a lone surrogate "
            f"U+{ord(text[error.start]):04X} at {error.start}: replace it, "
            "for example by text.encode(errors='replace').decode()"
        ) from None


def _pack(pairs: Sequence[tuple[str, str]], first: int,
          end: int) -> tuple[bytes, NDArray[np.uintp]]:
    """All texts end to end, and a cr_pair a row that points into them."""
    texts: list[bytes] = []
    rows: list[tuple[int, int, int, int]] = []
    at = query_at = query_bytes = 0
    last: str | None = None
    for index in range(first, end):
        query, passage = pairs[index]
        if query is not last:
            texts.append(_encode(query, index, "query"))
            query_at, query_bytes, last = at, len(texts[-1]), query
            at += query_bytes
        texts.append(_encode(passage, index, "passage"))
        rows.append((query_at, query_bytes, at, len(texts[-1])))
        at += len(texts[-1])
    data = b"".join(texts)
    table = np.array(rows, np.uintp).reshape(-1, 4)
    table[:, 0::2] += np.uintp(
        ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0)
    return data, table


def activate(name: str, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of the logits, to the bit as the C library makes them."""
    out = np.array(logits, np.float32, order="C")
    error = _library.Error()
    check(lib.cr_apply_activation(_library.ACTIVATIONS[name], out.ctypes.data,
                                  out.size, error), error)
    return out
