"""A control of `relu`: features that nobody trained to fire where they do (Korznikov et al. 2026, arXiv 2602.14111)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sae.registry import register

from .relu import ReLU


@register("frozen_encoder")
@dataclass(frozen=True, kw_only=True)
class FrozenEncoder(ReLU):
    """As `relu`, W_enc staying as it was drawn: how rarely a feature fires is learned, and what it writes then."""

    buffers: ClassVar[tuple[str, ...]] = ("W_enc",)
