"""The untrained twin of a subject: the same units of the same model before training.

That of a model can be made. That of dictionaries has to be trained on an untrained model; it is found where its folder
lies beside theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from actpipe import shipped
from actpipe.analysis.inputs import Member, is_dictionary
from actpipe.errors import ActpipeError
from actpipe.harvest.naming import Named

from .asked import Source
from .subjects import Subject, layer_of, subject_of


def untrained(subject: Subject) -> Subject | None:
    """None of what is untrained itself, and where there are no such dictionaries."""
    if Named.of(subject.model).seed is not None:
        return None
    if subject.members:
        return next(_beside(subject), None)
    seed = int(shipped.card(subject.model)["seed"]) if shipped.is_named(subject.model) else 0
    return replace(subject, model=str(Named(subject.model, seed)))


def _beside(subject: Subject) -> Iterator[Subject]:
    """Runs, in the order of their names, that have a dictionary on the untrained model for each of these."""
    assert subject.folder is not None
    wanted = [_key(member) for member in subject.members]
    for folder in sorted(subject.folder.parent.iterdir()):
        with suppress(ActpipeError):  # what is broken or unfinished is no twin
            found = _dictionaries(folder)
            named = found and Named.of(found.model)
            if not found or not named or named.seed is None or (named.trained, named.how) != (subject.model, "init"):
                continue
            theirs = {_key(member): member for member in found.members}
            if set(wanted) <= set(theirs):
                yield replace(found, members=tuple(theirs[key] for key in wanted))


def _dictionaries(folder: Path) -> Subject | None:
    if (folder / "run.json").is_file():
        return subject_of(Source(kind="run", place=str(folder)), ())
    return subject_of(Source(kind="dictionary", place=str(folder)), ()) if is_dictionary(folder) else None


def _key(member: Member) -> tuple[str, str, str]:
    """What a twin has in common with it: how it was asked for, where it lies, and its seed."""
    return member.result["level"], layer_of(member.hook), str(member.result.get("seed") or 0)
