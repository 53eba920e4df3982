"""What the page loads: scripts that hand gzipped JSON to `receive`, because a page opened from a file may not fetch.

Token text is data and may hold anything, `</script>` and bidirectional marks included: in base64 it can neither end a
script nor start markup, and the page only ever sets `textContent`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

GZIP = 4  # level: half the time of the usual 6 for files a twentieth larger
DIGITS = 4  # significant digits of every measurement in the page; the tables keep them all


class Written(NamedTuple):
    """In place of a value whose file is written already."""

    digest: str


def write_script(folder: Path, key: str, value: Any) -> str:
    """Write the file `data/KEY.js` of a page and return its digest; keys are ours, never text of a corpus."""
    script = f'receive("{key}","{packed(value)}");\n'.encode("ascii")
    path = folder / "data" / f"{key}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(script)
    return hashlib.sha256(script).hexdigest()


def packed(value: Any) -> str:
    """gzip of JSON in base64; the same value gives the same text."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=GZIP, mtime=0)).decode("ascii")


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


def visible(text: str) -> str:
    """The text with a name in place of what a reader cannot see: control and format characters (bidirectional marks
    too), halves of pairs, separators of lines."""
    return text if text.isprintable() else "".join(map(_seen, text))


def _seen(letter: str) -> str:
    unseen = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return _NAMED.get(letter, f"⟨U+{ord(letter):04X}⟩") if unseen else letter


_NAMED = {"\n": "↵", "\t": "⇥", "\r": "␍"}


class Vocabulary:
    """Collects the tokens the page needs, so that it loads these and not a quarter of a million."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.used: set[int] = set()

    def use(self, tokens: Iterable[int]) -> list[int]:
        ids = list(tokens)
        self.used.update(ids)
        return ids

    def text(self, token: int) -> str:
        return visible(self._texts[token]) if 0 <= token < len(self._texts) else f"⟨token {token}⟩"

    def quoted(self, token: int) -> str:
        """Its text between backticks, as it stands in words."""
        return f"`{self.text(token).replace('`', '⟨U+0060⟩')}`"

    def script(self) -> dict[str, list[Any]]:
        known = sorted(token for token in self.used if 0 <= token < len(self._texts))
        return {"ids": known, "texts": [self.text(token) for token in known]}
