"""What a model wrote → the answer it was asked for, or None. Nothing is filled in, cut off or guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .machine_rules import lexicon_of
from .questions import Explanation

MOST_LETTERS = 400  # of an explanation: 30 words, and some models cannot count


def json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in it: models write before and after, and fence it."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def labels(text: str, n: int) -> tuple[float, ...] | None:
    found = (json_object(text) or {}).get("labels")
    return _numbers(found, n, most=1) if _are_whole(found) else None


def activations(text: str, n: int) -> tuple[float, ...] | None:
    return _numbers((json_object(text) or {}).get("activations"), n, most=10)


def choice(text: str, options: Sequence[str]) -> int | None:
    """As JSON, or as the bare option."""
    found = (json_object(text) or {}).get("choice", text.strip().rstrip("."))
    return list(options).index(found) if isinstance(found, str) and found in options else None


def explanation(text: str, source: str) -> Explanation | None:
    found = json_object(text) or {}
    said = found.get("explanation")
    if not isinstance(said, str) or not said.strip() or len(said) > 4 * MOST_LETTERS:
        return None
    return Explanation(" ".join(said.split())[:MOST_LETTERS], lexicon_of(found.get("words")), source)


def _are_whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)


def _numbers(values: Any, n: int, *, most: float) -> tuple[float, ...] | None:
    if not isinstance(values, list) or len(values) != n:
        return None
    if not all(type(value) in (int, float) and 0 <= value <= most for value in values):
        return None
    return tuple(float(value) for value in values)
