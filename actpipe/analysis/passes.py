"""Passes over the rows of a hook, part by part: gathered, merged in order, saved, and taken up again.

A part is gathered by itself and merged into what the parts before it gave, so the result is the same to the last bit
whether one process does all parts, several do some each, or one is killed and another goes on.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from actpipe.memory import give_back
from actpipe.progress import Progress

from .corpus import Corpus, Part
from .firings import Firings, active, joined
from .gathering import Gathering, below
from .member_pass import ControlPass, MemberPass
from .rows import Rows
from .saved_codes import read_codes, write_codes
from .scores import State
from .shuffling import shuffled
from .threads import one_thread_each
from .units import UnitSet

_CODES_TOGETHER = 1 << 21  # floats, 8 MiB: they stay in the caches, and memory does not grow with the width
_SAVE_S = 120.0  # what a kill costs of a pass: a checkpoint is gigabytes, and not worth it before; and so long that
_SAVING_SHARE = 20  # saving takes at most a twentieth of the time


class Mergeable(Protocol):
    def merge(self, other: Self) -> None: ...
    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


M = TypeVar("M", bound=Mergeable)
P = TypeVar("P", MemberPass, ControlPass)
Advance = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Pass(ABC, Generic[M]):
    """`empty`: accumulators before any row."""

    name: str
    corpus: Corpus
    empty: Sequence[M]

    @abstractmethod
    def over(self, part: Part, found: Sequence[M], advance: Advance) -> None:
        """Feed a part to fresh accumulators; `advance` by tokens."""

    def gather(self, part: Part, advance: Advance = lambda tokens: None) -> list[M]:
        found = deepcopy(list(self.empty))
        self.over(part, found, advance)
        return found


@dataclass(frozen=True, kw_only=True)
class Encoding(Pass[P]):
    """The first pass: rows are read once, every set of units encodes them, and its active codes are saved."""

    hook: str
    device: torch.device
    folder: Path | None  # for the codes; None where no score looks twice

    def over(self, part: Part, found: Sequence[P], advance: Advance) -> None:
        rows, n_rows = self.corpus.whole(part), (part.stop - part.first) * self.corpus.store.context
        x = self.corpus.rows.read(self.hook, rows.first, rows.first + n_rows)

        def gather(i: int) -> None:
            batch, found[i].not_finite = encoded(found[i].units, rows, x, self.device)
            found[i].update(batch)
            if self.folder is not None:
                write_codes(codes_file(self.folder, i, part), batch)

        with one_thread_each(len(found)) as pool:
            for _ in pool.map(gather, range(len(found))):
                advance(n_rows / len(found))


def encoded(units: UnitSet, rows: Rows, x: Tensor, device: torch.device) -> tuple[Firings, int]:
    """All that fires on `rows`, whose activations are `x` [B, d], and how many codes were not finite."""
    step = max(_CODES_TOGETHER // max(units.n, 1), 1)
    pieces = []
    with torch.inference_mode():
        for first in range(0, len(x), step):
            codes = units.codes(x[first : first + step].to(device).float()).float().cpu().numpy()
            pieces.append(active(rows, codes, first))
    return joined(rows, units.n, pieces), sum(bad for *_, bad in pieces)


@dataclass(frozen=True, kw_only=True)
class Checking(Pass[Gathering]):
    """The second pass, from saved codes: `sources` say of each gathering whose codes it sees and how."""

    sources: Sequence[Source]

    def over(self, part: Part, found: Sequence[Gathering], advance: Advance) -> None:
        whole = self.corpus.whole(part)

        def update(source: Source, gatherings: list[Gathering]) -> None:
            batch = read_codes(source.file(part), whole, source.n_units)
            gatherings[0].update(batch)
            if source.shuffled is not None:
                gatherings[1].update(shuffled(batch, source.shuffled, source.seed))

        with one_thread_each(len(self.sources)) as pool:
            _finish(pool.map(lambda s: update(s, [found[i] for i in s.gatherings]), self.sources))
        advance(len(whole.tokens))


@dataclass(frozen=True, kw_only=True)
class Source:
    folder: Path
    number: int
    n_units: int
    gatherings: tuple[int, ...]  # the units' own, and their shuffled control's
    shuffled: Any = None  # [m] units of the control
    seed: int = 0

    def file(self, part: Part) -> Path:
        return codes_file(self.folder, self.number, part)


def codes_file(folder: Path, number: int, part: Part) -> Path:
    return folder / f"units-{number:04d}" / f"part-{part.number:06d}.npz"


def run(passed: Pass[M], folder: Path, progress: Progress, title: str, gather: Gatherer | None = None) -> list[M]:
    """The accumulators over all parts. `folder` keeps what is done; `gather` does parts elsewhere."""
    whole = deepcopy(list(passed.empty))
    checkpoint = folder / f"{passed.name}.arrays"
    done = _restore(checkpoint, whole)
    parts, context = passed.corpus.parts(), passed.corpus.store.context
    total = sum(part.stop - part.first for part in parts) * context
    before = sum(part.stop - part.first for part in parts[:done]) * context
    if done == len(parts):
        return whole
    with _Saving(checkpoint) as saving, progress.bar(title, total, "tokens", done=before) as bar:
        for found in (gather or _here)(passed, parts[done:], bar.advance):
            saving.finish()
            _merge(whole, found)
            del found  # or it would be there while the next part is gathered
            done += 1
            saving.start(whole, done)
        saving.finish()
    give_back()
    return whole


class _Saving:
    """A checkpoint from time to time, written while the next part is gathered."""

    def __init__(self, path: Path) -> None:
        self._path, self._next = path, time.monotonic() + _SAVE_S
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="actpipe-checkpoint")
        self._running: Future[float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.shutdown()

    def start(self, found: Sequence[Mergeable], parts: int) -> None:
        """If it is time; nothing of `found` may change until `finish`."""
        if time.monotonic() > self._next:
            self._running = self._writer.submit(_save, self._path, found, parts)

    def finish(self) -> None:
        if self._running is not None:
            self._next = time.monotonic() + max(_SAVE_S, _SAVING_SHARE * self._running.result())
            self._running = None


def _merge(whole: Sequence[M], found: Sequence[M]) -> None:
    with one_thread_each(len(whole)) as pool:
        _finish(pool.map(lambda one, other: one.merge(other), whole, found))


class Gatherer(Protocol):
    def __call__(self, passed: Pass[M], parts: Sequence[Part], advance: Advance) -> Iterator[list[M]]:
        """What each part gives, in order."""
        ...


def _here(passed: Pass[M], parts: Sequence[Part], advance: Advance) -> Iterator[list[M]]:
    for part in parts:
        yield passed.gather(part, advance)


def states(found: Sequence[Mergeable]) -> State:
    return {f"{i}.{key}": values for i, each in enumerate(found) for key, values in each.state().items()}


def restore(found: Sequence[Mergeable], state: State) -> None:
    for i, each in enumerate(found):
        each.restore(below(state, str(i)))


def _save(path: Path, found: Sequence[Mergeable], parts: int) -> float:
    """Arrays one after the other, each as a .npy: an .npz would sum up every byte. How many seconds it took."""
    began = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with open(temporary, "wb") as file:
        np.save(file, np.array(parts))
        for each in found:  # states one by one: together they are as much memory again
            state = each.state()
            np.save(file, np.array(list(state), str))
            for values in state.values():
                np.save(file, values)
    os.rename(temporary, path)
    return time.monotonic() - began


def _restore(path: Path, found: Sequence[Mergeable]) -> int:
    """How many parts it holds."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        parts = int(np.load(file))
        for each in found:
            each.restore({name: np.load(file) for name in np.load(file).tolist()})
    return parts


def _finish(results: Iterable[None]) -> None:
    for _ in results:
        pass
