"""Rows of the tables, collected one estimate after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from .bootstrap import Estimate
from .schemas import SCHEMAS

WHOLE = -1  # unit of a curve that is of the whole set


@dataclass(frozen=True)
class Records:
    kept: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in SCHEMAS})

    def unit(self, unit: int, metric: str, estimate: Estimate) -> None:
        self.kept["effects"].append({"unit": unit, "metric": metric, **_numbers(estimate)})

    def units(self, numbers: Any, metric: str, estimates: Estimate) -> None:
        """`estimates` of shape [len(numbers)]."""
        for i, unit in enumerate(np.asarray(numbers).tolist()):
            self.unit(unit, metric, estimates.at(i))

    def whole(self, metric: str, estimate: Estimate, *, arm: str = "units") -> None:
        self.kept["fidelity"].append({"metric": metric, "arm": arm, **_numbers(estimate)})

    def splice(self, member: str | None, hook: str, metric: str, estimate: Estimate) -> None:
        self.kept["splices"].append({"member": member, "hook": hook, "metric": metric, **_numbers(estimate)})

    def point(self, kind: str, arm: str, *, step: float, x: float, y: Estimate, unit: int = WHOLE) -> None:
        numbers = _numbers(y)
        place = {"unit": unit, "kind": kind, "arm": arm, "step": step, "x": x, "y": numbers.pop("value")}
        self.kept["curves"].append(place | numbers)

    def tables(self) -> dict[str, pa.Table]:
        return {name: pa.Table.from_pylist(rows, schema=SCHEMAS[name]) for name, rows in self.kept.items()}


def _numbers(estimate: Estimate) -> dict[str, Any]:
    """NaN stays NaN: undefined is a value of its own, not a missing one."""
    numbers = {name: float(getattr(estimate, name)) for name in ("value", "low", "high")}
    return numbers | {"n": int(estimate.n)}
