"""configuration + widths of the hooks → groups of members: everything that will be trained, before anything is.

A grid is the product of the values of its axes. Values of swept fields make members of one group; values of fixed
fields cannot be stacked and make groups of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import sae
from actpipe.errors import Missing, Misuse

from .config import DERIVED, TrainConfig, Values
from .fields import (
    FLAGS,
    FROM_ROWS,
    OF_MEMBERS,
    SEEDLESS,
    architecture_named,
    assignment,
    effective_fields,
    fixed_fields,
    implied,
    knows,
    main_field,
    parse_value,
    unknown_field,
)
from .grids import LARGEST_GRID, active_grid, l1_grid, parse_grid
from .group import Group, PlannedMember, Reads

Kind = type[sae.Architecture]
Hooks = Mapping[str, int]  # name → width, in the order of the store
DEFAULT_EXPANSION = 2.0
LONGEST_NAME = 200  # bytes; file systems take 255, and temporary names are longer


@dataclass(frozen=True)
class Asked:
    """Values of one field, as they were asked for."""

    field: str
    flag: str
    values: Values | None  # of a flag of its own; DERIVED where it had no value
    text: str = ""  # of --sweep and --set, whose meaning depends on the type of the field

    def of_swept(self) -> Values:
        return self.values if self.values is not None else parse_grid(self.text, f"{self.flag} {self.field}")

    def of_fixed(self, kind: Any) -> list[Any]:
        """One value, or for --sweep of a field that is no list itself several."""
        flag = f"{self.flag} {self.field}"
        if self.values is not None:
            return [kind(value) for value in self.values]
        texts = [self.text] if self.flag == "--set" else self.text.split(",")
        values = [parse_value(text, kind, flag) for text in texts]
        if len(set(values)) < len(values):
            raise Misuse(f"{flag} {self.text} names the same value twice; two members would be identical.")
        return values


def plan(config: TrainConfig, hooks: Hooks, *, raw_unit: Callable[[Reads], float]) -> tuple[Group, ...]:
    """`raw_unit` gives the l1 in training units that an l1 of 1 in raw units is, for some rows."""
    kinds = [architecture_named(name.strip()) for name in config.architecture.split(",")]
    if len(set(kinds)) < len(kinds):
        raise Misuse(f"--architecture {config.architecture} names the same kind twice.")
    asked = _asked(config)
    for each in asked:
        if each.field in FROM_ROWS or not any(knows(kind, each.field) for kind in kinds):
            raise unknown_field(each.field, each.flag, kinds)
    by_reads: dict[Reads, list[Kind]] = {}
    for kind in kinds:
        for reads in _reads(config, hooks, kind):
            by_reads.setdefault(reads, []).append(kind)
    groups = tuple(
        group
        for reads, kinds in by_reads.items()
        for kind in kinds
        for group in _groups(config, hooks, kind, reads, asked, raw_unit)
    )
    _check_names(groups)
    return groups


def _asked(config: TrainConfig) -> list[Asked]:
    flagged = {"l1": config.l1, "k": config.k, "target_l0": config.l0}
    asked = [Asked(field, FLAGS[field], values) for field, values in flagged.items() if values is not None]
    for flag, texts in (("--sweep", config.sweep), ("--set", config.set)):
        for text in texts:
            field, value = assignment(text, flag)
            asked.append(Asked(field, flag, None, value))
    fields = [each.field for each in asked]
    if twice := next((field for field in fields if fields.count(field) > 1), None):
        raise Misuse(f"The field {twice} is set twice; give it one grid or one value.")
    return asked


def _reads(config: TrainConfig, hooks: Hooks, kind: Kind) -> list[Reads]:
    chosen = _chosen(hooks, config.hook)
    targets = _chosen(hooks, config.target_hook)
    if (
        targets
        and kind.reads != "pair"
        and not any(architecture_named(name.strip()).reads == "pair" for name in config.architecture.split(","))
    ):
        raise Misuse(f"--target-hook is for transcoders; {kind.name} reconstructs the hook it reads.")
    if kind.reads == "blocks":
        together = tuple(chosen or hooks)
        if len(together) < 2:
            raise Misuse(f"{kind.name} reads several hooks at once; name two or more with --hook.")
        return [Reads(together)]
    chosen = chosen or list(hooks)[:1]
    if kind.reads == "row":
        return [Reads((hook,)) for hook in chosen]
    if not targets:
        raise Misuse(f"{kind.name} predicts one hook from another; name the one to predict with --target-hook.")
    if len(targets) != len(chosen):
        raise Misuse(f"{len(chosen)} hooks have {len(targets)} targets; give one --target-hook for each --hook.")
    pairs = list(zip(chosen, targets, strict=True))
    if itself := next((hook for hook, target in pairs if hook == target), None):
        raise Misuse(f"{itself} would be predicted from itself; name another --target-hook, or train an autoencoder.")
    return [Reads((hook,), target) for hook, target in pairs]


def _chosen(hooks: Hooks, patterns: tuple[str, ...]) -> list[str]:
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matched = [hook for hook in hooks if fnmatchcase(hook, pattern)]
        if not matched:
            raise Missing(f"The store has no hook {pattern!r}; it has {', '.join(hooks)}.")
        chosen |= dict.fromkeys(matched)
    return list(chosen)


def _groups(
    config: TrainConfig,
    hooks: Hooks,
    kind: Kind,
    reads: Reads,
    asked: list[Asked],
    raw_unit: Callable[[Reads], float],
) -> Iterator[Group]:
    d, out = reads.sizes(hooks)
    kinds = fixed_fields(kind)
    from_rows = {"blocks": tuple(hooks[hook] for hook in reads.hooks)} if "blocks" in kinds else {}
    fixed = implied(kinds, [each.field for each in asked if each.field in kind.swept])
    fixed |= {each.field: each.of_fixed(kinds[each.field]) for each in asked if each.field in kinds}
    for values in product(*fixed.values()):
        chosen = dict(zip(fixed, values, strict=True))
        varying = {field: value for field, value in chosen.items() if len(fixed[field]) > 1}
        name = "-".join([reads.name, kind.name, *(f"{field}_{_shown(value)}" for field, value in varying.items())])
        try:
            architecture = kind(**chosen, **from_rows)
        except ValueError as error:
            raise Misuse(f"{name}: {error}.") from None
        axes = _axes(config, architecture, reads, d, asked, raw_unit)
        members = tuple(_members(config, architecture, name, (d, out), axes))
        group = Group(name=name, reads=reads, d=d, out=out, architecture=architecture, members=members)
        _check(group)
        yield group


def _axes(
    config: TrainConfig,
    architecture: sae.Architecture,
    reads: Reads,
    d: int,
    asked: list[Asked],
    raw_unit: Callable[[Reads], float],
) -> dict[str, Values]:
    """Field of a member → its values."""
    is_trained = isinstance(architecture, sae.Trained)
    swept = effective_fields(architecture)
    for each in asked:
        if each.field in architecture.swept and each.field not in swept and each.flag in ("--set", "--sweep"):
            raise Misuse(f"{each.flag} {each.field} has no effect on {architecture.name} with {architecture.fixed()}.")
    mine = (*swept, *(OF_MEMBERS if is_trained else ()))
    axes = {each.field: each.of_swept() for each in asked if each.field in mine}
    main = main_field(swept)
    if main is not None and is_trained and not axes.keys() & FLAGS.keys():
        axes[main] = DERIVED
    for field, values in axes.items():
        if values == DERIVED:
            # A crosscoder's penalty adds up the lengths of a decoder row in each hook: hooks count one by one.
            axes[field] = l1_grid(d // len(reads.hooks)) if field == "l1" else active_grid(d)
        elif field == "l1" and config.l1_units == "raw":
            axes[field] = tuple(float(f"{value * raw_unit(reads):.6g}") for value in values)
    return axes


def _members(
    config: TrainConfig, architecture: sae.Architecture, group: str, rows: tuple[int, int], axes: dict[str, Values]
) -> Iterator[PlannedMember]:
    d, out = rows
    if isinstance(architecture, sae.Trained):
        expansions, axes = config.expansion or (DEFAULT_EXPANSION,), {**axes, "lr": config.lr}
    else:
        expansions = _widths_of_baseline(config, architecture, d, out)
    seeds = range(config.seed, config.seed + (1 if architecture.name in SEEDLESS else config.seeds))
    _check_count(math.prod(len(values) for values in (expansions, seeds, *axes.values())))
    _check_widths(expansions, d)
    for expansion, seed, *values in ordered_product(expansions, seeds, *axes.values()):
        own = dict(zip(axes, values, strict=True))
        # One learning rate for all is no part of a name.
        named = {field: value for field, value in own.items() if field != "lr" or len(config.lr) > 1}
        parts = [f"{group}-x{expansion:g}", *(f"{field}_{value:.6g}" for field, value in named.items()), f"s{seed}"]
        settings = {**own, "width": _width(d, expansion), "seed": seed}
        yield PlannedMember("-".join(parts), expansion, settings)


def _widths_of_baseline(config: TrainConfig, architecture: sae.Architecture, d: int, out: int) -> Values:
    """Those asked for that it can have; PCA has no more components than a row has numbers. Else its natural one."""
    possible = []
    for expansion in config.expansion:
        with suppress(ValueError):
            architecture.check(sae.Size(d, _width(d, expansion), out), dict.fromkeys(architecture.swept, 0.0))
            possible.append(expansion)
    return tuple(possible) or ((2.0,) if architecture.fixed().get("split") else (1.0,))


def ordered_product(expansions: Values, seeds: range, *values: Values) -> Iterator[tuple[Any, ...]]:
    """Widths vary slowest, because members of one width are stepped together; seeds fastest."""
    for expansion, *rest, seed in product(expansions, *values, seeds):
        yield expansion, seed, *rest


def _check(group: Group) -> None:
    for member in group.members:
        try:
            group.architecture.check(group.size(member), group.hyper(member))
        except ValueError as error:
            raise Misuse(f"{member.name} cannot be: {error}.") from None


def _check_count(count: int) -> None:
    if count > LARGEST_GRID:
        raise Misuse(f"The grid has {count:,} members; at most {LARGEST_GRID:,} are trained in one run.")


def _check_widths(expansions: Values, d: int) -> None:
    widths = [_width(d, expansion) for expansion in expansions]
    if len(set(widths)) < len(widths):
        raise Misuse(
            f"--expansion {','.join(f'{value:g}' for value in expansions)} gives the same number of features twice for "
            f"rows of width {d} ({', '.join(map(str, widths))}); two members would be identical."
        )


def _width(d: int, expansion: float) -> int:
    return max(1, round(min(d * expansion, 2.0**62)))


def _check_names(groups: tuple[Group, ...]) -> None:
    """Names are folders: each member has its own, and a file system must take it."""
    names = [member.name for group in groups for member in group.members]
    _check_count(len(names))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Misuse(f"Two members would be called {twice}; give values that differ in their first six digits.")
    longest = max(names, key=lambda name: len(name.encode()))
    if len(longest.encode()) > LONGEST_NAME:
        raise Misuse(f"{longest} is too long for the name of a folder; sweep fewer fields in one run.")


def _shown(value: Any) -> str:
    return (
        "_".join(map(_shown, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
