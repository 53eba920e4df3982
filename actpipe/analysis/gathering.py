"""The accumulators of every score for one subject, in one pass over its firings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from .firings import Firings
from .scores import Accumulator, Score, Scored, State, Subject


class Gathering:
    """`accumulators`: by the name of the score; those of a first or of a second pass."""

    def __init__(self, subject: Subject, accumulators: Mapping[str, Accumulator]) -> None:
        self.subject, self.accumulators = subject, dict(accumulators)

    @classmethod
    def first(cls, subject: Subject, scores: Sequence[Score]) -> Gathering:
        return cls(subject, {score.name: score.gather(subject) for score in scores})

    @classmethod
    def second(cls, gathered: Gathering, scores: Sequence[Score]) -> Gathering:
        """Of the scores that ask for one."""
        found = {score.name: score.check(gathered.subject, gathered.accumulators[score.name]) for score in scores}
        return cls(gathered.subject, {name: each for name, each in found.items() if each is not None})

    def update(self, batch: Firings) -> None:
        for accumulator in self.accumulators.values():
            accumulator.update(batch)

    def merge(self, other: Self) -> None:
        for name, accumulator in self.accumulators.items():
            accumulator.merge(other.accumulators[name])

    def state(self) -> State:
        return {
            f"{name}.{key}": values
            for name, accumulator in self.accumulators.items()
            for key, values in accumulator.state().items()
        }

    def restore(self, state: State) -> None:
        for name, accumulator in self.accumulators.items():
            accumulator.restore(below(state, name))


def below(state: State, name: str) -> State:
    """{"name.key": values} → {"key": values}."""
    return {key.removeprefix(f"{name}."): values for key, values in state.items() if key.startswith(f"{name}.")}


def scored(gathered: Gathering, checked: Gathering, scores: Sequence[Score]) -> dict[str, Scored]:
    """What every score says of the subject, in the order of the registry."""
    found: dict[str, Scored] = {}
    for score in scores:
        first, second = gathered.accumulators[score.name], checked.accumulators.get(score.name)
        found[score.name] = score.finish(gathered.subject, first, second, found)
    return found
