"""Logits → attention weights: softmax and the maps that can answer exactly zero.

One map a file; this list is what is known.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from actpipe.errors import Missing, Misuse

from .adaptive_entmax import AdaptiveEntmax
from .entmax import Entmax
from .kwta import KWTA
from .normaliser import Normaliser
from .rela import ReLA
from .relu import ReLU
from .softmax import Softmax
from .sparsemax import Sparsemax
from .statistical_topk import StatisticalTopK
from .topk import TopK

NORMALISERS: dict[str, type[Normaliser]] = {
    cls.name: cls
    for cls in (Softmax, TopK, StatisticalTopK, Sparsemax, Entmax, AdaptiveEntmax, ReLU, ReLA, KWTA)
}  # fmt: skip


def normaliser(text: str) -> Normaliser:
    """`entmax` or `entmax:alpha=1.7,warmup=0.2` → the map. `str()` of a map is such a text."""
    name, _, settings = text.partition(":")
    if name not in NORMALISERS:
        raise Missing(f"There is no attention map {name!r}; known: {', '.join(NORMALISERS)}.")
    cls = NORMALISERS[name]
    types: dict[str, Any] = {f.name: type(f.default) for f in fields(cls)}
    given: dict[str, float] = {}
    for setting in filter(None, settings.split(",")):
        key, _, value = setting.partition("=")
        if key not in types:
            known = f"it has {', '.join(types)}" if types else "it has none"
            raise Misuse(f"The attention map {name} has no setting {key!r}; {known}.")
        if key in given:
            raise Misuse(f"The attention map {text!r} sets {key} more than once.")
        try:
            given[key] = types[key](value)
        except ValueError:
            raise Misuse(f"{key} of the attention map {name} is a number, not {value!r}.") from None
    return cls(**given)


__all__ = ["NORMALISERS", "Normaliser", "normaliser"]
