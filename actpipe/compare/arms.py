"""Arms as they were asked for → arms as they are read: what is not a report is made first, all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from actpipe.progress import Progress

from .arm import Arm, Opened, arm_of, opened, opened_made
from .asked import Asked, Source, asked_arms, asked_twins
from .config import ARMS, CompareConfig
from .making import made_all
from .subjects import Subject, subject_of
from .untrained import untrained


class Part(NamedTuple):
    """One source of an arm."""

    source: Source
    subject: Subject | None  # None: a report

    @classmethod
    def of(cls, source: Source, hooks: tuple[str, ...]) -> Part:
        return cls(source, None if source.kind == "report" else subject_of(source, hooks))


def open_arms(config: CompareConfig, metrics: Sequence[str], progress: Progress) -> list[Arm]:
    asked = asked_arms(config.arms)
    named = asked_twins(config.twin, [each.name for each in asked])
    own = {each.name: _parts(each, config) for each in asked}
    twins = {
        name: _parts(named[name], config) if name in named else _untrained(parts, config, progress)
        for name, parts in own.items()
    }
    subjects = [
        part.subject for parts in (*own.values(), *twins.values()) for part in parts if part.subject is not None
    ]
    places = dict(zip(subjects, made_all(subjects, config, config.out / ARMS, progress), strict=True))
    return [_arm(each, own[each.name], twins[each.name], places, metrics, progress) for each in asked]


def _parts(asked: Asked, config: CompareConfig) -> list[Part]:
    return [Part.of(source, config.hook) for source in asked.sources]


def _untrained(parts: Sequence[Part], config: CompareConfig, progress: Progress) -> list[Part]:
    found = []
    for source, subject in parts:
        twin = untrained(subject) if config.twins and subject is not None else None
        if twin is not None:
            if twin.folder is not None:
                progress.say(f"The untrained twin of {source.text} is {twin.folder}.")
            found.append(Part(source, twin))
    return found


def _arm(
    asked: Asked,
    own: Sequence[Part],
    twin: Sequence[Part],
    places: Mapping[Subject, Path],
    metrics: Sequence[str],
    progress: Progress,
) -> Arm:
    beside = arm_of(asked, [_opened(part, places, progress) for part in twin], metrics) if twin else None
    return arm_of(asked, [_opened(part, places, progress) for part in own], metrics, beside)


def _opened(part: Part, places: Mapping[Subject, Path], progress: Progress) -> Opened:
    if part.subject is None:
        progress.say(f"Reading {part.source.text}.")
        return opened(part.source)
    return opened_made(places[part.subject], part.source.text)
