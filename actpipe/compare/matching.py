"""What each arm is, side by side: the quantities in which arms must be alike before a difference means anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.statistics.measured import TOKEN_UNIT

from .arm import Arm
from .measures import HEADLINE


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Numbers are means over the members; None is not recorded. docs/reference/compare-format.md has the meanings."""

    arm: str
    report: str
    members: list[str]
    configuration: str
    hook: str
    architecture: str
    model: str | None
    dataset: str | None
    store: str
    tokenizer: str
    context: int
    tokens: int
    documents: int
    width: int
    units: int
    alive: float
    seeds: list[str]
    l0: float | None
    fvu: float | None
    delta_ce: float | None
    loss_recovered: float | None
    median_density: float | None
    token_units: float | None
    negative_units: float | None
    undefined: float | None
    controls: list[str]


def matched(arm: Arm) -> Matched:
    first, summary = arm.members[0], arm.summary
    density = np.concatenate([each.density for each in arm.measured])
    alive = density > 0
    return Matched(
        arm=arm.name,
        report=str(arm.report),
        members=[row["member"] for row in arm.members],
        configuration=arm.configuration,
        hook=first["hook"],
        architecture=first["architecture"],
        model=summary.get("model"),
        dataset=summary.get("dataset"),
        store=summary["store"]["fingerprint"],
        tokenizer=arm.tokenizer,
        context=summary["store"]["context"],
        tokens=summary["tokens"],
        documents=summary["documents"],
        width=first["width"],
        units=len(arm.measured[0].density),
        alive=float(alive.mean()) if len(alive) else 0.0,
        seeds=arm.seeds,
        l0=_mean(arm, "analysed_l0"),
        fvu=_mean(arm, "fvu"),
        delta_ce=_mean(arm, "delta_ce"),
        loss_recovered=_mean(arm, "loss_recovered"),
        median_density=float(np.median(density[alive])) if alive.any() else None,
        token_units=_share(np.concatenate([each.token_r2 for each in arm.measured]) > TOKEN_UNIT, alive),
        negative_units=arm.negative_units / int(alive.sum()) if alive.any() else None,
        undefined=_undefined(arm),
        controls=list(arm.controls),
    )


def _mean(arm: Arm, column: str) -> float | None:
    values = [row.get(column) for row in arm.members]
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _share(chosen: NDArray[np.bool_], alive: NDArray[np.bool_]) -> float | None:
    return float((chosen & alive).sum() / alive.sum()) if alive.any() else None


def _undefined(arm: Arm) -> float | None:
    """Of alive units, without the headline metric that most of them lack."""
    alive = np.concatenate([each.alive for each in arm.measured])
    shares = [
        _share(~np.isfinite(np.concatenate([each.values[name] for each in arm.measured])), alive)
        for name in HEADLINE
        if all(name in each.values for each in arm.measured)
    ]
    return max((share for share in shares if share is not None), default=None)


def matching_rows(arms: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table for a reader, from `arms` of compare.json: a column an arm, a row a quantity."""
    quantities: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "hook": lambda arm: _text(arm["hook"]),
        "architecture": lambda arm: _text(arm["architecture"]),
        "model": lambda arm: _text(arm["model"]),
        "text": lambda arm: f"{_text(arm['dataset'])} ({arm['store'][:8]})",
        "tokenizer": lambda arm: str(arm["tokenizer"][:8]),
        "tokens": lambda arm: f"{arm['tokens']:,}",
        "documents": lambda arm: f"{arm['documents']:,}",
        "seeds": lambda arm: str(len(arm["seeds"])),
        "units": lambda arm: f"{arm['units']:,} of {arm['width']:,}",
        "alive": lambda arm: f"{arm['alive']:.1%}",
        "L0": lambda arm: _text(arm["l0"]),
        "median density": lambda arm: _text(arm["median_density"]),
        "token units": lambda arm: _text(arm["token_units"]),
        "FVU": lambda arm: _text(arm["fvu"]),
        "ΔCE (nats)": lambda arm: _text(arm["delta_ce"]),
        "parameters": lambda arm: _text(None),
    }
    return [["", *(arm["arm"] for arm in arms)], *([name, *map(said, arms)] for name, said in quantities.items())]


def _text(value: str | float | None) -> str:
    if value is None:
        return "not recorded"
    return value if isinstance(value, str) else f"{value:.3g}"
