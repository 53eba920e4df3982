"""Counting the bits of a word, inside loops that are compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import compiled


@compiled
def ones(word: Any) -> Any:
    """How many bits of 64 are set; LLVM knows the pattern and makes the processor's own instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@compiled
def lowest(word: Any) -> Any:
    """The place of the lowest bit that is set, of a word that is not 0: how many zeros stand below it."""
    return ones(~word & (word - np.uint64(1)))
