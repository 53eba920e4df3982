"""Short names for the dictionaries of a sweep: only what tells them apart."""

from __future__ import annotations

from dataclasses import dataclass

from .tables import Row

_SERIES = ("hook", "architecture", "width", "seed")  # a curve of the sweep plot joins members equal in these
_SWEPT = ("l1", "k")  # and differing in one of these


@dataclass(frozen=True, kw_only=True)
class Names:
    label: str  # in menus and headings
    series: str  # of the curve it lies on
    tag: str  # beside its point


def name_members(members: list[Row]) -> list[Names]:
    varying = {field for field in (*_SERIES, *_SWEPT) if len({member.get(field) for member in members}) > 1}
    names = [_name(member, varying) for member in members]
    if len({name.label for name in names}) == len(names):
        return names
    numbered = enumerate(zip(names, members, strict=True))
    return [Names(label=f"{n.label} · {m['member']}", series=n.series, tag=n.tag or str(i)) for i, (n, m) in numbered]


def _name(member: Row, varying: set[str]) -> Names:
    series = " · ".join(_say(field, member) for field in _SERIES if field in varying and member.get(field) is not None)
    swept = [_say(field, member) for field in _SWEPT if member.get(field) is not None]
    tag = " · ".join(swept)
    parts = [series or str(member["architecture"]), tag]
    return Names(label=" · ".join(part for part in parts if part), series=series, tag=tag)


def _say(field: str, member: Row) -> str:
    value = member[field]
    if field in ("l1", "k", "seed"):
        return f"{field}={value:.3g}" if isinstance(value, float) else f"{field}={value}"
    return f"{value:,} features" if field == "width" else str(value)
