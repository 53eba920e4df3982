"""An arm of a comparison: levels of sparsity, each with seeds, each with units in layers, and what is recorded of them.

A seed of a level is a system: units of one model and one dictionary seed, at every layer that was named. Models are
known by their order in the arm, so that the first model of one arm is drawn with the first of the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actpipe.analysis.statistics import Measured
from actpipe.errors import Damaged, Missing, Misuse
from actpipe.report.tables import ReportTables, Row

from .asked import Asked, Source
from .subjects import NATIVE, layer_of, level_of
from .systems import ALL, Found
from .units import MeasuredMember, measured_of


@dataclass(frozen=True, kw_only=True)
class System:
    report: Path
    summary: Mapping[str, Any]
    rows: Mapping[str, Row]  # layer → its row of members.parquet
    units: Mapping[str, MeasuredMember]  # layer → its units
    model: str  # its number in the arm
    dictionary: str
    sums: Found | None  # of systems.py; reports that were made before have none
    described: Mapping[str, Any]  # of the model; empty of such a report
    tokenizer: str
    flops: int | None = None  # of the training of its model and dictionaries; None: not known


@dataclass(frozen=True, kw_only=True)
class Level:
    name: str
    systems: tuple[System, ...]

    @property
    def layers(self) -> list[str]:
        return list(dict.fromkeys(layer for system in self.systems for layer in system.units))

    @property
    def flops(self) -> float | None:
        """Mean over its seeds."""
        known = [system.flops for system in self.systems if system.flops is not None]
        return float(np.mean(known)) if len(known) == len(self.systems) else None


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    levels: tuple[Level, ...]
    twin: Arm | None = None  # the same without training

    @property
    def systems(self) -> list[System]:
        return [system for level in self.levels for system in level.systems]

    @property
    def layers(self) -> list[str]:
        return list(dict.fromkeys(layer for level in self.levels for layer in level.layers))

    @property
    def seeds(self) -> int:
        """Of the highest kind with more than one: models, else dictionaries. The level with fewest decides."""
        return min(len(tops_of(level)) for level in self.levels)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The units of one level at one place: a set of units a seed."""

    measured: list[Measured]
    controls: dict[str, list[Measured]]  # control → of each seed one, in their order


def tops_of(level: Level) -> set[str]:
    models = {system.model for system in level.systems}
    return models if len(models) > 1 else {system.dictionary for system in level.systems}


def pool(level: Level, place: str) -> Pool:
    """`place`: a layer, or `all` of them side by side."""
    found = [_at(system, place) for system in level.systems if place == ALL or place in system.units]
    names = [name for name in found[0].controls if all(name in each.controls for each in found)] if found else []
    return Pool(
        measured=[each.own for each in found],
        controls={name: [each.controls[name] for each in found] for name in names},
    )


def _at(system: System, place: str) -> MeasuredMember:
    parts = list(system.units.values()) if place == ALL else [system.units[place]]
    names = [name for name in parts[0].controls if all(name in each.controls for each in parts)]
    return MeasuredMember(
        own=_side_by_side([each.own for each in parts]),
        controls={name: _side_by_side([each.controls[name] for each in parts]) for name in names},
        negative=sum(each.negative for each in parts),
    )


def _side_by_side(parts: Sequence[Measured]) -> Measured:
    first = parts[0]
    if len(parts) == 1:
        return first
    metrics = list(dict.fromkeys(name for each in parts for name in each.values))
    table = np.concatenate([each.table(metrics) for each in parts]) if metrics else np.zeros((0, 0))
    return Measured(
        member=first.member,
        configuration=first.configuration,
        dictionary=first.dictionary,
        model=first.model,
        control=first.control,
        same_units=first.same_units,
        values={name: table[:, i] for i, name in enumerate(metrics)},
        density=np.concatenate([each.density for each in parts]),
        mass=np.concatenate([each.mass for each in parts]),
        token_r2=np.concatenate([each.token_r2 for each in parts]),
    )


@dataclass(frozen=True)
class Opened:
    """A report, whoever made it."""

    folder: Path
    text: str  # what was asked for
    systems: Sequence[Mapping[str, Any]] | None  # as system.json names them; None: found in the report
    sums: Mapping[tuple[str, str], Found]
    described: Mapping[str, Any]
    chosen: str = ""


def opened(source: Source) -> Opened:
    return Opened(Path(source.place), source.text, None, {}, {}, source.chosen)


def opened_made(folder: Path, text: str) -> Opened:
    from .making import REPORT, SYSTEM, read_sums

    described = json.loads((folder / SYSTEM).read_text(encoding="utf-8"))
    return Opened(folder / REPORT, text, described["systems"], read_sums(folder), described)


def arm_of(asked: Asked, reports: Sequence[Opened], metrics: Sequence[str], twin: Arm | None = None) -> Arm:
    known: dict[str, list[System]] = {}
    for report in reports:
        for level, system in _systems(report, metrics):
            known.setdefault(level, []).append(system)
    levels = tuple(Level(name=name, systems=_numbered(systems)) for name, systems in _named(known).items())
    kinds = {next(iter(level.systems[0].rows.values()))["architecture"] for level in levels}
    if len(kinds) > 1:
        raise Misuse(
            f"{asked.name} mixes {' and '.join(sorted(kinds))}, and an arm is of one kind; name members, as in "
            f"{reports[0].text}:{next(iter(levels[0].systems[0].rows.values()))['member']}."
        )
    return Arm(name=asked.name, levels=levels, twin=twin)


