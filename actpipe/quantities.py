"""Numbers as people write and read them: `500k`, `2M`, `1e6`, `20GB`."""

from __future__ import annotations

import math
import re

from actpipe.errors import Misuse

_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_BYTES = {"": 1, "b": 1} | {f"{p}b": 10 ** (3 * i) for i, p in enumerate("kmgt", 1)}
_BYTES |= {f"{p}ib": 2 ** (10 * i) for i, p in enumerate("kmgt", 1)}
_QUANTITY = re.compile(r"([0-9_]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)")


def parse_count(text: str) -> int:
    """`500k` → 500000."""
    return _parse(text, _COUNTS, "a count such as 500k, 2M or 1e6")


def parse_bytes(text: str) -> int:
    """`20GB` → 20 · 10⁹, `20GiB` → 20 · 2³⁰."""
    return _parse(text, _BYTES, "a size such as 500MB, 20GB or 2TiB")


def _parse(text: str, units: dict[str, int], wanted: str) -> int:
    match = _QUANTITY.fullmatch(text.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise Misuse(f"{text!r} is not {wanted}.")
    value = float(match[1].replace("_", "")) * unit
    if not math.isfinite(value) or value != round(value):
        raise Misuse(f"{text!r} is not {wanted}.")
    return round(value)


def readable_count(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"


def readable_bytes(number: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} bytes"


def readable_seconds(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
