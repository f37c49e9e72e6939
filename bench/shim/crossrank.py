"""The least of a Python binding that the peer harness needs: ctypes, one class.

For measurements only, until bindings/python is installed: put this folder on
PYTHONPATH and the harness finds `import crossrank`. The library is build/.
"""
import ctypes
import os
from pathlib import Path

import numpy as np

BUILD = Path(os.environ.get("CROSSRANK_BUILD",
                            Path(__file__).parents[2] / "build"))


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class Pair(ctypes.Structure):
    _fields_ = [("query", Text), ("passage", Text)]


class Options(ctypes.Structure):
    _fields_ = [("struct_bytes", ctypes.c_size_t)] + [
        (name, ctypes.c_char_p)
        for name in ("model", "backend", "device", "dtype", "isa")] + [
        (name, ctypes.c_uint32) for name in ("threads", "max_length")] + [
        (name, ctypes.c_int) for name in ("truncation", "activation")]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("line", ctypes.c_uint64),
                ("column", ctypes.c_uint64), ("message", ctypes.c_char * 512)]


class CrossEncoder:
    """predict() gives raw logits, as the harness asks for them."""

    def __init__(self, model, dtype="auto", threads=0, max_length=0):
        self.lib = ctypes.CDLL(str(BUILD / "libcrossrank.so"))
        options = Options()
        self.lib.cr_options_init(ctypes.byref(options))
        options.model, options.dtype = str(model).encode(), dtype.encode()
        options.threads, options.max_length = threads, max_length
        options.activation = 1  # none
        self.ranker, self.error = ctypes.c_void_p(), Error()
        self.check(self.lib.cr_ranker_open(
            ctypes.byref(options), ctypes.byref(self.ranker),
            ctypes.byref(self.error)))

    def check(self, status):
        if status:
            raise RuntimeError(self.error.message.decode())

    def predict(self, pairs, **_):
        texts = [(q.encode(), p.encode()) for q, p in pairs]
        array = (Pair * len(texts))(*[Pair(Text(q, len(q)), Text(p, len(p)))
                                      for q, p in texts])
        scores = np.empty(len(texts), np.float32)
        self.check(self.lib.cr_score(
            self.ranker, array, ctypes.c_size_t(len(texts)),
            scores.ctypes.data_as(ctypes.c_void_p), ctypes.byref(self.error)))
        return scores