def _numbered(systems: Sequence[System]) -> tuple[System, ...]:
    """Models by their order; dictionaries that are called alike but lie in different reports apart."""
    names = [str(each.described.get("model", {}).get("name") or each.summary.get("model") or "") for each in systems]
    order = list(dict.fromkeys(names))
    found: list[System] = []
    taken: set[tuple[str, str]] = set()
    for system, name in zip(systems, names, strict=True):
        model, dictionary = f"{order.index(name):03d}", system.dictionary
        while (model, dictionary) in taken:
            dictionary += "'"
        taken.add((model, dictionary))
        found.append(_seeded(system, model, dictionary))
    return tuple(found)


def _seeded(system: System, model: str, dictionary: str) -> System:
    def named(each: Measured) -> Measured:
        return replace(each, model=model, dictionary=dictionary)

    units = {
        layer: MeasuredMember(named(each.own), {name: named(one) for name, one in each.controls.items()}, each.negative)
        for layer, each in system.units.items()
    }
    return replace(system, model=model, dictionary=dictionary, units=units)


def _systems(report: Opened, metrics: Sequence[str]) -> list[tuple[str, System]]:
    if not (report.folder / "summary.json").is_file():
        raise Missing(f"There is no report at {report.folder}; run `actpipe analyze`.")
    try:
        return _read(report, metrics)
    except (pa.ArrowInvalid, KeyError) as error:
        raise Damaged(
            f"A table of {report.folder} cannot be read ({str(error).splitlines()[0]}); rebuild it with "
            "`actpipe analyze --overwrite`."
        ) from error


def _read(report: Opened, metrics: Sequence[str]) -> list[tuple[str, System]]:
    tables = ReportTables.open(report.folder)
    path = tables.folder / "parquet" / "means.parquet"
    if not path.is_file() or not tables.has("scores"):
        raise Missing(f"{tables.folder} has no scores; rebuild it with `actpipe analyze --overwrite`.")
    rows = pq.read_table(path, columns=["member", "configuration"], filters=[("level", "=", "member")])
    configurations = dict(zip(rows["member"].to_pylist(), rows["configuration"].to_pylist(), strict=True))
    tokenizer = hashlib.sha256("\0".join(tables.vocabulary).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    architecture = json.dumps(report.described.get("model", {}).get("architecture"), sort_keys=True)
    found = []
    for level, dictionary, members in _members(report, tables, configurations):
        units = {
            layer: measured_of(
                tables.folder, row, str(configurations.get(row["member"])), tables.summary.get("model"), metrics
            )
            for layer, row in members.items()
        }
        system = System(
            report=tables.folder,
            summary=tables.summary,
            rows=members,
            units=units,
            model="",
            dictionary=dictionary,
            sums=report.sums.get((level, dictionary)),
            described=report.described,
            tokenizer=tokenizer,
            flops=_flops(report, level, dictionary),
        )
        found.append((f"{level} {architecture}" if level == NATIVE else level, system))
    return found


def _flops(report: Opened, level: str, dictionary: str) -> int | None:
    of_dictionaries = [
        each.get("dictionary_flops")
        for each in report.systems or ()
        if (each["level"], each["dictionary"]) == (level, dictionary)
    ]
    parts = [report.described.get("model", {}).get("training_flops"), *of_dictionaries]
    return None if None in parts else sum(parts)


def _members(
    report: Opened, tables: ReportTables, configurations: Mapping[str, str]
) -> list[tuple[str, str, dict[str, Row]]]:
    """(level, dictionary seed, layer → row) of each system."""
    if report.systems is not None:
        rows = {row["member"]: row for row in tables.members}
        return [
            (each["level"], each["dictionary"], {layer: rows[name] for layer, name in each["members"].items()})
            for each in report.systems
        ]
    known = [row["member"] for row in tables.members]
    fitting = [name for name in known if fnmatchcase(name, report.chosen)] if "*" in report.chosen else []
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in tables.chosen(tuple(fitting) or ((report.chosen,) if report.chosen else ())):
        level = level_of(str(configurations.get(row["member"]) or row["member"]))
        seed, layer = str(row.get("seed") or 0), layer_of(row["hook"])
        while any(row["hook"] == other["hook"] for other in found.get((level, seed), {}).values()):
            seed += "'"  # of one seed and hook again: another system
        layers = found.setdefault((level, seed), {})
        layers[layer if layer not in layers else row["hook"]] = row
    return [(level, seed, layers) for (level, seed), layers in found.items()]


def _named(known: Mapping[str, list[System]]) -> dict[str, list[System]]:
    """Levels by what tells them apart: `k=8`, or nothing where there is one."""
    fields = {level: _flat(level) for level in known}
    differing = [
        name
        for name in reduce(lambda names, each: names | dict.fromkeys(each), fields.values(), dict[str, None]())
        if len({json.dumps(each.get(name)) for each in fields.values()}) > 1
    ]
    names = [", ".join(f"{name}={each.get(name):g}" if isinstance(each.get(name), float) else f"{name}={each.get(name)}"
                       for name in differing) for each in fields.values()]  # fmt: skip
    if len(set(names)) < len(names):
        names = [f"level {number}" for number in range(len(names))]
    return dict(zip(names, known.values(), strict=True))


def _flat(level: str) -> dict[str, Any]:
    """Fields of a configuration, those of objects by their own names."""
    text = level.removeprefix(NATIVE).strip()
    try:
        parsed = json.loads(text) if text else {}
    except ValueError:
        return {"level": level}
    found: dict[str, Any] = {}
    for name, value in (parsed or {}).items():
        found |= value if isinstance(value, dict) else {name: value}
    return found
