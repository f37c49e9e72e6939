"""crossrank: exact scores of (query, passage) pairs from BERT cross-encoders.

>>> from crossrank import CrossEncoder
>>> encoder = CrossEncoder()
>>> encoder.predict([("who wrote Faust", "Faust is a play by Goethe.")]).shape
(1,)
>>> encoder.rank("who wrote Faust", ["Mozart was a composer.",
...     "Faust is a play by Goethe."])[0]["corpus_id"]
1
"""

from __future__ import annotations

from ._encoder import CrossEncoder, Encoding, Info
from ._errors import (ArgumentError, CrossrankError, FileError, InputError,
                      ModelError, OutOfMemoryError, UnavailableError,
                      UnsupportedModelError)
from ._library import lib as _lib
from ._library import names as _names

__all__ = ["ArgumentError", "CrossEncoder", "CrossrankError", "Encoding",
           "FileError", "Info", "InputError", "ModelError",
           "OutOfMemoryError", "UnavailableError", "UnsupportedModelError",
           "__version__", "backend_names", "isa_names"]

__version__: str = _lib.cr_version().decode()


def isa_names() -> list[str]:
    """Instruction sets that this machine and this build have, best first."""
    return _names("cr_isa_names")


def backend_names() -> list[str]:
    """Backends that this build has."""
    return _names("cr_backend_names")
