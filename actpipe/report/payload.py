"""What the page loads: scripts that hand gzipped JSON to `receive`, because a page opened from a file may not fetch.

Token text is data and may hold anything, `</script>` and bidirectional marks included: in base64 it can neither end a
script nor start markup, and the page only ever sets `textContent`.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .tables import Row

SHARD_UNITS = 64  # features a script; about 200 kB at 16 windows of 32 tokens
SNIPPET_BEFORE, SNIPPET_AFTER = 14, 8  # tokens around the peak of the strongest context, shown in the table
DIGITS = 4  # significant digits of every measurement in the page; the tables keep them all

# Columns of the feature table that the page shows, by the short names it uses in filters.
SCORES = {
    "density": "density",
    "max": "max",
    "mean": "mean_active",
    "entropy": "token_entropy",
    "tokens": "effective_tokens",
    "purity": "purity",
    "specificity": "specificity",
    "r2": "token_r2",
}


# Metrics of scores.parquet that stand in the table, by their short names.
UNIT_SCORES = {"rules": "rules_f1_std", "concept": "concept_f1_std", "ms": "ms_c"}


def data_script(key: str, value: Any) -> bytes:
    """The file `data/KEY.js`; keys are ours, never text of a corpus."""
    return f'receive("{key}","{packed(value)}");\n'.encode("ascii")


def packed(value: Any) -> str:
    """gzip of JSON in base64; the same value gives the same text."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")


def number(value: float | None) -> float | int | None:
    """Integers as they are, others with DIGITS significant digits; what JSON cannot say (NaN, infinite) is None."""
    if value is None or isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded


def numbers(values: Iterable[float | None]) -> list[float | int | None]:
    return [number(value) for value in values]


class Vocabulary:
    """Collects the tokens the page needs, so that it loads these and not a quarter of a million."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._used: set[int] = set()

    def use(self, tokens: Iterable[int]) -> list[int]:
        ids = list(tokens)
        self._used.update(ids)
        return ids

    def script(self) -> dict[str, list[Any]]:
        known = sorted(token for token in self._used if 0 <= token < len(self._texts))
        return {"ids": known, "texts": [self._texts[token] for token in known]}


class Said(NamedTuple):
    """What scores say of the units of a member, by number."""

    texts: dict[int, str]  # rules in words
    concepts: dict[int, str]
    scores: dict[str, dict[int, float]]


def member_table(units: list[Row], best: dict[int, Row], vocabulary: Vocabulary, said: Said) -> dict[str, Any]:
    """Columns of the feature table; `best` is each feature's strongest context."""
    columns: dict[str, Any] = {short: numbers(unit[column] for unit in units) for short, column in SCORES.items()}
    for short, metric in UNIT_SCORES.items():
        columns[short] = numbers(said.scores[metric].get(unit["feature"]) for unit in units)
    columns["says"] = [said.texts.get(unit["feature"]) for unit in units]
    columns["feature"] = [unit["feature"] for unit in units]
    columns["count"] = [unit["count"] for unit in units]
    columns["top"] = [vocabulary.use(unit["top_tokens"] or ())[:3] for unit in units]
    columns["snippet"] = [_snippet(best.get(unit["feature"]), vocabulary) for unit in units]
    return columns


def _snippet(example: Row | None, vocabulary: Vocabulary) -> list[Any] | None:
    """[tokens, peak] around the peak of a context."""
    if example is None:
        return None
    start = max(0, example["peak"] - SNIPPET_BEFORE)
    tokens = example["tokens"][start : example["peak"] + 1 + SNIPPET_AFTER]
    return [vocabulary.use(tokens), example["peak"] - start]


def panel(unit: Row, bins: Sequence[int], examples: list[Row], vocabulary: Vocabulary, said: Said) -> dict[str, Any]:
    """Everything the panel of one feature shows that the table does not hold."""
    return {
        "bins": list(bins),
        "tokens": [vocabulary.use(unit["top_tokens"] or ()), numbers(unit["top_token_share"] or ())],
        "distinct": unit["distinct_tokens"],
        "up": _logits(unit, "top", vocabulary),
        "down": _logits(unit, "bottom", vocabulary),
        "neighbour": [unit["neighbour"], number(unit["neighbour_cosine"])],
        "moments": numbers(unit[f"{moment}_active"] for moment in ("std", "skew", "kurtosis")),
        "concept": said.concepts.get(unit["feature"]),
        "raw_r2": number(unit["token_r2_raw"]),
        "examples": [_context(example, vocabulary) for example in examples],
    }


def _logits(unit: Row, side: str, vocabulary: Vocabulary) -> list[Any] | None:
    tokens, values = unit[f"{side}_logit_tokens"], unit[f"{side}_logits"]
    return None if tokens is None or values is None else [vocabulary.use(tokens), numbers(values)]


def _context(example: Row, vocabulary: Vocabulary) -> list[Any]:
    """[document, sequence, position, peak, tokens, {index: activation}], zeros left out."""
    active = {str(i): number(a) for i, a in enumerate(example["activations"]) if a}
    place = [example["document"], example["sequence"], example["position"], example["peak"]]
    return [*place, vocabulary.use(example["tokens"]), active]
