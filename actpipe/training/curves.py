"""How training goes: lines of metrics.jsonl, what stands below the progress bar, and copies for other viewers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sae
from actpipe.quantities import readable_count

from .group import Group
from .run_folder import RunFolder, finite
from .viewers import Viewer

HEAD = ("", "L0", "FVU", "dead", "loss", "rows/s")


class Curves:
    """Of the groups that one process trains on the same rows."""

    def __init__(self, run: RunFolder, reads: str, viewer: Viewer) -> None:
        self._run, self._reads, self._viewer = run, reads, viewer
        self._lines = run.metrics()
        self._latest: dict[str, dict[str, Any]] = {}  # name of a member → its last numbers
        self._frozen: set[str] = set()  # members that were announced
        self._began, self._first_row = time.monotonic(), 0
        self._rows = 0

    def begin(self, made: Mapping[str, int]) -> None:
        """Forget lines of steps that will be made again; `made` holds the steps that each group has made."""
        self._lines = [m for m in self._lines if m["hook"] != self._reads or m["step"] <= made.get(m["group"], 0)]
        self._began = time.monotonic()
        self._first_row = -1

    def add(self, reports: Sequence[tuple[Group, sae.StepReport]]) -> list[str]:
        """Keep a line a group; returns the names of members that froze since the last time."""
        frozen = []
        for group, report in reports:
            line = _line(self._reads, group, report)
            self._lines.append(line)
            self._viewer.add(line)
            self._latest |= {member["name"]: member for member in line["members"]}
            stopped = [group.members[i].name for i in report.frozen_members]
            frozen += [name for name in stopped if name not in self._frozen]
            self._frozen |= set(stopped)
            self._rows = report.rows
        if self._first_row < 0:
            self._began, self._first_row = time.monotonic(), self._rows
        return frozen

    def save(self) -> None:
        self._run.write_metrics(self._lines)

    def note(self) -> str:
        shown = [member["l0"] for member in self._latest.values() if member["l0"] is not None]
        return f"L0 {min(shown):.0f} to {max(shown):.0f}" if shown else ""

    def table(self) -> list[tuple[str, ...]]:
        """One row a member, below a head; names without what they share."""
        seconds = time.monotonic() - self._began
        speed = (self._rows - self._first_row) / seconds if seconds > 0 else 0.0
        rate = readable_count(float(f"{speed:.2g}")) if speed else ""
        short = dict(zip(self._latest, without_shared_start(list(self._latest)), strict=True))
        return [
            HEAD,
            *(
                (
                    short[name] + (" (diverged)" if name in self._frozen else ""),
                    _shown(member["l0"], ".1f"),
                    _shown(member["fvu"], ".3f"),
                    _shown(member["dead"], ".1%"),
                    _shown(member["loss"], ".4g"),
                    "" if name in self._frozen else rate,
                )
                for name, member in self._latest.items()
            ),
        ]


def joined_lines(
    parts: Sequence[Sequence[dict[str, Any]]], groups: Sequence[tuple[str, str]], members: Sequence[str]
) -> list[dict[str, Any]]:
    """The lines of several processes, each with some members, as one process would have written them.

    `groups` (hook and group) and `members` are the names in the order of the plan.
    """
    hooks = list(dict.fromkeys(hook for hook, _ in groups))
    joined: dict[Any, dict[str, Any]] = {}
    for line in (line for part in parts for line in part):
        key = (hooks.index(line["hook"]), line["step"], groups.index((line["hook"], line["group"])))
        found = joined.setdefault(key, {**line, "members": []})
        found["members"].extend(line["members"])
    places = {name: i for i, name in enumerate(members)}
    for line in joined.values():
        line["members"].sort(key=lambda member: places[member["name"]])
    return [joined[key] for key in sorted(joined)]


def without_shared_start(names: Sequence[str]) -> Iterator[str]:
    """Names without the leading parts, cut at dashes, that all of them have."""
    parts = [name.split("-") for name in names]
    shared = 0
    while all(len(each) > shared + 1 and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return ("-".join(each[shared:]) for each in parts)


def _line(reads: str, group: Group, report: sae.StepReport) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "hook": reads,
        "group": group.name,
        "step": report.step,
        "rows": report.rows,
        "lr_factor": report.lr_factor,
        "sparsity_factor": report.sparsity_factor,
        "members": [
            {"name": member.name} | {key: finite(value) for key, value in report.member(i).items()}
            for i, member in enumerate(group.members)
        ],
    }


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
