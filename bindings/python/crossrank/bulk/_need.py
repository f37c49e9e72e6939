"""Packages that only bulk scoring needs, which pip install crossrank leaves
out; missing ones are named with the extra that brings them."""

from __future__ import annotations

import importlib
from typing import Any

from .._errors import UnavailableError


def need(module: str, extra: str) -> Any:
    """The module, or UnavailableError with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnavailableError(
            f"cannot import {module}: {error}; "
            f"pip install 'crossrank[{extra}]'") from None
