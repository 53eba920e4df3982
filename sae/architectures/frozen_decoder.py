"""A control of `relu`: directions that nobody trained (Korznikov et al. 2026, arXiv 2602.14111)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sae.registry import register

from .relu import ReLU


@register("frozen_decoder")
@dataclass(frozen=True, kw_only=True)
class FrozenDecoder(ReLU):
    """As `relu`, W_dec staying as it was drawn: an encoder learns to use random directions."""

    buffers: ClassVar[tuple[str, ...]] = ("W_dec",)
