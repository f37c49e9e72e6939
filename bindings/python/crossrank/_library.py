"""The C library through ctypes: its structures, its functions, where it is.

Every structure here mirrors one of crossrank.h; a test of the project compares
sizes, offsets and constants with a C compiler's. Calls release the GIL.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import sys
from ctypes import POINTER, c_char, c_char_p, c_float, c_int, c_size_t
from ctypes import c_uint8, c_uint32, c_uint64, c_void_p

from ._errors import BY_STATUS, CrossrankError

PACKAGE = pathlib.Path(__file__).resolve().parent
# Where this package stands in the project's source tree, or anywhere.
SOURCE_ROOT = PACKAGE.parent.parent.parent
DEFAULT_MODEL = "crossrank-minilm-l6"

OK = 0
TRUNCATIONS = {"longest_first": 0, "only_second": 1}
ACTIVATIONS = {"model": 0, "none": 1, "sigmoid": 2, "tanh": 3}


class Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("line", c_uint64), ("column", c_uint64),
                ("message", c_char * 512)]


class Options(ctypes.Structure):
    _fields_ = [("struct_bytes", c_size_t), ("model", c_char_p),
                ("backend", c_char_p), ("device", c_char_p),
                ("dtype", c_char_p), ("isa", c_char_p), ("threads", c_uint32),
                ("max_length", c_uint32), ("truncation", c_int),
                ("activation", c_int)]


class Info(ctypes.Structure):
    _fields_ = [("model_path", c_char_p), ("model_name", c_char_p),
                ("backend", c_char_p), ("device", c_char_p),
                ("dtype", c_char_p), ("isa", c_char_p), ("threads", c_uint32),
                ("max_length", c_uint32), ("n_layers", c_uint32),
                ("n_heads", c_uint32), ("hidden_size", c_uint32),
                ("intermediate_size", c_uint32), ("vocab_size", c_uint32),
                ("n_labels", c_uint32), ("truncation", c_int),
                ("activation", c_int), ("model_activation", c_int),
                ("weight_bytes", c_uint64), ("workspace_bytes", c_uint64),
                ("n_pairs_scored", c_uint64), ("n_pairs_cut", c_uint64),
                ("n_tokens_scored", c_uint64)]


class Text(ctypes.Structure):
    # Not c_char_p, which would stop at a NUL byte.
    _fields_ = [("data", c_void_p), ("len", c_size_t)]


class Pair(ctypes.Structure):
    _fields_ = [("query", Text), ("passage", Text)]


class Encoding(ctypes.Structure):
    _fields_ = [("n_tokens", c_size_t), ("ids", POINTER(ctypes.c_int32)),
                ("type_ids", POINTER(c_uint8)),
                ("offsets", POINTER(c_uint32 * 2)), ("n_truncated", c_size_t)]


def _file_name() -> str:
    return "libcrossrank.dylib" if sys.platform == "darwin" \
        else "libcrossrank.so"


def _places() -> list[str]:
    """Where to look, in order: what the environment names, the wheel's own,
    a build of the source tree that this file is in, the loader's folders."""
    named = os.environ.get("CROSSRANK_LIBRARY")
    if named:
        return [named]
    own = PACKAGE / _file_name()
    built = SOURCE_ROOT / "build" / _file_name()
    places = [str(path) for path in (own, built) if path.exists()]
    system = "libcrossrank.0.dylib" if sys.platform == "darwin" \
        else "libcrossrank.so.0"
    return places[:1] or [system]


def _open() -> ctypes.CDLL:
    place = _places()[0]
    try:
        return ctypes.CDLL(place)
    except OSError as error:
        raise ImportError(
            f"cannot load the C library of crossrank: {error}; install this "
            "package with pip, or name libcrossrank.so in CROSSRANK_LIBRARY"
        ) from error


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    error = POINTER(Error)
    for name, result, *arguments in (
            ("cr_version", c_char_p),
            ("cr_status_name", c_char_p, c_int),
            ("cr_isa_names", POINTER(c_char_p)),
            ("cr_backend_names", POINTER(c_char_p)),
            ("cr_ranker_open", c_int, POINTER(Options), POINTER(c_void_p),
             error),
            ("cr_ranker_close", None, c_void_p),
            ("cr_ranker_read_info", None, c_void_p, POINTER(Info), c_size_t),
            ("cr_score_labels", c_int, c_void_p, c_void_p, c_size_t, c_size_t,
             c_void_p, error),
            ("cr_label_name", c_char_p, c_void_p, c_uint32),
            ("cr_apply_activation", c_int, c_int, c_void_p, c_size_t, error),
            ("cr_tokenize", c_int, c_void_p, POINTER(Pair),
             POINTER(POINTER(Encoding)), error),
            ("cr_encoding_free", None, POINTER(Encoding)),
            ("cr_token_text", Text, c_void_p, ctypes.c_int32)):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


lib = _declare(_open())


def check(status: int, error: Error) -> None:
    """Raises what a status other than OK means."""
    if status == OK:
        return
    name = lib.cr_status_name(status).decode()
    raise BY_STATUS.get(name, CrossrankError)(
        error.message.decode(errors="replace"), error.line, error.column)


def names(function_name: str) -> list[str]:
    """A list of the C library that ends with NULL."""
    found: list[str] = []
    listed = getattr(lib, function_name)()
    while listed[len(found)] is not None:
        found.append(listed[len(found)].decode())
    return found


def _is_model(folder: pathlib.Path) -> bool:
    return (folder / "config.json").is_file()


def default_model() -> str:
    """The model where none is named: $CROSSRANK_MODEL, else the one in the
    wheel, in the source tree, or installed with the program."""
    named = os.environ.get("CROSSRANK_MODEL")
    if named:
        return named
    share = pathlib.Path("share/crossrank/models") / DEFAULT_MODEL
    places = [PACKAGE / "models" / DEFAULT_MODEL,
              SOURCE_ROOT / "models" / DEFAULT_MODEL,
              *(pathlib.Path(prefix) / share
                for prefix in (sys.prefix, "/usr/local", "/usr"))]
    for place in places:
        if _is_model(place):
            return str(place)
    raise BY_STATUS["CR_ERR_MODEL"](
        "no model: this installation holds none; name a model folder, or set "
        "CROSSRANK_MODEL")
