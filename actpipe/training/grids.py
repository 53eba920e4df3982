"""Grids as people type them, `0.5:10:8` (logarithmic) or `1,2,5` (a list), and those that nobody typed."""

from __future__ import annotations

import math
from pathlib import Path

from actpipe.errors import Misuse

from .config import DERIVED, Values

AUTO = "auto"  # what a flag stands for without a value
DERIVED_MEMBERS = 6
LARGEST_GRID = 10_000  # members of a run: what is more is a slip of the hand, and planning it would fill the memory
# Rows are scaled to E‖x‖² = d. Of L0 equal terms each has length √(d / L0), and the penalty removes a term once l1 / 2
# exceeds that: useful weights grow with √d. Measured on nine hooks of two models (residual, MLP and attention, d 64 to
# 1536; docs/log.md): L0 between 40 and 120 at the lower end and between 5 and 15 at the upper, on every one.
LOWEST_PER_ROOT_D, HIGHEST_PER_ROOT_D = 1 / 24, 1 / 3
# Numbers of active features that people train for; those above a quarter of the width describe rows densely.
ACTIVE = (8, 16, 32, 64, 128)


def parse_grid(text: str, flag: str) -> Values:
    """The values of a grid, or DERIVED for `auto`; `flag` is what messages call it."""
    if text == AUTO:
        return DERIVED
    _refuse_a_store(text, flag)
    values = _range(text, flag) if ":" in text else tuple(_rounded(_number(part, text, flag)) for part in _parts(text))
    if len(set(values)) < len(values):
        raise Misuse(f"{flag} {text} names the same value twice; two members would be identical.")
    return values


def l1_grid(d: int, members: int = DERIVED_MEMBERS) -> Values:
    """Penalties for rows of `d` numbers, from dense and faithful to sparse and lossy."""
    low, high = LOWEST_PER_ROOT_D * math.sqrt(d), HIGHEST_PER_ROOT_D * math.sqrt(d)
    return tuple(float(f"{value:.3g}") for value in geometric(low, high, members))


def active_grid(d: int) -> Values:
    """Numbers of active features for rows of `d` numbers."""
    return tuple(float(k) for k in ACTIVE if 4 * k <= d) or (float(max(1, d // 4)),)


def geometric(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)] if count > 1 else [low]


def _parts(text: str) -> list[str]:
    return text.strip().split(",")


def _range(text: str, flag: str) -> Values:
    parts = text.split(":")
    if len(parts) != 3:
        raise Misuse(f"{flag} {text} is not LOW:HIGH:COUNT, for example 0.5:10:8.")
    low, high = _number(parts[0], text, flag), _number(parts[1], text, flag)
    if not parts[2].isdecimal() or int(parts[2]) < 1:
        raise Misuse(f"{flag} {text}: {parts[2]!r} is not a number of members; write LOW:HIGH:COUNT.")
    if int(parts[2]) > LARGEST_GRID:
        raise Misuse(f"{flag} {text} asks for {parts[2]} members; at most {LARGEST_GRID:,} are trained in one run.")
    if not 0 < low <= high:
        raise Misuse(f"{flag} {text}: a logarithmic grid needs 0 < LOW ≤ HIGH; give zero in a list, as in 0,1,2.")
    return tuple(_rounded(value) for value in geometric(low, high, int(parts[2])))


def _rounded(value: float) -> float:
    """To the digits that a member's name shows, so that different members have different names."""
    return float(f"{value:.6g}")


def _number(text: str, whole: str, flag: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise Misuse(
            f"{flag} {whole}: {text.strip()!r} is not a number from 0 up. Write LOW:HIGH:COUNT or a list A,B,C."
        )
    return value


def _refuse_a_store(text: str, flag: str) -> None:
    """`--l1-sweep notes.zarr`: the flag may go without a value, so it takes whatever stands behind it."""
    if not text.strip():
        return
    if "://" in text or text.rstrip("/").endswith(".zarr") or Path(text).exists():
        raise Misuse(
            f"{flag} took {text!r}, which is no grid. Name the store first, as in `actpipe train-sae {text} {flag}`, "
            f"or give the grid too: `{flag} {AUTO} {text}`."
        )
