"""`--l1-sweep`: the grid of L1 weights, as typed or derived from the store."""

from __future__ import annotations

import math

from actpipe.errors import Misuse

DERIVED = "auto"
DERIVED_MEMBERS = 6
# Rows are scaled to E‖x‖² = d. Of L0 equal terms each has length √(d / L0), and the penalty removes a term once l1 / 2
# exceeds that: useful weights grow with √d. Measured on the residual stream of SmolLM2 (d 576, 300k rows): l1 1 gives
# L0 193 and FVU 0.16, l1 8 gives L0 26 and FVU 0.41 (docs/log.md); the ends of the grid are these two, scaled.
LOWEST_PER_ROOT_D, HIGHEST_PER_ROOT_D = 1 / 24, 1 / 3


def parse_l1_sweep(text: str) -> tuple[float, ...] | None:
    """`1e-2:10:8` (logarithmic), `1,2,5` (a list), or None for `auto`: to be derived from the store."""
    if text == DERIVED:
        return None
    values = _range(text) if ":" in text else tuple(_rounded(_number(part, text)) for part in text.split(","))
    if len(set(values)) < len(values):
        raise Misuse(f"--l1-sweep {text} names the same value twice; two members would be identical.")
    return values


def derived_grid(d: int, members: int = DERIVED_MEMBERS) -> tuple[float, ...]:
    """Weights for rows of `d` numbers, from dense and faithful to sparse and lossy."""
    low, high = LOWEST_PER_ROOT_D * math.sqrt(d), HIGHEST_PER_ROOT_D * math.sqrt(d)
    return tuple(float(f"{value:.3g}") for value in _geometric(low, high, members))


def _range(text: str) -> tuple[float, ...]:
    parts = text.split(":")
    if len(parts) != 3:
        raise Misuse(f"--l1-sweep {text} is not LOW:HIGH:COUNT, for example 0.5:10:8.")
    low, high = _number(parts[0], text), _number(parts[1], text)
    if not parts[2].isdecimal() or int(parts[2]) < 1:
        raise Misuse(f"--l1-sweep {text}: {parts[2]!r} is not a number of members; write LOW:HIGH:COUNT.")
    count = int(parts[2])
    if not 0 < low <= high:
        raise Misuse(f"--l1-sweep {text}: a logarithmic grid needs 0 < LOW ≤ HIGH; give zero in a list, as in 0,1,2.")
    return tuple(_rounded(value) for value in _geometric(low, high, count))


def _rounded(value: float) -> float:
    """To the digits that a member's name shows, so that different members have different names."""
    return float(f"{value:.6g}")


def _geometric(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)] if count > 1 else [low]


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise Misuse(
            f"--l1-sweep {whole}: {text.strip()!r} is not a number from 0 up. Write LOW:HIGH:COUNT or a list A,B,C."
        )
    return value
