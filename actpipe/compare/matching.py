"""What each arm is, side by side: the quantities in which arms must be alike before a difference means anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.statistics.measured import TOKEN_UNIT

from .arm import Arm, pool
from .designs import parameters
from .measures import HEADLINE
from .stand import Stand
from .subjects import NATIVE
from .systems import ALL


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Over all levels, seeds and layers; None is not recorded. docs/reference/compare-format.md has the meanings."""

    arm: str
    twin: list[str]  # models of the untrained twin
    reports: list[str]
    members: list[str]
    levels: list[str]
    layers: list[str]
    hooks: list[str]
    architecture: str
    models: list[str]
    model_architectures: list[str]
    activations: list[str]
    parameters: list[int]
    trained_tokens: list[int]
    flops: list[float]
    dataset: str | None
    store: list[str]
    tokenizer: list[str]
    context: int
    tokens: int
    documents: int
    width: int
    units: int
    alive: float
    seeds: int
    loss: list[float]
    l0: list[float]
    scale: str | None
    fvu: float | None
    median_density: float | None
    token_units: float | None
    negative_units: float | None
    undefined: float | None
    controls: list[str]


def matched(stood: Stand) -> Matched:
    """Of an arm at all its layers."""
    arm, systems = stood.arm, stood.arm.systems
    rows = [row for system in systems for row in system.rows.values()]
    summary = systems[0].summary
    described = [system.described.get("model", {}) for system in systems]
    measured = [each for one in stood.pools for each in one.measured]
    density = np.concatenate([each.density for each in measured])
    alive = density > 0
    known = [each for each in stood.coordinates if each is not None]
    negative = sum(each.negative for system in systems for each in system.units.values())
    return Matched(
        arm=arm.name,
        twin=[] if arm.twin is None else _distinct(_model(system) for system in arm.twin.systems),
        reports=_distinct(str(system.report) for system in systems),
        members=_distinct(row["member"] for row in rows),
        levels=[level.name for level in arm.levels],
        layers=arm.layers,
        hooks=_distinct(row["hook"] for row in rows),
        architecture=rows[0]["architecture"],
        models=_distinct(_model(system) for system in systems),
        model_architectures=_distinct((each.get("architecture") or {}).get("name") for each in described),
        activations=_distinct((each.get("architecture") or {}).get("fields", {}).get("activation")
                              or (each.get("architecture") or {}).get("activation") for each in described),
        parameters=parameters(arm),
        trained_tokens=sorted({each["trained_tokens"] for each in described if each.get("trained_tokens")}),
        flops=_known_range(system.flops for system in systems),
        dataset=summary.get("dataset"),
        store=_distinct(system.summary["store"]["fingerprint"] for system in systems),
        tokenizer=_distinct(system.tokenizer for system in systems),
        context=summary["store"]["context"],
        tokens=summary["tokens"],
        documents=summary["documents"],
        width=sum(row["width"] for row in systems[0].rows.values()),
        units=len(measured[0].density),
        alive=float(alive.mean()) if len(alive) else 0.0,
        seeds=arm.seeds,
        loss=_range(each.loss for each in known),
        l0=_range(each.l0 for each in known),
        scale=known[0].scale if known else None,
        fvu=_mean(row.get("fvu") for row in rows),
        median_density=float(np.median(density[alive])) if alive.any() else None,
        token_units=_share(np.concatenate([each.token_r2 for each in measured]) > TOKEN_UNIT, alive),
        negative_units=negative / int(alive.sum()) if alive.any() else None,
        undefined=_undefined(arm),
        controls=list(stood.pools[0].controls),
    )  # fmt: skip


def _model(system: Any) -> str:
    return str(system.described.get("model", {}).get("name") or system.summary.get("model") or "")


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [value for value in dict.fromkeys(values) if value not in (None, "")]


def _range(values: Iterable[float]) -> list[float]:
    """Smallest and largest; empty where there is none."""
    known = list(values)
    return [min(known), max(known)] if known else []


def _known_range(values: Iterable[int | None]) -> list[float]:
    """Empty where one is not known."""
    found = list(values)
    return [] if None in found else _range(float(value) for value in found if value is not None)


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [float(value) for value in found if value is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


def _share(chosen: NDArray[np.bool_], alive: NDArray[np.bool_]) -> float | None:
    return float((chosen & alive).sum() / alive.sum()) if alive.any() else None


def _undefined(arm: Arm) -> float | None:
    """Of alive units, without the headline metric that most of them lack."""
    measured = [each for level in arm.levels for each in pool(level, ALL).measured]
    alive = np.concatenate([each.alive for each in measured])
    shares = [
        _share(~np.isfinite(np.concatenate([each.values[name] for each in measured])), alive)
        for name in HEADLINE
        if all(name in each.values for each in measured)
    ]
    return max((share for share in shares if share is not None), default=None)


def matching_rows(arms: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table for a reader, from `arms` of compare.json: a column an arm, a row a quantity."""
    quantities: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "models": lambda arm: _list(arm["models"]),
        "units": lambda arm: "the model's own" if arm["architecture"] == NATIVE else arm["architecture"],
        "layers": lambda arm: _list(arm["layers"]),
        "levels": lambda arm: _list(arm["levels"]),
        "seeds": lambda arm: str(arm["seeds"]),
        "text": lambda arm: f"{_text(arm['dataset'])}, {arm['tokens']:,} tokens, {arm['documents']:,} documents",
        "parameters beside the tables": lambda arm: _list(f"{n:,}" for n in arm["parameters"]),
        "tokens in training": lambda arm: _list(f"{n:,}" for n in arm["trained_tokens"]),
        "FLOPs in training": lambda arm: flops(arm["flops"]),
        "loss (nats)": lambda arm: ends(arm["loss"], ".3f") if arm["scale"] == "system" else "not recorded",
        "rise of the loss (nats)": lambda arm: "–" if arm["scale"] == "system" else ends(arm["loss"], ".3f"),
        "L0_eff": lambda arm: ends(arm["l0"], ".3g") if arm["scale"] == "system" else "not recorded",
        "number of units": lambda arm: f"{arm['units']:,} of {arm['width']:,}",
        "alive": lambda arm: f"{arm['alive']:.1%}",
        "median density": lambda arm: _text(arm["median_density"]),
        "token units": lambda arm: _text(arm["token_units"]),
        "FVU": lambda arm: "0" if arm["architecture"] == NATIVE else _text(arm["fvu"]),
        "untrained twin": lambda arm: _list(arm["twin"]),
    }
    return [["", *(arm["arm"] for arm in arms)], *([name, *map(said, arms)] for name, said in quantities.items())]


def flops(values: Sequence[float]) -> str:
    return ends(values, ".2e").replace("e+", "e") if values else "unknown"


def _text(value: str | float | None) -> str:
    if value is None:
        return "not recorded"
    return value if isinstance(value, str) else f"{value:.3g}"


def _list(values: Iterable[str]) -> str:
    return ", ".join(value for value in values if value) or "–"


def ends(values: Sequence[float], form: str) -> str:
    """`14 to 20`, `14`, or that it is not recorded."""
    said = list(dict.fromkeys(format(value, form) for value in values))
    return " to ".join(said) or "not recorded"
