"""A unit among the others of its dictionary: where each of its scores stands, and where chance stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .member_units import RULES, MemberUnits

Floats = NDArray[np.float64]

CONCEPT, R2 = "concept_f1_std", "token_r2"
BINS = 28
CHANCE = (10, 90)  # percentiles of a control between which its mark reaches


def two_digits(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def three_digits(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.1 else f"{100 * value:.2g}%"


@dataclass(frozen=True)
class Strip:
    title: str
    about: str
    of: Callable[[MemberUnits], Floats]
    write: Callable[[float], str]
    metric: str | None = None  # of scores.parquet, whose controls are marked
    column: str | None = None  # of controls.parquet, the same
    logarithmic: bool = False
    limits: tuple[float, float] | None = None  # of the axis; else what the units reach


STRIPS = (
    Strip("Rules, F1", "with 95 %", lambda u: u.scores[RULES], two_digits, RULES, limits=(0, 1)),
    Strip("Concept, F1", "of the best", lambda u: u.scores[CONCEPT], two_digits, CONCEPT, limits=(0, 1)),
    Strip("MonoSemanticity", "how alike its texts are", lambda u: u.scores["ms_c"], two_digits, "ms_c"),
    Strip("Vendi", "things its texts are about", lambda u: u.scores["vendi"], three_digits, "vendi"),
    Strip("Density", "share of tokens", lambda u: u.floats("density"), share, logarithmic=True),
    Strip("Token R²", "what the token decides", lambda u: u.floats(R2), two_digits, column=R2, limits=(0, 1)),
    Strip("Token entropy", "bits", lambda u: u.floats("token_entropy"), three_digits, column="token_entropy"),
    Strip("Maximum", "in the model’s units", lambda u: u.floats("max"), three_digits, logarithmic=True),
)  # fmt: skip


class Strips:
    """Of the units of one dictionary."""

    def __init__(self, units: MemberUnits) -> None:
        self._units = units
        drawn = [_Drawn(strip, units) for strip in STRIPS]
        self._drawn = [each for each in drawn if len(each.known)]

    def shared(self) -> list[dict[str, Any]]:
        """What is the same for all units: title, the shape of the distribution, the marks of the controls."""
        return [each.shared() for each in self._drawn]

    def of_unit(self, place: int) -> list[list[Any] | None]:
        """For each strip [text, per cent of the width, of its interval from, to, what it is above]; null: undefined."""
        return [each.mark(place) for each in self._drawn]


class _Drawn:
    def __init__(self, strip: Strip, units: MemberUnits) -> None:
        self.strip, self.units = strip, units
        self.values = strip.of(units)
        self.defined = np.array(units.columns["alive"], dtype=bool) & np.isfinite(self.values)
        self.known = np.sort(self._scaled(self.values[self.defined]))

    def _scaled(self, values: Floats) -> Floats:
        return np.log(np.maximum(values, 1e-12)) if self.strip.logarithmic else values

    @cached_property
    def _limits(self) -> tuple[float, float]:
        low, high = self.strip.limits or (float(self.known[0]), float(self.known[-1]))
        return low, max(high, low + 1e-9)

    def _percents(self, values: Floats) -> Floats:
        low, high = self._limits
        return np.round(100 * np.clip((self._scaled(values) - low) / (high - low), 0, 1), 1)

    def shared(self) -> dict[str, Any]:
        counts, _ = np.histogram(np.clip(self.known, *self._limits), BINS, self._limits)
        heights = np.ceil(100 * counts / max(int(counts.max()), 1))
        shape = _outline(heights.astype(int).tolist())
        return {"title": self.strip.title, "about": self.strip.about, "shape": shape, "controls": self._controls()}

    def _controls(self) -> list[list[Any]]:
        """[class of page.css, per cent of the width from, to, text] of each control."""
        found: dict[str, Floats] = {}
        if self.strip.metric is not None:
            found = {name: values for name, (_, values) in self.units.controls(self.strip.metric).items()}
        elif self.strip.column is not None:
            found = self.units.first_controls(self.strip.column)
        marks = []
        for i, (name, values) in enumerate(found.items()):
            reach = np.percentile(values, (CHANCE[0], CHANCE[1], 50))
            low, high, middle = (self.strip.write(value) for value in reach.tolist())
            said = f"{name.replace('_', ' ')}: {low} to {high}, median {middle}"
            marks.append([f"chance control-{i}", *self._percents(reach).tolist()[:2], said])
        return marks

    @cached_property
    def _marks(self) -> list[list[float]]:
        """[n, 4]: at, from, to, share of the units that it is above."""
        interval = self.units.interval if self.strip.metric == RULES else (self.values, self.values)
        sides = [np.where(np.isfinite(side), side, self.values) for side in interval]  # not known without `positions`
        above = np.searchsorted(self.known, self._scaled(self.values)) / max(len(self.known), 1)
        marks: list[list[float]] = np.stack(
            [*(self._percents(v) for v in (self.values, *sides)), above], axis=1
        ).tolist()
        return marks

    def mark(self, place: int) -> list[Any] | None:
        if not self.defined[place]:
            return None
        *where, above = self._marks[place]
        return [self.strip.write(float(self.values[place])), *where, f"above {above:.0%}"]


def _outline(heights: list[int]) -> str:
    """A histogram as a shape of CSS, in per cent of its box."""
    steps = [f"{100 * (i + side) / len(heights):.1f}% {100 - h}%" for i, h in enumerate(heights) for side in (0, 1)]
    return f"polygon(0% 100%, {', '.join(steps)}, 100% 100%)"
