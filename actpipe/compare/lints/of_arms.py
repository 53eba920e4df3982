"""Lints of one arm by itself. Thresholds are heuristics, not tuned."""

from __future__ import annotations

from collections.abc import Callable

from actpipe.analysis.statistics.intervals import FEW_SEEDS
from actpipe.compare.subjects import NATIVE

from .subject import Subject

UNEXPLAINED = 0.05  # FVU from which what is left out is worth a word
SELF_ABLATING, GATE, ABLATED = "self-ablating", "hook_gate", ".ablated."
CONTROLS = ("shuffled", "random_directions")


def _seeds(one: Subject) -> str | None:
    n = one.matched.seeds
    if n >= FEW_SEEDS:
        return None
    return f"Exploratory: {one.name} has {n} seed{'s' * (n > 1)}, and a claim needs {FEW_SEEDS}."


def _units_alone(one: Subject) -> str | None:
    if one.matched.seeds > 1:
        return None
    return f"Intervals of {one.name} are over units, not over seeds: they say nothing of another training."


def _controls(one: Subject) -> str | None:
    missing = [name for name in CONTROLS if name not in one.matched.controls]
    return f"{one.name} lacks the control {' and '.join(missing)}." if missing else None


def _unexplained(one: Subject) -> str | None:
    fvu = one.matched.fvu
    if fvu is None or fvu <= UNEXPLAINED:
        return None
    return f"{one.name} leaves {fvu:.0%} of the variance unexplained, and no score says anything of that part."


def _sampled(one: Subject) -> str | None:
    if one.matched.units >= one.matched.width:
        return None
    return f"Of {one.name} {one.matched.units:,} of {one.matched.width:,} units were analysed; its L0 is that of these."


def _stream(one: Subject) -> str | None:
    """Of a model with masks: whose units are they?"""
    masked = [ABLATED in hook for hook in one.matched.hooks]
    if any(masked) and not all(masked):
        return f"{one.name} mixes units of the stream with masks and of the one without."
    if SELF_ABLATING in one.matched.model_architectures and one.matched.architecture == NATIVE and not any(masked):
        return f"Units of {one.name} are of the stream without masks, which its training did not make sparse."
    return None


def _gates(one: Subject) -> str | None:
    gates = [hook for hook in one.matched.hooks if hook.endswith(GATE)]
    return f"{gates[0]} of {one.name} holds the scores of a mask, not activations." if gates else None


OF_ARMS: tuple[tuple[int, str, Callable[[Subject], str | None]], ...] = (
    (7, "what is not explained", _unexplained),
    (9, "some of the units", _sampled),
    (15, "controls missing", _controls),
    (16, "few seeds", _seeds),
    (17, "stream", _stream),
    (18, "mask", _gates),
    (28, "units alone", _units_alone),
)
