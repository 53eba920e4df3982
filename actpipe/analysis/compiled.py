"""Loops over firings, compiled: what every one of hundreds of millions of firings passes through.

A function marked `compiled` is plain Python over numpy arrays, compiled when it is first called and kept beside the
source after that. It releases the interpreter's lock, so the sets of units of an analysis run on all cores. Only loops
belong into it; why and when: docs/decisions/0016-numba.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(loop: F) -> F:
    # Not fastmath: sums keep their order, so results are the same on every machine.
    options = {"nogil": True, "error_model": "numpy"}
    try:
        made: F = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # neither the package's folder nor the user's can be written: compiled by each process anew
        made = numba.njit(**options)(loop)
    return made
